"""Take lost entries back into the ledger, and let signers go on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ca.errors import Conflict
from ca.leaf import parse_leaf
from ca.store import tables
from ca.store.append import refusal, write_entries
from ca.store.batch import Entry
from ca.store.transactions import Head
from ca.store.tree import Contradiction, Growth, Seen, grow


@dataclass(frozen=True, slots=True)
class Recovered:
    """How the ledger is after a recovery."""

    growth: Growth
    entries: tuple[Entry, ...]
    """What came back; their records did not."""


class Recovery:
    """One recovery, to be run under the head's lock."""

    def __init__(
        self, leaves: Sequence[bytes], *, first: int, seen: Collection[Seen], now: int
    ) -> None:
        """`leaves` are those from index `first` on, as far as anybody has them."""
        self._leaves = leaves
        self._first = first
        self._seen = seen
        self._now = now

    def run(self, connection: sa.Connection, head: Head) -> Recovered:
        """Append what is missing; raise unless the ledger then has all that is known.

        Doing it again changes nothing.
        """
        if head.size < self._first:
            raise Conflict(
                f"the ledger has {head.size} entries, and the copy begins later",
                hint="take a whole copy",
            )
        base = head.serial_base
        entries = tuple(
            _entry(leaf, index)
            for index, leaf in enumerate(
                self._leaves[head.size - self._first :], start=base + head.size
            )
        )
        leaves = [entry.leaf for entry in entries]
        growth = grow(connection, head.size, leaves=leaves, base=base)
        write_entries(connection, entries, growth)
        try:
            grow(connection, growth.tree.size, leaves=[], base=base, seen=self._seen)
        except Contradiction as error:
            raise refusal(str(error)) from error
        values = {"stopped": None, "tokens_from": self._now}
        connection.execute(sa.update(tables.ledger_head).values(values))
        return Recovered(growth, entries)


def _entry(leaf: bytes, index: int) -> Entry:
    says = parse_leaf(leaf)
    if says.serial is not None and says.serial != index + 1:
        raise Conflict(
            f"an entry of the copy has serial {says.serial}, and in its place there"
            f" can only be {index + 1}",
            hint="it is the copy of another log",
        )
    return Entry(
        index=index,
        time=says.time,
        kind=says.kind,
        serial=says.serial,
        leaf=leaf,
        record=None,
        to_be_signed=None,
    )
