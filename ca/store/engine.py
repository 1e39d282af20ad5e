"""How a database connection is opened and a transaction begun.

SQLite in WAL mode with `synchronous=FULL`: what is committed survives a power cut.
Writers queue at `BEGIN IMMEDIATE`, so that a transaction reads nothing that another
one is about to change.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ca.errors import Misconfigured, StoreUnavailable

BUSY_SECONDS = 5
"""How long a writer waits for its turn before the request is refused."""

_WRITES = "daypass_writes"


def open_engine(url: str, *, create: bool = False) -> sa.Engine:
    """Open the database at `url`; only `ca-admin init` may create it.

    A missing file is an error: a typing mistake in a path must not quietly start an
    empty ledger.
    """
    parsed = sa.make_url(url)
    file = Path(parsed.database or "")
    if not create and not file.is_file():
        raise Misconfigured(
            f"there is no database {file}",
            hint="check database.url, restore a backup, or run: ca-admin init DIR",
        )
    engine = sa.create_engine(parsed, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(engine, "connect", _prepare)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    # The driver must not begin transactions on its own account; `_begin` does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Hold the writers' lock; commit at the end, roll back on any exception."""
    with engine.connect() as connection:
        connection.execution_options(**{_WRITES: True})
        with connection.begin():
            yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database says into `StoreUnavailable`, without its words.

    They quote statements and values; the traceback, in the log, keeps them.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"the database refuses ({type(error).__name__})",
            hint="try again; if it lasts, the operator finds the cause in the log",
        ) from error
