"""PostgreSQL: what a connection of ours is, and what a server of ours must promise.

`fsync` and `full_page_writes` are the server's, so they are checked on each connection;
`synchronous_commit` is the session's, so it is set. READ COMMITTED is enough, because
each writer first locks the ledger's one row: it then sees all that was committed
before, and nobody else writes.
"""

import math
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import sqlalchemy as sa
from psycopg.abc import Params, PQGen, Query

from ca.errors import Misconfigured, StoreUnavailable
from ca.store.options import UNTIL

R = TypeVar("R")

_OTHERS_MAY = 0o077
_CONNECT_SECONDS = 2
_LONGEST_MESSAGE_WAIT = 0.1
"""How late, at most, a deadline is noticed."""

_PROMISES: Mapping[str, frozenset[str]] = {
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    # `remote_apply` waits for even more than `on`.
    "synchronous_commit": frozenset({"on", "remote_apply"}),
}


_BY_KEY = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
}
"""We look things up by their keys. A plan is made once, and kept: made while a table
was small it would read all of it, until somebody has the server analyse it again."""


class _Connection(psycopg.Connection[Any]):
    """A connection on which nothing waits longer than it may.

    The server's own timeouts do not help against a server that hangs, nor in a commit
    that waits for a replica.
    """

    until: float = math.inf
    _warned = False

    def commit(self) -> None:
        """Commit; raise as if the connection had broken if it is not quite so.

        A commit whose wait for a synchronous replica was cancelled succeeds, with a
        warning: it is on this server's disk alone.
        """
        self._warned = False
        super().commit()
        if self._warned:
            self.close()
            raise psycopg.OperationalError("committed, but with a warning")

    def notice(self, notice: psycopg.errors.Diagnostic) -> None:
        """Take note of what the server remarks."""
        self._warned |= notice.severity_nonlocalized == "WARNING"

    def wait(
        self,
        gen: PQGen[R],
        interval: float = _LONGEST_MESSAGE_WAIT,
        timeout: float | None = None,
    ) -> R:
        """Run one exchange with the server; past the deadline close the connection."""
        left = max(0.0, self.until - time.monotonic())
        if left < (math.inf if timeout is None else timeout):
            timeout = left
        try:
            return super().wait(gen, interval, timeout=timeout)
        except psycopg.OperationalError:
            # Half an exchange: whatever comes next would be read as its answer.
            if time.monotonic() >= self.until:
                self.pgconn.finish()
            raise


class _Cursor(psycopg.Cursor[Any]):
    """A cursor that makes no pipeline of many values.

    Behind a pipeline PostgreSQL 15 ends no session that is idle in its transaction, so
    that who hangs there would keep the ledger's lock.
    """

    def executemany(
        self, query: Query, params_seq: Iterable[Params], *, returning: bool = False
    ) -> None:
        """Execute for one after the other; nobody here wants the rows."""
        del returning
        for values in params_seq:
            self.execute(query, values)  # type: ignore[arg-type] # as psycopg has it


def open_engine(
    url: sa.URL, *, password_file: Path | None, seconds: float
) -> sa.Engine:
    """Open a database on a server; connections are made when they are needed."""
    engine = sa.create_engine(
        url,
        connect_args={
            "options": _session(seconds),
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "daypass",
            "target_session_attrs": "read-write",
        },
        isolation_level="READ COMMITTED",
        pool_timeout=seconds if seconds < math.inf else None,
        use_native_hstore=False,
        # They are records: names and addresses, which no log should have.
        hide_parameters=True,
    )

    def connect(_dialect: object, _record: object, _args: object, words: Any) -> Any:
        connection = _Connection.connect(
            **words, **_password(password_file), cursor_factory=_Cursor
        )
        connection.add_notice_handler(connection.notice)
        connection.until = time.monotonic() + _CONNECT_SECONDS
        return connection

    sa.event.listen(engine, "do_connect", connect)
    sa.event.listen(engine, "connect", _refuse_unsafe)
    sa.event.listen(engine, "begin", _begin)
    return engine


def _session(seconds: float) -> str:
    """Return the settings of a session, as PostgreSQL's `options` take them.

    Who hangs with the ledger's lock held loses it: the server ends a session that is
    idle in a transaction, and rolls back.
    """
    settings = {"synchronous_commit": "on"} | _BY_KEY
    if seconds < math.inf:
        milliseconds = f"{seconds * 1000:.0f}"
        settings |= {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
        }
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _password(file: Path | None) -> dict[str, Any]:
    """Read the password, at each connection, so that it can be changed in place."""
    if file is None:
        return {}
    try:
        if file.stat().st_mode & _OTHERS_MAY:
            raise Misconfigured(
                f"others than its owner may use {file}", hint=f"chmod 600 {file}"
            )
        return {"password": file.read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"cannot read {file}") from error


def _refuse_unsafe(connection: Any, _record: object) -> None:
    """Raise unless what this server says is committed is on its disk."""
    cursor = connection.execute(
        "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(_PROMISES)]
    )
    found = dict(cursor.fetchall())
    connection.rollback()
    for name, allowed in _PROMISES.items():
        if found.get(name) not in allowed:
            raise StoreUnavailable(
                f"the database server has {name}={found.get(name)}, and would lose"
                " what it says is committed",
                hint=f"set {name}={min(allowed)} there",
            )


def _begin(connection: sa.Connection) -> None:
    until = connection.get_execution_options().get(UNTIL, math.inf)
    connection.connection.driver_connection.until = until  # type: ignore[union-attr] # ours, see `connect`
