"""Take lost entries back into the ledger, and let signers go on."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ca.errors import Conflict
from ca.krl import Runs, runs_of
from ca.leaf import parse_leaf
from ca.store import lost, tables
from ca.store.append import refusal, write_entries
from ca.store.barred import set_mark
from ca.store.batch import Entry
from ca.store.hosts import end_join_tokens
from ca.store.lost import Forgotten
from ca.store.revoked import add_ca_keys, has_ca_keys
from ca.store.transactions import Head
from ca.store.tree import Contradiction, Growth, Seen, grow


@dataclass(frozen=True, slots=True)
class Recovered:
    """How the ledger is after a recovery."""

    growth: Growth
    entries: tuple[Entry, ...]
    """What came back; their records did not."""
    revoked: Runs
    """The serials that are revoked by it."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One recovery, to be run under the head's lock."""

    leaves: Sequence[bytes]
    """Those from index `first` on, as far as anybody has them."""
    first: int
    seen: Collection[Seen]
    forgotten: Forgotten
    """What somebody's KRL says is revoked."""
    build: Callable[[Runs, int], Callable[[int, int], Entry]]
    """Makes what makes the entry about the recovery, of what it revokes and of how many
    entries came back, which are those right before it."""
    now: int

    def run(self, connection: sa.Connection, head: Head) -> Recovered:
        """Append what is missing; raise unless the ledger then has all that is known.

        Doing it again changes nothing.
        """
        if head.size < self.first:
            raise Conflict(
                f"the ledger has {head.size} entries, and the copy begins later",
                hint="take a whole copy",
            )
        base = head.serial_base
        entries = tuple(
            _entry(leaf, index)
            for index, leaf in enumerate(
                self.leaves[head.size - self.first :], start=base + head.size
            )
        )
        leaves = [entry.leaf for entry in entries]
        growth = grow(connection, head.size, leaves=leaves, base=base)
        write_entries(connection, entries, growth)
        try:
            grow(connection, growth.tree.size, leaves=[], base=base, seen=self.seen)
        except Contradiction as error:
            raise refusal(str(error)) from error
        return self._conclude(connection, head, entries, growth)

    def _conclude(
        self,
        connection: sa.Connection,
        head: Head,
        entries: tuple[Entry, ...],
        growth: Growth,
    ) -> Recovered:
        """Revoke what nobody knows about, and say on the ledger what was done."""
        serials = [entry.serial for entry in entries if entry.serial is not None]
        back = zip(serials, serials, strict=True)
        revoked = runs_of([*self.forgotten.serials, *back])
        known = lost.read(connection)
        is_news = (
            bool(entries)
            or runs_of([*known, *revoked]) != known
            or not has_ca_keys(connection, self.forgotten.ca_keys)
        )
        if head.stopped is None and not is_news:
            return Recovered(growth, (), ())
        index = growth.base + growth.tree.size
        act = self.build(revoked, len(entries))(index, index + 1)
        after = grow(connection, growth.tree.size, leaves=[act.leaf], base=growth.base)
        write_entries(connection, [act], after)
        lost.add(connection, revoked, entry_index=act.index)
        add_ca_keys(connection, self.forgotten.ca_keys, act)
        set_mark(connection)
        end_join_tokens(connection, now=self.now)
        values = {"stopped": None, "tokens_from": self.now}
        connection.execute(sa.update(tables.ledger_head).values(values))
        return Recovered(after, entries, revoked)


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
