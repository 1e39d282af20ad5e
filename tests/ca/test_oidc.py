"""A good token proves an identity, and any other text is an error of ours.

The issuer is a real server on loopback. Each single fault in a token is in
`test_oidc_refusals.py`, the key cache in `test_oidc_jwks.py`, and attacks that
somebody published in `tests/advisories/test_tokens.py`.
"""

import contextlib
import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import CAError, Misconfigured, TokenClaimInvalid
from ca.identity import Binding
from ca.issuers import ClientSettings, Flow, IssuerSettings
from ca.oidc import Verifier
from tests.fakes import CLIENT, NOW, FakeIdP
from tests.jose import dump
from tests.tokens import AT, AUDIENCE, CLIENTS, KEY, NONCE, ORIGIN, SALT_TEXT, Desk


@pytest.fixture(scope="module")
def desk():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield Desk(idp)


def test_a_good_token_proves_an_identity(desk):
    groups = ["dev", "on call"]
    text = desk.token(
        email="ada@example.com", email_verified=True, groups=groups, auth_time=AT - 60
    )

    sign_in = desk.verify(text)

    identity = sign_in.identity
    assert (identity.issuer, identity.subject, identity.client) == (
        "corp",
        "ada",
        CLIENT,
    )
    assert identity.binding is Binding.NONCE
    assert identity.email == "ada@example.com"
    assert identity.groups == ("dev", "on call")
    assert identity.auth_time == NOW - timedelta(seconds=60)
    assert identity.claims["groups"] == groups
    assert identity.key_id == "corp:ada@example.com"
    assert sign_in.expires == int((NOW + timedelta(hours=1)).timestamp())
    assert sign_in.max_uses == 1
    signed = text.rpartition(".")[0]
    spent = hashlib.sha256(f"{desk.idp.url}\0{signed}".encode()).digest()
    assert sign_in.token_sha256 == spent


def test_claims_that_may_be_missing_may_be_missing(desk):
    identity = desk.verify(desk.token()).identity

    assert identity.email is None
    assert identity.groups is None
    assert identity.auth_time is None


def test_no_groups_are_not_the_same_as_no_claim_about_groups(desk):
    assert desk.verify(desk.token(groups=[])).identity.groups == ()


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_every_algorithm_that_the_issuer_may_use_verifies(desk, algorithm):
    assert desk.verify(desk.token(algorithm=algorithm)).identity.subject == "ada"


@pytest.mark.parametrize(
    "header",
    [{"typ": None}, {"typ": "jwt"}, {"kid": None}, {"unknown": [1]}, {"cty": "x"}],
)
def test_headers_that_other_issuers_send_pass(desk, header):
    assert desk.verify(desk.token(header=header)).identity.subject == "ada"


def test_a_token_of_a_client_that_binds_nothing_needs_no_salt(desk):
    sign_in = desk.verify(desk.idp.token(aud="robot"), key_blob=b"any", salt=None)

    assert sign_in.identity.binding is Binding.NONE
    assert sign_in.max_uses == 3


def test_a_token_whose_audience_is_bound_to_the_key_needs_no_salt(desk):
    sign_in = desk.verify(desk.idp.token(aud=AUDIENCE, azp="1234"), salt=None)

    assert sign_in.identity.binding is Binding.AUDIENCE
    assert sign_in.identity.client == ORIGIN


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [CLIENT]},
        {"aud": CLIENT, "azp": CLIENT},
        {"aud": ["other", CLIENT], "azp": CLIENT},
        {"aud": [AUDIENCE]},
    ],
)
def test_audiences_that_are_ours_pass(desk, claims):
    assert desk.verify(desk.token(**claims)).identity.subject == "ada"


@pytest.mark.parametrize(
    ("claims", "email"),
    [
        ({"email": "Ada@EXAMPLE.com", "email_verified": True}, "Ada@example.com"),
        ({"email": "ada@example.com", "email_verified": False}, None),
        ({"email": "ada@example.com"}, None),
        ({"email": "not an address", "email_verified": False}, None),
        ({"email": "", "email_verified": False}, None),
        ({"email_verified": True}, None),
    ],
)
def test_only_a_verified_address_is_kept(desk, claims, email):
    assert desk.verify(desk.token(**claims)).identity.email == email


@pytest.mark.parametrize(
    "subject", ["a", "a" * 255, "auth0|12 34", "Zoë", "用户", "{email}", "ada,root"]
)
def test_subjects_come_through_unchanged(desk, subject):
    assert desk.verify(desk.token(sub=subject)).identity.subject == subject


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": AT + 60},
        {"nbf": AT + 60},
        {"auth_time": AT + 60},
        {"exp": AT + 1},
        {"exp": 253402300799},
        {"iat": 0},
        {"groups": ["x" * 256] * 10},
        {"groups": ["x"] * 1000},
        {"amr": ["pwd", "hwk"]},
        {"_claim_names": {"address": "src1"}, "_claim_sources": {"src1": {}}},
        {"typ": "ID"},
        {"token_use": "id"},
        {"weight": 1.5, "nested": {"deep": [[]]}, "text": "\U0001f600"},
    ],
)
def test_tokens_at_the_edge_of_what_is_allowed_pass(desk, claims):
    assert desk.verify(desk.token(**claims)).identity.subject == "ada"


def test_an_escaped_character_outside_the_basic_plane_is_one_character(desk):
    payload = dump({**desk.payload(), "sub": "\U0001f600"})
    assert b"\\ud83d\\ude00" in payload

    assert desk.verify(desk.raw(payload=payload)).identity.subject == "\U0001f600"


def test_an_email_without_a_name_is_refused_where_it_is_verified(desk):
    with pytest.raises(TokenClaimInvalid):
        desk.verify(desk.token(email="@example.com", email_verified=True))


# Settings


@pytest.mark.parametrize("count", [0, 2])
def test_a_verifier_needs_issuers_each_once(desk, count):
    with pytest.raises(Misconfigured):
        Verifier([desk.issuer] * count, origin=ORIGIN)


@pytest.mark.parametrize("same", ["name", "url"])
def test_two_issuers_share_neither_name_nor_url(desk, same):
    other = IssuerSettings("partner", "https://id.example.com", CLIENTS)
    other = replace(other, **{same: getattr(desk.issuer, same)})

    with pytest.raises(Misconfigured, match="the same name or the same url"):
        Verifier([desk.issuer, other], origin=ORIGIN)


def test_a_client_with_bound_audience_is_called_like_the_origin(desk):
    clients = (ClientSettings("robot", Flow.CI, Binding.AUDIENCE),)

    with pytest.raises(Misconfigured, match="must have the origin"):
        Verifier([replace(desk.issuer, clients=clients)], origin=ORIGIN)


def test_two_issuers_are_told_apart_by_their_tokens(desk):
    with FakeIdP(now=NOW.timestamp) as other:
        second = IssuerSettings("partner", other.url, CLIENTS)
        verifier = Verifier([desk.issuer, second], origin=ORIGIN)
        first_token = desk.token()
        second_token = other.token(nonce=NONCE)
        sign_ins = [
            verifier.verify(token, key_blob=KEY, salt=SALT_TEXT, now=NOW)
            for token in (first_token, second_token)
        ]

    assert [s.identity.issuer for s in sign_ins] == ["corp", "partner"]
    assert sign_ins[0].token_sha256 != sign_ins[1].token_sha256


# Laws

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
CLAIM = st.sampled_from(
    [
        "iss",
        "sub",
        "aud",
        "azp",
        "exp",
        "iat",
        "nbf",
        "nonce",
        "email",
        "groups",
        "amr",
        "email_verified",
        "auth_time",
        "hasgroups",
        "_claim_names",
        "_claim_sources",
    ]
)
HEADER = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "x5c"])


@given(text=st.text() | st.from_regex(r"[\w-]{0,9}\.[\w-]{0,9}\.[\w-]{0,9}"))
def test_any_text_gives_an_error_of_ours(desk, text):
    with pytest.raises(CAError):
        desk.verify(text)


@given(claims=st.dictionaries(CLAIM, JSON), header=st.dictionaries(HEADER, JSON))
def test_any_claims_and_headers_give_an_identity_or_an_error_of_ours(
    desk, claims, header
):
    with contextlib.suppress(CAError):
        assert (
            desk.verify(desk.token(header=header, **claims)).expires > NOW.timestamp()
        )


@given(at=st.integers(0, 10_000), character=st.sampled_from("AZaz09-_.= \n"))
def test_any_other_character_anywhere_is_refused(desk, at, character):
    text = desk.token()
    at %= len(text)
    changed = text[:at] + character + text[at + 1 :]

    if changed != text:
        with pytest.raises(CAError):
            desk.verify(changed)


def test_no_error_says_what_the_token_says(desk):
    secret = "c0ffee" * 4
    for claims in (
        {"iss": secret},
        {"sub": [secret]},
        {"aud": secret},
        {"exp": secret},
    ):
        text = desk.token(**claims, jti=secret)
        with pytest.raises(CAError) as refused:
            desk.verify(text)

        assert secret not in refused.value.detail + (refused.value.hint or "")
        assert text.split(".")[1] not in repr(refused.value.__cause__)
