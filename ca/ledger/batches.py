"""Batches: while one commit is under way, the next batch collects.

So everyone in a batch shares the cost of durability, and nobody waits for one to fill.
What comes between a commit and its answers, the next commit does not wait for.
"""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Generic, TypeVar

from ca.errors import CAError
from ca.store import Draft, Entry
from ca.waiting import together

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
        self._waiting: list[_Party[R]] = []
        self._led = False
        """Whether somebody is committing, or has been woken to."""

    def append(self, draft: Draft) -> tuple[Entry, R]:
        """Return the draft's entry, durable by now, and what its batch came to."""
        return together(self.append_all, draft)

    def append_all(self, drafts: list[Draft]) -> list[Callable[[], tuple[Entry, R]]]:
        """Append these in one batch; return for each what `append` would, or raises.

        Whoever finds nobody committing leads: commits for all that wait by then. The
        others sleep until they have their outcomes, or are the next to lead; each on a
        lock of its own, since on a shared one they would wake in a queue.
        """
        party: _Party[R] = _Party(drafts)
        with self._joining:
            self._waiting.append(party)
            leads, self._led = not self._led, True
        if not leads:
            party.asleep.acquire()
        if not party.settled:
            self._lead()
        return [partial(party.result, outcome) for outcome in party.outcomes]

    def _lead(self) -> None:
        with self._joining:
            batch, self._waiting = self._waiting, []
        try:
            shared = self._finish(self._commit_all(batch))
            for party in batch:
                party.shared = shared
        except BaseException as error:  # noqa: BLE001 (each of them raises it)
            for party in batch:
                party.fail(error)
        finally:
            for party in batch[1:]:
                party.asleep.release()

    def _commit_all(self, batch: "list[_Party[R]]") -> C:
        try:
            drafts = [draft for party in batch for draft in party.drafts]
            outcomes, committed = self._commit(drafts)
        finally:
            self._hand_over()
        left = iter(outcomes)
        for party in batch:
            party.outcomes = list(islice(left, len(party.drafts)))
        return committed

    def _hand_over(self) -> None:
        """Wake the next to lead, if somebody waits: the first of those."""
        with self._joining:
            heirs = self._waiting[:1]
            self._led = bool(heirs)
        for party in heirs:
            party.asleep.release()


class _Party(Generic[R]):
    """Drafts that came together, whose outcomes the committing thread fills in."""

    __slots__ = ("asleep", "drafts", "outcomes", "shared")

    def __init__(self, drafts: Sequence[Draft]) -> None:
        self.drafts = drafts
        self.outcomes: Sequence[Outcome | BaseException] = ()
        self.shared: R | None = None
        self.asleep = threading.Lock()
        """Held until somebody wakes the thread that waits for it."""
        self.asleep.acquire()

    @property
    def settled(self) -> bool:
        """Whether somebody has committed these, or tried to."""
        return bool(self.outcomes)

    def fail(self, error: BaseException) -> None:
        """Give everybody in here this outcome."""
        self.outcomes = [error] * len(self.drafts)

    def result(self, outcome: Outcome | BaseException) -> tuple[Entry, R]:
        """Return the entry and what its batch came to, or raise its refusal."""
        if isinstance(outcome, Entry) and self.shared is not None:
            return outcome, self.shared
        raise outcome  # type: ignore[misc] # an entry without is not handed out
