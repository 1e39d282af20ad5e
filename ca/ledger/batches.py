"""Batches: while one commit is under way, the next batch collects.

So everyone in a batch shares the cost of durability, and nobody waits for one to fill.
What comes between a commit and its answers, the next commit does not wait for.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from ca.errors import CAError
from ca.store import Draft, Entry

C = TypeVar("C")
R = TypeVar("R")
Outcome = Entry | CAError


class Batches(Generic[C, R]):
    """Lets threads commit together. Thread-safe."""

    def __init__(
        self,
        commit: Callable[[Sequence[Draft]], tuple[Sequence[Outcome], C]],
        finish: Callable[[C], R],
    ) -> None:
        """`commit` makes a batch durable: an outcome for each, and one for all.

        `finish` makes of the latter what each is given; the next commit may have begun.
        """
        self._commit = commit
        self._finish = finish
        self._joining = threading.Lock()
        self._waiting: list[_Pending[R]] = []
        self._led = False
        """Whether somebody is committing, or has been woken to."""

    def append(self, draft: Draft) -> tuple[Entry, R]:
        """Return the draft's entry, durable by now, and what its batch came to.

        Whoever finds nobody committing leads: commits for all that wait by then. The
        others sleep until they have their outcome, or are the next to lead; each on a
        lock of its own, since on a shared one they would wake in a queue.
        """
        pending: _Pending[R] = _Pending(draft)
        with self._joining:
            self._waiting.append(pending)
            leads, self._led = not self._led, True
        if not leads:
            pending.asleep.acquire()
        if pending.outcome is None:
            self._lead()
        return pending.result()

    def _lead(self) -> None:
        with self._joining:
            batch, self._waiting = self._waiting, []
        try:
            shared = self._finish(self._commit_all(batch))
            for pending in batch:
                pending.shared = shared
        except BaseException as error:
            for pending in batch:
                pending.outcome = error
            raise
        finally:
            for pending in batch[1:]:
                pending.asleep.release()

    def _commit_all(self, batch: "list[_Pending[R]]") -> C:
        try:
            outcomes, committed = self._commit([pending.draft for pending in batch])
        finally:
            self._hand_over()
        for pending, outcome in zip(batch, outcomes, strict=True):
            pending.outcome = outcome
        return committed

    def _hand_over(self) -> None:
        """Wake the next to lead, if somebody waits: the first of those."""
        with self._joining:
            heirs = self._waiting[:1]
            self._led = bool(heirs)
        for pending in heirs:
            pending.asleep.release()


class _Pending(Generic[R]):
    """A draft whose outcome the committing thread fills in."""

    __slots__ = ("asleep", "draft", "outcome", "shared")

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.outcome: Outcome | BaseException | None = None
        self.shared: R | None = None
        self.asleep = threading.Lock()
        """Held until somebody wakes the thread that waits for it."""
        self.asleep.acquire()

    def result(self) -> tuple[Entry, R]:
        """Return the entry and what its batch came to, or raise its refusal."""
        if isinstance(self.outcome, Entry) and self.shared is not None:
            return self.outcome, self.shared
        raise self.outcome  # type: ignore[misc] # no thread is woken without one
