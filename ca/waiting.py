"""How a request waits, where its thread works on others, too.

A thread that has one request waits where it stands. Who works on several at once in
one thread, so that they share a commit, says so in `CREW` for each of them. Then they
wait for their entries together, and what else may take long, another thread does.

They go in step, too: what is the same for all, each does right after the other.
"""

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, ParamSpec, Protocol, TypeVar

D = TypeVar("D")
P = ParamSpec("P")
R = TypeVar("R")


class Crew(Protocol):
    """Whoever works on several requests at once in one thread."""

    def together(
        self, append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D
    ) -> R:
        """Give `draft` to `append_all` with the others'; return its result."""

    def in_step(
        self,
        work: Callable[..., R],
        args: tuple[Any, ...],
        named: Mapping[str, Any],
    ) -> R:
        """Return what `work` returns, done right before or after what others do."""

    def apart(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, in a thread that may wait."""


CREW: ContextVar[Crew | None] = ContextVar("crew", default=None)
"""Set where the thread has other requests to work on."""


def together(append_all: Callable[[list[D]], list[Callable[[], R]]], draft: D) -> R:
    """Return the result of one draft: of its own, or with those of the crew."""
    crew = CREW.get()
    if crew is None:
        (result,) = append_all([draft])
        return result()
    return crew.together(append_all, draft)


def in_step(work: Callable[P, R], *args: P.args, **named: P.kwargs) -> R:
    """Return what `work` returns; the others of the crew do theirs before or after it.

    A processor does the same once more in half the time, since code and tables are in
    its caches still; a whole request is larger than these are.
    """
    crew = CREW.get()
    if crew is None:
        return work(*args, **named)
    return crew.in_step(work, args, named)


def apart(work: Callable[[], R]) -> R:
    """Return what `work` returns, which may take seconds, and hold up nobody else.

    What it locks, it must unlock.
    """
    crew = CREW.get()
    return work() if crew is None else crew.apart(work)
