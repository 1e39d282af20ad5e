"""A record is shown to whom it names and to who watches, and to nobody else."""

import json
from base64 import b64decode
from dataclasses import replace
from hashlib import sha256

import pytest
from msgspec import structs

from ca.errors import NotFound
from ca.identity import Binding, identity_from_record
from ca.leaf import parse_leaf
from ca.ledger import EntryKind
from ca.records import read_record
from ca.signed_request import SignedBy
from tests.authority import certificate_in, make_ca, opened, request_of, write_whole
from tests.ca.test_issue import POLICY, issue
from tests.fakes import NOW, FakeIdP

ROLES = """
[roles]
auditor = { issuer = "corp", groups = ["oncall"] }
"""
ADA, GRACE, ACT, ERASED = range(4)
"""What stands at which index. Grace is an auditor."""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Return an authority, and who signs for each of its people."""
    with FakeIdP(now=NOW.timestamp) as idp:
        config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
        write_whole(config_file.with_name("policy.toml"), POLICY + ROLES)
        with opened(config_file) as authority:
            people = {}
            for user, claims in (("ada", {}), ("grace", {"email": "g@example.com"})):
                answer = issue(authority, request_of(idp, user, claims=claims))
                entry = authority.store.entry_by_serial(int(answer.serial))
                assert entry is not None
                assert entry.record is not None
                identity = identity_from_record(json.loads(entry.record)["identity"])
                people[user] = SignedBy(
                    identity, certificate_in(answer), int(answer.serial)
                )
            authority.ledger.append(
                None, kind=EntryKind.ADMINISTRATION, record={"act": "x"}, now=NOW
            )
            issue(authority, request_of(idp))
            authority.store.erase(ERASED)
            yield authority, people


@pytest.fixture
def authority(house):
    return house[0]


@pytest.fixture
def ada(house):
    return house[1]["ada"]


@pytest.fixture
def grace(house):
    return house[1]["grace"]


@pytest.mark.parametrize("who", ["ada", "grace"])
def test_whom_it_names_and_who_watches_see_a_record(house, who):
    authority, people = house

    shown = read_record(authority, ADA, people[who])

    leaf, record = b64decode(shown.leaf), b64decode(shown.record or "")
    assert shown.index == ADA
    assert json.loads(record)["identity"]["subject"] == "ada"
    assert parse_leaf(leaf).record_sha256 == sha256(record).hexdigest()
    signed = sha256(b64decode(shown.to_be_signed or "")).hexdigest()
    assert parse_leaf(leaf).to_be_signed_sha256 == signed


@pytest.mark.parametrize("index", [GRACE, ACT, ERASED, 4, -1, 1 << 63, 1 << 80])
def test_what_one_may_not_see_is_as_if_it_were_not_there(authority, ada, index):
    with pytest.raises(NotFound, match="no such record, or none that you may see"):
        read_record(authority, index, ada)


def test_who_watches_sees_that_a_record_was_erased(authority, grace):
    shown = read_record(authority, ERASED, grace)

    assert shown.record is shown.to_be_signed is None
    assert shown.leaf


def test_who_watches_sees_acts_too(authority, grace):
    shown = read_record(authority, ACT, grace)

    assert b'"act":"x"' in b64decode(shown.record or "")


def test_the_same_subject_of_another_issuer_is_somebody_else(authority, ada):
    stranger = replace(ada, identity=structs.replace(ada.identity, issuer="other"))

    with pytest.raises(NotFound):
        read_record(authority, ADA, stranger)


def test_nobody_watches_by_a_token_without_a_key(authority, grace):
    unbound = structs.replace(grace.identity, binding=Binding.NONE)

    with pytest.raises(NotFound):
        read_record(authority, ADA, replace(grace, identity=unbound))
