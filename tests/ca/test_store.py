"""The store: what a method wrote is there, once, or the method raised."""

import secrets
import sqlite3
import threading
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import QueuePool

from ca.admin import database as admin
from ca.errors import Misconfigured, StoreUnavailable, TokenSpent
from ca.merkle import Node
from ca.store import (
    Act,
    Draft,
    Entry,
    PublishedCurrent,
    RevokedSerial,
    Store,
    TokenUse,
    tables,
)
from ca.store.engine import open_engine
from ca.store.transactions import Database
from tests.databases import make_sqlite

REVOCATION = ("revoked_serials", "revoked_ca_keys", "blocks")


def open_store(database):
    return Store.open(database.url, password_file=database.password_file)


@pytest.fixture
def store(database):
    store = open_store(database)
    yield store
    store.close()


def build(index, serial):
    return Entry(
        index=index,
        time=1,
        kind="user-certificate",
        serial=serial,
        leaf=secrets.token_bytes(),
        record=b"record",
        to_be_signed=b"to be signed",
    )


def spends(token=b"t" * 32, request=b"r" * 32, *, expires=10, max_uses=1):
    return TokenUse(token, request, expires, max_uses)


def append(store, drafts, **known):
    return store.append(drafts, **known).outcomes


def test_serials_follow_the_index_and_never_skip(store):
    first = append(store, [Draft(build), Draft(build)])
    second = append(store, [Draft(build)])

    entries = [*first, *second]
    assert [entry.index for entry in entries] == [0, 1, 2]
    assert [entry.serial for entry in entries] == [1, 2, 3]
    assert [store.entry_by_serial(entry.serial) for entry in entries] == entries


def test_a_serial_base_moves_all_serials(store, database):
    database.ask("UPDATE ledger_head SET serial_base = 1000")

    (entry,) = append(store, [Draft(build)])

    assert (entry.index, entry.serial) == (1000, 1001)


def test_an_unknown_serial_has_no_entry(store):
    assert store.entry_by_serial(1) is None


def test_a_token_is_spent_once_and_its_refusal_leaves_no_gap(store):
    outcomes = append(
        store,
        [
            Draft(build, spends()),
            Draft(build, spends(request=b"other".ljust(32))),
            Draft(build),
        ],
    )

    assert outcomes[0].index == 0
    assert isinstance(outcomes[1], TokenSpent)
    assert outcomes[2].index == 1


def test_the_same_request_again_gets_the_entry_it_bought(store):
    (first,) = append(store, [Draft(build, spends())])

    (again,) = append(store, [Draft(build, spends())])
    (refused,) = append(store, [Draft(build, spends(request=b"x" * 32))])

    assert again == first
    assert isinstance(refused, TokenSpent)


def test_a_token_with_several_uses_buys_that_many(store):
    outcomes = [
        append(store, [Draft(build, spends(request=bytes([n]) * 32, max_uses=2))])[0]
        for n in range(3)
    ]

    assert [type(outcome) for outcome in outcomes] == [Entry, Entry, TokenSpent]


def test_a_build_that_fails_leaves_nothing_behind(store):
    def fail(_index, _serial):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        append(store, [Draft(build, spends()), Draft(fail)])

    (entry,) = append(store, [Draft(build, spends(request=b"y" * 32))])
    assert entry.index == 0


def test_ended_tokens_are_forgotten_and_no_others(store):
    append(store, [Draft(build, spends(expires=9)), Draft(build, spends(b"u" * 32))])

    assert store.forget(tokens_before=10, now=0) == 1
    (outcome,) = append(store, [Draft(build, spends(b"u" * 32, b"z" * 32))])
    assert isinstance(outcome, TokenSpent)


def test_writers_of_two_stores_take_turns(database):
    stores = [open_store(database) for _ in range(2)]
    entries = []

    def write(store):
        for _ in range(25):
            entries.extend(append(store, [Draft(build)]))

    threads = [threading.Thread(target=write, args=[store]) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()

    assert sorted(entry.serial for entry in entries) == list(range(1, 51))


def test_every_connection_to_sqlite_syncs_fully_in_wal_mode(tmp_path):
    with open_engine(make_sqlite(tmp_path).url).connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_who_writes_to_sqlite_has_the_lock_before_anything_is_read(tmp_path):
    made = make_sqlite(tmp_path)
    store = Store.open(made.url)

    def work(_connection, _head):
        with (
            closing(sqlite3.connect(made.file, timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")

    store._database.write(work)  # noqa: SLF001 (nothing else sees inside)
    store.close()


def test_the_connection_that_has_written_is_kept_and_one_that_failed_is_not(tmp_path):
    def fail(*_: object) -> None:
        raise KeyError("what")

    database = Database.open(make_sqlite(tmp_path).url)
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)

    for _ in range(3):
        database.write(lambda _connection, head: head.size)
    assert pool.checkedout() == 1
    with pytest.raises(KeyError):
        database.write(fail)
    assert pool.checkedout() == 0

    database.write(lambda _connection, head: head.size)
    database.close()
    assert pool.checkedout() == 0


def test_a_database_that_refuses_is_unavailable_without_its_words(store, database):
    for table in ("token_uses", *REVOCATION, "entries"):
        database.ask(f"DROP TABLE {table}")

    with pytest.raises(StoreUnavailable) as caught:
        append(store, [Draft(build)])
    assert "entries" not in caught.value.detail


def test_a_missing_database_is_not_created(tmp_path):
    with pytest.raises(Misconfigured, match="there is no database"):
        Store.open(f"sqlite:///{tmp_path}/typo.db")
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_schema_is_refused(database):
    database.ask("UPDATE alembic_version SET version_num = '0000'")

    with pytest.raises(Misconfigured, match="has schema 0000"):
        open_store(database)


def test_an_empty_database_is_refused_until_it_is_upgraded(empty_database):
    with pytest.raises(Misconfigured, match="has schema none"):
        open_store(empty_database)

    assert migrate(empty_database) == ("none", tables.SCHEMA)
    open_store(empty_database).close()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database(request, tmp_path):
    if request.param == "sqlite":
        return make_sqlite(tmp_path, migrated=False)
    return request.getfixturevalue("postgres").make_database(migrated=False)


def migrate(database):
    return admin.migrate(database.url, password_file=database.password_file)


def test_upgrading_twice_changes_nothing(database):
    assert migrate(database) == (tables.SCHEMA, tables.SCHEMA)


def test_the_migrations_make_the_tables_that_the_code_uses(database):
    engine = open_engine(database.url, password_file=database.password_file)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_the_schema_is_the_newest_migration():
    assert ScriptDirectory("ca/store/migrations").get_heads() == [tables.SCHEMA]


CURRENT = PublishedCurrent(version=1, published=5, roots_sha256="00", document=b"d")


def test_only_the_newest_current_is_kept(store):
    assert store.newest_current() is None
    assert store.publish(CURRENT, unless_since=store.publication_mark())
    newer = PublishedCurrent(
        version=2, published=6, roots_sha256="00", document=b"newer"
    )

    assert store.publish(newer, unless_since=store.publication_mark())

    assert store.newest_current() == newer


def test_whoever_was_faster_has_published(store):
    before = store.publication_mark()
    store.publish(CURRENT, unless_since=before)
    late = PublishedCurrent(version=2, published=6, roots_sha256="00", document=b"late")

    assert not store.publish(late, unless_since=before)

    assert store.newest_current() == CURRENT


def test_a_blob_is_kept_by_its_hash(store):
    store.add_blob("aa", b"content")
    store.add_blob("aa", b"content")

    assert store.blob("aa") == b"content"
    assert store.blob("bb") is None


# --- The tree ---------------------------------------------------------------------


def test_an_older_ledger_gets_its_tree_when_it_is_upgraded(store, database):
    appended = store.append([Draft(build) for _ in range(5)])
    for statement in (
        "DROP TABLE host_keys",
        "DROP TABLE hosts",
        "DROP TABLE join_tokens",
        *(f"DROP TABLE {table}" for table in REVOCATION),
        "DROP INDEX entries_of_hosts",
        "ALTER TABLE ledger_head DROP COLUMN revocation_mark",
        "DROP TABLE tree_nodes",
        "DROP TABLE lost_serials",
        "DROP TABLE policies_in_use",
        "ALTER TABLE ledger_head DROP COLUMN origin",
        "ALTER TABLE ledger_head DROP COLUMN stopped",
        "ALTER TABLE ledger_head DROP COLUMN tokens_from",
        "UPDATE alembic_version SET version_num = '0003'",
    ):
        database.ask(statement)

    admin.migrate(database.url, password_file=database.password_file)

    assert store.log_head().tree == appended.growth.tree
    assert store.append([Draft(build)]).growth.tree.size == 6


def test_what_tokens_bought_before_an_upgrade_they_have_bought(store, database):
    bought = append(store, [Draft(build, spends()), Draft(build, spends(b"u" * 32))])
    columns = "token_sha256, use, request_sha256, entry_index, expires"
    for statement in (
        f"CREATE TABLE as_it_was AS SELECT {columns} FROM token_uses",  # noqa: S608
        "DROP TABLE token_uses",
        "ALTER TABLE as_it_was RENAME TO token_uses",
        "UPDATE alembic_version SET version_num = '0009'",
    ):
        database.ask(statement)

    migrate(database)

    again = [Draft(build, spends()), Draft(build, spends(b"u" * 32, b"x" * 32))]
    first, refused = append(store, again)
    assert first == bought[0]
    assert isinstance(refused, TokenSpent)


def test_a_node_that_is_missing_is_noticed(store, database):
    store.append([Draft(build)])
    database.ask("DELETE FROM tree_nodes")

    for read in (
        lambda: append(store, [Draft(build)]),
        lambda: store.neighbours(Node(0, 0), 1),
    ):
        with pytest.raises(StoreUnavailable, match="damaged"):
            read()


def test_a_database_is_one_log_s_with_one_serial_base(store):
    store.open_log(origin="ca.example.com/log/1", serial_base=1000)
    store.open_log(origin="ca.example.com/log/1", serial_base=1000)

    (entry,) = append(store, [Draft(build)])
    for origin, base in (("ca.example.com/log/2", 1000), ("ca.example.com/log/1", 0)):
        with pytest.raises(Misconfigured, match="the database holds the log"):
            store.open_log(origin=origin, serial_base=base)
    assert entry.serial == 1001


def test_a_ledger_without_a_name_is_not_given_other_serials(store):
    append(store, [Draft(build)])

    with pytest.raises(Misconfigured):
        store.open_log(origin="ca.example.com/log/1", serial_base=1000)
    store.open_log(origin="ca.example.com/log/1", serial_base=0)


def test_more_rows_are_written_than_one_statement_takes(store):
    serials = tuple(RevokedSerial(n, b"CA key", 10) for n in range(1, 12_001))

    store.act(lambda _: Act(draft=Draft(build), serials=serials), tail_from=1, seen=[])

    assert store.revocations().serials == serials


def test_no_append_reads_a_whole_table(tmp_path):
    made = make_sqlite(tmp_path)
    store = Store.open(made.url)
    store.append([Draft(build, spends())] * 3)
    statements = []

    engine = store._database.engine  # noqa: SLF001
    execute = engine.dialect.do_execute

    def note(cursor, statement, values, *rest):
        statements.append((statement, values))
        execute(cursor, statement, values, *rest)

    engine.dialect.do_execute = note  # type: ignore[method-assign] # all come by here
    store.append([Draft(build, spends()), Draft(build, spends(b"u" * 32))])

    plans = []
    with engine.connect() as connection:
        for statement, values in statements:
            if statement.startswith("WITH"):
                plan = connection.exec_driver_sql(
                    f"EXPLAIN QUERY PLAN {statement}", values
                )
                plans += [row.detail for row in plan]
    assert [detail for detail in plans if "SEARCH" in detail]
    for table in ("tree_nodes", "token_uses", "entries"):
        assert f"SCAN {table}" not in plans
    store.close()
