"""The ledger: what is to be signed is on record, durably, before it is signed.

While one commit is under way the next batch collects, so that everyone in a batch
shares the cost of durability. The leaf of an entry holds nothing personal; the record
beside it does, and its salt keeps the leaf's hash of it from being guessed.
"""

import hashlib
import json
import logging
import secrets
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from ca.errors import StoreUnavailable
from ca.store import Draft, Entry, Store, TokenUse

_SALT_BYTES = 16

_REMEMBERED = timedelta(days=1)
"""How long after its end a spent token is forgotten: a clock that was wrong by less,
then or now, revives none."""

_FORGET_EVERY = timedelta(hours=1)

_log = logging.getLogger(__name__)


class EntryKind(StrEnum):
    """What an entry is about."""

    USER_CERTIFICATE = "user-certificate"
    HOST_CERTIFICATE = "host-certificate"


def canonical_json(value: Mapping[str, object]) -> bytes:
    """Encode as RFC 8785 would: the one spelling that everybody hashes.

    Holds for what we put in: ASCII member names, integers below 2^53, no floats.
    """
    return json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        separators=(",", ":"),
        sort_keys=True,
    ).encode()


class Ledger:
    """Appends entries in batches. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._joining = threading.Lock()
        self._waiting: list[_Pending] = []
        self._led = False
        """Whether somebody is committing, or has been woken to."""
        self._forgot: datetime | None = None

    def append(
        self,
        build: Callable[[int], bytes],
        *,
        kind: EntryKind,
        record: Mapping[str, object],
        spends: TokenUse | None,
        now: datetime,
    ) -> Entry:
        """Put the to-be-signed bytes that `build(serial)` makes on record.

        Returns when the entry is durable. When `spends` was already spent on the same
        request, returns the entry it bought then. Raises `TokenSpent`, or
        `StoreUnavailable`, after which the entry may or may not be on record: ask
        again with the same token and request to find out.
        """
        place = _Place(
            kind=kind,
            time=int(now.timestamp()),
            record=canonical_json(
                {**record, "salt": b64encode(secrets.token_bytes(_SALT_BYTES)).decode()}
            ),
            build=build,
        )
        entry = self._commit_with_others(_Pending(Draft(place, spends)))
        self._forget(now)
        return entry

    def _forget(self, now: datetime) -> None:
        """Let go of tokens that ended long ago, once an hour in each process.

        Nobody's job but that of whoever comes by: it takes a few milliseconds.
        """
        with self._joining:
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

    def _commit_with_others(self, pending: "_Pending") -> Entry:
        # Whoever finds nobody committing leads: commits for all that wait by then. The
        # others sleep until they have their outcome, or are the next to lead; each
        # on a lock of its own, since on a shared one they would wake in a queue.
        with self._joining:
            self._waiting.append(pending)
            leads, self._led = not self._led, True
        if not leads:
            pending.asleep.acquire()
        if pending.outcome is None:
            self._lead()
        if isinstance(pending.outcome, Entry):
            return pending.outcome
        raise pending.outcome  # type: ignore[misc] # _lead leaves none without one

    def _lead(self) -> None:
        with self._joining:
            batch, self._waiting = self._waiting, []
        drafts = [pending.draft for pending in batch]
        try:
            for pending, outcome in zip(batch, self._store.append(drafts), strict=True):
                pending.outcome = outcome
        except BaseException as error:
            for pending in batch:
                pending.outcome = error
            raise
        finally:
            self._hand_over(batch)

    def _hand_over(self, batch: "list[_Pending]") -> None:
        """Wake the next to lead, if somebody waits, and all but the leader of `batch`.

        Who leads is always the first of those that wait.
        """
        with self._joining:
            heirs = self._waiting[:1]
            self._led = bool(heirs)
        for pending in heirs + batch[1:]:
            pending.asleep.release()


@dataclass(frozen=True, slots=True)
class _Place:
    """Makes the entry once its index and serial are known."""

    kind: EntryKind
    time: int
    record: bytes
    build: Callable[[int], bytes]

    def __call__(self, index: int, serial: int) -> Entry:
        to_be_signed = self.build(serial)
        leaf = {
            "v": 1,
            "time": self.time,
            "kind": self.kind,
            "serial": str(serial),
            "to_be_signed_sha256": hashlib.sha256(to_be_signed).hexdigest(),
            "record_sha256": hashlib.sha256(self.record).hexdigest(),
        }
        return Entry(
            index=index,
            time=self.time,
            kind=self.kind,
            serial=serial,
            leaf=canonical_json(leaf),
            record=self.record,
            to_be_signed=to_be_signed,
        )


class _Pending:
    """A draft whose outcome the committing thread fills in."""

    __slots__ = ("asleep", "draft", "outcome")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.outcome: Entry | BaseException | None = None
        self.asleep = threading.Lock()
        """Held until somebody wakes the thread that waits for it."""
        self.asleep.acquire()
