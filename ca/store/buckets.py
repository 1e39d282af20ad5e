"""Token buckets: how often somebody may ask, whichever process they come to.

A bucket holds as much as a minute refills, and is one number: when it is full again.
Taking from it moves that moment on. A bucket that is full, or has never been taken
from, needs no row.

Functions on a connection; `Store` runs them in a transaction.
"""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from msgspec import Struct

from ca.errors import RateLimited
from ca.store import bulk, tables

MINUTE = 60_000_000
"""In microseconds, as all times here are."""


class Take(Struct, frozen=True):
    """One request's share of a bucket."""

    subject: bytes
    """Whose bucket: a SHA-256, so that the table names nobody."""
    cost: int
    """How long the bucket takes to refill it."""
    now: int

    def after(self, full_at: int, *, times: int = 1) -> int:
        """Return when the bucket is full again, however much too much was taken."""
        # No bucket takes longer than a minute: that was a clock that went wrong, and
        # must lock nobody out. A little of that is the difference of two clocks.
        if full_at > self.now + 2 * MINUTE:
            full_at = self.now
        full_at = max(self.now, min(full_at, self.now + MINUTE))
        return full_at + self.cost * times

    def allowed(self, full_at: int) -> int:
        """Return when the bucket is full again, or raise `RateLimited`."""
        after = self.after(full_at)
        if after > self.now + MINUTE:
            raise limited(self.subject, wait=after - self.now - MINUTE)
        return after


def limited(subject: bytes, *, wait: int) -> RateLimited:
    """Return the refusal of who has to wait."""
    seconds = -(-wait // 1_000_000)
    return RateLimited(
        "more requests than one may send in a minute",
        hint=f"try again in {seconds} s",
        retry_after=seconds,
        subject=subject,
    )


def read(connection: sa.Connection, subjects: Collection[bytes]) -> dict[bytes, int]:
    """Return when the buckets are full again; those without a row are."""
    keys = [(subject,) for subject in subjects]
    return dict(bulk.select(connection, tables.rate_buckets, keyed=1, keys=keys))


def write(connection: sa.Connection, full_at: Mapping[bytes, int]) -> None:
    """Put buckets on record."""
    bulk.replace(connection, tables.rate_buckets, sorted(full_at.items()))


def take_all(connection: sa.Connection, takes: Mapping[Take, int]) -> dict[bytes, int]:
    """Take what was already spent elsewhere, so many times; return the buckets."""
    before = read(connection, {take.subject for take in takes})
    after = {
        take.subject: min(
            take.after(before.get(take.subject, 0), times=times), take.now + MINUTE
        )
        for take, times in takes.items()
    }
    write(connection, after)
    return after


def forget(connection: sa.Connection, *, now: int) -> None:
    """Delete the rows of buckets that are full."""
    buckets = tables.rate_buckets
    connection.execute(sa.delete(buckets).where(buckets.c.full_at <= now))
