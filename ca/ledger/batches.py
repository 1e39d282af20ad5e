"""Batches: while one commit is under way, the next batch collects.

So everyone in a batch shares the cost of durability, and nobody waits for one to fill.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ca.errors import CAError
from ca.store import Draft, Entry

C = TypeVar("C")
Outcome = Entry | CAError


class Batches(Generic[C]):
    """Lets threads commit together. Thread-safe."""

    def __init__(
        self, commit: Callable[[Sequence[Draft]], tuple[Sequence[Outcome], C]]
    ) -> None:
        """`commit` makes a batch durable: an outcome for each, and one for all."""
        self._commit = commit
        self._joining = threading.Lock()
        self._waiting: list[_Pending[C]] = []
        self._led = False
        """Whether somebody is committing, or has been woken to."""

    def append(self, draft: Draft) -> tuple[Entry, C]:
        """Return the draft's entry, durable by now, and what its batch came to.

        Whoever finds nobody committing leads: commits for all that wait by then. The
        others sleep until they have their outcome, or are the next to lead; each on a
        lock of its own, since on a shared one they would wake in a queue.
        """
        pending: _Pending[C] = _Pending(draft)
        with self._joining:
            self._waiting.append(pending)
            leads, self._led = not self._led, True
        if not leads:
            pending.asleep.acquire()
        if pending.settled is None:
            self._lead()
        return pending.result()

    def _lead(self) -> None:
        with self._joining:
            batch, self._waiting = self._waiting, []
        try:
            outcomes, shared = self._commit([pending.draft for pending in batch])
            for pending, outcome in zip(batch, outcomes, strict=True):
                pending.settled = (outcome, shared)
        except BaseException as error:
            for pending in batch:
                pending.settled = error
            raise
        finally:
            self._hand_over(batch)

    def _hand_over(self, batch: "list[_Pending[C]]") -> None:
        """Wake the next to lead, if somebody waits, and all but the leader of `batch`.

        Who leads is always the first of those that wait.
        """
        with self._joining:
            heirs = self._waiting[:1]
            self._led = bool(heirs)
        for pending in heirs + batch[1:]:
            pending.asleep.release()


class _Pending(Generic[C]):
    """A draft whose outcome the committing thread fills in."""

    __slots__ = ("asleep", "draft", "settled")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.settled: tuple[Outcome, C] | BaseException | None = None
        self.asleep = threading.Lock()
        """Held until somebody wakes the thread that waits for it."""
        self.asleep.acquire()

    def result(self) -> tuple[Entry, C]:
        """Return the entry and what its batch came to, or raise its refusal."""
        if not isinstance(self.settled, tuple):
            raise self.settled  # type: ignore[misc] # no thread is woken without one
        outcome, shared = self.settled
        if isinstance(outcome, Entry):
            return outcome, shared
        raise outcome
