"""SQLite in WAL mode with `synchronous=FULL`: what is committed survives a power cut.

Writers begin with `BEGIN IMMEDIATE`, so that a transaction reads nothing that another
one is about to change. SQLite lets who finds it locked sleep and try again, up to a
tenth of a second, and whoever comes at the right moment gets in: of two busy processes
one starves. So processes take turns outside of it, in `Turns`.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ca.errors import Misconfigured, StoreUnavailable
from ca.store import bulk
from ca.store.locks import FileLock
from ca.store.options import WRITES

_POLL_SECONDS = 0.0002
_LONGEST_SECONDS = 3600.0


def open_engine(url: sa.URL, *, create: bool, seconds: float) -> sa.Engine:
    """Open a file, which must exist.

    A typing mistake in a path must not quietly start an empty ledger.
    """
    file = Path(url.database or "")
    if not create and not file.is_file():
        raise Misconfigured(
            f"there is no database {file}",
            hint="check database.url, restore a backup, or run: ca-admin init DIR",
        )
    # Its parameters are records: names and addresses, which no log should have.
    engine = sa.create_engine(
        url,
        connect_args={"timeout": min(seconds, _LONGEST_SECONDS)},
        hide_parameters=True,
    )
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own account; `_begin` does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(WRITES, False)
    bulk.execute(connection, "BEGIN IMMEDIATE" if writes else "BEGIN")


class Turns:
    """A lock between processes that passes on to whoever waits.

    Two locked files, as at a counter: one is held by who is served, the other by who
    is next. Who was just served has to become next again, behind the one that is.

    No turn is given where the database was moved away or another was put in its place:
    SQLite would go on with the file that it has open.
    """

    def __init__(self, database: Path, *, seconds: float) -> None:
        self._database = database
        self._opened = _identity(database)
        self._next = FileLock(database.with_name(f"{database.name}-next"))
        self._served = FileLock(database.with_name(f"{database.name}-turn"))
        self._seconds = seconds

    @contextmanager
    def take(self) -> Iterator[None]:
        """Hold a turn; raise `StoreUnavailable` if the wait for it takes too long."""
        until = time.monotonic() + self._seconds
        with ExitStack() as turn:
            with self._next.hold(until):
                turn.enter_context(self._served.hold(until))
            replaced = self._replaced()
            if replaced is not None:
                raise StoreUnavailable(
                    replaced, hint="put it back, or start the signer again"
                )
            yield

    def problem(self) -> str | None:
        """Say what or which process keeps others from writing, or return None."""
        return self._replaced() or self._served.problem() or self._next.problem()

    def _replaced(self) -> str | None:
        """Say so if what is written would go to a file that nobody finds again."""
        if _identity(self._database) == self._opened:
            return None
        return f"{self._database} is gone, or not the file that this process has open"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
