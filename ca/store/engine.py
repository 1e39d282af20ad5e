"""How the database at a URL is opened: SQLite in a file, or PostgreSQL on a server.

Either way what is committed survives a power cut, and nothing waits without an end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ca.errors import Misconfigured, StoreUnavailable
from ca.store import sqlite
from ca.store.options import WRITES

SECONDS = 5.0
"""How long one transaction may take, its wait for a turn included, before the request
is refused. A request waits for two at most: the batch before its own, and its own."""


def open_engine(
    url: str,
    *,
    password_file: Path | None = None,
    create: bool = False,
    seconds: float = SECONDS,
) -> sa.Engine:
    """Open the database at `url`; only `ca-admin init` may create one, a file.

    `password_file` is for a server that wants a password.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite.open_engine(parsed, create=create, seconds=seconds)
    try:
        # Imported where it is configured: its driver is an extra of the package.
        from ca.store import postgresql  # noqa: PLC0415
    except ImportError as error:
        raise Misconfigured(
            "the driver for PostgreSQL is not installed",
            hint="pip install 'daypass[postgres]'",
        ) from error
    return postgresql.open_engine(parsed, password_file=password_file, seconds=seconds)


@contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Begin to write; commit at the end, roll back on any exception."""
    with engine.connect() as connection:
        connection.execution_options(**{WRITES: True})
        with connection.begin():
            yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the database says into `StoreUnavailable`, without its words.

    They quote statements; the traceback, in the log, keeps them.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"the database refuses ({type(error).__name__})",
            hint="try again; if it lasts, the operator finds the cause in the log",
        ) from error
