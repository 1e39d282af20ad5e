"""Which requests a crew works on: those that have arrived when it begins."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

from signer.crew import Crew

MOST = 32
"""Requests that one thread works on at once, and that share a commit."""

ASIDE_SECONDS = 0.1
"""How long, at most, the thread that sends a crew stands aside for it."""

T = TypeVar("T")


class Crews(Generic[T]):
    """Has a thread work on what has arrived, in crews, one after the other.

    It is the same thread for as long as it is free, since what it needs is in the
    processor's caches still. A second crew at once would take turns with the first on
    one processor, and make the batches smaller. One that only waits for others is not
    at work. The thread that sends a crew would take turns with it, too, at each system
    call of either: so it stands aside, but never for long, whatever the crew has to
    wait for.
    """

    def __init__(
        self,
        *,
        steady: Executor,
        threads: Executor,
        others: Executor,
        answer: Callable[[T], None],
        finish: Callable[[T], None],
        defer: Callable[[Callable[[], None]], None],
    ) -> None:
        """Crews work in `steady`, of one thread, and have `others` do what takes long.

        While a crew waits for others there, the next ones work in `threads`. A crew
        calls `answer` for each request. `finish` is called by the thread that calls
        `add` and `send`, which does what is given to `defer`.
        """
        self.waiting: deque[T] = deque()
        """Requests that no crew has taken yet."""
        self._steady = steady
        self._threads = threads
        self._others = others
        self._answer = answer
        self._finish = finish
        self._defer = defer
        self._at_work = False
        self._steady_waits = False
        self._done = threading.Event()

    def add(self, request: T) -> None:
        """Have the next crew work on a request."""
        self.waiting.append(request)

    def send(self) -> None:
        """Have a crew work on what waits, unless one is at work already.

        To be called at each turn of the loop, once all has been read: no crew begins by
        itself where another one ends, or those that come back at once would go first.
        """
        if self.waiting and not self._at_work:
            self._at_work = True
            count = min(len(self.waiting), MOST)
            members = [self.waiting.popleft() for _ in range(count)]
            self._done.clear()
            threads = self._threads if self._steady_waits else self._steady
            threads.submit(self._work, members, steady=threads is self._steady)
            self._done.wait(ASIDE_SECONDS)

    def _work(self, members: Sequence[T], *, steady: bool) -> None:
        crew = Crew(self._others)
        answered: list[T] = []

        def answer(member: T) -> None:
            self._answer(member)
            answered.append(member)

        early: list[T] = []
        try:
            crew.work([partial(answer, member) for member in members])
            if steady:
                self._steady_waits = crew.waits
        finally:
            early += answered
            self._defer(partial(self._end, early))
            self._done.set()
        try:
            crew.wait()
        finally:
            if steady:
                self._steady_waits = False
            late = [member for member in members if member not in early]
            self._defer(partial(self._finish_all, late))

    def _end(self, members: Sequence[T]) -> None:
        self._at_work = False
        self._finish_all(members)

    def _finish_all(self, members: Sequence[T]) -> None:
        for member in members:
            self._finish(member)
