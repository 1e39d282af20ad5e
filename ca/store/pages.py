"""Entries of certificates as they stand on disk, newest first, a page at a time.

Functions on a connection; `Store` runs each in a transaction of its own, so that who
reads a long ledger holds no transaction open over it.
"""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ca.store import tables

PAGE = 500
"""Entries read at once: a megabyte or two."""


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """The entry of a certificate, of which the personal half may have been erased."""

    index: int
    time: int
    """When it was put on record."""
    kind: str
    serial: int
    leaf: bytes
    record: bytes | None
    """None once it was erased, as are the to-be-signed bytes."""
    to_be_signed: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which entries: put on record from `since` until before `until`, in seconds."""

    since: int | None = None
    until: int | None = None
    serial: int | None = None
    first: int | None = None
    """With this index or a later one."""
    hosts: bool = False
    """Those of hosts alone, which are found without looking at the others."""


def page(
    connection: sa.Connection, span: Span, *, below: int | None, size: int | None
) -> list[StoredCertificate]:
    """Return the newest certificates of the span, of those with an index below."""
    entries = tables.entries
    wanted = sa.select(entries).where(entries.c.serial.is_not(None))
    if span.serial is not None:
        wanted = wanted.where(entries.c.serial == str(span.serial))
    if span.since is not None:
        wanted = wanted.where(entries.c.time >= span.since)
    if span.until is not None:
        wanted = wanted.where(entries.c.time < span.until)
    if span.first is not None:
        wanted = wanted.where(entries.c.index >= span.first)
    if span.hosts:
        # Written out, or SQLite does not see that the index of such entries fits.
        wanted = wanted.where(sa.text("kind = 'host-certificate'"))
    if below is not None:
        wanted = wanted.where(entries.c.index < below)
    newest = wanted.order_by(entries.c.index.desc()).limit(size)
    return [_stored(row) for row in connection.execute(newest)]


def _stored(row: sa.Row[Any]) -> StoredCertificate:
    return StoredCertificate(**{**row._mapping, "serial": int(row.serial)})  # noqa: SLF001 (public, despite its name)
