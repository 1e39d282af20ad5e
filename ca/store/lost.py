"""Serials whose records are lost, and what a recovery says is revoked besides.

Runs, not rows for each: between what is known of a closed log and the first serial of
the one that follows there are billions. They hold for all CA keys of ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from ca.krl import Runs, runs_of
from ca.store import tables


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is revoked, and a database that was set back may not know of."""

    serials: Runs = ()
    ca_keys: tuple[bytes, ...] = ()
    """Their blobs."""


_LOST = tables.lost_serials
_RUNS = sa.select(_LOST.c.first, _LOST.c.last)


def read(connection: sa.Connection) -> Runs:
    """Return all of them."""
    return runs_of((int(a), int(b)) for a, b in connection.execute(_RUNS))


def add(
    connection: sa.Connection, runs: Iterable[tuple[int, int]], *, entry_index: int
) -> None:
    """Add runs that the entry at this index says are lost; again is no change."""
    known = read(connection)
    for first, last in runs_of(runs):
        if not any(a <= first and last <= b for a, b in known):
            same = _LOST.c.first == str(first)
            connection.execute(sa.delete(_LOST).where(same))  # it was shorter
            row = {"first": str(first), "last": str(last), "entry_index": entry_index}
            connection.execute(sa.insert(_LOST), [row])
