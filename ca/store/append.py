"""One batch on its way into the ledger: what its transaction reads and writes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import sqlalchemy as sa

from ca.errors import CAError, LedgerStopped
from ca.store import buckets, bulk, tables
from ca.store.barred import Barring, certificate_revoked, revoked_among
from ca.store.batch import Batch, Draft, Entry, Spent
from ca.store.transactions import Head
from ca.store.tree import Contradiction, Growth, Seen, grow

# What each append executes, made once: making a statement costs more than running it.
_STOP = sa.update(tables.ledger_head).values(stopped=sa.bindparam("why"))
_ENTRY_ROW = attrgetter(*(column.name for column in tables.entries.columns))
_SPENT_ROW = attrgetter(*(column.name for column in tables.token_uses.columns))


@dataclass(frozen=True, slots=True)
class Appended:
    """What a batch came to."""

    outcomes: list[Entry | CAError]
    """Of each draft."""
    growth: Growth


def reason(why: str) -> str:
    """Return the line that says why, without the evidence."""
    return why.partition("\n")[0]


def refusal(why: str) -> LedgerStopped:
    """Return the refusal that stands in for everything once the ledger is stopped."""
    return LedgerStopped(
        f"the ledger is stopped: {reason(why)}",
        hint="nothing is issued until an operator has run: ca-admin ledger recover",
    )


class Appending:
    """A batch, to be run under the head's lock."""

    def __init__(
        self, drafts: Sequence[Draft], seen: Iterable[Seen], barring: Barring
    ) -> None:
        self._drafts = drafts
        self._barring = barring
        brought = (draft.seen for draft in drafts)
        self._seen = {*seen, *(each for each in brought if each is not None)}
        self._entries: list[Entry] = []
        self._appended: Appended | None = None

    def run(self, connection: sa.Connection, head: Head) -> Appended | LedgerStopped:
        """Place the drafts and write what is new.

        Or stop all signers, and return why, when somebody has a checkpoint that the
        tree does not contain.
        """
        if head.stopped is not None:
            return refusal(head.stopped)
        batch = Batch(
            first=head.serial_base,
            size=head.size,
            tokens_from=head.tokens_from or 0,
            spent=_spent(connection, self._drafts),
            full_at=_full_at(connection, self._drafts),
            refusal=partial(
                self._barring.at(connection, head).refusal,
                revoked=_revoked(connection, self._drafts),
            ),
        )
        placed = [batch.place(draft) for draft in self._drafts]
        repeated = {outcome for outcome in placed if isinstance(outcome, int)}
        try:
            growth = grow(
                connection,
                head.size,
                leaves=[entry.leaf for entry in batch.entries],
                base=head.serial_base,
                repeated=[index - head.serial_base for index in repeated],
                seen=self._seen,
            )
        except Contradiction as error:
            connection.execute(_STOP, {"why": str(error)})
            return refusal(str(error))
        write_entries(connection, batch.entries, growth)
        bulk.insert(connection, tables.token_uses, list(map(_SPENT_ROW, batch.spent)))
        buckets.write(connection, batch.taken)
        known = _bought(connection, repeated)
        self._entries = batch.entries
        self._appended = Appended([_outcome(each, known) for each in placed], growth)
        return self._appended

    def settle(self, connection: sa.Connection) -> Appended | None:
        """Return what the last run came to, if it was committed after all.

        Then its first entry is where it was put. A leaf is nobody else's: it holds a
        hash over a salt.
        """
        for first in self._entries[:1]:
            there = entries_at(connection, [first.index]).get(first.index)
            if there is not None and there.leaf == first.leaf:
                return self._appended
        return None


def entries_at(connection: sa.Connection, indices: Collection[int]) -> dict[int, Entry]:
    """Return the entries at these indices."""
    keys = [(index,) for index in indices]
    rows = bulk.select(connection, tables.entries, keyed=1, keys=keys)
    return {entry.index: entry for entry in map(entry_in, rows)}


def entry_in(row: Sequence[Any]) -> Entry:
    """Return the entry that a row of `tables.entries` holds."""
    index, time, kind, serial, *rest = row
    return Entry(index, time, kind, None if serial is None else int(serial), *rest)


def write_entries(
    connection: sa.Connection, entries: Sequence[Entry], growth: Growth
) -> None:
    """Write new entries, their nodes and the head."""
    if entries:
        bulk.update(connection, tables.ledger_head.c.size, growth.tree.size)
        bulk.insert(connection, tables.entries, list(map(_entry_row, entries)))
        bulk.insert(connection, tables.tree_nodes, growth.rows())


def _outcome(
    placed: Entry | int | CAError, known: Mapping[int, Entry | CAError]
) -> Entry | CAError:
    return known[placed] if isinstance(placed, int) else placed


def _bought(
    connection: sa.Connection, repeated: Collection[int]
) -> dict[int, Entry | CAError]:
    """Return the entries that are asked for again, or why not."""
    entries = entries_at(connection, repeated)
    serials = [each.serial for each in entries.values() if each.serial is not None]
    revoked = revoked_among(connection, serials)
    return {
        index: certificate_revoked() if entry.serial in revoked else entry
        for index, entry in entries.items()
    }


def _revoked(connection: sa.Connection, drafts: Sequence[Draft]) -> set[int]:
    """Return which of the certificates are revoked that drafts are asked with."""
    bearers = [d.bearer for d in drafts if d.bearer is not None]
    return revoked_among(
        connection, {b.serial for b in bearers if b.serial is not None}
    )


def _spent(connection: sa.Connection, drafts: Sequence[Draft]) -> list[Spent]:
    spends = [draft.spends for draft in drafts if draft.spends is not None]
    keys = list({(each.expires, each.token_sha256) for each in spends})
    rows = bulk.select(connection, tables.token_uses, keyed=2, keys=keys)
    return [Spent(*row) for row in rows]


def _full_at(connection: sa.Connection, drafts: Sequence[Draft]) -> dict[bytes, int]:
    takes = [d.spends.takes for d in drafts if d.spends is not None]
    subjects = {take.subject for take in takes if take is not None}
    return buckets.read(connection, subjects)


def _entry_row(entry: Entry) -> tuple[Any, ...]:
    index, time, kind, serial, *rest = _ENTRY_ROW(entry)
    return (index, time, kind, None if serial is None else str(serial), *rest)
