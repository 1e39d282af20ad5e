"""The bundle that a signer serves: signed, growing, and never beyond the roots."""

import hashlib
import json
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from ca import bundle
from ca.admin import database
from ca.bundle import KeyState, Roots, TrustedKey
from ca.errors import Misconfigured, NotFound, PublicationRefused
from ca.krl import parse_krl, render_krl
from ca.ledger import EntryKind
from ca.signing_key import FileKey
from ca.store import PublishedCurrent, Store
from ca.trust import LIFE, REFRESH, Trust, load_roots, require_active, sign_roots
from ca.trust.publish import AGAIN
from tests.ca.test_sshsig import verify
from tests.ca.test_trust_gate import trap
from tests.ledgers import open_ledger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOT, USER_CA, ONLINE, OTHER = (FileKey.generate() for _ in range(4))
ROOTS = Roots(
    version=1,
    root_key=ROOT.line,
    log_origin="ca.example.com/log/1",
    serial_base=0,
    user_ca=(TrustedKey(KeyState.ACTIVE, USER_CA.line),),
    host_ca=(),
    online=(TrustedKey(KeyState.ACTIVE, ONLINE.line),),
)


@pytest.fixture
def roots_file(tmp_path):
    (tmp_path / "roots").write_bytes(sign_roots(ROOTS, ROOT))
    return tmp_path / "roots"


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/daypass.db"
    database.migrate(url, create=True)
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def trust(store, roots_file):
    return open_trust(store, roots_file)


def open_trust(store, roots_file, **more):
    ledger = open_ledger(store, roots_file.with_name("high-water"))
    return Trust(
        store,
        signed_roots=load_roots(roots_file),
        online_key=ONLINE,
        on_record=partial(ledger.change, kind=EntryKind.CA_KEY_CHANGE),
        **more,
    )


def current_of(document):
    return bundle.parse_current(bundle.split_signed(document)[0])


def test_current_is_signed_by_the_online_key_and_names_the_roots(
    trust, roots_file, tmp_path
):
    text, armour = bundle.split_signed(trust.current(now=NOW))

    assert verify(tmp_path, ONLINE, armour, namespace="daypass-current", message=text)
    current = bundle.parse_current(text)
    document = roots_file.read_bytes()
    assert current.roots_sha256 == hashlib.sha256(document).hexdigest()
    assert current.expires == (NOW + LIFE).timestamp()
    assert trust.blob(current.roots_sha256) == document


def test_roots_are_signed_by_the_root_key(roots_file, tmp_path):
    text, armour = bundle.split_signed(roots_file.read_bytes())

    assert verify(tmp_path, ROOT, armour, namespace="daypass-roots", message=text)
    assert bundle.parse_roots(text) == ROOTS


def test_current_stays_the_same_until_it_is_due(trust, store, roots_file):
    first = trust.current(now=NOW)

    assert trust.current(now=NOW + REFRESH / 2) == first
    # So does another process's.
    assert open_trust(store, roots_file).current(now=NOW + REFRESH / 2) == first
    later = trust.current(now=NOW + REFRESH)
    assert current_of(later).version > current_of(first).version


def test_versions_grow_when_the_clock_goes_back(trust):
    first = current_of(trust.current(now=NOW))

    second = current_of(trust.current(now=NOW - timedelta(days=30)))

    assert second.version == first.version + 1


def test_new_roots_are_published_at_once(trust, store, roots_file):
    first = current_of(trust.current(now=NOW))
    roots_file.write_bytes(sign_roots(replace(ROOTS, version=2), ROOT))

    second = current_of(open_trust(store, roots_file).current(now=NOW))

    assert second.version > first.version
    assert second.roots_sha256 != first.roots_sha256


def test_new_roots_are_on_the_ledger_before_anybody_has_them(trust, store, roots_file):
    first = current_of(trust.current(now=NOW))
    assert store.entries(0, 9) == []
    revoking = replace(
        ROOTS,
        version=2,
        user_ca=(TrustedKey(KeyState.ACTIVE, OTHER.line),),
        revoked_ca=(USER_CA.line,),
    )
    roots_file.write_bytes(sign_roots(revoking, ROOT))
    newer = open_trust(store, roots_file)

    second = current_of(newer.current(now=NOW))
    open_trust(store, roots_file).current(now=NOW)
    newer.current(now=NOW + REFRESH)

    (entry,) = store.entries(0, 9)
    record = json.loads(entry.record)
    assert (entry.kind, entry.serial) == ("ca-key-change", None)
    assert record.pop("salt")
    assert record == {
        "v": 1,
        "act": "publish-roots",
        "version": 2,
        "roots_sha256": second.roots_sha256,
        "before_sha256": first.roots_sha256,
        "log": ROOTS.log_origin,
        "user_ca": [{"key": OTHER.fingerprint, "state": "active"}],
        "host_ca": [],
        "online": [{"key": ONLINE.fingerprint, "state": "active"}],
        "revoked_ca": [USER_CA.fingerprint],
    }


# --- Several signers --------------------------------------------------------------


def test_a_signer_with_older_roots_goes_on_with_those_that_are_published(
    trust, store, roots_file
):
    trust.current(now=NOW)
    roots_file.write_bytes(sign_roots(replace(ROOTS, version=2), ROOT))
    newer = open_trust(store, roots_file).current(now=NOW)

    assert trust.current(now=NOW) == newer

    later = current_of(trust.current(now=NOW + REFRESH))
    assert later.roots_sha256 == current_of(newer).roots_sha256
    assert later.version > current_of(newer).version


def test_two_roots_of_one_version_are_not_both_published(trust, store, roots_file):
    first = trust.current(now=NOW)
    forked = replace(ROOTS, revoked_ca=(OTHER.line,))
    roots_file.write_bytes(sign_roots(forked, ROOT))
    other = open_trust(store, roots_file)

    assert other.current(now=NOW) == first
    assert "roots of version 1" in other.problems()[0]


def test_roots_of_another_root_key_do_not_take_the_place_of_ours(
    trust, store, roots_file
):
    theirs = replace(ROOTS, version=2, root_key=OTHER.line)
    roots_file.write_bytes(sign_roots(theirs, OTHER))
    first = current_of(open_trust(store, roots_file).current(now=NOW))

    second = current_of(trust.current(now=NOW))

    assert second.roots_sha256 != first.roots_sha256


def test_what_is_gone_from_the_database_is_published_again(trust, store, tmp_path):
    named = current_of(trust.current(now=NOW))
    with sqlite3.connect(tmp_path / "daypass.db") as connection:
        connection.execute("DELETE FROM trust_blobs")

    again = current_of(trust.current(now=NOW + REFRESH))

    assert again.roots_sha256 == named.roots_sha256
    assert store.blob(again.roots_sha256)
    assert store.blob(again.krl_sha256)


def test_published_roots_that_are_gone_make_way_for_ours(
    trust, store, roots_file, tmp_path
):
    roots_file.write_bytes(sign_roots(replace(ROOTS, version=2), ROOT))
    gone = current_of(open_trust(store, roots_file).current(now=NOW)).roots_sha256
    with sqlite3.connect(tmp_path / "daypass.db") as connection:
        connection.execute("DELETE FROM trust_blobs")

    assert current_of(trust.current(now=NOW)).roots_sha256 != gone


def test_a_current_of_an_older_program_is_replaced(trust, store):
    old = PublishedCurrent(int(NOW.timestamp() * 1000) + 7, 5, "00", b"old")
    store.publish(old, unless_since=store.publication_mark())

    assert current_of(trust.current(now=NOW)).version == old.version + 1
    # It named other roots, whatever else it said.
    (entry,) = store.entries(0, 9)
    assert json.loads(entry.record or b"")["before_sha256"] == old.roots_sha256


def test_who_is_overtaken_all_the_time_serves_the_last_good(store, roots_file):
    good = open_trust(store, roots_file).current(now=NOW)

    def overtaken(krl):
        mark = store.publication_mark()
        newest = store.newest_current()
        version = mark.version + 1
        assert store.publish(replace(newest, version=version), unless_since=mark)
        return render_krl(krl)

    revoking = replace(ROOTS, version=2, revoked_ca=(OTHER.line,))
    roots_file.write_bytes(sign_roots(revoking, ROOT))
    trust = open_trust(store, roots_file, render=overtaken)

    assert trust.current(now=NOW) == good
    assert "meanwhile" in trust.problems()[0]
    assert store.entries(0, 9) == []


# --- The KRL ----------------------------------------------------------------------


def krl_of(trust, document):
    return parse_krl(trust.blob(current_of(document).krl_sha256))


def test_the_first_krl_revokes_nothing(trust):
    document = trust.current(now=NOW)

    krl = krl_of(trust, document)
    assert (krl.certificates, krl.keys) == ((), ())
    assert krl.version == current_of(document).version
    assert len(trust.blob(current_of(document).krl_sha256)) == 44


def test_the_krl_stays_the_same_while_it_says_the_same(trust, store, roots_file):
    first = current_of(trust.current(now=NOW))

    second = current_of(trust.current(now=NOW + REFRESH))

    assert second.krl_sha256 == first.krl_sha256


def test_a_ca_key_that_the_roots_revoke_is_in_the_krl(store, roots_file):
    revoking = replace(ROOTS, version=2, revoked_ca=(OTHER.line,))
    roots_file.write_bytes(sign_roots(revoking, ROOT))
    trust = open_trust(store, roots_file)

    assert krl_of(trust, trust.current(now=NOW)).keys == (OTHER.blob,)


# --- The gate ---------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"", b"<html>", b"SSHKRL\n\0"])
def test_what_a_broken_writer_makes_is_never_published(store, roots_file, bad):
    trust = open_trust(store, roots_file, render=lambda _krl: bad)

    with pytest.raises(PublicationRefused, match="does not pass the gate"):
        trust.current(now=NOW)
    with pytest.raises(PublicationRefused, match="does not pass the gate"):
        trust.current(now=NOW)

    assert store.newest_current() is None
    assert "does not pass the gate" in trust.problems()[0]


def test_the_last_good_stays_while_a_writer_is_broken(
    store, roots_file, tmp_path, caplog
):
    good = open_trust(store, roots_file).current(now=NOW)
    revoking = replace(ROOTS, version=2, revoked_ca=(OTHER.line,))
    roots_file.write_bytes(sign_roots(revoking, ROOT))
    broken = [trap(tmp_path)]
    tried = []

    def render(krl):
        tried.append(krl)
        return broken[0] if broken else render_krl(krl)

    trust = open_trust(store, roots_file, render=render)

    assert trust.current(now=NOW) == good
    # Not for each who asks.
    assert trust.current(now=NOW + AGAIN / 2) == good
    assert len(tried) == 1
    (problem,) = trust.problems()
    assert "our own reader refuses it" in problem
    assert problem in caplog.text

    broken.clear()
    better = trust.current(now=NOW + AGAIN)
    assert krl_of(trust, better).keys == (OTHER.blob,)
    assert trust.problems() == []


def test_roots_that_readers_would_refuse_are_not_published(trust, store, roots_file):
    good = trust.current(now=NOW)
    forged = sign_roots(replace(ROOTS, version=2), OTHER)
    roots_file.write_bytes(forged)
    other = open_trust(store, roots_file)

    assert other.current(now=NOW) == good
    assert "daypass-roots" in other.problems()[0]


def test_roots_that_do_not_know_the_online_key_are_not_published(
    trust, store, roots_file
):
    good = trust.current(now=NOW)
    strange = replace(
        ROOTS, version=2, online=(TrustedKey(KeyState.ACTIVE, OTHER.line),)
    )
    roots_file.write_bytes(sign_roots(strange, ROOT))
    other = open_trust(store, roots_file)

    assert other.current(now=NOW) == good
    assert "do not list" in other.problems()[0]


# --- Parts, keys, files -----------------------------------------------------------


def test_an_unknown_part_is_not_found(trust):
    with pytest.raises(NotFound):
        trust.blob("00" * 32)


def test_fingerprints_are_the_keys_own(trust):
    assert trust.root_key_fingerprint == ROOT.fingerprint
    assert trust.online_key_fingerprint == ONLINE.fingerprint


def test_missing_or_unsigned_roots_are_named(tmp_path):
    with pytest.raises(Misconfigured, match="cannot read"):
        load_roots(tmp_path / "roots")
    (tmp_path / "roots").write_bytes(bundle.render_roots(ROOTS))
    with pytest.raises(Misconfigured, match="no signature"):
        load_roots(tmp_path / "roots")


def test_a_key_that_the_roots_do_not_list_as_active_is_refused():
    staged = TrustedKey(KeyState.STAGED, USER_CA.line)

    require_active(USER_CA, ROOTS.user_ca)
    for listed in (ROOTS.online, (), (staged,)):
        with pytest.raises(Misconfigured, match="do not list"):
            require_active(USER_CA, listed)


def test_a_key_that_the_roots_list_as_revoked_is_refused():
    with pytest.raises(Misconfigured, match="as revoked"):
        require_active(USER_CA, (), revoked=(OTHER.line, USER_CA.line))
