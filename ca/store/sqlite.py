"""SQLite in WAL mode with `synchronous=FULL`: what is committed survives a power cut.

Writers begin with `BEGIN IMMEDIATE`, so that a transaction reads nothing that another
one is about to change. SQLite lets who finds it locked sleep and try again, up to a
tenth of a second, and whoever comes at the right moment gets in: of two busy processes
one starves. So processes take turns outside of it, in `Turns`.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ca.errors import Misconfigured, StoreUnavailable

WRITES = "daypass_writes"
"""The execution option of a connection whose next transaction will write."""

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
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


class Turns:
    """A lock between processes that passes on to whoever waits.

    Two locked files, as at a counter: one is held by who is served, the other by who
    is next. Who was just served has to become next again, behind the one that is.
    The kernel frees both when their process dies.
    """

    def __init__(self, database: Path, *, seconds: float) -> None:
        self._next = database.with_name(f"{database.name}-next")
        self._served = database.with_name(f"{database.name}-turn")
        self._seconds = seconds

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for a turn and hold it; raise `StoreUnavailable` if it takes too long.

        Locks belong to the opened file, so that threads take turns, too.
        """
        until = time.monotonic() + self._seconds
        with _opened(self._served) as served:
            with _opened(self._next) as next_:
                _lock(next_, until)
                _lock(served, until)
            yield


@contextmanager
def _opened(file: Path) -> Iterator[int]:
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"the database's folder refuses a lock ({error.strerror})",
            hint="the operator finds the cause in the log",
        ) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, until: float) -> None:
    # Not the kernel's own waiting, which nothing but a signal would end.
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StoreUnavailable(
                    "another process has held the database for too long",
                    hint="try again; if it lasts, look for a process that hangs",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
