"""Requests that one thread works on at once, so that they share a commit.

Each is a greenlet: its code reads as if it were alone. Where it waits for its entry on
the ledger, the thread goes on with the next, and when all of them wait, it commits for
all. A thread for each would cost more than the work itself: only one of them can run,
and at every turn another has to be woken.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextvars import Context
from typing import Any, NoReturn, TypeVar

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
        self._steps: list[
            tuple[greenlet, Callable[..., Any], tuple[Any, ...], Mapping[str, Any]]
        ] = []
        self._drafts: list[
            tuple[greenlet, Callable[[list[Any]], list[Result]], Any]
        ] = []
        self._apart: dict[Future[Any], greenlet] = {}

    def work(self, calls: Sequence[Callable[[], None]]) -> None:
        """Work on all, and return when those that are not done wait for others."""
        for call in calls:
            _member().switch(self, call)
        self._go_on()

    @property
    def waits(self) -> bool:
        """Whether some of them wait for others."""
        return bool(self._apart)

    def wait(self) -> None:
        """Return when all are done."""
        while self._apart:
            done, _ = wait(self._apart, return_when=FIRST_COMPLETED)
            for future in done:
                self._apart.pop(future).switch(future.result)
            self._go_on()

    def together(
        self, append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D
    ) -> R:
        """Let the others work until all wait for their entries."""
        self._drafts.append((getcurrent(), append_all, draft))
        result: Callable[[], R] = self._hub.switch()
        return result()

    def in_step(
        self,
        work: Callable[..., R],
        args: tuple[Any, ...],
        named: Mapping[str, Any],
    ) -> R:
        """Let the others come as far, and do this with theirs."""
        self._steps.append((getcurrent(), work, args, named))
        return self._hub.switch()  # type: ignore[no-any-return]

    def apart(self, work: Callable[[], R]) -> R:
        """Let the others work, and answer, until somebody else has done this."""
        self._apart[self._others.submit(work)] = getcurrent()
        result: Callable[[], R] = self._hub.switch()
        return result()

    def _go_on(self) -> None:
        # Whoever waits for an entry waits for those who are not as far: the commit is
        # to be for all.
        while self._steps or self._drafts:
            if self._steps:
                self._step()
            else:
                self._commit()

    def _step(self) -> None:
        steps, self._steps = self._steps, []
        done: list[tuple[greenlet, Any, Exception | None]] = []
        for member, work, args, named in steps:
            try:
                done.append((member, work(*args, **named), None))
            except Exception as error:  # noqa: BLE001 (whose work it was raises it)
                done.append((member, None, error))
        for member, result, raised in done:
            if raised is None:
                member.switch(result)
            else:
                # With where it was raised, which the log has to show.
                member.throw(type(raised), raised, raised.__traceback__)

    def _commit(self) -> None:
        drafts, self._drafts = self._drafts, []
        append_all = drafts[0][1]
        results = append_all([draft for _, _, draft in drafts])
        for (member, _, _), result in zip(drafts, results, strict=True):
            member.switch(result)


class _Idle(threading.local):
    """Greenlets that wait for work. Each belongs to the thread it was made in."""

    def __init__(self) -> None:
        self.members: list[greenlet] = []


_IDLE = _Idle()


def _member() -> greenlet:
    # A new one for each request would cost as much as a signature.
    return _IDLE.members.pop() if _IDLE.members else greenlet(_serve)


def _serve(crew: Crew, call: Callable[[], None]) -> NoReturn:
    """Work on one request after the other; between them wait among the idle.

    Nothing in here refers to the greenlet: with its thread, it goes.
    """
    while True:
        Context().run(_work, crew, call)
        hub = getcurrent().parent
        del crew, call  # what was asked is not to be kept
        _IDLE.members.append(getcurrent())
        crew, call = hub.switch()  # type: ignore[union-attr] # there is one


def _work(crew: Crew, call: Callable[[], None]) -> None:
    CREW.set(crew)
    call()
