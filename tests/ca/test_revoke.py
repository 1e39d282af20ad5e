"""Whatever is revoked becomes serials, and who is blocked gets nothing any more.

Who may revoke over HTTP is in tests/signer/test_revocations.py; what happens when
signers do it at the same time is in tests/interop/test_revocation_race.py.
"""

import json
import shutil
import sqlite3
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from itertools import chain, pairwise, repeat

import pytest

from ca import wire
from ca.administration import BlockRequest, Person, RevocationRequest
from ca.authorization import Call
from ca.bundle import parse_current, split_signed
from ca.certificate import parse_line
from ca.errors import (
    BadRequest,
    Blocked,
    CertificateRevoked,
    KeyUnavailable,
    LedgerStopped,
    Malformed,
    NotFound,
)
from ca.issue import Caller, issue_user_certificate
from ca.issue_host import issue_host_certificate
from ca.issue_narrower import issue_narrower_certificate
from ca.krl import parse_krl
from ca.messages import HostCertificateRequest, NarrowerRequest
from ca.policy import load_policy
from ca.revoke import block, blocks, lift, revoke, scan
from ca.revoke.scan import Found
from ca.store import StoredCertificate, Target
from ca.trust.revocations import CLOCK_SKEW
from tests.authority import (
    certificate_in,
    make_ca,
    opened,
    request_of,
    subject_key,
)
from tests.databases import put_into
from tests.fakes import NOW, FakeIdP
from tests.signing import holder

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
BY = {"operator": "root"}
WHY = "laptop stolen"
ADA = Person(issuer="corp", subject="ada")
CALL = Call("POST", "/v1/explain", b"{}")

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"] }
principals = ["deploy"]
validity   = "10h"

[[host]]
name     = "hosts"
issuer   = "corp"
match    = { groups = ["dev"] }
names    = ["*.example.com"]
validity = "30d"
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        idp.people["bob"] = {**idp.people["ada"], "email": "bob@example.com"}
        yield idp


@pytest.fixture(scope="module")
def made(idp, tmp_path_factory):
    """Return the folder of a CA as it was made: to copy one takes no time."""
    return make_ca(tmp_path_factory.mktemp("made") / "ca", idp).parent


@pytest.fixture
def config_file(made, tmp_path):
    return shutil.copytree(made, tmp_path / "ca") / "daypass.toml"


@pytest.fixture
def authority(config_file):
    with opened(config_file) as authority:
        authority.policy = load_policy(POLICY.encode(), issuers=frozenset({"corp"}))
        yield authority


def sign_in(authority, idp, user="ada", *, key=None, now=NOW, claims=()):
    """Return the holder of a key and of the certificate that a token bought for it."""
    somebody = key or holder()
    request = request_of(idp, user, key=somebody.line, claims=dict(claims))
    answer = issue_user_certificate(authority, request, HERE, now=now)
    return somebody.with_certificate(answer)


def prove(authority, somebody, *, now=NOW):
    header = somebody.sign(CALL, at=now)
    return authority.request_verifier.verify(CALL, header, source=HERE.address, now=now)


def derive(authority, signed_by, *, key=None, now=NOW):
    request = NarrowerRequest(public_key=key or subject_key(), principals=("deploy",))
    return issue_narrower_certificate(authority, request, signed_by, HERE, now=now)


def certify_host(authority, identity, *, key=None, now=NOW):
    request = HostCertificateRequest(
        public_key=key or subject_key(), principals=("db.example.com",)
    )
    return issue_host_certificate(
        authority, request, identity, HERE, policy=authority.policy, now=now
    )


def revoke_(authority, *, now=NOW, **what):
    request = RevocationRequest(reason=WHY, **what)
    return revoke(authority, request, BY, now=now)


def revoked(authority):
    return {one.serial for one in authority.store.revocations().serials}


def last_entry(authority):
    size = authority.store.log_head().next_index
    (entry,) = authority.store.entries(size - 1, 1)
    return entry


@contextmanager
def database(authority):
    """Write to the database behind the CA's back."""
    with sqlite3.connect(authority.config.file.with_name("daypass.db")) as connection:
        yield connection


# --- What is revoked ------------------------------------------------------------------


def test_a_serial_is_revoked_under_its_ca_key_until_it_ends(authority, idp):
    ada, other = sign_in(authority, idp), sign_in(authority, idp)

    done = revoke_(authority, serial=str(ada.says.serial))

    (one,) = authority.store.revocations().serials
    assert (one.serial, one.ca_key) == (ada.says.serial, authority.user_ca_key.blob)
    assert one.ends == ada.says.valid_before
    assert (done.certificates, done.people) == (1, 1)
    assert done.ends == ada.says.valid_before
    prove(authority, other)


def test_what_was_done_is_on_the_ledger_with_who_and_why(authority, idp):
    ada = sign_in(authority, idp)

    done = revoke_(authority, serial=str(ada.says.serial))

    entry = last_entry(authority)
    assert (entry.index, entry.kind, entry.serial) == (done.index, "revocation", None)
    record = json.loads(entry.record)
    assert record["by"] == BY
    assert record["reason"] == WHY
    assert record["asked"] == {"serial": str(ada.says.serial)}
    assert record["serials"] == [str(ada.says.serial)]
    assert len(record["salt"]) == 24


def test_a_key_id_means_its_certificates_and_blocks_nobody(authority, idp):
    ada = sign_in(authority, idp)
    bob = sign_in(authority, idp, "bob")

    done = revoke_(authority, key_id="corp:ada@example.com")

    assert revoked(authority) == {ada.says.serial}
    assert done.certificates == 1
    assert authority.store.blocks() == []
    assert sign_in(authority, idp).says.serial > bob.says.serial


@pytest.mark.parametrize(
    "person", [ADA, Person(issuer="corp", email="Ada@Example.com")], ids=repr
)
def test_a_person_is_revoked_and_blocked(authority, idp, person):
    ada, again = sign_in(authority, idp), sign_in(authority, idp)
    bob = sign_in(authority, idp, "bob")

    done = revoke_(authority, person=person)

    assert revoked(authority) == {ada.says.serial, again.says.serial}
    assert (done.certificates, done.people) == (2, 1)
    with pytest.raises(Blocked):
        sign_in(authority, idp)
    prove(authority, bob)
    sign_in(authority, idp, "bob")


def test_somebody_who_never_signed_in_is_blocked_by_their_address(authority, idp):
    done = revoke_(authority, person=Person(issuer="corp", email="ada@example.com"))

    assert (done.certificates, done.people, done.ends) == (0, 0, None)
    with pytest.raises(Blocked):
        sign_in(authority, idp)


def test_who_was_blocked_by_their_address_stays_so_under_another(authority, idp):
    sign_in(authority, idp)
    revoke_(authority, person=Person(issuer="corp", email="ada@example.com"))

    with pytest.raises(Blocked):
        sign_in(authority, idp, claims={"email": "ada.l@example.com"})


@pytest.mark.parametrize("by", ["line", "fingerprint"])
def test_a_subject_key_is_revoked_and_blocked_whoever_brings_it(authority, idp, by):
    ada, other = sign_in(authority, idp), sign_in(authority, idp)
    key = ada.line if by == "line" else wire.fingerprint(ada.key)

    revoke_(authority, key=key)

    assert revoked(authority) == {ada.says.serial}
    for user in ("ada", "bob"):
        with pytest.raises(Blocked):
            sign_in(authority, idp, user, key=ada)
    prove(authority, other)


def test_a_ca_key_is_revoked_itself_and_signs_no_more(authority, idp):
    ada = sign_in(authority, idp)

    done = revoke_(authority, ca_key=authority.user_ca_key.line)

    assert authority.store.revocations().ca_keys == (authority.user_ca_key.blob,)
    assert revoked(authority) == set()
    assert (done.certificates, done.people) == (1, 1)
    with pytest.raises(KeyUnavailable, match="revoked"):
        sign_in(authority, idp)
    with pytest.raises(CertificateRevoked):
        prove(authority, ada)


def test_a_key_that_is_no_ca_key_of_ours_is_none_to_revoke(authority):
    with pytest.raises(NotFound, match="no CA key of ours"):
        revoke_(authority, ca_key=subject_key())


def test_what_was_issued_between_two_times_is_revoked(authority, idp):
    minutes = [NOW + timedelta(minutes=n) for n in range(5)]
    made = [sign_in(authority, idp, now=now) for now in minutes]
    host = certify_host(authority, prove(authority, made[0]).identity, now=minutes[2])
    between = (int(minutes[1].timestamp()), int(minutes[3].timestamp()))

    done = revoke_(authority, issued_between=between, now=minutes[4])

    assert revoked(authority) == {
        made[1].says.serial,
        made[2].says.serial,
        int(host.serial),
    }
    assert (done.certificates, done.people) == (3, 1)


def test_a_host_certificate_is_revoked_under_its_own_ca_key(authority, idp):
    ada = sign_in(authority, idp)
    made = certify_host(authority, prove(authority, ada).identity)
    other = certify_host(authority, prove(authority, ada).identity)

    done = revoke_(authority, serial=made.serial, now=NOW + timedelta(days=20))

    (one,) = authority.store.revocations().serials
    assert (one.serial, one.ca_key) == (int(made.serial), authority.host_ca_key.blob)
    assert (done.certificates, done.people) == (1, 0)
    assert int(other.serial) not in revoked(authority)


def test_a_host_stays_when_the_provisioner_goes(authority, idp):
    ada = sign_in(authority, idp)
    made = certify_host(authority, prove(authority, ada).identity)

    revoke_(authority, person=ADA)

    assert int(made.serial) not in revoked(authority)


def test_a_blocked_host_key_gets_no_certificate(authority, idp):
    identity, key = prove(authority, sign_in(authority, idp)).identity, subject_key()
    made = certify_host(authority, identity, key=key)

    revoke_(authority, key=key, now=NOW + timedelta(days=20))

    assert revoked(authority) == {int(made.serial)}
    with pytest.raises(Blocked):
        certify_host(authority, identity, key=key)


def test_what_was_bought_with_a_certificate_goes_with_it(authority, idp):
    ada, other = sign_in(authority, idp), sign_in(authority, idp)
    child = derive(authority, prove(authority, ada))
    spared = derive(authority, prove(authority, other))

    done = revoke_(authority, serial=str(ada.says.serial))

    assert revoked(authority) == {ada.says.serial, int(child.serial)}
    assert int(spared.serial) not in revoked(authority)
    assert (done.certificates, done.people) == (2, 1)


def test_what_was_bought_goes_however_deep(authority, idp):
    """None of ours is deeper than one; a database may hold what others made."""
    serials = [sign_in(authority, idp).says.serial for _ in range(4)]
    with database(authority) as connection:
        for parent, child in pairwise(serials):
            connection.execute(
                "UPDATE entries SET record = CAST(replace(CAST(record AS TEXT),"
                " '\"parent_serial\":null', ?) AS BLOB) WHERE serial = ?",
                (f'"parent_serial":"{parent}"', str(child)),
            )

    revoke_(authority, serial=str(serials[1]))

    assert revoked(authority) == set(serials[1:])


def test_what_ended_long_ago_is_not_revoked_any_more(authority, idp):
    ada = sign_in(authority, idp)
    ends = timedelta(hours=10)

    just, long_ago = ends + CLOCK_SKEW - timedelta(minutes=1), ends + CLOCK_SKEW
    done = revoke_(authority, serial=str(ada.says.serial), now=NOW + just)
    assert (done.certificates, revoked(authority)) == (0, {ada.says.serial})
    with pytest.raises(NotFound):
        revoke_(authority, serial=str(ada.says.serial), now=NOW + long_ago)


@pytest.mark.parametrize(
    "what", [{"serial": "999"}, {"key_id": "corp:nobody"}], ids=str
)
def test_what_means_no_certificate_is_refused_and_leaves_no_entry(authority, what):
    for dry_run in (False, True):
        with pytest.raises(NotFound, match="no certificate on record"):
            revoke_(authority, **what, dry_run=dry_run)

    assert authority.store.log_head().tree.size == 0


def test_a_dry_run_says_what_it_would_cut_and_changes_nothing(authority, idp):
    for user in ("ada", "ada", "bob"):
        sign_in(authority, idp, user)
    size = authority.store.log_head().tree.size
    everything = (int(NOW.timestamp()), int(NOW.timestamp()) + 60)

    would = revoke_(
        authority,
        issued_between=everything,
        dry_run=True,
        now=NOW + timedelta(minutes=1),
    )

    assert (would.certificates, would.people, would.index) == (3, 2, None)
    assert authority.store.log_head().tree.size == size
    assert revoked(authority) == set()
    sign_in(authority, idp)


def test_what_was_revoked_before_is_not_counted_again(authority, idp):
    ada = sign_in(authority, idp)
    revoke_(authority, serial=str(ada.says.serial))
    sign_in(authority, idp)

    done = revoke_(authority, person=ADA)

    assert done.certificates == 1
    assert len(revoked(authority)) == 2


def test_the_same_again_is_another_entry_and_no_other_row(authority):
    for _ in range(2):
        revoke_(authority, person=ADA)
        revoke_(authority, ca_key=wire.fingerprint(authority.host_ca_key.blob))

    assert authority.store.log_head().tree.size == 4
    assert len(authority.store.blocks()) == 1
    assert len(authority.store.revocations().ca_keys) == 1


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ({}, "exactly one of serial"),
        ({"serial": "1", "key_id": "x"}, "exactly one of serial"),
        ({"person": Person(issuer="corp")}, "either subject or email"),
        ({"person": Person(issuer="corp", subject="a", email="a@b.example")}, "either"),
        ({"person": Person(issuer="nobody", subject="a")}, "its issuers|no issuer"),
        ({"person": Person(issuer="corp", email="ada")}, "not an e-mail"),
        ({"issued_between": (2, 2)}, "two times"),
        ({"issued_between": (2, 1 << 32)}, "two times"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(authority, what, why):
    with pytest.raises(BadRequest, match=why):
        revoke_(authority, **what)


@pytest.mark.parametrize("key", ["SHA256:short", "ssh-ed25519 AAAA", "?"])
def test_what_is_no_key_is_refused(authority, key):
    with pytest.raises(Malformed):
        revoke_(authority, key=key)


def test_a_certificate_is_no_key(authority, idp):
    request = request_of(idp)
    answer = issue_user_certificate(authority, request, HERE, now=NOW)

    with pytest.raises(Malformed, match="not a plain public key"):
        revoke_(authority, key=answer.certificate)


@pytest.mark.parametrize(
    "damage", ["to_be_signed = X'00'", "record = X'00'", "record = X'31'"]
)
def test_a_damaged_entry_keeps_nobody_from_being_revoked(authority, idp, damage):
    ada, bob = sign_in(authority, idp), sign_in(authority, idp, "bob")
    with database(authority) as connection:
        connection.execute(
            f"UPDATE entries SET {damage} WHERE serial = ?",  # noqa: S608
            (str(bob.says.serial),),
        )

    revoke_(authority, person=ADA)
    assert revoked(authority) == {ada.says.serial}

    revoke_(authority, serial=str(bob.says.serial))
    assert revoked(authority) == {ada.says.serial, bob.says.serial}


def test_what_came_back_without_its_record_is_revoked_as_long_as_it_could_last(
    authority, idp
):
    ada = sign_in(authority, idp)
    host = certify_host(authority, prove(authority, ada).identity)
    with database(authority) as connection:
        connection.execute("UPDATE entries SET record = NULL, to_be_signed = NULL")

    revoke_(authority, serial=str(ada.says.serial))
    revoke_(authority, serial=host.serial)

    user, host = sorted(authority.store.revocations().serials, key=lambda o: o.serial)
    assert user.ca_key == authority.user_ca_key.blob
    assert user.ends == int((NOW + timedelta(hours=24)).timestamp())
    assert host.ca_key == authority.host_ca_key.blob
    assert host.ends == int((NOW + timedelta(days=90)).timestamp())


def test_a_stopped_ledger_takes_no_revocation(authority, idp):
    with database(authority) as connection:
        connection.execute("UPDATE ledger_head SET stopped = 'as a test'")

    with pytest.raises(LedgerStopped):
        revoke_(authority, person=ADA)

    assert authority.store.blocks() == []


# --- Who gets nothing any more --------------------------------------------------------


def test_the_same_token_buys_nothing_once_its_certificate_is_revoked(authority, idp):
    request = request_of(idp)
    answer = issue_user_certificate(authority, request, HERE, now=NOW)
    revoke_(authority, serial=answer.serial)

    with pytest.raises(CertificateRevoked):
        issue_user_certificate(authority, request, HERE, now=NOW)


def test_the_same_token_buys_nothing_once_its_person_is_blocked(authority, idp):
    request = request_of(idp)
    issue_user_certificate(authority, request, HERE, now=NOW)
    block(authority, BlockRequest(reason=WHY, person=ADA), BY, now=NOW)

    with pytest.raises(Blocked):
        issue_user_certificate(authority, request, HERE, now=NOW)


def test_a_revoked_certificate_signs_no_request(authority, idp):
    ada, other = sign_in(authority, idp), sign_in(authority, idp)
    revoke_(authority, serial=str(ada.says.serial))

    with pytest.raises(CertificateRevoked):
        prove(authority, ada)
    prove(authority, other)


@pytest.mark.parametrize("what", ["subject", "email", "key"])
def test_who_is_blocked_signs_no_request(authority, idp, what):
    ada = sign_in(authority, idp)
    target = {
        "subject": {"person": ADA},
        "email": {"person": Person(issuer="corp", email="ADA@example.com")},
        "key": {"key": ada.line},
    }[what]
    block(authority, BlockRequest(reason=WHY, **target), BY, now=NOW)

    with pytest.raises(Blocked):
        prove(authority, ada)


def test_a_refused_request_spends_nothing(authority, idp):
    ada = sign_in(authority, idp)
    header = ada.sign(CALL, at=NOW)
    block(authority, BlockRequest(reason=WHY, person=ADA), BY, now=NOW)
    verify = authority.request_verifier.verify
    with pytest.raises(Blocked):
        verify(CALL, header, source=HERE.address, now=NOW)
    lift(authority, authority.store.blocks()[0].id, WHY, BY, now=NOW)

    verify(CALL, header, source=HERE.address, now=NOW)


def test_a_proof_from_before_the_revocation_buys_no_child_after_it(authority, idp):
    """Who signs a request and is revoked before it is answered: the lock decides."""
    proofs = [prove(authority, sign_in(authority, idp)) for _ in range(2)]
    revoke_(authority, serial=str(proofs[0].serial))
    block(authority, BlockRequest(reason=WHY, person=ADA), BY, now=NOW)

    with pytest.raises(Blocked):
        derive(authority, proofs[1])
    lift(authority, authority.store.blocks()[0].id, WHY, BY, now=NOW)
    with pytest.raises(CertificateRevoked):
        derive(authority, proofs[0])
    derive(authority, proofs[1])


def test_a_child_recorded_while_its_parent_is_being_revoked_is_revoked(
    authority, idp, monkeypatch
):
    """What the scan before the lock did not see, the look under it does."""
    ada = sign_in(authority, idp)
    proof, children = prove(authority, ada), []
    revoked_among = authority.store.revoked_among

    class Racing:
        """The store, in which others go on after the scan."""

        def __getattr__(self, name):
            return getattr(store, name)

        def revoked_among(self, serials):
            children.append(int(derive(real, proof).serial))
            return revoked_among(serials)

    store, real = authority.store, replace(authority)
    authority.store = Racing()

    done = revoke_(authority, serial=str(ada.says.serial))

    assert revoked(real) == {ada.says.serial, *children}
    assert len(children) == 1
    assert done.certificates == 2


def test_a_certificate_that_nobody_asked_for_is_no_person_s():
    """A host has its own renewed; and not everybody has an address."""
    kind, record = "host-certificate", b'{"identity":null}'
    ada = b'{"identity":{"issuer":"corp","subject":"ada","email":null}}'
    renewed = StoredCertificate(0, 1, kind, 1, b"leaf", record, None)

    assert Found(renewed, b"", b"").people == frozenset()
    without_address = Found(replace(renewed, record=ada), b"", b"")
    assert without_address.people == {Target.subject("corp", "ada")}


def test_a_scan_of_the_newest_reads_no_years_of_others():
    new, old = (StoredCertificate(0, t, "", 1, b"", None, None) for t in (9, 1))

    found = scan._newer(chain([new, old, new], repeat(old)), 5)  # noqa: SLF001

    assert list(found) == [new, new]


def test_other_processes_know_at_once(config_file, authority, idp):
    with opened(config_file) as other:
        other.policy = authority.policy
        ada = sign_in(other, idp)
        revoke_(authority, person=ADA)

        with pytest.raises(Blocked):
            sign_in(other, idp)
        with pytest.raises(Blocked):
            prove(other, ada)
        lift(authority, authority.store.blocks()[0].id, WHY, BY, now=NOW)
        with pytest.raises(CertificateRevoked):
            prove(other, ada)
        sign_in(other, idp)


def test_the_next_krl_has_it(authority, idp):
    ada, spared = sign_in(authority, idp), sign_in(authority, idp)
    child = derive(authority, prove(authority, ada))
    assert not published(authority).revokes(ada.says)

    revoke_(authority, serial=str(ada.says.serial))

    krl = published(authority)
    assert krl.revokes(ada.says)
    assert krl.revokes(certificate_in(child))
    assert not krl.revokes(spared.says)


def published(authority):
    """Return the KRL that hosts are given now."""
    text, _ = split_signed(authority.trust.current(now=NOW))
    return parse_krl(authority.trust.blob(parse_current(text).krl_sha256))


# --- Blocks ---------------------------------------------------------------------------


def test_a_block_leaves_what_somebody_has(authority, idp):
    ada = sign_in(authority, idp)

    done = block(authority, BlockRequest(reason=WHY, person=ADA), BY, now=NOW)

    assert revoked(authority) == set()
    entry = last_entry(authority)
    assert (entry.index, entry.kind) == (done.index, "block")
    assert json.loads(entry.record)["blocks"] == [["subject", "corp", "ada"]]
    assert ada.says.serial == 1


def test_a_lifted_block_keeps_nobody_out_but_revives_nothing(authority, idp):
    ada = sign_in(authority, idp)
    revoke_(authority, person=ADA)
    (stored,) = authority.store.blocks()

    done = lift(authority, stored.id, "found again", BY, now=NOW)

    sign_in(authority, idp)
    with pytest.raises(CertificateRevoked):
        prove(authority, ada)
    (entry,) = authority.store.entries(done.index, 1)
    record = json.loads(entry.record)
    assert (entry.kind, record["lifts"], record["reason"]) == (
        "block",
        stored.id,
        "found again",
    )


@pytest.mark.parametrize("which", ["unknown", "lifted"])
def test_there_has_to_be_a_block_to_lift(authority, which):
    block(authority, BlockRequest(reason=WHY, person=ADA), BY, now=NOW)
    (stored,) = authority.store.blocks()
    if which == "lifted":
        lift(authority, stored.id, WHY, BY, now=NOW)
    size = authority.store.log_head().tree.size

    with pytest.raises(NotFound, match="block"):
        lift(authority, stored.id + (which == "unknown"), WHY, BY, now=NOW)

    assert authority.store.log_head().tree.size == size


def test_blocks_are_listed_with_who_why_and_when(authority):
    block(authority, BlockRequest(reason="first", person=ADA), BY, now=NOW)
    block(authority, BlockRequest(reason="second", key=subject_key(1)), BY, now=NOW)
    lift(authority, 1, WHY, BY, now=NOW)

    key, person = blocks(authority.store.blocks()).blocks

    assert (key.kind, key.issuer, key.lifted, key.reason) == (
        "key",
        "",
        False,
        "second",
    )
    assert key.name == wire.fingerprint(parse_line(subject_key(1)))
    assert (person.kind, person.issuer, person.name) == ("subject", "corp", "ada")
    assert (person.lifted, person.by, person.time) == (True, BY, NOW.timestamp())


@pytest.mark.parametrize("what", [{}, {"person": ADA, "key": "SHA256:x"}], ids=str)
def test_a_block_is_of_one_thing(authority, what):
    with pytest.raises(BadRequest, match="either person or key"):
        block(authority, BlockRequest(reason=WHY, **what), BY, now=NOW)


# --- On either kind of database -------------------------------------------------------


def test_all_of_it_holds_on_either_kind_of_database(idp, tmp_path, database):
    config_file = make_ca(tmp_path / "any", idp)
    put_into(config_file, database)
    with opened(config_file) as authority:
        authority.policy = load_policy(POLICY.encode(), issuers=frozenset({"corp"}))
        mark = authority.store.revocation_mark()
        ada, old = sign_in(authority, idp), NOW - timedelta(days=30)
        certify_host(authority, prove(authority, ada).identity, now=old)
        child = derive(authority, prove(authority, ada))

        revoke_(authority, person=ADA)

        assert revoked(authority) == {ada.says.serial, int(child.serial)}
        assert authority.store.revocation_mark() != mark
        ends = ada.says.valid_before
        assert len(authority.store.revocations(since=ends).serials) == 2
        assert authority.store.revocations(since=ends + 1).serials == ()
        with pytest.raises(Blocked):
            sign_in(authority, idp)
        revoke_(authority, ca_key=authority.user_ca_key.line)
        assert authority.store.revocations().ca_keys == (authority.user_ca_key.blob,)
        lift(authority, authority.store.blocks()[0].id, WHY, BY, now=NOW)
        with pytest.raises(KeyUnavailable):
            sign_in(authority, idp)
