"""The ledger: what is to be signed is on record, durably, before it is signed.

The leaf of an entry holds nothing personal; the record beside it does, and its salt
keeps the leaf's hash of it from being guessed. The leaves are a Merkle tree whose
checkpoints the online key signs. Each answer carries the proof that its entry is in it,
so that a CA cannot hide what it issued from those it issued to.

No checkpoint leaves us before it is in the high-water file, and no batch is committed
unless the tree contains the newest one in there (design invariant 4).
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from ca.checkpoint import LogProof
from ca.errors import CAError, Misconfigured, StoreUnavailable, Unavailable
from ca.ledger.batches import Batches
from ca.ledger.checkpoints import CheckpointSigner, SignedCheckpoint
from ca.ledger.entry import EntryKind, place_of
from ca.ledger.high_water import HighWater
from ca.merkle import CompactTree, plan_consistency, plan_inclusion
from ca.store import Bearer, Decide, Draft, Entry, Growth, Seen, Store, TokenUse
from ca.store.append import reason
from ca.store.change import Write

_REMEMBERED = timedelta(days=1)
"""How long after its end a spent token is forgotten: a clock that was wrong by less,
then or now, revives none."""

_FORGET_EVERY = timedelta(hours=1)

_log = logging.getLogger(__name__)


class Proved(Struct, frozen=True):
    """An entry, and the proof that it is in the log."""

    entry: Entry
    signed: SignedCheckpoint
    """Of the tree right after the entry's batch."""
    proof: LogProof
    """Of the entry in that tree."""
    consistency: tuple[bytes, ...]
    """That this tree contains the one whose checkpoint the request brought."""


class _Commit(Struct, frozen=True):
    """What the entries of a batch share."""

    signed: SignedCheckpoint
    growth: Growth

    def prove(self, entry: Entry, seen: Seen | None) -> Proved:
        size, hashes = self.growth.tree.size, self.growth.hashes.__getitem__
        index = entry.index - self.growth.base
        path = plan_inclusion(index, size).hashes(hashes)
        return Proved(
            entry=entry,
            signed=self.signed,
            proof=LogProof(index, path, self.signed.note),
            consistency=()
            if seen is None
            else plan_consistency(seen.size, size).hashes(hashes),
        )


class Ledger:
    """Appends entries in batches, and proves them. Thread-safe."""

    def __init__(
        self, store: Store, *, signer: CheckpointSigner, high_water: HighWater
    ) -> None:
        self.signer = signer
        self.high_water = high_water
        self._store = store
        self._batches = Batches(self._commit, self._sign_growth)
        self._newest: tuple[CompactTree, SignedCheckpoint] | None = None
        self._forgetting = threading.Lock()
        self._forgot: datetime | None = None

    def open(self) -> None:
        """Raise `Misconfigured` if this signer cannot know how far the ledger was."""
        if self.high_water.exists():
            return
        tree = self._store.log_head().tree
        if tree.size:
            raise Misconfigured(
                f"the ledger has {tree.size} entries, but this signer has no"
                f" {self.high_water.file}, so it cannot know whether some are missing",
                hint="bring it back, or look and then: ca-admin ledger adopt-head",
            )
        self.high_water.create(seen_in(self.signer.sign(tree)))

    def append(  # noqa: PLR0913 (what an entry needs; each is given by name)
        self,
        build: Callable[[int], bytes] | None,
        *,
        kind: EntryKind,
        record: Mapping[str, object],
        now: datetime,
        spends: TokenUse | None = None,
        seen: Seen | None = None,
        bearer: Bearer | None = None,
    ) -> Proved:
        """Put the to-be-signed bytes that `build(serial)` makes on record.

        None for what is not about one certificate: it has no serial. Returns when the
        entry is durable. When `spends` was already spent on the same request, returns
        the entry it bought then. Raises `TokenSpent`, `LedgerStopped` or
        `StoreUnavailable`, after which the entry may or may not be on record: ask
        again with the same token and request to find out. Whom `bearer` names may be
        `Blocked`, what it names `CertificateRevoked`.
        """
        place = place_of(build, kind=kind, record=record, now=now)
        entry, commit = self._batches.append(Draft(place, spends, seen, bearer))
        self._forget(now)
        return commit.prove(entry, seen)

    def append_all(self, drafts: Sequence[Draft], *, seen: Seen | None) -> list[Proved]:
        """Append these as one batch; raise the refusal if one of them is refused.

        `seen` is the checkpoint that the request brought. Raises as `append` does.
        """
        known = [self.high_water.newest(), *([] if seen is None else [seen])]
        appended = self._store.append(drafts, seen=known)
        commit = self._sign_growth(appended.growth)
        proved = []
        for outcome in appended.outcomes:
            if isinstance(outcome, CAError):
                raise outcome
            proved.append(commit.prove(outcome, seen))
        return proved

    def change(
        self,
        write: Write,
        *,
        kind: EntryKind,
        record: Mapping[str, object],
        now: datetime,
    ) -> Entry:
        """Put on record what `write` changes in other tables, in one transaction.

        Raises what `write` raises, `LedgerStopped` or `StoreUnavailable`.
        """
        draft = Draft(place_of(None, kind=kind, record=record, now=now))
        known = [self.high_water.newest()]
        entry, growth = self._store.change(draft, write, seen=known)
        self._sign(growth.tree)
        return entry

    def act(self, decide: Decide, *, tail_from: int) -> Proved:
        """Revoke or block, and put it on record: `Store.act`, alone in its batch."""
        seen = [self.high_water.newest()]
        appended = self._store.act(decide, tail_from=tail_from, seen=seen)
        (entry,) = appended.outcomes
        assert isinstance(entry, Entry)  # noqa: S101 (nobody refuses it)
        return self._sign_growth(appended.growth).prove(entry, None)

    def _forget(self, now: datetime) -> None:
        """Let go of tokens that ended long ago, once an hour in each process.

        Nobody's job but that of whoever comes by: it takes a few milliseconds.
        """
        with self._forgetting:
            if self._forgot is not None and abs(now - self._forgot) < _FORGET_EVERY:
                return
            self._forgot = now
        try:
            self._store.forget(
                tokens_before=int((now - _REMEMBERED).timestamp()),
                now=int(now.timestamp() * 1_000_000),
            )
        except StoreUnavailable as error:
            # The entry is on record all the same, and the next hour comes.
            _log.warning("ended tokens are not forgotten yet: %s", error.detail)

    def problems(self) -> list[str]:
        """Say what keeps the ledger from growing, for an operator.

        Whoever is asked looks: so a signer that certifies nothing for a while learns
        how far the others are, and stops them all where the database was taken back.
        """
        stopped = self._store.log_head().stopped
        found = [
            None if stopped is None else f"the ledger is stopped: {reason(stopped)}",
            self._store.problem(),
            self.high_water.problem(),
        ]
        problems = [problem for problem in found if problem is not None]
        if problems:
            return problems
        try:
            self.checkpoint()
        except Unavailable as error:
            return [error.detail]
        return []

    def checkpoint(self) -> SignedCheckpoint:
        """Return the newest checkpoint, signed; raise `LedgerStopped`."""
        newest, head = self.high_water.newest(), self._store.log_head()
        tree = head.tree
        if head.stopped is not None or (tree.size, tree.root) != newest[:2]:
            # Under the head's lock, for this may be where to stop.
            tree = self._store.append([], seen=[newest]).growth.tree
        return self._sign(tree)

    def _commit(
        self, drafts: Sequence[Draft]
    ) -> tuple[Sequence[Entry | CAError], Growth]:
        appended = self._store.append(drafts, seen=[self.high_water.newest()])
        return appended.outcomes, appended.growth

    def _sign_growth(self, growth: Growth) -> _Commit:
        return _Commit(self._sign(growth.tree), growth)

    def _sign(self, tree: CompactTree) -> SignedCheckpoint:
        """Sign the checkpoint of a committed tree, and return when it is kept."""
        newest = self._newest
        if newest is not None and newest[0] == tree:
            return newest[1]
        signed = self.signer.sign(tree)
        self.high_water.raise_to(seen_in(signed))
        self._newest = (tree, signed)
        return signed


def seen_in(signed: SignedCheckpoint) -> Seen:
    """Return a checkpoint as it is remembered."""
    checkpoint = signed.checkpoint
    return Seen(checkpoint.size, checkpoint.root, signed.rendered)
