"""How a request waits, where its thread works on others, too.

A thread that has one request waits where it stands. Who works on several at once in
one thread, so that they share a commit, says so in `CREW` for each of them. Then they
wait for their entries together, and what else may take long, another thread does.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol, TypeVar

D = TypeVar("D")
R = TypeVar("R")


class Crew(Protocol):
    """Whoever works on several requests at once in one thread."""

    def together(
        self, append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D
    ) -> R:
        """Give `draft` to `append_all` with the others'; return its result."""

    def apart(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, in a thread that may wait."""


CREW: ContextVar[Crew | None] = ContextVar("crew", default=None)
"""Set where the thread has other requests to work on."""


def together(append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D) -> R:
    """Return the result of one draft: of its own, or with those of the crew."""
    crew = CREW.get()
    if crew is not None:
        return crew.together(append_all, draft)
    (result,) = append_all([draft])
    return result()


def apart(work: Callable[[], R]) -> R:
    """Return what `work` returns, which may take seconds, and hold up nobody else.

    What it locks, it must unlock.
    """
    crew = CREW.get()
    return work() if crew is None else crew.apart(work)
