"""PostgreSQL misbehaves: nothing is lost, nothing happens twice, nothing waits long.

The faults are real ones: sessions that the server ends, a server that is stopped in the
middle, a way to it that breaks around a commit.
"""

import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress

import pytest
import sqlalchemy as sa

from ca.errors import CAError, Misconfigured, StoreUnavailable
from ca.store import (
    Act,
    Draft,
    Entry,
    Reported,
    RevokedSerial,
    Store,
    StoredHost,
    Take,
    TokenUse,
)
from ca.store.hosts import registration
from ca.store.transactions import Database
from tests.authority import wait_until
from tests.lossy_way import Loss, LossyWay
from tests.postgres import Postgres

SECONDS = 1.0
"""What these stores give a transaction; the signer gives it more."""


@pytest.fixture
def place(postgres):
    return postgres.make_database()


@contextmanager
def opened(place, *, url=None, seconds=SECONDS):
    database = Database.open(
        url or place.url, password_file=place.password_file, seconds=seconds
    )
    store = Store(database)
    yield store
    store.close()


@pytest.fixture
def store(place):
    with opened(place) as store:
        yield store


@pytest.fixture(scope="module")
def other_postgres():
    """Start a server of this file's own, to be stopped and set at will."""
    with Postgres() as server:
        yield server


def build(index, serial):
    return Entry(
        index=index,
        time=1,
        kind="user-certificate",
        serial=serial,
        leaf=b"leaf %d" % time.monotonic_ns(),
        record=b"record",
        to_be_signed=b"to be signed",
    )


HOST = StoredHost(
    id="web1",
    names=(),
    pulls=True,
    registered=100,
    entry_index=0,
    seen=100,
    keys=(b"a key",),
)

SPENDS = TokenUse(b"t" * 32, b"r" * 32, 10, 1)


def count_of(place):
    ((count,),) = place.ask("SELECT count(*) FROM entries")
    ((size,),) = place.ask("SELECT size FROM ledger_head")
    assert count == size
    return count


class OnceIn:
    """A build that lets something happen inside the first transaction it is in."""

    def __init__(self, store, statement):
        self._engine = store._database.engine  # noqa: SLF001
        self._statement = statement
        self.runs = 0
        sa.event.listen(self._engine, "begin", self._begun)

    def _begun(self, connection):
        self._connection = connection

    def __call__(self, index, serial):
        self.runs += 1
        if self.runs == 1:
            self._connection.exec_driver_sql(self._statement)
        return build(index, serial)


RAISE = "DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{}'; END $$"
END_ME = "SELECT pg_terminate_backend(pg_backend_pid())"


@pytest.mark.parametrize(
    "fault", [RAISE.format("40001"), RAISE.format("40P01"), END_ME]
)
def test_what_the_server_took_back_is_done_again(place, store, fault):
    once = OnceIn(store, fault)

    (entry,) = store.append([Draft(once)]).outcomes

    assert (entry.index, once.runs) == (0, 2)
    assert count_of(place) == 1


def test_what_the_server_refuses_for_good_is_not_done_again(place, store):
    once = OnceIn(store, RAISE.format("23514"))

    with pytest.raises(StoreUnavailable):
        store.append([Draft(once)])

    assert once.runs == 1
    assert count_of(place) == 0


def test_nobody_tries_for_ever(place, store):
    place.ask(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END $$"
    )
    place.ask("CREATE TRIGGER t BEFORE INSERT ON entries EXECUTE FUNCTION refuse()")

    with pytest.raises(StoreUnavailable):
        store.append([Draft(build)])


# --- A connection that breaks around the commit -------------------------------------


@pytest.fixture
def way(postgres, tmp_path):
    with LossyWay(postgres.folder, tmp_path) as way:
        yield way


@pytest.fixture
def far_store(place, postgres, way, tmp_path):
    url = place.url.replace(str(postgres.folder), str(tmp_path))
    with opened(place, url=url) as store:
        yield store


@pytest.mark.parametrize("spends", [None, SPENDS], ids=["no token", "token"])
@pytest.mark.parametrize("loss", [Loss.COMMIT, Loss.ANSWER])
def test_a_commit_that_may_have_happened_is_settled(
    place, far_store, way, loss, spends
):
    store = far_store
    store.append([Draft(build)])
    way.lose(loss)

    (entry,) = store.append([Draft(build, spends)]).outcomes

    assert way.losses == [loss]
    assert entry.index == 1
    assert store.entry_by_serial(entry.serial) == entry
    assert count_of(place) == 2


@pytest.mark.parametrize("loss", [Loss.COMMIT, Loss.ANSWER])
def test_a_publication_that_may_have_happened_is_done_again(
    place, far_store, way, loss
):
    far_store.append([Draft(build)])
    way.lose(loss)

    far_store.add_blob("aa", b"content")

    assert way.losses == [loss]
    assert place.ask("SELECT count(*) FROM trust_blobs") == [(1,)]


@pytest.mark.parametrize("loss", [Loss.COMMIT, Loss.ANSWER])
def test_a_revocation_that_may_have_happened_is_settled(place, far_store, way, loss):
    far_store.append([Draft(build)])
    act = Act(draft=Draft(build), serials=(RevokedSerial(1, b"CA key", 10),))
    way.lose(loss)

    (entry,) = far_store.act(lambda _: act, tail_from=1, seen=[]).outcomes

    assert way.losses == [loss]
    assert entry.index == 1
    assert far_store.revocations().serials == act.serials
    assert count_of(place) == 2


def test_a_server_that_falls_silent_is_given_up_and_asking_again_settles_it(
    place, far_store, way
):
    far_store.append([Draft(build)])
    way.lose(Loss.SILENCE)
    began = time.monotonic()

    with pytest.raises(StoreUnavailable):
        far_store.append([Draft(build, SPENDS)])

    assert time.monotonic() - began < SECONDS + 1
    (entry,) = far_store.append([Draft(build, SPENDS)]).outcomes
    assert entry.index == 1
    assert count_of(place) == 2


# --- A server that hangs, goes and comes back ---------------------------------------


def test_a_server_that_hangs_ends_no_request_late(other_postgres):
    place = other_postgres.make_database()
    with opened(place) as store:
        store.append([Draft(build)])
        with other_postgres.stopped():
            for ask in (lambda: store.append([Draft(build)]), lambda: store.blob("a")):
                began = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    ask()
                assert time.monotonic() - began < SECONDS + 4

        assert [type(o) for o in store.append([Draft(build)]).outcomes] == [Entry]


def test_a_server_that_was_stopped_in_the_middle_needs_no_repair(other_postgres):
    place = other_postgres.make_database()
    with opened(place) as store:
        (first,) = store.append([Draft(build)]).outcomes

        other_postgres.stop(signal.SIGQUIT)

        with pytest.raises(StoreUnavailable):
            store.append([Draft(build)])
        other_postgres.start()
        assert store.entry_by_serial(first.serial) == first
        (second,) = store.append([Draft(build)]).outcomes
        assert second.index == 1


def test_who_hangs_with_the_head_locked_loses_it(place, store):
    held, late = threading.Event(), threading.Event()

    def hang(index, serial):
        held.set()
        late.wait(10)
        return build(index, serial)

    def append():
        with pytest.raises(StoreUnavailable):
            store.append([Draft(hang, SPENDS)])

    with opened(place, seconds=SECONDS * 3) as other:
        thread = threading.Thread(target=append)
        thread.start()
        assert held.wait(10)

        (entry,) = other.append([Draft(build)]).outcomes

        late.set()
        thread.join()
    assert entry.index == 0
    assert count_of(place) == 1


def test_who_hangs_behind_its_last_write_loses_the_head_too(place):
    with opened(place) as hanging, opened(place) as other:
        begun, ended = threading.Event(), threading.Event()

        def hang(_connection):
            begun.set()
            ended.wait(60)

        sa.event.listen(hanging._database.engine, "commit", hang)  # noqa: SLF001
        thread = threading.Thread(target=append_quietly, args=[hanging])
        thread.start()
        try:
            assert begun.wait(60)
            time.sleep(SECONDS + 0.5)

            (entry,) = other.append([Draft(build)], seen=()).outcomes
            assert isinstance(entry, Entry)
        finally:
            ended.set()
            thread.join()


def test_who_hangs_behind_many_values_is_ended(place):
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"
    counts = []

    def hang(connection):
        connection.execute(sa.text("SELECT :n"), [{"n": 1}, {"n": 2}])
        counts.extend(place.ask(idle))
        time.sleep(SECONDS + 0.5)
        counts.extend(place.ask(idle))

    with opened(place) as store, suppress(CAError):
        store._database.write_apart(hang)  # noqa: SLF001

    assert counts[:2] == [(1,), (0,)]


def append_quietly(store):
    """Append, and say nothing of what the server has refused."""
    with suppress(CAError):
        store.append([Draft(build)], seen=())


def test_a_fleet_that_reports_does_not_queue_before_who_signs(place, store):
    store.change(Draft(build), registration(HOST, time=100))
    with place.connect() as holder:
        holder.execute("SELECT * FROM ledger_head FOR UPDATE")

        store.hosts.report(HOST.id, Reported(1, 2, seen=300))

    assert store.hosts.find(HOST.id).current_version == 2


def test_who_waits_too_long_for_the_head_is_refused(place, store):
    with place.connect() as holder:
        holder.execute("SELECT * FROM ledger_head FOR UPDATE")
        began = time.monotonic()

        with pytest.raises(StoreUnavailable):
            store.append([Draft(build)])

    assert time.monotonic() - began < SECONDS + 1


# --- What a server must promise -----------------------------------------------------


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_does_not_sync_is_refused(other_postgres, setting):
    place = other_postgres.make_database()
    other_postgres.set(setting, "off")
    try:
        with pytest.raises(StoreUnavailable, match=f"{setting}=off"):
            Store.open(place.url, password_file=place.password_file)
    finally:
        other_postgres.set(setting, "on")


def test_of_connections_that_have_written_one_is_kept(place):
    with opened(place) as store:
        database = store._database  # noqa: SLF001

        database.write_apart(lambda _: database.write_apart(lambda _: None))

        assert database.engine.pool.checkedout() == 1


def test_no_append_reads_a_whole_table_however_small_it_once_was(place):
    with opened(place) as store:
        for number in range(12):  # a plan is kept from the sixth time on
            uses = [
                TokenUse(
                    bytes([number, n]) * 16, b"r" * 32, 10, 1, Take(b"s" * 32, 1, 1)
                )
                for n in range(6)
            ]
            store.append([Draft(build, use) for use in uses])
            store.append([Draft(build, uses[0])])

    # The session is over, and has told what it did.
    counts = dict(
        place.ask("SELECT relname, (seq_scan, idx_scan)::text FROM pg_stat_user_tables")
    )
    for table in ("entries", "tree_nodes", "token_uses", "rate_buckets"):
        scans, lookups = map(int, counts[table].strip("()").split(","))
        assert scans == 0, table
        assert lookups >= 12, table


def test_our_commits_are_synchronous_whatever_the_database_is_set_to(place):
    ((name,),) = place.ask("SELECT current_database()")
    place.ask(f"ALTER DATABASE {name} SET synchronous_commit = off")
    place.ask(f"ALTER DATABASE {name} SET default_transaction_isolation = serializable")

    with opened(place) as store, store._database.engine.connect() as connection:  # noqa: SLF001
        for setting, value in {
            "synchronous_commit": "on",
            "transaction_isolation": "read committed",
            "statement_timeout": "1s",
            "idle_in_transaction_session_timeout": "1s",
        }.items():
            assert connection.scalar(sa.text(f"SHOW {setting}")) == value


def test_a_commit_that_no_replica_has_is_not_taken_for_one(other_postgres):
    place = other_postgres.make_database()
    outcomes = []

    def append(store):
        try:
            outcomes.extend(store.append([Draft(build, SPENDS)]).outcomes)
        except StoreUnavailable as error:
            outcomes.append(error)

    with opened(place, seconds=3) as store:
        store.append([Draft(build)])
        other_postgres.set("synchronous_standby_names", "nobody")
        thread = threading.Thread(target=append, args=[store])
        thread.start()
        # An operator who gets things going: the commit succeeds, with a warning.
        wait_until(lambda: other_postgres.ask(CANCEL) == [(True,)])
        thread.join()
        other_postgres.set("synchronous_standby_names", "")

        assert [type(outcome) for outcome in outcomes] == [StoreUnavailable]
        (entry,) = store.append([Draft(build, SPENDS)]).outcomes
    assert entry.index == 1
    assert count_of(place) == 2


CANCEL = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
)


# --- The password -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "text", "says"),
    [
        (0o600, "not-the-Password\n", "OperationalError"),
        (0o640, "not-the-Password\n", "others than its owner"),
        (0o600, "not-the-Password\xff\n", "cannot read"),
        (0o600, None, "cannot read"),
    ],
)
def test_a_wrong_password_is_in_no_error(place, tmp_path, mode, text, says):
    file = tmp_path / "password"
    if text is not None:
        file.write_text(text, encoding="latin-1")
        file.chmod(mode)

    with pytest.raises(CAError, match=says) as caught:
        Store.open(place.url, password_file=file)

    assert "not-the-Password" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_password_file_is_not_asked_for(postgres, place, monkeypatch):
    pgpass = postgres.folder / "pgpass"
    pgpass.write_text(f"*:*:*:*:{postgres.password_file.read_text()}")
    pgpass.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(pgpass))

    Store.open(place.url).close()


def test_records_are_in_no_error(place, store):
    place.ask("ALTER TABLE entries ADD CHECK (time = 0)")

    with pytest.raises(StoreUnavailable) as caught:
        store.append([Draft(build)])

    assert "to be signed" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_driver_is_said_in_words():
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from ca.store import Store\n"
        "Store.open('postgresql+psycopg:///daypass')"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert f"{Misconfigured.__name__}: the driver for PostgreSQL is not" in run.stderr
