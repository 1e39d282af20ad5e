"""Give a log up whose entries cannot be had back, and begin a new one behind it."""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from ca.errors import Conflict
from ca.store import lost, tables
from ca.store.append import write_entries
from ca.store.barred import set_mark
from ca.store.batch import Entry
from ca.store.hosts import end_join_tokens
from ca.store.lost import Forgotten
from ca.store.revoked import add_ca_keys
from ca.store.transactions import Head
from ca.store.tree import grow


@dataclass(frozen=True, slots=True)
class NewLog:
    """What follows on a closed log, to be begun under the head's lock."""

    origin: str
    serial_base: int
    """Behind all that the closed log had, or may have had."""
    closed: str
    """The origin of the log that is given up."""
    size: int
    """How many entries of it there are in the database."""
    forgotten: Forgotten
    """The serials whose records may be lost, and what else it revokes."""
    build: Callable[[int, int], Entry]
    """Makes the first entry, which says what was given up."""
    now: int

    def run(self, connection: sa.Connection, head: Head) -> None:
        """Begin it; raise `Conflict` unless the closed log is as it was looked at.

        What that had stays where it is: entries of both are in one order.
        """
        if (head.origin, head.size) != (self.closed, self.size):
            raise Conflict(
                f"the database holds {head.size} entries of the log {head.origin},"
                f" not {self.size} of {self.closed}",
                hint="look again: ca-admin ledger verify",
            )
        if head.stopped is None:
            raise Conflict(
                f"the log {head.origin} is not stopped: nothing of it is missing that"
                " anybody is known to have",
                hint="put the roots before these into roots_file again",
            )
        base = self.serial_base
        entry = self.build(base, base + 1)
        growth = grow(connection, 0, leaves=[entry.leaf], base=base)
        values = {
            "origin": self.origin,
            "serial_base": base,
            "stopped": None,
            "tokens_from": self.now,
        }
        connection.execute(sa.update(tables.ledger_head).values(values))
        write_entries(connection, [entry], growth)
        lost.add(connection, self.forgotten.serials, entry_index=entry.index)
        add_ca_keys(connection, self.forgotten.ca_keys, entry)
        set_mark(connection)
        end_join_tokens(connection, now=self.now)
