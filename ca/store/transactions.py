"""The one place where a transaction is run, and run again.

It runs again when the server took it back (SQLSTATE 40001, 40P01), or the connection
broke before its commit was sent: nothing of it is there then. When the connection broke
*during* the commit, nobody but the database knows. So the next attempt first settles
it, under the head's lock: who has that lock knows that the lost transaction, which held
it, has ended one way or the other.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple, Self, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from ca.errors import Misconfigured
from ca.store import bulk, sqlite, tables
from ca.store.engine import SECONDS, open_engine, translated
from ca.store.options import UNTIL, WRITES

R = TypeVar("R")


class Head(NamedTuple):
    """The one row of `tables.ledger_head`, locked."""

    size: int
    serial_base: int
    origin: str | None
    stopped: str | None
    tokens_from: int | None
    revocation_mark: int | None


_PAUSES = (0.01, 0.05, 0.2)
"""Seconds between one attempt and the next."""

_TAKEN_BACK = frozenset({"40001", "40P01"})
"""serialization_failure and deadlock_detected (PostgreSQL, appendix A)."""

# Made once: making a statement costs more than running it.
_HEAD = sa.select(
    *(tables.ledger_head.columns[name] for name in Head._fields)
).with_for_update()


def again(_connection: sa.Connection) -> None:
    """Settle a write that may be done twice: do it again."""


class Database:
    """Runs transactions. Thread-safe."""

    def __init__(
        self,
        engine: sa.Engine,
        *,
        seconds: float,
        turns: sqlite.Turns | None = None,
    ) -> None:
        self.engine = engine
        self.origin: str | None = None
        """Of the log that was opened: what is written is for no other."""
        self._seconds = seconds
        self._turns = turns
        self._kept: list[sa.Connection] = []
        """One that has written, for who writes next: to have the pool check it in and
        out again takes longer than most of what is written."""

    @classmethod
    def open(
        cls, url: str, *, password_file: Path | None = None, seconds: float = SECONDS
    ) -> Self:
        """Open an existing database, or raise `Misconfigured`."""
        engine = open_engine(url, password_file=password_file, seconds=seconds)
        if engine.dialect.name != "sqlite":
            return cls(engine, seconds=seconds)
        file = Path(engine.url.database or "")
        turns = sqlite.Turns(file, seconds=seconds)
        return cls(engine, seconds=seconds, turns=turns)

    def close(self) -> None:
        """Close all connections."""
        while (kept := self._kept_one()) is not None:
            kept.close()
        self.engine.dispose()

    def problem(self) -> str | None:
        """Say which process keeps this one from writing, or return None."""
        return None if self._turns is None else self._turns.problem()

    def read(self, work: Callable[[sa.Connection], R]) -> R:
        """Return what `work` reads; it may run more than once."""
        return self._repeated(lambda until: self._read(work, until))

    def _read(self, work: Callable[[sa.Connection], R], until: float) -> R:
        with self._begun(until, writes=False) as connection:
            return work(connection)

    def write(
        self,
        work: Callable[[sa.Connection, Head], R],
        *,
        settle: Callable[[sa.Connection], R | None] = again,
    ) -> R:
        """Return what `work` returns, committed.

        It runs with the head locked, and may run more than once; `settle` returns what
        it returned, if the last run turns out to be committed, or else None.
        """
        unsure = False

        def attempt(until: float) -> R:
            nonlocal unsure
            commits = False
            try:
                with self._turn(), self._begun(until, writes=True) as connection:
                    (row,) = bulk.rows(connection, _HEAD)
                    head = Head(*row)
                    self.refuse_another_log(head.origin)
                    settled = settle(connection) if unsure else None
                    unsure = False
                    result = work(connection, head) if settled is None else settled
                    commits = True
            except DBAPIError as error:
                unsure |= commits and error.connection_invalidated
                raise
            return result

        return self._repeated(attempt)

    def write_apart(self, work: Callable[[sa.Connection], R]) -> R:
        """Return what `work` returns, committed, without the head's lock.

        For what no entry of the ledger stands for, and may be written twice: where
        each of a fleet writes its own row, they must not queue before who signs.
        """

        def attempt(until: float) -> R:
            with self._turn(), self._begun(until, writes=True) as connection:
                return work(connection)

        return self._repeated(attempt)

    def refuse_another_log(self, origin: str | None) -> None:
        """Raise where an operator has begun a new log since this one was opened."""
        if self.origin is not None and origin != self.origin:
            raise Misconfigured(
                f"the database holds the log {origin} by now, and the roots that"
                f" this signer was started with name {self.origin}",
                hint="put the new roots into roots_file, then start it again",
            )

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.take()

    @contextmanager
    def _begun(self, until: float, *, writes: bool) -> Iterator[sa.Connection]:
        connection = self._kept_one() if writes else None
        connection = connection or self.engine.connect()
        try:
            connection.execution_options(**{UNTIL: until, WRITES: writes})
            with connection.begin():
                yield connection
        except BaseException:
            connection.close()
            raise
        # One, so that the pool always has some for who waits for one.
        if writes and not self._kept:
            self._kept.append(connection)
        else:
            connection.close()

    def _kept_one(self) -> sa.Connection | None:
        try:
            return self._kept.pop()
        except IndexError:
            return None

    def _repeated(self, attempt: Callable[[float], R]) -> R:
        """Run `attempt` until it succeeds, or fails for good, or it is too late."""
        until = time.monotonic() + self._seconds
        with translated():
            for pause in _PAUSES:
                try:
                    return attempt(until)
                except DBAPIError as error:
                    if not _may_pass(error) or time.monotonic() + pause > until:
                        raise
                # Two that met once must not meet again.
                time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 (no secret)
            return attempt(until)


def _may_pass(error: DBAPIError) -> bool:
    return (
        error.connection_invalidated
        or getattr(error.orig, "sqlstate", None) in _TAKEN_BACK
    )
