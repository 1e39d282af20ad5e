"""Each single fault in a token has its own error; the steps are those of `verify`."""

from datetime import timedelta

import pytest

from ca.binding import audience_for, encode_base64url
from ca.errors import (
    TokenAlgorithmRefused,
    TokenAudienceWrong,
    TokenBindingWrong,
    TokenClaimInvalid,
    TokenExpired,
    TokenIssuerUnknown,
    TokenKeyUnknown,
    TokenMalformed,
    TokenNotYetValid,
    TokenSignatureInvalid,
    TokenTypeRefused,
)
from tests.fakes import CLIENT, NOW, FakeIdP
from tests.jose import dump
from tests.tokens import AT, AUDIENCE, KEY, NONCE, ORIGIN, SALT, SALT_TEXT, Desk


@pytest.fixture(scope="module")
def desk():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield Desk(idp)


def by_name(**changes):
    """Parametrise a test with changes that have names."""
    return pytest.mark.parametrize("change", changes.values(), ids=changes)


# 1: form


@by_name(
    empty=lambda _: "",
    empty_parts=lambda _: "..",
    dots=lambda _: "...",
    one_part=lambda token: token.replace(".", ""),
    two_parts=lambda token: token.rpartition(".")[0],
    five_parts_like_encrypted=lambda token: token + ".a.b",
    trailing_dot=lambda token: token + ".",
    no_header=lambda token: "." + token.partition(".")[2],
    no_payload=lambda token: ".".join((token.split(".")[0], "", token.split(".")[2])),
    padded=lambda token: token + "==",
    padded_once=lambda token: token + "=",
    padded_header=lambda token: token.replace(".", "=.", 1),
    newline_after=lambda token: token + "\n",
    space_before=lambda token: " " + token,
    zero_width_space=lambda token: token.replace(".", ".\u200b"),
    cyrillic_letter=lambda token: token.replace("e", "\u0435", 1),
    lone_surrogate=lambda token: token + "\ud800",
    shifted=lambda token: "A" + token,
    too_long=lambda _: "A" * 16385,
    long_signature=lambda token: f"{token.rpartition('.')[0]}.{'A' * 16384}",
    general_json=lambda token: dump({"payload": token, "signatures": []}).decode(),
)
def test_what_is_no_compact_jws_is_malformed(desk, change):
    with pytest.raises(TokenMalformed):
        desk.verify(change(desk.token()))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        b"{",
        b"{} {}",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"\xff",
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":-1e400}',
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":"\\ud800"}',
        b'{"a":"\\uDC00"}',
        b'{"\\udfff":1}',
        b'{"a":"\\udc00\\ud800"}',
        b'{"a":"\n"}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{a:1}",
        b'{"a":01}',
        b"\0{}",
    ],
)
@pytest.mark.parametrize("part", ["header", "payload"])
def test_json_with_more_than_one_reading_or_none_is_malformed(desk, part, text):
    with pytest.raises(TokenMalformed):
        desk.verify(desk.raw(**{part: text}))


# 2: header


@pytest.mark.parametrize(
    ("header", "error"),
    [
        ({"alg": None}, TokenMalformed),
        ({"alg": 7}, TokenMalformed),
        ({"alg": ["RS256"]}, TokenMalformed),
        ({"kid": 7}, TokenMalformed),
        ({"kid": ["RS-0"]}, TokenMalformed),
        ({"kid": "k" * 256}, TokenMalformed),
        ({"kid": "k" * 255}, TokenKeyUnknown),
        ({"kid": ""}, TokenKeyUnknown),
        ({"kid": "RS-0 "}, TokenKeyUnknown),
        ({"kid": "rs-0"}, TokenKeyUnknown),
        ({"kid": "../../RS-0"}, TokenKeyUnknown),
        ({"typ": "at+jwt"}, TokenTypeRefused),
        ({"typ": "application/at+jwt"}, TokenTypeRefused),
        ({"typ": "logout+jwt"}, TokenTypeRefused),
        ({"typ": ""}, TokenTypeRefused),
        ({"typ": 7}, TokenTypeRefused),
        ({"typ": ["JWT"]}, TokenTypeRefused),
        ({"crit": ["bork"], "bork": True}, TokenTypeRefused),
        ({"crit": []}, TokenTypeRefused),
        ({"crit": ["exp"]}, TokenTypeRefused),
        ({"b64": False}, TokenTypeRefused),
        ({"b64": True}, TokenTypeRefused),
    ],
)
def test_each_fault_in_a_header_has_its_error(desk, header, error):
    with pytest.raises(error):
        desk.verify(desk.token(header=header))


@pytest.mark.parametrize("name", ["kid", "typ"])
def test_a_null_in_a_header_is_refused(desk, name):
    header = {"alg": "RS256", "kid": desk.idp.kid(), name: None}

    with pytest.raises((TokenMalformed, TokenTypeRefused)):
        desk.verify(desk.raw(header=header))


# 3: issuer


@by_name(
    slash=lambda url: url + "/",
    prefix=lambda url: url[:-1],
    longer=lambda url: url + "0",
    upper=lambda url: url.upper(),
    space=lambda url: url + " ",
    https=lambda url: "https" + url.removeprefix("http"),
    fragment=lambda url: url + "#",
    name=lambda _: "corp",
    empty=lambda _: "",
    list=lambda url: [url],
    object=lambda url: {"url": url},
    number=lambda _: 7,
    true=lambda _: True,
    missing=lambda _: None,
)
def test_any_other_issuer_is_unknown(desk, change):
    with pytest.raises(TokenIssuerUnknown):
        desk.verify(desk.token(iss=change(desk.idp.url)))


# 4 to 6: algorithm, key, signature


@pytest.mark.parametrize(
    "algorithm",
    ["none", "None", "NONE", "HS256", "HS512", "RS384", "RS512", "ES384", "rs256", ""],
)
def test_an_algorithm_that_the_issuer_may_not_use_is_refused(desk, algorithm):
    with pytest.raises(TokenAlgorithmRefused):
        desk.verify(desk.token(header={"alg": algorithm}))


@by_name(
    empty=lambda _: "",
    short=lambda _: "AAAA",
    zeros=lambda signature: "A" * (len(signature) // 4 * 4),
    cut=lambda signature: signature[: (len(signature) - 1) // 4 * 4],
    doubled=lambda signature: signature[:-2] * 2,
    one_bit=lambda s: ("B" if s[0] == "A" else "A") + s[1:],
)
@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_another_signature_is_invalid(desk, algorithm, change):
    signed, _, signature = desk.token(algorithm=algorithm).rpartition(".")

    with pytest.raises(TokenSignatureInvalid):
        desk.verify(f"{signed}.{change(signature)}")


def test_a_signature_of_another_token_is_invalid(desk):
    signed = desk.token(sub="grace").rpartition(".")[0]
    signature = desk.token().rpartition(".")[2]

    with pytest.raises(TokenSignatureInvalid):
        desk.verify(f"{signed}.{signature}")


# 7: purpose


@pytest.mark.parametrize(
    ("claims", "error"),
    [
        ({"events": {}}, TokenTypeRefused),
        ({"typ": "Bearer"}, TokenTypeRefused),
        ({"typ": ["ID"]}, TokenTypeRefused),
        ({"token_use": "access"}, TokenTypeRefused),
        ({"exp": None}, TokenClaimInvalid),
        ({"iat": None}, TokenClaimInvalid),
        ({"exp": AT}, TokenExpired),
        ({"exp": AT - 1}, TokenExpired),
        ({"exp": 0}, TokenExpired),
        ({"iat": AT + 61}, TokenNotYetValid),
        ({"nbf": AT + 61}, TokenNotYetValid),
        ({"auth_time": AT + 61}, TokenNotYetValid),
        ({"aud": None}, TokenClaimInvalid),
        ({"aud": []}, TokenClaimInvalid),
        ({"aud": 7}, TokenClaimInvalid),
        ({"aud": {CLIENT: True}}, TokenClaimInvalid),
        ({"aud": [CLIENT, 7]}, TokenClaimInvalid),
        ({"aud": [[CLIENT]]}, TokenClaimInvalid),
        ({"aud": "other"}, TokenAudienceWrong),
        ({"aud": ""}, TokenAudienceWrong),
        ({"aud": CLIENT.upper()}, TokenAudienceWrong),
        ({"aud": CLIENT + " "}, TokenAudienceWrong),
        ({"aud": [CLIENT, "other"]}, TokenAudienceWrong),
        ({"aud": [CLIENT, CLIENT]}, TokenAudienceWrong),
        ({"aud": [CLIENT, "other"], "azp": "other"}, TokenAudienceWrong),
        ({"aud": ["one", "other"], "azp": CLIENT}, TokenAudienceWrong),
        ({"aud": [AUDIENCE, "other"], "azp": AUDIENCE}, TokenAudienceWrong),
        ({"aud": "other", "azp": CLIENT}, TokenAudienceWrong),
        ({"aud": CLIENT, "azp": "other"}, TokenAudienceWrong),
        ({"aud": CLIENT, "azp": "robot"}, TokenAudienceWrong),
        ({"aud": CLIENT, "azp": ""}, TokenAudienceWrong),
        ({"aud": CLIENT, "azp": 7}, TokenClaimInvalid),
        ({"aud": CLIENT, "azp": [CLIENT]}, TokenClaimInvalid),
        ({"sub": None}, TokenClaimInvalid),
        ({"sub": ""}, TokenClaimInvalid),
        ({"sub": 7}, TokenClaimInvalid),
        ({"sub": ["ada"]}, TokenClaimInvalid),
        ({"sub": "a" * 256}, TokenClaimInvalid),
        ({"sub": "ada\n"}, TokenClaimInvalid),
        ({"sub": "ada\0"}, TokenClaimInvalid),
        ({"sub": "ada\x7f"}, TokenClaimInvalid),
        ({"sub": "ada\u2028"}, TokenClaimInvalid),
        ({"sub": "\u202eada"}, TokenClaimInvalid),
        ({"sub": "ada\u200b"}, TokenClaimInvalid),
        ({"email": 7}, TokenClaimInvalid),
        ({"email": ["ada@example.com"]}, TokenClaimInvalid),
        ({"email_verified": "true"}, TokenClaimInvalid),
        ({"email_verified": 1}, TokenClaimInvalid),
        ({"email_verified": []}, TokenClaimInvalid),
        ({"auth_time": "now"}, TokenClaimInvalid),
        ({"groups": "dev"}, TokenClaimInvalid),
        ({"groups": {"dev": True}}, TokenClaimInvalid),
        ({"groups": ["dev", 7]}, TokenClaimInvalid),
        ({"groups": ["dev", ["ops"]]}, TokenClaimInvalid),
        ({"groups": ["x" * 257]}, TokenClaimInvalid),
        ({"groups": ["x"] * 1001}, TokenClaimInvalid),
        ({"hasgroups": True}, TokenClaimInvalid),
        ({"hasgroups": False}, TokenClaimInvalid),
        ({"_claim_names": {"groups": "src1"}}, TokenClaimInvalid),
        ({"_claim_sources": {"groups": {}}}, TokenClaimInvalid),
        ({"_claim_names": ["groups"]}, TokenClaimInvalid),
        ({"_claim_sources": "groups"}, TokenClaimInvalid),
        ({"amr": "hwk"}, TokenClaimInvalid),
        ({"amr": [7]}, TokenClaimInvalid),
        ({"amr": ["a"] * 33}, TokenClaimInvalid),
    ],
)
def test_each_fault_in_a_claim_has_its_error(desk, claims, error):
    with pytest.raises(error):
        desk.verify(desk.token(**claims))


@pytest.mark.parametrize("name", ["exp", "iat", "nbf", "auth_time"])
@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        "1767225600",
        1767225600.0,
        1.5,
        -1,
        [],
        {},
        2**53,
        2**63,
        253402300800,
    ],
)
def test_a_time_that_is_no_whole_number_of_seconds_is_refused(desk, name, value):
    with pytest.raises(TokenClaimInvalid, match=name):
        desk.verify(desk.token(**{name: value}))


@pytest.mark.parametrize(
    "name",
    [
        "exp",
        "iat",
        "nbf",
        "auth_time",
        "sub",
        "aud",
        "azp",
        "email",
        "email_verified",
        "groups",
        "amr",
        "typ",
        "token_use",
        "_claim_names",
        "nonce",
    ],
)
def test_a_null_is_refused_wherever_we_look(desk, name):
    payload = {**desk.payload(), name: None}

    with pytest.raises((TokenClaimInvalid, TokenTypeRefused, TokenBindingWrong)):
        desk.verify(desk.raw(payload=payload))


@pytest.mark.parametrize(
    "email",
    [
        "ada",
        "ada@",
        "@",
        "ada@ex@ample.com",
        "ada @example.com",
        "ada@example.com ",
        " ada@example.com",
        "ada\n@example.com",
        "ada@exämple.com",
        "ädä@example.com",
        "ada@\N{KELVIN SIGN}elvin.example.com",
        "a" * 250 + "@example.com",
        "ada@example_com",
    ],
)
def test_a_verified_address_of_another_form_is_refused(desk, email):
    with pytest.raises(TokenClaimInvalid, match="email"):
        desk.verify(desk.token(email=email, email_verified=True))


def test_a_token_ends_at_the_second_it_names(desk):
    text = desk.token(exp=AT + 10)

    desk.verify(text, now=NOW + timedelta(seconds=9, milliseconds=999))
    with pytest.raises(TokenExpired):
        desk.verify(text, now=NOW + timedelta(seconds=10))


# 8: binding


@pytest.mark.parametrize(
    "nonce",
    [
        None,
        "",
        NONCE + "=",
        NONCE[:-1],
        NONCE.swapcase(),
        [NONCE],
        7,
        "\u00e4",
        AUDIENCE,
    ],
)
def test_another_nonce_is_not_bound_to_the_key(desk, nonce):
    with pytest.raises(TokenBindingWrong):
        desk.verify(desk.token(nonce=nonce))


@pytest.mark.parametrize(
    "salt",
    [
        None,
        "",
        SALT_TEXT[:-1],
        SALT_TEXT + "=",
        encode_base64url(SALT[:31]),
        encode_base64url(SALT + b"\0"),
        encode_base64url(bytes(32)),
        "\u00e4" * 43,
        "A" * 42 + "B",
    ],
)
def test_another_salt_does_not_bind(desk, salt):
    with pytest.raises(TokenBindingWrong):
        desk.verify(desk.token(), salt=salt)


def test_key_and_salt_cannot_be_cut_in_another_place(desk):
    with pytest.raises(TokenBindingWrong):
        desk.verify(
            desk.token(), key_blob=KEY + SALT[:1], salt=encode_base64url(SALT[1:])
        )


@pytest.mark.parametrize(
    "audience",
    [
        ORIGIN,
        ORIGIN + "#",
        AUDIENCE + "=",
        AUDIENCE[:-1],
        AUDIENCE + "#" + NONCE,
        audience_for(ORIGIN, b"another key"),
    ],
)
def test_another_audience_of_ours_is_not_bound_to_the_key(desk, audience):
    with pytest.raises(TokenBindingWrong):
        desk.verify(desk.idp.token(aud=audience))


@pytest.mark.parametrize(
    "audience",
    [
        audience_for("https://ca.example.org", KEY),
        audience_for(ORIGIN + "/", KEY),
        audience_for("https://CA.example.com", KEY),
        "#" + AUDIENCE.partition("#")[2],
        ORIGIN + ".example.org#x",
    ],
)
def test_the_audience_of_another_ca_is_not_ours(desk, audience):
    with pytest.raises(TokenAudienceWrong):
        desk.verify(desk.idp.token(aud=audience))


def test_a_nonce_does_not_stand_in_for_a_bound_audience(desk):
    with pytest.raises(TokenBindingWrong):
        desk.verify(desk.token(aud=ORIGIN))
