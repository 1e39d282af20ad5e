"""What an operator does when the ledger and what is remembered of it disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ca.errors import Conflict, StoreUnavailable
from ca.krl import Runs
from ca.ledger.checkpoints import SignedCheckpoint
from ca.ledger.entry import EntryKind, Place, salted
from ca.ledger.log import Ledger, seen_in
from ca.ledger.new_log import evidence_in, spelled
from ca.merkle import CompactTree
from ca.store import Forgotten, Recovered, Recovery, Seen, Store


def adopt_head(
    ledger: Ledger, store: Store, *, known: Seen | None = None
) -> SignedCheckpoint:
    """Let this signer begin with the ledger as it is.

    For a new machine, or one that lost its high-water file. `known` is a checkpoint
    that a peer or a monitor has. If the ledger does not contain it, or what is in the
    file after all, all signers stop.
    """
    seen = [*_remembered(ledger), *([] if known is None else [known])]
    return _remember(ledger, store.append([], seen=seen).growth.tree)


@dataclass(frozen=True, slots=True)
class Copy:
    """What somebody else has of the ledger."""

    leaves: Sequence[bytes] = ()
    first: int = 0
    """The index of the first of them."""
    known: Sequence[Seen] = ()
    """Its checkpoint, and those that others have."""


def recover(
    ledger: Ledger,
    store: Store,
    copy: Copy | None = None,
    *,
    forgotten: Forgotten | None = None,
    by: str = "",
    now: datetime,
) -> Recovered:
    """Take lost entries back from a copy, and let the signers go on.

    The ledger must then contain all that is known: by the copy, by this signer's newest
    checkpoint and by the one that stopped it; else nothing changes, and `LedgerStopped`
    is raised. Revoked are from then on what somebody's KRL says, and what came back
    without its record.
    """
    copy, time = copy or Copy(), int(now.timestamp())

    def build(revoked: Runs, taken_back: int) -> Place:
        record = {"v": 1, "act": "recover", "by": by, "taken_back": taken_back}
        content = salted({**record, "revoked_serials": spelled(revoked)})
        return Place(EntryKind.ADMINISTRATION, time, content, None)

    head = store.log_head()
    seen = [*_remembered(ledger), *copy.known, *evidence_in(head, ledger.signer)]
    if head.stopped is not None and not seen:
        raise Conflict(
            "nobody has said how far the ledger was, so entries may be missing",
            hint="name a copy of it, such as a monitor's, or begin a new log with"
            " --new-log",
        )
    recovered = store.recover(
        Recovery(copy.leaves, copy.first, seen, forgotten or Forgotten(), build, time)
    )
    _remember(ledger, recovered.growth.tree)
    return recovered


def _remembered(ledger: Ledger) -> list[Seen]:
    try:
        return [ledger.high_water.newest()]
    except StoreUnavailable:  # lost, or unreadable
        return []


def _remember(ledger: Ledger, tree: CompactTree) -> SignedCheckpoint:
    signed = ledger.signer.sign(tree)
    try:
        ledger.high_water.newest()
    except StoreUnavailable:
        ledger.high_water.replace(seen_in(signed))
    ledger.high_water.raise_to(seen_in(signed))
    return signed
