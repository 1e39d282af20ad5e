"""One entry, and the rows of other tables that it is about, in one transaction."""

from collections.abc import Callable, Collection

import sqlalchemy as sa

from ca.errors import CAError, LedgerStopped
from ca.store.append import Appended, Appending
from ca.store.barred import Barring
from ca.store.batch import Draft, Entry
from ca.store.transactions import Head
from ca.store.tree import Growth, Seen

Write = Callable[[sa.Connection, Entry], None]
"""Writes what an entry says has changed, or raises: then there is no entry either."""


class Change:
    """One entry and its rows, to be run under the head's lock."""

    def __init__(self, draft: Draft, write: Write, seen: Collection[Seen]) -> None:
        # Such an entry is nobody's certificate, so nobody is kept from it.
        self._appending = Appending([draft], seen, Barring())
        self._write = write

    def run(
        self, connection: sa.Connection, head: Head
    ) -> tuple[Entry, Growth] | LedgerStopped:
        """Append the entry and write its rows; or return why no entry is taken."""
        appended = self._appending.run(connection, head)
        if isinstance(appended, LedgerStopped):
            return appended
        entry, growth = _only(appended)
        self._write(connection, entry)
        return entry, growth

    def settle(self, connection: sa.Connection) -> tuple[Entry, Growth] | None:
        """Return what the last run came to, if it was committed after all."""
        appended = self._appending.settle(connection)
        return None if appended is None else _only(appended)


def _only(appended: Appended) -> tuple[Entry, Growth]:
    (outcome,) = appended.outcomes
    if isinstance(outcome, CAError):
        raise outcome
    return outcome, appended.growth
