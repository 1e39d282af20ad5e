"""The store: one method, one transaction, durable when the method returns."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa

from ca.errors import CAError, Conflict, LedgerStopped, Misconfigured
from ca.merkle import CompactTree, Node, Plan, plan_root
from ca.store import (
    barred,
    buckets,
    erase,
    pages,
    policies,
    requests,
    revoked,
    tables,
    tree,
)
from ca.store.append import Appended, Appending, entries_at, entry_in, refusal
from ca.store.barred import NOBODY, Barring, Bearer
from ca.store.batch import Draft, Entry
from ca.store.buckets import Take
from ca.store.change import Change, Write
from ca.store.engine import translated
from ca.store.hosts import HostRows
from ca.store.new_log import NewLog
from ca.store.recover import Recovered, Recovery
from ca.store.transactions import Database, Head
from ca.store.tree import Growth, Seen

_HEAD = sa.select(tables.ledger_head)
_BASE = sa.select(tables.ledger_head.c.serial_base)

_KEPT_SECONDS = 30 * 86_400
"""How long a *current* is kept once a newer one holds: hosts report which they have."""


@dataclass(frozen=True, slots=True)
class PublishedCurrent:
    """A signed *current* as published."""

    version: int
    published: int
    roots_sha256: str
    document: bytes


@dataclass(frozen=True, slots=True)
class PublicationMark:
    """What there was to publish at one moment."""

    revoked: int
    """`Store.revocation_mark()`."""
    version: int
    """Of the newest *current*; 0 before the first."""


@dataclass(frozen=True, slots=True)
class LogHead:
    """How far the ledger is."""

    tree: CompactTree
    stopped: str | None
    """Why no signer may issue: a line, and a checkpoint as evidence."""
    origin: str | None
    """The log's; None until a signer has opened it."""
    serial_base: int
    """Where the log begins in the tables."""

    @property
    def next_index(self) -> int:
        """Where the next entry goes in the tables."""
        return self.serial_base + self.tree.size


class Store:
    """The tables, opened."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.hosts = HostRows(database)
        self._barring = Barring()

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

    def problem(self) -> str | None:
        """Say which process keeps this one from writing, or return None."""
        return self._database.problem()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def open_log(self, *, origin: str, serial_base: int) -> None:
        """Give a new ledger its name, or raise `Misconfigured` if it has another.

        Both come from the roots: a tree under another name than readers are told, or
        with other serials, proves nothing to them.
        """

        def work(connection: sa.Connection, head: Head) -> None:
            is_new = head.size == 0 or head.serial_base == serial_base
            if head.origin is None and is_new:
                values = {"origin": origin, "serial_base": serial_base}
                connection.execute(sa.update(tables.ledger_head).values(values))
            elif (head.origin, head.serial_base) != (origin, serial_base):
                raise Misconfigured(
                    f"the database holds the log {head.origin} with serials from"
                    f" {head.serial_base}, the roots name {origin} and {serial_base}",
                    hint="check database.url and roots_file; where the roots close"
                    " the log: ca-admin ledger recover",
                )

        self._database.write(work)
        self._database.origin = origin

    def append(
        self, drafts: Sequence[Draft], *, seen: Collection[Seen] = ()
    ) -> Appended:
        """Append a batch in one commit.

        A refused draft leaves no gap: the next one takes its place. Raises
        `LedgerStopped` where the tree does not contain a checkpoint in `seen` or of a
        draft, and always from then on.
        """
        appending = Appending(drafts, seen, self._barring)
        done = self._database.write(appending.run, settle=appending.settle)
        if isinstance(done, LedgerStopped):
            raise done
        return done

    def change(
        self, draft: Draft, write: Write, *, seen: Collection[Seen] = ()
    ) -> tuple[Entry, Growth]:
        """Append one entry, and write what it says has changed, in one commit.

        What `write` raises leaves nothing behind. Raises `LedgerStopped` as `append`.
        """
        change = Change(draft, write, seen)
        done = self._database.write(change.run, settle=change.settle)
        if isinstance(done, LedgerStopped):
            raise done
        return done

    def act(
        self, decide: revoked.Decide, *, tail_from: int, seen: Collection[Seen]
    ) -> Appended:
        """Revoke or block, and put it on record, in one commit.

        `decide` is told which certificates were recorded from index `tail_from` on; no
        other is recorded before what it decides is in force. Raises `LedgerStopped`,
        and `NotFound` for a block to lift that is not there.
        """
        acting = revoked.Acting(
            decide, tail_from=tail_from, seen=seen, barring=self._barring
        )
        done = self._database.write(acting.run, settle=acting.settle)
        if isinstance(done, LedgerStopped):
            raise done
        return done

    def revocations(self, *, since: int = 0) -> revoked.Revocations:
        """Return all that is revoked, but certificates that ended before `since`."""
        return self._database.read(partial(revoked.revocations, since=since))

    def revocation_mark(self) -> int:
        """Return a number that changes with each revocation and block."""
        return self._database.read(barred.mark)

    def revoked_among(self, serials: Collection[int]) -> set[int]:
        """Return those of the serials that are revoked."""
        return self._database.read(lambda c: revoked.among(c, serials))

    def blocks(self) -> list[revoked.Block]:
        """Return all blocks, newest first, lifted ones too."""
        return self._database.read(revoked.blocks)

    def recover(self, recovery: Recovery) -> Recovered:
        """Append the leaves that are missing, and end a stop.

        Raises `LedgerStopped` unless the ledger then contains all that was seen, and
        `Conflict` where the leaves do not fit. Tokens from before buy nothing then.
        """
        return self._database.write(recovery.run)

    def begin_log(self, new_log: NewLog) -> None:
        """Give a log up for a new one.

        Raises `Conflict` unless that log is stopped, and what the new one was made for.
        """
        self._database.write(new_log.run)

    def log_head(self) -> LogHead:
        """Return how far the ledger is."""
        head = self._database.read(_log_head)
        self._database.refuse_another_log(head.origin)
        return head

    def hashes(self, plan: Plan) -> tuple[bytes, ...]:
        """Return a root or a proof from the tree's nodes, which must be there."""

        def work(connection: sa.Connection) -> Mapping[Node, bytes]:
            return tree.fetch(connection, plan.nodes, base=_base(connection))

        return plan.hashes(self._database.read(work).__getitem__)

    def neighbours(self, first: Node, count: int) -> list[bytes]:
        """Return the hashes of a node and those to its right, which must be there."""
        return self._database.read(
            lambda c: tree.fetch_row(c, first, count, base=_base(c))
        )

    def last_nodes(self) -> list[Node]:
        """Return the last node of each level that is in the database."""
        return self._database.read(lambda c: tree.last_nodes(c, base=_base(c)))

    def entries(self, first: int, count: int) -> list[Entry]:
        """Return the log's entries from index `first` on, as far as there are any."""
        index = tables.entries.c.index

        def work(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
            start = _base(connection) + first
            wanted = sa.select(tables.entries).where(
                index >= start, index < start + count
            )
            return connection.execute(wanted.order_by(index)).all()

        return [entry_in(row) for row in self._database.read(work)]

    def entry_at(self, index: int) -> Entry | None:
        """Return the entry at this index of the tables, of whichever log, or None."""
        return self._database.read(lambda c: entries_at(c, [index])).get(index)

    def entry_by_serial(self, serial: int) -> Entry | None:
        """Return the entry that recorded a certificate, or None."""
        wanted = sa.select(tables.entries).where(tables.entries.c.serial == str(serial))
        row = self._database.read(lambda c: c.execute(wanted).one_or_none())
        return None if row is None else entry_in(row)

    def erase(self, index: int) -> None:
        """Take record and to-be-signed bytes of an entry away; again is no change."""
        self._database.write(lambda c, _head: erase.erase(c, index))
        with translated():
            erase.empty_write_ahead_log(self._database.engine)

    def publication_mark(self) -> PublicationMark:
        """Return what changes with whatever a new *current* would have to say."""
        return self._database.read(_publication_mark)

    def publish(
        self, current: PublishedCurrent, *, unless_since: PublicationMark
    ) -> bool:
        """Publish a *current*, unless something was published or revoked since.

        Under the head's lock, so that versions grow whoever publishes, and nothing is
        un-revoked by who was slow. Raises `LedgerStopped` while the ledger is stopped.
        """

        def work(connection: sa.Connection, head: Head) -> bool:
            if head.stopped is not None:
                raise refusal(head.stopped)
            return _publish(connection, current, unless_since)

        return self._database.write(work)

    def newest_current(self) -> PublishedCurrent | None:
        """Return the *current* that holds, or None before the first."""
        return self._database.read(_newest_current)

    def published(self, version: int) -> PublishedCurrent | None:
        """Return the *current* of this version, if it was published of late."""
        wanted = sa.select(tables.trust_current).where(
            tables.trust_current.c.version == version
        )
        row = self._database.read(lambda c: c.execute(wanted).one_or_none())
        return None if row is None else PublishedCurrent(**row._mapping)  # noqa: SLF001

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
        self,
        id_: bytes,
        *,
        time: int,
        forget_before: int,
        takes: Take,
        bearer: Bearer = NOBODY,
    ) -> None:
        """Put the id of a signed request on record.

        Raises `CertificateRevoked` or `Blocked` by what is in force on all signers at
        this moment, `RequestReplayed`, or `RateLimited` for whoever asks too often.
        """

        def work(connection: sa.Connection, head: Head) -> None:
            self._barring.refuse(connection, head, bearer)
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

    def tell_policy(
        self, mine: policies.PolicyInUse, *, forget_before: int
    ) -> list[policies.PolicyInUse]:
        """Tell by which policy a process decides; return what the others have told."""
        return self._database.write(
            lambda c, _head: policies.tell(c, mine, forget_before=forget_before)
        )

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


def publishing(current: PublishedCurrent, *, unless_since: PublicationMark) -> Write:
    """Return what publishes a *current* together with an entry that says why.

    Raises `Conflict` where something was published or revoked since.
    """

    def write(connection: sa.Connection, _entry: Entry) -> None:
        if not _publish(connection, current, unless_since):
            raise Conflict("something was published or revoked meanwhile")

    return write


def _publish(
    connection: sa.Connection, current: PublishedCurrent, unless_since: PublicationMark
) -> bool:
    if _publication_mark(connection) != unless_since:
        return False
    connection.execute(_older_than(current.published - _KEPT_SECONDS))
    connection.execute(sa.insert(tables.trust_current), [asdict(current)])
    return True


def _older_than(published: int) -> sa.Delete:
    current = tables.trust_current
    return sa.delete(current).where(current.c.published < published)


def _newest_current(connection: sa.Connection) -> PublishedCurrent | None:
    current = tables.trust_current
    row = connection.execute(
        sa.select(current).order_by(current.c.version.desc()).limit(1)
    ).one_or_none()
    return None if row is None else PublishedCurrent(**row._mapping)  # noqa: SLF001


def _publication_mark(connection: sa.Connection) -> PublicationMark:
    version = sa.func.max(tables.trust_current.c.version)
    return PublicationMark(
        revoked=barred.mark(connection),
        version=connection.scalar(sa.select(version)) or 0,
    )


def _log_head(connection: sa.Connection) -> LogHead:
    head = connection.execute(_HEAD).one()
    plan = plan_root(head.size)
    hashes = tree.fetch(connection, plan.nodes, base=head.serial_base)
    edge = tuple(hashes[node] for node in plan.nodes)
    return LogHead(
        CompactTree(head.size, edge), head.stopped, head.origin, head.serial_base
    )


def _base(connection: sa.Connection) -> int:
    base: int = connection.scalars(_BASE).one()
    return base
