"""Copies of a database in a file, made while it is in use; and the way back.

A copy that comes back lacks what was committed since, so it comes back stopped: the
stop is in it before anybody can see it. For a database on a server there is `stop`, to
be called before any signer is started again.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import sqlalchemy as sa

from ca.errors import Misconfigured, StoreUnavailable
from ca.store import tables
from ca.store.engine import open_engine, translated, writing

_WHY = "the database was restored from a backup"
_SIDES = ("-wal", "-shm")
"""What SQLite has beside a database in use."""


def file_of(url: str) -> Path:
    """Return the file of a database; raise `Misconfigured` for one on a server."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise Misconfigured(
            "the database is on a server, which makes its own backups",
            hint="pg_dump, or continuous archiving: docs/operating.md, Backup",
        )
    return Path(parsed.database or "")


def copy_out(database: Path, copy: Path) -> None:
    """Copy all that is committed into a new file, whole and in one moment."""
    if not database.is_file():
        raise Misconfigured(f"there is no database {database}")
    with _explained(database), closing(sqlite3.connect(database)) as source:
        _copy(source, copy)


def put_back(copy: Path, database: Path) -> None:
    """Let the database have what the copy has, stopped, in one moment.

    Processes that have it open see that as one more transaction.
    """
    if not copy.is_file():
        raise Misconfigured(f"there is no backup {copy}")
    draft = database.with_name(f".{database.name}.restored")
    try:
        with _explained(copy), closing(sqlite3.connect(copy)) as source:
            draft.unlink(missing_ok=True)
            _copy(source, draft)
        stop(f"sqlite:///{draft}", evidence=_evidence(database))
        if not database.exists():
            # What is left of another database would be played back into this one.
            for side in _SIDES:
                database.with_name(database.name + side).unlink(missing_ok=True)
        with _explained(database), closing(sqlite3.connect(draft)) as source:
            _copy(source, database)
    finally:
        for name in (draft.name, *(draft.name + side for side in _SIDES)):
            draft.with_name(name).unlink(missing_ok=True)


def stop(url: str, *, password_file: Path | None = None, evidence: str = "") -> None:
    """Let no signer issue from this database until it was recovered.

    A checkpoint that stopped it before stays, or else `evidence`.
    """
    head = tables.ledger_head
    engine = open_engine(url, password_file=password_file)
    try:
        with translated(), writing(engine) as connection:
            stopped = connection.scalars(sa.select(head.c.stopped)).one()
            note = _note(stopped) or evidence
            why = f"{_WHY}\n\n{note}" if note else _WHY
            connection.execute(sa.update(head).values(stopped=why))
    finally:
        engine.dispose()


def _note(stopped: str | None) -> str:
    return (stopped or "").partition("\n\n")[2]


def _evidence(database: Path) -> str:
    """Return the checkpoint that stopped a database which is about to be replaced."""
    if not database.is_file():
        return ""
    try:
        with closing(sqlite3.connect(database)) as connection:
            rows = connection.execute("SELECT stopped FROM ledger_head").fetchall()
    except sqlite3.Error:  # it is damaged, which may be why it is replaced
        return ""
    return _note(rows[0][0])


def _copy(source: sqlite3.Connection, file: Path) -> None:
    if not file.exists():
        file.touch(mode=0o600)
    with closing(sqlite3.connect(file)) as target:
        source.backup(target)
        ((verdict,),) = target.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise StoreUnavailable(f"the copy in {file} is damaged: {verdict}")


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreUnavailable(
            f"{file} cannot be copied: {error}",
            hint="if it is damaged, move it away, and what is named like it",
        ) from error
