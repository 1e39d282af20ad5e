"""A new log, where entries of the old one cannot be had back.

    stopped ──plan──▶ text of roots ──root key──▶ roots ──begin──▶ first entry

Which log a CA has is in its roots, and only the root key signs those: until signers
have them the ledger stays stopped. Each half may be done again at any time.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from ca.bundle import ClosedLog, Roots
from ca.errors import Conflict, LedgerStopped, StoreUnavailable
from ca.krl import runs_of
from ca.ledger.checkpoints import CheckpointSigner
from ca.ledger.entry import EntryKind, Place, salted
from ca.ledger.high_water import HighWater
from ca.ledger.log import seen_in
from ca.merkle import plan_root
from ca.store import Forgotten, LogHead, NewLog, Seen, Store

SERIALS = 1 << 32
"""Each log has this many serials, or more: a log may have gone on after the newest
checkpoint that is known, but not by so much."""


@dataclass(frozen=True, slots=True)
class OldLog:
    """The log that is to be given up, and what is known of it."""

    store: Store
    signer: CheckpointSigner
    high_water: HighWater
    known: Sequence[Seen] = ()
    """Checkpoints of it that somebody brought."""
    forgotten: Forgotten = field(default_factory=Forgotten)
    """What somebody's KRL says is revoked."""

    def seen(self, head: LogHead) -> list[Seen]:
        """Return all checkpoints of it that are known, the largest last."""
        found = [*self.known, seen_in(self.signer.sign(head.tree))]
        with suppress(StoreUnavailable):  # lost, or of another log
            found.append(self.high_water.newest())
        found += evidence_in(head, self.signer)
        return sorted(set(found))

    def stop_if_behind(self) -> None:
        """Stop all signers if the ledger does not contain what is known of it.

        As the first of them would that looks: a loss that none has noticed is one, too.
        """
        with suppress(LedgerStopped):
            self.store.append([], seen=self.seen(self.store.log_head()))

    def lost_from(self, head: LogHead, seen: Sequence[Seen]) -> int:
        """Return the first serial whose record is lost, for all that is known."""
        if all(self._contains(head, each) for each in seen):
            return head.next_index + 1
        # Two logs of one name: which serial was given in which, nobody can say.
        return head.serial_base + 1

    def _contains(self, head: LogHead, seen: Seen) -> bool:
        if seen.size > head.tree.size:
            return True  # as far as anybody can tell
        return self.store.hashes(plan_root(seen.size)) == (seen.root,)


def evidence_in(head: LogHead, signer: CheckpointSigner) -> list[Seen]:
    """Return the checkpoint that stopped the ledger, if one did."""
    note = (head.stopped or "").partition("\n\n")[2]
    return [signer.recognise(note.encode())] if note else []


def plan(old: OldLog, roots: Roots, *, now: datetime) -> Roots:
    """Return the roots, to be signed, that close the log and name a new one.

    Raises `Conflict` for a log that is not stopped. Nothing is changed.
    """
    head = old.store.log_head()
    if head.stopped is None:
        raise Conflict(
            "the ledger is not stopped: nothing of it is missing that anybody is known"
            " to have",
            hint="if something is: ca-admin ledger verify --checkpoint FILE",
        )
    size = old.seen(head)[-1].size
    return replace(
        roots,
        version=max(roots.version + 1, int(now.timestamp() * 1000)),
        log_origin=_next(roots.log_origin),
        serial_base=(head.serial_base + size) // SERIALS * SERIALS + 2 * SERIALS,
        closed_logs=(*roots.closed_logs, ClosedLog(roots.log_origin, size)),
    )


def begin(old: OldLog, roots: Roots, *, by: str, now: datetime) -> NewLog:
    """Close the log and begin the one that signed roots name; return that.

    Raises `Conflict` unless they were made for what is known of the old one.
    """
    head = old.store.log_head()
    seen = old.seen(head)
    closed = next(log for log in roots.closed_logs if log.origin == head.origin)
    if seen[-1].size != closed.size:
        raise Conflict(
            f"the roots close {closed.origin} at {closed.size} entries, and the newest"
            f" checkpoint of it that is known has {seen[-1].size}",
            hint="name the copy that has it, or begin again with --new-log",
        )
    if roots.serial_base < head.serial_base + closed.size + SERIALS:
        raise Conflict(
            f"the roots give serials from {roots.serial_base} again, which"
            f" {closed.origin} may have used",
            hint="begin again with --new-log",
        )
    lost = (old.lost_from(head, seen), roots.serial_base)
    revoked = runs_of([*old.forgotten.serials, lost])
    record = {
        "v": 1,
        "act": "begin-log",
        "by": by,
        "origin": roots.log_origin,
        "serial_base": roots.serial_base,
        "closed": _closed(closed, head, seen),
        "lost_serials": spelled([lost]),
        "revoked_serials": spelled(revoked),
    }
    time = int(now.timestamp())
    begun = NewLog(
        origin=roots.log_origin,
        serial_base=roots.serial_base,
        closed=closed.origin,
        size=head.tree.size,
        forgotten=replace(old.forgotten, serials=revoked),
        build=Place(EntryKind.ADMINISTRATION, time, salted(record), None),
        now=time,
    )
    old.store.begin_log(begun)
    return begun


def spelled(runs: Iterable[tuple[int, int]]) -> list[list[str]]:
    """Return runs of serials for JSON, whose readers lose large numbers."""
    return [[str(first), str(last)] for first, last in runs]


def closes(roots: Roots, head: LogHead) -> bool:
    """Tell whether roots close the log that a database holds."""
    return any(log.origin == head.origin for log in roots.closed_logs)


def _closed(
    closed: ClosedLog, head: LogHead, seen: Sequence[Seen]
) -> Mapping[str, object]:
    return {
        "origin": closed.origin,
        "size": closed.size,
        "in_database": head.tree.size,
        "checkpoints": [each.note.decode() for each in seen],
    }


def _next(origin: str) -> str:
    name, _, number = origin.rpartition("/")
    return f"{name}/{int(number) + 1}" if number.isdigit() else f"{origin}/2"
