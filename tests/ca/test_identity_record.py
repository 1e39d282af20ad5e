"""What is put on record of an identity is all that policy can ask about, both ways."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import Denied, Malformed
from ca.identity import Binding, identity_from_record
from ca.ledger import canonical_json
from tests.policies import ADA, NOW, ask, deny, load, rule, somebody

TEXTS = st.sampled_from(["dev", "oncall", "a b", "größe", ""])
VALUES = st.one_of(
    TEXTS,
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(),
    st.lists(st.one_of(TEXTS, st.none()), max_size=3),
    st.dictionaries(TEXTS, TEXTS, max_size=2),
)
NAMES = ["amr", "acr", "team", "admin"]

POLICY = load(
    rule(),
    *(
        rule(name=f"{name} {wanted}", match={name: wanted}, principals=[f"p{number}"])
        for number, (name, wanted) in enumerate(
            [(name, wanted) for name in NAMES for wanted in (True, ["dev"], ["a b"])]
        )
    ),
    rule(name="now", require={"max_auth_age": "5m"}, principals=["fresh"]),
    rule(
        name="own",
        match={"email_domain": "example.com"},
        principals=["{email_local}"],
    ),
    deny=[deny(match={"team": ["oncall"]}, principals=["deploy", "p1"])],
)


def through_the_record(identity):
    return identity_from_record(json.loads(canonical_json(identity.to_record())))


def verdict(identity):
    try:
        return ask(POLICY, identity=identity)
    except Denied as denied:
        return denied.detail


@given(
    claims=st.dictionaries(st.sampled_from(NAMES), VALUES),
    groups=st.none() | st.lists(TEXTS, max_size=2).map(tuple),
    email=st.sampled_from([None, "ada@example.com", "Ada@example.com"]),
    age=st.none() | st.integers(0, 600),
)
def test_policy_decides_about_the_record_as_about_the_token(claims, groups, email, age):
    signed_in = None if age is None else NOW - timedelta(seconds=age)
    identity = somebody(claims=claims, groups=groups, email=email, auth_time=signed_in)

    recorded = through_the_record(identity)

    assert verdict(recorded) == verdict(identity)
    assert recorded.key_id == identity.key_id


@pytest.mark.parametrize("binding", Binding)
def test_a_record_keeps_what_ties_a_token_to_a_key(binding):
    assert through_the_record(somebody(binding=binding)).binding is binding


def test_what_is_of_one_token_or_not_verified_is_not_recorded():
    claims = {
        "sub": "1001",
        "email": "somebody@elsewhere.example",
        "groups": ["dev"],
        "nonce": "of the token",
        "at_hash": "of the token",
        "jti": "of the token",
        "exp": 1,
        "address": {"street": "…"},
        "größe": "x",
        "amr": ["hwk"],
    }

    record = somebody(claims=claims, email=None).to_record()

    assert record["claims"] == {"sub": "1001", "amr": ["hwk"]}
    assert record["email"] is None


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": None},
        {"binding": "handshake"},
        {"groups": "dev"},
        {"auth_time": -1},
        {"auth_time": 1 << 60},
        {"claims": {"amr": [1]}},
        {"claims": None},
        {"more": 1},
    ],
)
def test_a_record_of_another_form_is_no_identity(changes):
    with pytest.raises(Malformed, match="not an identity"):
        identity_from_record(ADA.to_record() | changes)


@pytest.mark.parametrize("recorded", [None, [], "ada", {}])
def test_what_is_no_record_is_no_identity(recorded):
    with pytest.raises(Malformed, match="not an identity"):
        identity_from_record(recorded)
