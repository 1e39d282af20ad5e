"""The store: one method, one transaction, durable when the method returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from ca.errors import CAError, Misconfigured
from ca.store import buckets, pages, requests, tables
from ca.store.batch import Batch, Draft, Entry, Spent
from ca.store.buckets import Take
from ca.store.transactions import Database, Head

# What each append executes, made once: making a statement costs more than running it.
_SET_SIZE = sa.update(tables.ledger_head).values(size=sa.bindparam("new_size"))
_SPENT = sa.select(tables.token_uses).where(
    tables.token_uses.c.token_sha256.in_(sa.bindparam("tokens", expanding=True))
)
_ENTRY_FIELDS = [field.name for field in fields(Entry)]
_SPENT_FIELDS = [field.name for field in fields(Spent)]


@dataclass(frozen=True, slots=True)
class PublishedCurrent:
    """A signed *current* as published."""

    version: int
    published: int
    roots_sha256: str
    document: bytes


class Store:
    """The tables, opened."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str, *, password_file: Path | None = None) -> Self:
        """Open an existing database of exactly our schema, or raise."""
        store = cls(Database.open(url, password_file=password_file))
        try:
            store.check_schema()
        except CAError:
            store.close()
            raise
        return store

    def check_schema(self) -> None:
        """Raise `Misconfigured` unless the schema is the one this code knows."""
        found = self._database.read(tables.schema_of)
        if found != tables.SCHEMA:
            raise Misconfigured(
                f"the database has schema {found}, this program needs {tables.SCHEMA}",
                hint="make a backup, then: ca-admin db upgrade",
            )

    def close(self) -> None:
        """Close all connections."""
        self._database.engine.dispose()

    def append(self, drafts: Sequence[Draft]) -> list[Entry | CAError]:
        """Append a batch in one commit; return each draft's entry or its refusal.

        A refused draft leaves no gap: the next one takes its place.
        """
        appending = _Appending(drafts)
        outcomes = self._database.write(appending.run, settle=appending.settle)
        known = self._entries({o for o in outcomes if isinstance(o, int)})
        return [known[o] if isinstance(o, int) else o for o in outcomes]

    def entry_by_serial(self, serial: int) -> Entry | None:
        """Return the entry that recorded a certificate, or None."""
        wanted = sa.select(tables.entries).where(tables.entries.c.serial == str(serial))
        row = self._database.read(lambda c: c.execute(wanted).one_or_none())
        return None if row is None else _entry(row)

    def _entries(self, indices: set[int]) -> dict[int, Entry]:
        if not indices:
            return {}
        wanted = sa.select(tables.entries).where(tables.entries.c.index.in_(indices))
        rows = self._database.read(lambda c: c.execute(wanted).all())
        return {entry.index: entry for entry in map(_entry, rows)}

    def publish(
        self, make: Callable[[PublishedCurrent | None], PublishedCurrent]
    ) -> PublishedCurrent:
        """Publish what `make` makes of the newest *current*; the same is no change.

        Under the head's lock, so that versions grow whoever publishes.
        """

        def work(connection: sa.Connection, _head: Head) -> PublishedCurrent:
            newest = _newest_current(connection)
            made = make(newest)
            if made != newest:
                connection.execute(sa.delete(tables.trust_current))
                _insert(connection, tables.trust_current, [asdict(made)])
            return made

        return self._database.write(work)

    def newest_current(self) -> PublishedCurrent | None:
        """Return the *current* that holds, or None before the first."""
        return self._database.read(_newest_current)

    def add_blob(self, sha256: str, content: bytes) -> None:
        """Keep an immutable part of the trust bundle; again is no change."""
        blobs = tables.trust_blobs

        def work(connection: sa.Connection, _head: Head) -> None:
            known = sa.select(blobs.c.sha256).where(blobs.c.sha256 == sha256)
            if connection.scalar(known) is None:
                values = {"sha256": sha256, "content": content}
                connection.execute(sa.insert(blobs).values(values))

        self._database.write(work)

    def blob(self, sha256: str) -> bytes | None:
        """Return an immutable part of the trust bundle, or None."""
        blobs = tables.trust_blobs
        wanted = sa.select(blobs.c.content).where(blobs.c.sha256 == sha256)
        content: bytes | None = self._database.read(lambda c: c.scalar(wanted))
        return content

    def recorded(self, serial: int) -> requests.Recorded | None:
        """Return what is on record of the certificate with this serial, or None."""
        return self._database.read(lambda c: requests.recorded(c, serial))

    def certificates(
        self, span: pages.Span, *, at_once: int = pages.PAGE
    ) -> Iterator[pages.StoredCertificate]:
        """Yield what is on record of certificates, newest first.

        Page by page, each in a transaction of its own that has ended before it is used.
        """
        below: int | None = None
        while page := self._database.read(
            partial(pages.page, span=span, below=below, size=at_once)
        ):
            yield from page
            below = page[-1].index

    def spend_request(
        self, id_: bytes, *, time: int, forget_before: int, takes: Take
    ) -> None:
        """Put the id of a signed request on record.

        Raises `RequestReplayed`, or `RateLimited` for whoever asks too often.
        """

        def work(connection: sa.Connection, _head: Head) -> None:
            full_at = buckets.read(connection, [takes.subject])
            after = takes.allowed(full_at.get(takes.subject, 0))
            requests.spend(connection, id_, time=time, forget_before=forget_before)
            buckets.write(connection, {takes.subject: after})

        self._database.write(work)

    def take_all(self, takes: Mapping[Take, int]) -> Mapping[bytes, int]:
        """Take from buckets, each so many times; return when they are full again.

        Never refuses: what is counted here has happened.
        """
        return self._database.write(lambda c, _head: buckets.take_all(c, takes))

    def forget(self, *, tokens_before: int, now: int) -> int:
        """Delete what has no more effect; return how many uses of tokens.

        `tokens_before` is in seconds: when the tokens ended. `now` is in microseconds.
        """
        uses = tables.token_uses
        ended = sa.delete(uses).where(uses.c.expires < tokens_before)

        def work(connection: sa.Connection, _head: Head) -> int:
            buckets.forget(connection, now=now)
            return connection.execute(ended).rowcount

        return self._database.write(work)


class _Appending:
    """One batch on its way into the ledger."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self._drafts = drafts
        self._entries: list[Entry] = []
        self._outcomes: list[Entry | int | CAError] = []

    def run(self, connection: sa.Connection, head: Head) -> list[Entry | int | CAError]:
        """Give each draft its place or its refusal, and write what is new."""
        batch = Batch(
            size=head.size,
            serial_base=head.serial_base,
            spent=_spent(connection, self._drafts),
            full_at=_full_at(connection, self._drafts),
        )
        self._outcomes = [batch.place(draft) for draft in self._drafts]
        self._entries = batch.entries
        if batch.entries:
            size = head.size + len(batch.entries)
            connection.execute(_SET_SIZE, {"new_size": size})
        _insert(connection, tables.entries, [_entry_row(e) for e in batch.entries])
        _insert(connection, tables.token_uses, [_spent_row(u) for u in batch.spent])
        buckets.write(connection, batch.taken)
        return self._outcomes

    def settle(self, connection: sa.Connection) -> list[Entry | int | CAError] | None:
        """Return what the last run came to, if it was committed after all.

        Then its first entry is where it was put. A leaf is nobody else's: it holds a
        hash over a salt.
        """
        for first in self._entries[:1]:
            at_its_index = tables.entries.c.index == first.index
            wanted = sa.select(tables.entries.c.leaf).where(at_its_index)
            if connection.scalar(wanted) == first.leaf:
                return self._outcomes
        return None


def _insert(
    connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]
) -> None:
    if rows:
        connection.execute(sa.insert(table), rows)


def _spent(connection: sa.Connection, drafts: Sequence[Draft]) -> list[Spent]:
    tokens = {d.spends.token_sha256 for d in drafts if d.spends is not None}
    rows = connection.execute(_SPENT, {"tokens": list(tokens)})
    return [Spent(**row._mapping) for row in rows]  # noqa: SLF001 (public, despite its name)


def _full_at(connection: sa.Connection, drafts: Sequence[Draft]) -> dict[bytes, int]:
    takes = [d.spends.takes for d in drafts if d.spends is not None]
    subjects = {take.subject for take in takes if take is not None}
    return buckets.read(connection, subjects) if subjects else {}


def _newest_current(connection: sa.Connection) -> PublishedCurrent | None:
    current = tables.trust_current
    row = connection.execute(
        sa.select(current).order_by(current.c.version.desc()).limit(1)
    ).one_or_none()
    return None if row is None else PublishedCurrent(**row._mapping)  # noqa: SLF001


def _entry_row(entry: Entry) -> dict[str, Any]:
    # NOTE: not `asdict`, which copies deeply and took a tenth of an append.
    row = {name: getattr(entry, name) for name in _ENTRY_FIELDS}
    return {**row, "serial": str(entry.serial)}


def _spent_row(use: Spent) -> dict[str, Any]:
    return {name: getattr(use, name) for name in _SPENT_FIELDS}


def _entry(row: sa.Row[Any]) -> Entry:
    return Entry(**{**row._mapping, "serial": int(row.serial)})  # noqa: SLF001
