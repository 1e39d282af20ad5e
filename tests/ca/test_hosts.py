"""The registry of hosts: who gets in, who is forgotten, and whose word counts for what.

On real parts: each change is an entry of the ledger, and what is refused leaves none.
"""

import json
import sqlite3
import threading
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from msgspec import structs

from ca import wire
from ca.config import load_config
from ca.errors import (
    BadRequest,
    BundleUnknown,
    Conflict,
    HostUnknown,
    JoinTokenRefused,
    LedgerStopped,
    Malformed,
    Misconfigured,
    NotFound,
    ReportOutdated,
    RequestTimeWrong,
    SignatureInvalid,
    TokenSpent,
    UnacceptableKey,
)
from ca.hosts import (
    HostState,
    alarms_of,
    forget_hosts,
    forget_silent,
    join_host,
    make_join_token,
    register_host,
    state_of,
    take_report,
    vouched,
)
from ca.hosts.registry import require_host
from ca.ledger import EntryKind, place_of
from ca.store import Draft, TokenUse
from ca.store.change import Change
from ca.trust.history import History
from tests import hosts
from tests.authority import make_ca, opened, rewrite, subject_key
from tests.fakes import NOW, FakeIdP
from tests.hosts import FakeHost, empty_registry
from tests.signing import holder

BY = {"identity": None, "by": "ada"}
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    with FakeIdP(now=NOW.timestamp) as idp:
        yield make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)


@pytest.fixture(scope="module")
def authority(config_file):
    with opened(config_file) as authority:
        yield authority


@pytest.fixture(autouse=True)
def _empty(authority):
    """Begin each test with an empty registry."""
    empty_registry(authority)


def register(authority, host, *, now=NOW, **changes):
    return register_host(authority, replace(host.new(), **changes), BY, now=now)


def newest_entry(authority):
    (entry,) = authority.store.entries(authority.store.log_head().tree.size - 1, 1)
    return entry


def size(authority):
    return authority.store.log_head().tree.size


def publish(authority, *, now=NOW):
    """Return the *current* of that time."""
    return hosts.publish(authority, now=now)[0]


@pytest.fixture
def roots_version(authority):
    return hosts.publish(authority, now=NOW)[1]


# --- In, and out again --------------------------------------------------------------


def test_a_registered_host_is_in_the_registry_and_on_record(authority):
    web = FakeHost("web1", names=("web1.example.com",))

    host = register(authority, web)

    assert (host.id, host.names, host.keys) == ("web1", web.names, (web.key.key,))
    assert (host.seen, host.current_version) == (NOW.timestamp(), 0)
    entry = newest_entry(authority)
    assert (entry.index, entry.kind) == (host.entry_index, "administration")
    record = json.loads(entry.record)
    del record["salt"]
    assert record == {
        "v": 1,
        "act": "register-host",
        "host": {
            "id": "web1",
            "names": ["web1.example.com"],
            "keys": [wire.fingerprint(web.key.key)],
            "pulls": True,
        },
        **BY,
    }


def test_the_same_again_changes_nothing(authority):
    web = FakeHost("web1")
    first = register(authority, web)
    before = size(authority)

    assert register(authority, web, now=NOW + HOUR) == first

    assert size(authority) == before


def test_the_same_keys_may_get_other_names(authority):
    web = FakeHost("web1")
    register(authority, web)

    host = register(authority, web, names=("new.example.com",), pulls=False)

    assert (host.names, host.pulls) == (("new.example.com",), False)
    assert vouched(authority, host).names == ("new.example.com",)


def test_an_id_is_not_taken_over_with_other_keys(authority):
    web, thief = FakeHost("web1"), FakeHost("web1")
    register(authority, web)
    before = size(authority)

    with pytest.raises(Conflict, match="other keys"):
        register(authority, thief)
    with pytest.raises(Conflict, match="other keys"):
        register(authority, web, keys=(web.key.line, thief.key.line))

    assert size(authority) == before
    assert authority.store.hosts.find("web1").keys == (web.key.key,)

    forget_hosts(authority, ["web1"], BY, now=NOW)
    assert register(authority, thief).keys == (thief.key.key,)


def test_a_key_is_one_hosts_until_that_is_forgotten(authority):
    web = FakeHost("web1")
    register(authority, web)
    clone = FakeHost("web2", key=web.key)

    with pytest.raises(Conflict, match="another host"):
        register(authority, clone)

    forget_hosts(authority, ["web1"], BY, now=NOW)
    register(authority, clone)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id": "Web1"}, BadRequest),
        ({"id": ""}, BadRequest),
        ({"id": "a" * 64}, BadRequest),
        ({"id": "../etc"}, BadRequest),
        ({"names": ("*.example.com",)}, BadRequest),
        ({"names": ("WEB1",)}, BadRequest),
        ({"names": ("web1", "web1")}, BadRequest),
        ({"keys": ()}, BadRequest),
        ({"keys": (subject_key(1), subject_key(1) + " again")}, BadRequest),
        ({"keys": tuple(map(subject_key, range(17)))}, BadRequest),
        ({"keys": ("ssh-dss AAAAB3NzaC1kc3M=",)}, UnacceptableKey),
        ({"keys": ("web1",)}, Malformed),
    ],
)
def test_what_is_no_host_is_not_registered(authority, changes, error):
    before = size(authority)

    with pytest.raises(error):
        register(authority, FakeHost("web1"), **changes)

    assert size(authority) == before
    assert authority.store.hosts.every() == []


def test_forgetting_is_on_record_and_of_what_is_there(authority):
    register(authority, FakeHost("web1"))

    forget_hosts(authority, ["web1"], BY, now=NOW)

    record = json.loads(newest_entry(authority).record)
    assert (record["act"], record["hosts"]) == ("forget-hosts", ["web1"])
    assert authority.store.hosts.every() == []
    (gone,) = authority.store.hosts.every(forgotten=True)
    assert (gone.forgotten, gone.keys) == (NOW.timestamp(), ())
    before = size(authority)
    for nobody in ("web1", "web9"):
        with pytest.raises(NotFound):
            forget_hosts(authority, [nobody], BY, now=NOW)
    assert size(authority) == before


def test_silent_hosts_are_forgotten_by_themselves_if_they_pull(authority):
    for number in range(101):
        register(authority, FakeHost(f"web{number}"))
    register(authority, FakeHost("old"), pulls=False)
    before, after = size(authority), authority.config.hosts.forget_after

    assert forget_silent(authority, now=NOW + after) == []
    forgotten = forget_silent(authority, now=NOW + after + timedelta(seconds=1))

    assert len(forgotten) == 101
    assert size(authority) == before + 2  # a hundred in one entry
    assert [host.id for host in authority.store.hosts.every()] == ["old"]


def test_nothing_is_registered_while_the_ledger_is_stopped(idp_ca):
    file = idp_ca.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE ledger_head SET stopped = 'for a test'")

    with pytest.raises(LedgerStopped):
        register(idp_ca, FakeHost("web1"))

    assert idp_ca.store.hosts.every() == []


@pytest.fixture
def idp_ca(tmp_path):
    with FakeIdP(now=NOW.timestamp) as idp:
        config_file = make_ca(tmp_path / "ca", idp)
        with opened(config_file) as authority:
            yield authority


def test_a_batch_is_refused_for_one_of_its_drafts(authority):
    place = place_of(None, kind=EntryKind.ADMINISTRATION, record={}, now=NOW)
    spends = TokenUse(b"t" * 32, b"r" * 32, expires=9**10, max_uses=1)
    authority.ledger.append_all([Draft(place, spends)], seen=None)

    other = structs.replace(spends, request_sha256=b"o" * 32)
    with pytest.raises(TokenSpent):
        authority.ledger.append_all([Draft(place), Draft(place, other)], seen=None)


def test_a_change_is_refused_with_its_entry(authority):
    place = place_of(None, kind=EntryKind.ADMINISTRATION, record={}, now=NOW)
    spends = TokenUse(b"u" * 32, b"r" * 32, expires=9**10, max_uses=1)
    authority.ledger.append_all([Draft(place, spends)], seen=None)
    ran = []

    with pytest.raises(TokenSpent):
        authority.store.change(
            Draft(place, structs.replace(spends, request_sha256=b"o" * 32)),
            lambda _connection, entry: ran.append(entry),
        )

    assert ran == []


def test_an_entry_that_was_committed_when_the_connection_broke_is_found(authority):
    place = place_of(None, kind=EntryKind.ADMINISTRATION, record={}, now=NOW)
    ran = []
    change = Change(Draft(place), lambda _c, entry: ran.append(entry), [])
    database = authority.store._database  # noqa: SLF001
    done = database.write(change.run)

    assert database.read(change.settle) == done
    lost = Change(Draft(place), lambda _c, _entry: None, [])
    assert database.read(lost.settle) is None


# --- What was vouched for -----------------------------------------------------------


def test_what_a_host_may_be_certified_for_is_read_from_the_ledger(authority):
    web = FakeHost("web1", names=("web1.example.com",))
    host = register(authority, web)

    known = vouched(authority, host)

    assert known.identity is None
    assert known.names == ("web1.example.com",)
    assert known.keys == (wire.fingerprint(web.key.key),)


def test_a_record_that_is_gone_or_another_vouches_for_nothing(authority):
    host = register(authority, FakeHost("web1"))
    other = register(authority, FakeHost("web2"))
    authority.store.erase(other.entry_index)
    token_entry = size(authority)
    make_join_token(authority, host=None, names=(), life=HOUR, by=BY, now=NOW)

    for index in (other.entry_index, token_entry, 10**9):
        with pytest.raises(HostUnknown, match="no record"):
            vouched(authority, replace(host, entry_index=index))
    with pytest.raises(HostUnknown, match="no record"):
        vouched(authority, replace(host, id="web2"))


def test_a_record_that_was_changed_vouches_for_nothing(authority):
    host = register(authority, FakeHost("web1", names=("web1.example.com",)))
    file = authority.config.file.with_name("daypass.db")
    (entry,) = authority.store.entries(host.entry_index, 1)
    with sqlite3.connect(file) as connection:
        connection.execute(
            'UPDATE entries SET record = ? WHERE "index" = ?',
            [entry.record.replace(b"web1.ex", b"bank.ex"), host.entry_index],
        )

    with pytest.raises(HostUnknown, match="no record"):
        vouched(authority, host)


# --- Join tokens --------------------------------------------------------------------


def token(authority, *, host=None, names=(), life=HOUR, now=NOW):
    return make_join_token(authority, host=host, names=names, life=life, by=BY, now=now)


def join(authority, document, *, now=NOW):
    return join_host(authority, document, {"address": "192.0.2.7"}, now=now)


def test_a_machine_joins_with_a_token(authority):
    web = FakeHost("web1", names=("web1.example.com",))
    secret = token(authority, host="web1", names=("web1.example.com", "www"))
    made = json.loads(newest_entry(authority).record)

    host = join(authority, web.join(secret, at=NOW))

    assert (host.id, host.names, host.pulls) == ("web1", ("web1.example.com",), True)
    record = json.loads(newest_entry(authority).record)
    assert made["act"] == "make-join-token"
    assert record["join_token_sha256"] == made["join_token_sha256"]
    assert record["identity"] is None
    file = authority.config.file.with_name("daypass.db")
    assert secret.encode() not in file.read_bytes()


def test_a_machine_that_asks_for_no_names_gets_the_tokens(authority):
    secret = token(authority, names=("web1.example.com",))

    assert join(authority, FakeHost("web1").join(secret, at=NOW)).names == (
        "web1.example.com",
    )


def test_a_token_registers_one_host_and_its_lost_answer_is_given_again(authority):
    secret, web = token(authority), FakeHost("web1")
    document = web.join(secret, at=NOW)
    first = join(authority, document)
    before = size(authority)

    assert join(authority, document) == first
    assert join(authority, web.join(secret, at=NOW, pulls=False)) == first
    for other in (FakeHost("web2"), FakeHost("web1")):
        with pytest.raises(JoinTokenRefused, match="already"):
            join(authority, other.join(secret, at=NOW))
    forget_hosts(authority, ["web1"], BY, now=NOW)
    with pytest.raises(JoinTokenRefused, match="already"):
        join(authority, document)

    assert size(authority) == before + 1  # forgotten


def test_a_token_has_an_end_an_id_and_names(authority):
    secret = token(authority, host="web1", names=("a", "b"))
    before = size(authority)
    refused = {
        "ended": (FakeHost("web1").join(secret, at=NOW + HOUR), NOW + HOUR),
        "another host": (FakeHost("web2").join(secret, at=NOW), NOW),
        "names": (FakeHost("web1", names=("a", "c")).join(secret, at=NOW), NOW),
        "none of this CA's": (FakeHost("web1").join("A" * 43, at=NOW), NOW),
    }

    for words, (document, now) in refused.items():
        with pytest.raises(JoinTokenRefused, match=words):
            join(authority, document, now=now)

    assert size(authority) == before
    last = NOW + HOUR - timedelta(seconds=1)
    join(authority, FakeHost("web1").join(secret, at=last), now=last)


def test_a_token_is_raced_for_and_one_wins(authority):
    secret = token(authority)
    hosts = [FakeHost(f"web{number}") for number in range(6)]
    barrier, won, lost = threading.Barrier(len(hosts)), [], []

    def race(host):
        document = host.join(secret, at=NOW)
        barrier.wait()
        try:
            won.append(join(authority, document).id)
        except JoinTokenRefused:
            lost.append(host.id)

    threads = [threading.Thread(target=race, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(won), len(lost)) == (1, 5)
    assert [host.id for host in authority.store.hosts.every()] == won


def test_a_token_takes_over_no_host(authority):
    web = FakeHost("web1")
    register(authority, web)
    secret = token(authority)

    with pytest.raises(Conflict, match="other keys"):
        join(authority, FakeHost("web1").join(secret, at=NOW))

    # And is not spent by that.
    again = FakeHost("web1", key=web.key)
    assert join(authority, again.join(secret, at=NOW)).keys == (web.key.key,)


def test_who_joins_has_the_key(authority):
    secret, web, thief = token(authority), FakeHost("web1"), holder()
    with pytest.raises(JoinTokenRefused):  # before any key is looked at
        join(authority, web.join("A" * 43, at=NOW, signer=thief))
    before = size(authority)
    documents = {
        Malformed: web.join(secret, at=NOW, keys=(thief.line,)),
        SignatureInvalid: web.join(secret, at=NOW, signer=thief),
        RequestTimeWrong: web.join(secret, at=NOW - timedelta(seconds=301)),
    }

    for error, document in documents.items():
        with pytest.raises(error):
            join(authority, document)
    for change in ({"origin": "https://other.example.com"}, {"namespace": "file"}):
        with pytest.raises(SignatureInvalid):
            join(authority, web.join(secret, at=NOW, **change))

    assert size(authority) == before


def test_tokens_for_what_is_no_host_are_not_made(authority):
    for changes in ({"host": "Web1"}, {"names": ("*.example.com",)}):
        with pytest.raises(BadRequest):
            token(authority, **changes)


def test_ended_tokens_are_let_go_of(authority):
    token(authority)

    token(authority, now=NOW + 2 * HOUR)

    file = authority.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM join_tokens").fetchone() == (1,)


# --- Reports ------------------------------------------------------------------------


def test_a_report_says_what_is_applied(authority, roots_version):
    web = FakeHost("web1")
    register(authority, web)
    published = publish(authority, now=NOW + HOUR)
    at = NOW + HOUR

    take_report(
        authority,
        web.report(published, at=at, roots_version=roots_version),
        now=at,
    )

    host = authority.store.hosts.find("web1")
    assert (host.current_version, host.roots_version, host.seen) == (
        published.version,
        roots_version,
        at.timestamp(),
    )


def test_an_older_bundle_of_ours_may_be_reported_but_none_before_it(
    authority, roots_version
):
    web = FakeHost("web1")
    register(authority, web)
    first, second = publish(authority), publish(authority, now=NOW + 2 * HOUR)
    assert first.version < second.version

    def report(published, **changes):
        document = web.report(
            published, at=NOW, **({"roots_version": roots_version} | changes)
        )
        return take_report(authority, document, now=NOW)

    report(first)
    report(second)
    with pytest.raises(ReportOutdated):
        report(first)
    with pytest.raises(ReportOutdated):
        report(second, roots_version=roots_version - 1)

    assert authority.store.hosts.find("web1").current_version == second.version


@pytest.mark.parametrize(
    "changes",
    [
        {"current_version": 10**15},
        {"current_sha256": "0" * 64},
        {"roots_version": 10**15},
    ],
    ids=str,
)
def test_a_bundle_that_was_never_published_rings_the_alarm(
    authority, roots_version, changes, caplog
):
    web = FakeHost("web1")
    register(authority, web)
    published = publish(authority)
    good = web.report(published, at=NOW, roots_version=roots_version)
    bad = web.report(published, at=NOW, **({"roots_version": roots_version} | changes))

    for _ in range(2):
        with pytest.raises(BundleUnknown):
            take_report(authority, bad, now=NOW)

    host = authority.store.hosts.find("web1")
    assert host.current_version == 0
    assert alarms_of(host, authority.config.hosts, published, now=NOW) == (
        "reported a trust bundle that this CA never published",
    )
    assert "web1" in caplog.text
    take_report(authority, good, now=NOW)
    assert authority.store.hosts.find("web1").alarm is None


def test_what_was_published_is_looked_up_once(authority):
    history = History(authority.store, remembers=1)
    first, second = publish(authority), publish(authority, now=NOW + 2 * HOUR)

    for published in (first, second, second, first):
        found = history.find(published.version)
        assert found is not None
        assert found.sha256 == sha256(published.document).hexdigest()
    assert history.find(1) is None


def test_a_host_speaks_for_itself_alone(authority, roots_version):
    web, db, stranger = FakeHost("web1"), FakeHost("db1"), FakeHost("web1")
    register(authority, web)
    register(authority, db)
    published = publish(authority)
    good = {"at": NOW, "roots_version": roots_version}
    refused = [
        (HostUnknown, FakeHost("web1", key=db.key).report(published, **good)),
        (HostUnknown, web.report(published, **good, host="db1")),
        (HostUnknown, stranger.report(published, **good)),
        (SignatureInvalid, web.report(published, **good, signer=db.key)),
        (SignatureInvalid, web.report(published, **good, namespace="daypass-request")),
        (SignatureInvalid, web.report(published, **good, origin="https://other")),
        (
            SignatureInvalid,
            web.report(
                published, **good, text=lambda text: text.replace(b"time 1", b"time 2")
            ),
        ),
        (Malformed, web.renewal(at=NOW)),
        (Malformed, b""),
        (Malformed, b"daypass-host-report-v1\n"),
    ]

    for error, document in refused:
        with pytest.raises(error):
            take_report(authority, document, now=NOW)

    assert all(host.current_version == 0 for host in authority.store.hosts.every())


def test_a_signature_that_is_none_is_refused(authority, roots_version):
    web = FakeHost("web1")
    register(authority, web)
    none = replace(web.key, sign_data=lambda _: wire.text("ssh-ed25519") + b"\0")
    document = web.report(publish(authority), at=NOW, signer=none)

    with pytest.raises(SignatureInvalid, match="wrong"):
        take_report(authority, document, now=NOW)


@pytest.mark.parametrize("off", [-301, 301])
def test_a_report_from_another_time_is_refused(authority, roots_version, off):
    web = FakeHost("web1")
    register(authority, web)
    published = publish(authority)

    def report(seconds):
        at = NOW + timedelta(seconds=seconds)
        document = web.report(published, at=at, roots_version=roots_version)
        take_report(authority, document, now=NOW)

    report(300 if off > 0 else -300)
    with pytest.raises(RequestTimeWrong):
        report(off)

    assert authority.store.hosts.find("web1").seen == NOW.timestamp()


def test_a_report_shown_again_keeps_no_host_alive(authority, roots_version):
    web = FakeHost("web1")
    register(authority, web)
    document = web.report(publish(authority), at=NOW, roots_version=roots_version)
    take_report(authority, document, now=NOW)

    take_report(authority, document, now=NOW + timedelta(seconds=300))

    assert authority.store.hosts.find("web1").seen == NOW.timestamp()


def test_the_same_again_is_written_down_once_a_minute(authority, roots_version):
    web = FakeHost("web1")
    register(authority, web)
    published = publish(authority)

    def report(seconds):
        at = NOW + timedelta(seconds=seconds)
        document = web.report(published, at=at, roots_version=roots_version)
        take_report(authority, document, now=at)
        return authority.store.hosts.find("web1").seen - NOW.timestamp()

    assert [report(seconds) for seconds in (1, 59, 60, 100)] == [1, 1, 1, 100]


def test_a_forgotten_host_is_not_listened_to(authority, roots_version):
    web = FakeHost("web1")
    register(authority, web)
    document = web.report(publish(authority), at=NOW, roots_version=roots_version)
    forget_hosts(authority, ["web1"], BY, now=NOW)

    with pytest.raises(HostUnknown):
        take_report(authority, document, now=NOW)

    assert authority.store.hosts.find("web1").current_version == 0


# --- States and alarms --------------------------------------------------------------


def test_a_host_that_pulls_and_is_silent_is_stale(authority):
    silence = authority.config.hosts
    pulls = register(authority, FakeHost("web1"))
    does_not = register(authority, FakeHost("old"), pulls=False)
    limit, later = NOW + silence.stale_after, timedelta(seconds=1)

    assert state_of(pulls, silence, now=limit) is HostState.ACTIVE
    assert state_of(pulls, silence, now=limit + later) is HostState.STALE
    assert state_of(does_not, silence, now=limit + later) is HostState.ACTIVE
    gone = replace(pulls, forgotten=1)
    assert state_of(gone, silence, now=limit + later) is HostState.FORGOTTEN


def test_what_is_wrong_with_a_host_is_said_in_words(authority):
    silence, published = authority.config.hosts, publish(authority)
    at = NOW + timedelta(minutes=11)
    host = replace(register(authority, FakeHost("web1")), seen=int(at.timestamp()))
    published = replace(published, published=int(NOW.timestamp()))
    newest = {"current_version": published.version}

    def alarms(host, newest=published, now=at):
        return alarms_of(host, silence, newest, now=now)

    assert alarms(host) == ("does not take the newest trust bundle",)
    assert alarms(host, newest=None) == ()
    assert alarms(host, now=NOW + timedelta(minutes=10)) == ()
    assert alarms(replace(host, **newest)) == ()
    assert alarms(replace(host, pulls=False)) == ()
    assert alarms(host, now=at + 3 * HOUR) == ("has not reported for too long",)
    assert alarms(replace(host, forgotten=1, alarm="x")) == ()


def test_a_host_that_was_never_there_is_not_found(authority):
    with pytest.raises(HostUnknown, match="no host 'web9'"):
        require_host(authority, "web9")


@pytest.mark.parametrize(
    ("stale", "forget", "words"),
    [
        ("1h", "1h", "hosts: forget_after must be longer"),
        ("soon", "1h", "hosts: 'soon' is not a length of time"),
        ("1h", "4000d", "hosts: 4000d is more than"),
    ],
)
def test_silence_has_two_lengths(config_file, tmp_path, stale, forget, words):
    copy = tmp_path / "daypass.toml"
    copy.write_text(config_file.read_text())
    rewrite(
        copy,
        {
            'stale_after = "2h"': f'stale_after = "{stale}"',
            'forget_after = "90d"': f'forget_after = "{forget}"',
        },
    )

    with pytest.raises(Misconfigured, match=words):
        load_config(copy)
