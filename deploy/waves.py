"""In which order the hosts of a fleet are changed, and when no other one is.

    canaries: one host of each kind ──▶ 5 % ──▶ 25 % ──▶ all

Only hosts that would change count. A wave begins when the one before it has ended, no
host begins once too many have failed, and where the first of a kind failed, no other of
that kind begins at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ca.errors import CAError
from deploy.facts import Facts
from deploy.inventory import Host
from deploy.planned import Kind, Plan

_WAVES = (0.05, 0.25, 1.0)
"""Shares of the hosts that would change, after the canaries."""


class Outcome(StrEnum):
    """What has become of a host in a run."""

    PROVED = "proved"
    UNCHANGED = "unchanged"
    """There was nothing to change."""
    BLOCKED = "left alone"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    """Too many others failed, or the first of its kind."""
    UNSEEN = "not looked at"
    """It could not be looked at, so nothing was tried."""


@dataclass(slots=True)
class Seen:
    """What a survey found of one host."""

    host: Host
    facts: Facts | None = None
    plan: Plan | None = None
    failure: CAError | None = None

    @property
    def would_change(self) -> bool:
        """Whether there is something to do, and nothing against it."""
        return bool(self.plan and self.plan.changes and not self.plan.blockers)

    @property
    def kind(self) -> object:
        """What makes it like another: what could make a change fail on both.

        Not which of the CA's files it has already: those that an earlier try left.
        """
        facts, plan = self.facts, self.plan
        if facts is None or plan is None:
            return None
        effects = tuple((e.keyword, e.before) for e in plan.effects)
        paths = tuple(c.path for c in plan.changes if c.kind is not Kind.TRUST)
        return (facts.os, facts.version, facts.manager, facts.selinux, effects, paths)


@dataclass(slots=True)
class Tally:
    """How a run has gone so far, and whether it goes on."""

    max_fail: int
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _spared: set[object] = field(default_factory=set)

    def reason_to_stop(self, each: Seen) -> str | None:
        """Say why this host is not tried any more; None when it is."""
        if each.kind in self._spared:
            return "the first host of its kind failed"
        failed = sum(o is Outcome.FAILED for o in self.outcomes.values())
        return "too many others failed" if failed > self.max_fail else None

    def judge_canaries(self, wave: Iterable[Seen]) -> None:
        """Spare the others of each kind whose first host was not proved."""
        self._spared |= {
            each.kind
            for each in wave
            if self.outcomes[each.host.name] is not Outcome.PROVED
        }


def waves(seen: Sequence[Seen]) -> Iterator[tuple[Seen, ...]]:
    """Split those that would change: one of each kind, then growing shares."""
    all_of_them = [each for each in seen if each.would_change]
    canaries: dict[object, Seen] = {}
    for each in all_of_them:
        canaries.setdefault(each.kind, each)
    first = list(canaries.values())
    if first:
        yield tuple(first)
    left = [each for each in all_of_them if each not in first]
    for share in _WAVES:
        count = min(len(left), max(1, round(len(all_of_them) * share)))
        if count:
            yield tuple(left[:count])
        left = left[count:]
