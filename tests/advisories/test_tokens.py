"""Attacks on ID tokens that somebody published do not work here."""

import base64
import json
import time

import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from ca.binding import decode_base64url, encode_base64url
from ca.errors import (
    CAError,
    TokenAlgorithmRefused,
    TokenAudienceWrong,
    TokenBindingWrong,
    TokenClaimInvalid,
    TokenIssuerUnknown,
    TokenKeyUnknown,
    TokenMalformed,
    TokenSignatureInvalid,
    TokenTypeRefused,
    Unauthenticated,
)
from ca.identity import Binding
from ca.issuers import ClientSettings, Flow, IssuerSettings
from ca.oidc import Verifier
from tests.fakes import CLIENT, NOW, FakeIdP
from tests.jose import ALGORITHMS, compact_jws, dump, ec_key, jwk, rsa_key
from tests.tokens import AT, CLIENTS, KEY, NONCE, ORIGIN, SALT_TEXT, Desk

ATTACKER = 666
"""The generation of the attacker's keys."""

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@pytest.fixture
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture
def desk(idp):
    return Desk(idp)


def parts(token):
    return token.split(".")


# S3, S4: the algorithm comes from the token.


@pytest.mark.parametrize("none", ["none", "None", "NONE", "nOnE"])
def test_a_token_without_signature_is_refused(desk, none):
    payload = parts(desk.token())[1]
    header = encode_base64url(dump({"alg": none}))

    with pytest.raises(TokenAlgorithmRefused):
        desk.verify(f"{header}.{payload}.")


@pytest.mark.parametrize(
    "encoding", [serialization.Encoding.PEM, serialization.Encoding.DER]
)
def test_the_public_key_is_no_shared_secret(desk, encoding):
    public = rsa_key().public_key()
    secret = public.public_bytes(
        encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def sign(signed):
        mac = hmac.HMAC(secret, hashes.SHA256())
        mac.update(signed)
        return mac.finalize()

    header = {"alg": "HS256", "kid": desk.idp.kid()}
    with pytest.raises(TokenAlgorithmRefused):
        desk.verify(compact_jws(header, desk.payload(), sign))


def test_an_algorithm_and_a_key_of_different_kinds_do_not_meet(desk):
    for algorithm in ("ES256", "EdDSA"):
        header = {"kid": desk.idp.kid("RS256")}
        with pytest.raises(TokenKeyUnknown):
            desk.verify(desk.token(algorithm=algorithm, header=header))


# S4, CVE-2026-27962: the key comes from the token.


@pytest.mark.parametrize("name", ["jku", "x5u"])
def test_a_link_to_a_key_is_never_followed(desk, name):
    with FakeIdP() as attacker:
        attacker.generation, attacker.published = ATTACKER, [ATTACKER]
        header = {"kid": f"RS-{ATTACKER}", name: f"{attacker.url}/jwks"}
        token = desk.token(header=header, key=rsa_key(ATTACKER))

        with pytest.raises(TokenKeyUnknown):
            desk.verify(token)
        assert attacker.hits == {}


@pytest.mark.parametrize("kid", [None, "known", "unknown"])
def test_a_key_inside_the_token_is_never_used(desk, kid):
    names = {None: None, "known": desk.idp.kid(), "unknown": "mine"}
    own = jwk(rsa_key(ATTACKER), kid=names[kid])
    header = {"jwk": own, "x5c": ["AAAA"], "kid": names[kid]}
    token = desk.token(header=header, key=rsa_key(ATTACKER))

    with pytest.raises((TokenSignatureInvalid, TokenKeyUnknown)):
        desk.verify(token)


# CVE-2025-59420, CVE-2025-4658: header members that change the meaning.


@pytest.mark.parametrize(
    "header",
    [{"crit": ["bork"], "bork": 1}, {"crit": []}, {"crit": ["b64"], "b64": False}],
    ids=str,
)
def test_critical_extensions_are_refused(desk, header):
    with pytest.raises(TokenTypeRefused):
        desk.verify(desk.token(header=header))


@pytest.mark.parametrize("form", ["flattened", "general", "two signatures"])
def test_other_serialisations_are_refused(desk, form):
    header, payload, signature = parts(desk.token())
    one = {"protected": header, "signature": signature}
    whole = {
        "flattened": {"payload": payload, **one},
        "general": {"payload": payload, "signatures": [one]},
        "two signatures": {"payload": payload, "signatures": [one, one]},
    }

    with pytest.raises(TokenMalformed):
        desk.verify(json.dumps(whole[form]))


def test_a_token_inside_a_token_is_refused(desk):
    with pytest.raises(TokenMalformed):
        desk.verify(desk.raw(payload=desk.token().encode()))


@pytest.mark.parametrize("where", ["header", "payload"])
def test_two_readings_of_one_json_text_are_refused(desk, where):
    good = {
        "header": {"alg": "RS256", "kid": desk.idp.kid()},
        "payload": desk.payload(),
    }
    twice = dump(good[where])[:-1] + b',"sub":"grace","sub":"ada","kid":"x"}'

    with pytest.raises(TokenMalformed):
        desk.verify(desk.raw(**{where: twice}))


# S5 (openpubkey #379): the signature must cover the header.


@pytest.mark.parametrize(
    "change",
    [{"kid": "RS-1"}, {"typ": "jwt"}, {"new": 1}, {"typ": None}],
    ids=str,
)
def test_a_changed_header_is_refused(desk, change):
    good = desk.token()
    header = json.loads(decode_base64url(parts(good)[0])) | change
    header = {name: value for name, value in header.items() if value is not None}
    token = ".".join((encode_base64url(dump(header)), *parts(good)[1:]))

    with pytest.raises((TokenSignatureInvalid, TokenKeyUnknown)):
        desk.verify(token)


# S6: keys of the issuer with unsound parameters; more in tests/ca/test_oidc_jwk.py.

# S7 (openpubkey #370): another kind of token.


@pytest.mark.parametrize(
    "changes",
    [
        {"header": {"typ": "at+jwt"}},
        {"header": {"typ": "AT+JWT"}},
        {"header": {"typ": "logout+jwt"}},
        {"header": {"typ": "secevent+jwt"}},
        {"header": {"typ": "dpop+jwt"}},
        {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
        {"typ": "Bearer"},
        {"token_use": "access"},
    ],
    ids=str,
)
def test_a_token_of_another_kind_is_refused(desk, changes):
    with pytest.raises(TokenTypeRefused):
        desk.verify(desk.token(**changes))


# Teleport #52132, hostile case 20: whose token is it?


def test_a_token_of_another_client_of_the_same_issuer_is_refused(desk):
    with pytest.raises(TokenAudienceWrong):
        desk.verify(desk.token(aud="another-app"))


def test_a_token_for_us_and_a_second_party_is_refused(desk):
    for party in (None, "second"):
        with pytest.raises(TokenAudienceWrong):
            desk.verify(desk.token(aud=[CLIENT, "second"], azp=party))


def test_issuers_with_the_same_key_ids_do_not_speak_for_each_other(desk, idp):
    with FakeIdP(now=NOW.timestamp) as other:
        other.generation, other.published = 1, [1]
        second = IssuerSettings("partner", other.url, CLIENTS)
        verifier = Verifier([desk.issuer, second], origin=ORIGIN)
        forged = other.token(iss=idp.url, nonce=NONCE, header={"kid": "RS-0"})

        with pytest.raises(TokenSignatureInvalid):
            verifier.verify(forged, key_blob=KEY, salt=SALT_TEXT, now=NOW)


def test_a_client_of_one_issuer_is_not_a_client_of_another(desk):
    with FakeIdP(now=NOW.timestamp) as other:
        clients = (ClientSettings("partner-app", Flow.BROWSER, Binding.NONCE),)
        second = IssuerSettings("partner", other.url, clients)
        verifier = Verifier([desk.issuer, second], origin=ORIGIN)
        token = other.token(nonce=NONCE)

        with pytest.raises(TokenAudienceWrong):
            verifier.verify(token, key_blob=KEY, salt=SALT_TEXT, now=NOW)


def test_an_issuer_that_says_it_is_another_is_refused(desk, idp):
    token = desk.token()
    idp.issuer = "https://id.example.com"

    with pytest.raises(CAError, match="another issuer"):
        desk.verify(token)
    with pytest.raises(TokenIssuerUnknown):
        desk.verify(desk.token())


# CVE-2024-45337 and the like: decided for one key, used for another.


def test_a_stolen_token_does_not_work_for_the_thiefs_key(desk):
    stolen = desk.token()

    with pytest.raises(TokenBindingWrong):
        desk.verify(stolen, key_blob=b"the thief's key")


# CVE-2025-6014 (OpenBao): one token in many spellings is spent many times.


def other_spellings(token):
    header, payload, signature = parts(token)
    yield from (f"{token}=", f"{token}==", f" {token}", f"{token} ", f"{token}\n")
    yield f"{header}=.{payload}.{signature}"
    yield f"{header}.{payload}==.{signature}"
    for at, part in enumerate((header, payload, signature)):
        if len(part) % 4:  # bits beyond the last byte
            alphabet = (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
            )
            last = alphabet[alphabet.index(part[-1]) | 1]
            changed = [header, payload, signature]
            changed[at] = part[:-1] + last
            yield ".".join(changed)
    standard = base64.b64encode(decode_base64url(signature)).decode().rstrip("=")
    if standard != signature:
        yield f"{header}.{payload}.{standard}"


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_token_has_one_spelling(desk, algorithm):
    token = desk.token(algorithm=algorithm)
    desk.verify(token)

    for other in other_spellings(token):
        assert other != token
        with pytest.raises(TokenMalformed):
            desk.verify(other)


def test_the_second_signature_of_an_ecdsa_token_spends_the_same_token(desk):
    header, payload, signature = parts(desk.token(algorithm="ES256"))
    raw = decode_base64url(signature)
    r, s = raw[:32], int.from_bytes(raw[32:])
    mirrored = encode_base64url(r + (P256_ORDER - s).to_bytes(32))

    first = desk.verify(f"{header}.{payload}.{signature}")
    second = desk.verify(f"{header}.{payload}.{mirrored}")

    assert mirrored != signature
    assert first.token_sha256 == second.token_sha256


def test_an_ecdsa_signature_in_der_is_refused(desk):
    header = {"alg": "ES256", "kid": desk.idp.kid("ES256")}

    def sign(signed):
        raw = ALGORITHMS["ES256"].sign(signed, ec_key())
        r, s = int.from_bytes(raw[:32]), int.from_bytes(raw[32:])
        der = encode_dss_signature(r, s)
        assert decode_dss_signature(der) == (r, s)
        return der

    with pytest.raises(TokenSignatureInvalid):
        desk.verify(compact_jws(header, desk.payload(), sign))


@pytest.mark.parametrize("signature", [bytes(64), b"\0" * 32 + b"\x01" * 32])
def test_an_ecdsa_signature_of_zeros_is_refused(desk, signature):
    """CVE-2022-21449: a verifier took r = s = 0 for a signature of anything."""
    header = {"alg": "ES256", "kid": desk.idp.kid("ES256")}

    with pytest.raises(TokenSignatureInvalid):
        desk.verify(compact_jws(header, desk.payload(), lambda _: signature))


# S8 (openpubkey #373, #385; opkssh #587) and CVE-2025-6203: odd and huge values.


@pytest.mark.parametrize(
    "value",
    [None, True, 7, 1.5, "", "\0", [], [None], {}, {"a": [{}]}, [[[[]]]], 2**63, -1],
    ids=repr,
)
@pytest.mark.parametrize(
    "name", ["aud", "sub", "exp", "iat", "nonce", "azp", "email", "groups"]
)
def test_a_claim_of_another_type_is_refused_cleanly(desk, name, value):
    payload = desk.payload() | {name: value}
    harmless = ("email ''", r"email '\x00'", "groups []", "iat 7")

    if f"{name} {value!r}" in harmless:
        desk.verify(desk.raw(payload=payload))
    else:
        with pytest.raises(Unauthenticated):
            desk.verify(desk.raw(payload=payload))


@pytest.mark.parametrize(
    "bomb",
    [
        b'{"a":"' + b"a" * (1 << 20) + b'"}',
        b'{"a":' + b"[" * 12_000,
        b'{"a":' + b"[" * 6_000 + b"]" * 6_000 + b"}",
        b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        b'{"a":1' + b"0" * 12_000 + b"}",
        b'{"a":1e' + b"9" * 12_000 + b"}",
        b'{"a":0.' + b"1" * 12_000 + b"e-99999}" + b"}",
    ],
    ids=lambda bomb: f"{bomb[:8].decode()} {len(bomb)}",
)
@pytest.mark.parametrize("where", ["header", "payload"])
def test_a_bomb_is_refused_quickly(desk, where, bomb):
    token = desk.raw(**{where: bomb})
    began = time.perf_counter()

    with pytest.raises(TokenMalformed):
        desk.verify(token)
    assert time.perf_counter() - began < 1


# S17: who says that the address is theirs?


@pytest.mark.parametrize("verified", [None, False])
def test_an_address_that_nobody_verified_names_nobody(desk, verified):
    token = desk.token(email="root@example.com", email_verified=verified)

    identity = desk.verify(token).identity

    assert identity.email is None
    assert identity.key_id == "corp:ada"


@pytest.mark.parametrize("verified", ["true", "yes", 1, [True]])
def test_an_address_is_not_verified_by_something_like_true(desk, verified):
    with pytest.raises(TokenClaimInvalid):
        desk.verify(desk.token(email="root@example.com", email_verified=verified))


# CVE-2025-6013 (OpenBao), hostile case 13: two spellings of one person.


def test_no_spelling_of_a_name_is_taken_for_another(desk):
    names = ["ada", "Ada", "ADA", "\N{CYRILLIC SMALL LETTER A}da", "ada ", "a\u0301da"]

    identities = [desk.verify(desk.token(sub=name)).identity for name in names]

    assert [identity.subject for identity in identities] == names
    assert len({identity.key_id for identity in identities}) == len(names)


@pytest.mark.parametrize(
    "email",
    [
        "ada@example.com ",
        "ada@example.com\n",
        "ada@\N{FULLWIDTH LATIN SMALL LETTER E}x.com",
        "\N{CYRILLIC SMALL LETTER A}da@example.com",
        "ada@e\xadxample.com",
    ],
)
def test_a_look_alike_of_an_address_is_refused_not_repaired(desk, email):
    with pytest.raises(TokenClaimInvalid):
        desk.verify(desk.token(email=email, email_verified=True))


# GHSA-59w7-v8rr-pr4p, hostile case 4: separators inside names of groups.


def test_a_group_is_never_split(desk):
    groups = ["dev,root", "a b", "*", "x\nroot", "cn=ops,dc=example,dc=com"]

    assert desk.verify(desk.token(groups=groups)).identity.groups == tuple(groups)


def test_groups_that_did_not_fit_are_not_no_groups(desk):
    """Microsoft's overage: taken for no groups, a deny by group would not match."""
    token = desk.token(
        _claim_names={"groups": "src1"},
        _claim_sources={"src1": {"endpoint": "https://graph.example.com"}},
    )

    with pytest.raises(TokenClaimInvalid, match="only a link"):
        desk.verify(token)


def test_an_issue_time_long_ago_does_not_lengthen_a_token(desk):
    with pytest.raises(Unauthenticated):
        desk.verify(desk.token(iat=AT - 10**6, exp=AT))
