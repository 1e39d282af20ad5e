"""Requests that one thread works on at once, so that they share a commit.

Each is a greenlet: its code reads as if it were alone. Where it waits for its entry on
the ledger, the thread goes on with the next, and when all of them wait, it commits for
all. A thread for each would cost more than the work itself: only one of them can run,
and at every turn another has to be woken.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from ca.waiting import CREW

D = TypeVar("D")
R = TypeVar("R")

Result = Callable[[], Any]
"""Returns what somebody waits for, or raises."""


class Crew:
    """Works on several requests in the thread that calls it."""

    def __init__(self, others: Executor) -> None:
        """`others` do what may take long."""
        self._others = others
        self._hub = getcurrent()
        self._drafts: list[tuple[greenlet, Callable[[list[Any]], list[Result]], Any]]
        self._drafts = []
        self._apart: dict[Future[Any], greenlet] = {}

    def work(self, calls: Sequence[Callable[[], None]]) -> None:
        """Work on all, and return when those that are not done wait for others."""
        for call in calls:
            greenlet(self._run).switch(call)
        self._commit()

    def wait(self) -> None:
        """Return when all are done."""
        while self._apart:
            done, _ = wait(self._apart, return_when=FIRST_COMPLETED)
            for future in done:
                self._apart.pop(future).switch(future.result)
            self._commit()

    def together(
        self, append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D
    ) -> R:
        """Let the others work until all wait for their entries."""
        self._drafts.append((getcurrent(), append_all, draft))
        return self._pause()  # type: ignore[no-any-return]

    def apart(self, work: Callable[[], R]) -> R:
        """Let the others work, and answer, until somebody else has done this."""
        self._apart[self._others.submit(work)] = getcurrent()
        return self._pause()  # type: ignore[no-any-return]

    def _pause(self) -> Any:
        result: Result = self._hub.switch()
        return result()

    def _run(self, call: Callable[[], None]) -> None:
        CREW.set(self)
        call()

    def _commit(self) -> None:
        while self._drafts:
            drafts, self._drafts = self._drafts, []
            append_all = drafts[0][1]
            results = append_all([draft for _, _, draft in drafts])
            for (member, _, _), result in zip(drafts, results, strict=True):
                member.switch(result)
