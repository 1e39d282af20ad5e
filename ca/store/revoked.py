"""What is revoked and blocked: read, and written together with its entry."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ca.errors import LedgerStopped, NotFound
from ca.krl import Runs
from ca.store import bulk, lost, pages, tables
from ca.store.append import Appended, Appending
from ca.store.barred import Barring, Target, revoked_among, set_mark
from ca.store.batch import Draft, Entry
from ca.store.transactions import Head
from ca.store.tree import Seen

_MOST_KEYS = 10_000
"""In one statement: PostgreSQL takes 65,535 values, SQLite 32,766."""


@dataclass(frozen=True, slots=True)
class RevokedSerial:
    """One revoked certificate."""

    serial: int
    ca_key: bytes
    """The blob of the CA key that signed it."""
    ends: int
    """Its `valid_before`."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """All that is revoked."""

    serials: tuple[RevokedSerial, ...] = ()
    ca_keys: tuple[bytes, ...] = ()
    """Their blobs."""
    lost: Runs = ()
    """Runs of serials whose records are lost: revoked for good, under each CA key."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block on record."""

    id: int
    target: Target
    entry_index: int
    lifted_index: int | None
    """Of the entry that lifted it."""
    time: int
    """Of the entry that made it."""
    record: bytes | None
    """Of that entry: who, and why; None once it was erased."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A revocation, a block, or the lifting of one."""

    draft: Draft
    """Its entry."""
    serials: tuple[RevokedSerial, ...] = ()
    ca_keys: tuple[bytes, ...] = ()
    blocks: tuple[Target, ...] = ()
    lifts: int | None = None
    """The id of a block."""


Decide = Callable[[Sequence[pages.StoredCertificate]], Act]
"""What to do, given the certificates that were recorded while it was prepared. Runs
under the head's lock, perhaps more than once."""


class Acting:
    """One act, to be run under the head's lock."""

    def __init__(
        self,
        decide: Decide,
        *,
        tail_from: int,
        seen: Collection[Seen],
        barring: Barring,
    ) -> None:
        """`tail_from` is the index up to which `decide` has seen all certificates."""
        self._decide = decide
        self._tail_from = tail_from
        self._seen = seen
        self._barring = barring
        self._appending: Appending | None = None

    def run(self, connection: sa.Connection, head: Head) -> Appended | LedgerStopped:
        """Do it; or return why the ledger is stopped."""
        act = self._decide(_tail(connection, self._tail_from))
        self._appending = Appending([act.draft], self._seen, self._barring)
        done = self._appending.run(connection, head)
        if isinstance(done, Appended):
            (entry,) = done.outcomes
            assert isinstance(entry, Entry)  # noqa: S101 (a draft without a bearer)
            _write(connection, act, entry)
        return done

    def settle(self, connection: sa.Connection) -> Appended | None:
        """Return what the last run came to, if it was committed after all."""
        return None if self._appending is None else self._appending.settle(connection)


def _tail(connection: sa.Connection, first: int) -> Sequence[pages.StoredCertificate]:
    everything = pages.Span(first=first)
    return pages.page(connection, everything, below=None, size=None)


def _write(connection: sa.Connection, act: Act, entry: Entry) -> None:
    _write_serials(connection, act.serials, entry)
    add_ca_keys(connection, act.ca_keys, entry)
    _write_blocks(connection, act.blocks, entry)
    if act.lifts is not None:
        _lift(connection, act.lifts, entry)
    set_mark(connection)


def add_ca_keys(
    connection: sa.Connection, ca_keys: Collection[bytes], entry: Entry
) -> None:
    """Revoke CA keys, as an entry says; again is no change."""
    known = _ca_keys(connection)
    rows = [(key, entry.index, entry.time) for key in ca_keys if key not in known]
    bulk.insert(connection, tables.revoked_ca_keys, rows)


def has_ca_keys(connection: sa.Connection, ca_keys: Collection[bytes]) -> bool:
    """Tell whether all these CA keys are revoked."""
    return _ca_keys(connection).issuperset(ca_keys)


def _ca_keys(connection: sa.Connection) -> set[bytes]:
    return set(connection.scalars(sa.select(tables.revoked_ca_keys.c.ca_key)))


def _write_serials(
    connection: sa.Connection, serials: Sequence[RevokedSerial], entry: Entry
) -> None:
    for at in range(0, len(serials), _MOST_KEYS):
        some = serials[at : at + _MOST_KEYS]
        known = revoked_among(connection, [one.serial for one in some])
        rows = [
            (str(one.serial), one.ca_key, one.ends, entry.index)
            for one in some
            if one.serial not in known
        ]
        bulk.insert(connection, tables.revoked_serials, rows)


def _write_blocks(
    connection: sa.Connection, targets: Sequence[Target], entry: Entry
) -> None:
    blocks = tables.blocks
    for target in targets:
        mine = [getattr(blocks.c, k) == v for k, v in target._asdict().items()]
        known = sa.select(blocks.c.id).where(*mine, blocks.c.lifted_index.is_(None))
        if connection.scalar(known) is None:
            values = {**target._asdict(), "entry_index": entry.index}
            connection.execute(sa.insert(blocks).values(values))


def _lift(connection: sa.Connection, id_: int, entry: Entry) -> None:
    blocks = tables.blocks
    mine = sa.update(blocks).where(blocks.c.id == id_, blocks.c.lifted_index.is_(None))
    if connection.execute(mine.values(lifted_index=entry.index)).rowcount != 1:
        raise NotFound(
            f"there is no block {id_}, or it was lifted", hint="ca-admin block list"
        )


def revocations(connection: sa.Connection, *, since: int = 0) -> Revocations:
    """Return all that is revoked, of certificates those that end at `since` or later.

    None is ever deleted: a clock that was wrong for an hour must not un-revoke anybody.
    """
    serials = tables.revoked_serials.c
    wanted = sa.select(serials.serial, serials.ca_key, serials.ends)
    rows = connection.execute(wanted.where(serials.ends >= since))
    keys = tables.revoked_ca_keys.c.ca_key
    return Revocations(
        tuple(RevokedSerial(int(row.serial), row.ca_key, row.ends) for row in rows),
        tuple(connection.scalars(sa.select(keys).order_by(keys))),
        lost.read(connection),
    )


def among(connection: sa.Connection, serials: Collection[int]) -> set[int]:
    """Return those of the serials that are revoked, however many they are."""
    every, found = sorted(serials), set[int]()
    for at in range(0, len(every), _MOST_KEYS):
        found |= revoked_among(connection, every[at : at + _MOST_KEYS])
    return found


def blocks(connection: sa.Connection) -> list[Block]:
    """Return all blocks, newest first, lifted ones too."""
    table, entries = tables.blocks, tables.entries
    wanted = (
        sa.select(table, entries.c.time, entries.c.record)
        .join(entries, entries.c.index == table.c.entry_index)
        .order_by(table.c.id.desc())
    )
    return [_block(row) for row in connection.execute(wanted)]


def _block(row: sa.Row[Any]) -> Block:
    return Block(
        id=row.id,
        target=Target(row.kind, row.issuer, row.name),
        entry_index=row.entry_index,
        lifted_index=row.lifted_index,
        time=row.time,
        record=row.record,
    )
