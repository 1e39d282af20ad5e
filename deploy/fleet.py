"""Many hosts: first one of each kind, then more and more of them.

    survey ──▶ plans ──▶ canaries: one host of each kind ──▶ 5 % ──▶ 25 % ──▶ all

A wave begins when the one before it has ended well enough. A run that stopped is taken
up by the same command: hosts that are done have nothing left to change.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ca.errors import CAError
from deploy import apply as change
from deploy.apply import Operator
from deploy.connection import Connections
from deploy.desired import Desired, DesiredHost
from deploy.facts import Facts
from deploy.failure import Blocked, Drift, PlanChanged
from deploy.host_certificate import Named, names_of
from deploy.inventory import Host, Resolver
from deploy.plan import make_undo
from deploy.planned import Plan
from deploy.proof import Way, prove
from deploy.root import Asker, Root, become_of
from deploy.trust import Trust

_WAVES = (0.05, 0.25, 1.0)
"""Shares of the fleet, after the canaries."""


class Outcome(StrEnum):
    """What has become of a host in a run."""

    PROVED = "proved"
    UNCHANGED = "unchanged"
    """There was nothing to change."""
    BLOCKED = "left alone"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    """Too many others failed."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a host."""

    host: str
    what: str
    """A step, or an outcome."""
    detail: str = ""


Watch = Callable[[Event], None]


@dataclass(slots=True)
class Seen:
    """What a survey found of one host."""

    host: Host
    facts: Facts | None = None
    plan: Plan | None = None
    failure: CAError | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """How to go about a fleet."""

    parallel: int = 10
    max_fail: int = 0
    become: str | None = None
    undo: bool = False
    """Take the last change back."""


@dataclass(slots=True)
class Fleet:
    """The hosts of one run, and the way to each."""

    desired: Desired
    trust: Trust | None
    """None where nothing is planned that needs it."""
    asker: Asker
    resolver: Resolver
    settings: Settings
    watch: Watch
    _turns: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.settings.parallel)

    async def survey(self, hosts: Sequence[Host]) -> tuple[Seen, ...]:
        """Look at hosts and plan, many at a time. Changes nothing."""
        async with Connections(self.resolver) as connections:
            return tuple(
                await asyncio.gather(*(self._look(connections, h) for h in hosts))
            )

    async def roll_out(
        self, seen: Sequence[Seen], operator: Operator
    ) -> dict[str, Outcome]:
        """Bring hosts to their plans, wave by wave; say what became of each."""

        async def one(connections: Connections, each: Seen) -> Outcome:
            return await self._apply(connections, each, operator)

        outcomes = {each.host.name: Outcome.NOT_TRIED for each in seen}
        for wave in waves(seen):
            failed = sum(o is Outcome.FAILED for o in outcomes.values())
            if failed > self.settings.max_fail:
                break
            outcomes |= await self._each(wave, one)
        for name, outcome in outcomes.items():
            if outcome is Outcome.NOT_TRIED:
                self.watch(Event(name, outcome, "too many others failed"))
        return outcomes

    async def verify(
        self, seen: Sequence[Seen], operator: Operator
    ) -> dict[str, Outcome]:
        """Prove hosts without changing any; what differs from the plan is a failure."""

        async def one(connections: Connections, each: Seen) -> Outcome:
            return await self._verify(connections, each, operator)

        return await self._each(seen, one)

    async def _each(
        self,
        seen: Sequence[Seen],
        one: Callable[[Connections, Seen], Awaitable[Outcome]],
    ) -> dict[str, Outcome]:
        """Do one thing to hosts, many at a time; what fails is an outcome."""

        async def guarded(connections: Connections, each: Seen) -> Outcome:
            try:
                if each.failure is not None:
                    raise each.failure
                async with self._turns:
                    outcome = await one(connections, each)
            except Blocked as error:
                self.watch(Event(each.host.name, Outcome.BLOCKED, error.detail))
                return Outcome.BLOCKED
            except CAError as error:
                self.watch(Event(each.host.name, Outcome.FAILED, error.detail))
                return Outcome.FAILED
            self.watch(Event(each.host.name, outcome))
            return outcome

        async with Connections(self.resolver) as connections:
            outcomes = await asyncio.gather(*(guarded(connections, e) for e in seen))
        return {e.host.name: o for e, o in zip(seen, outcomes, strict=True)}

    async def _look(self, connections: Connections, host: Host) -> Seen:
        async with self._turns:
            try:
                way = await self._way(connections, host)
                root = await self._root(way, host)
                async with root.connection:
                    facts, plan = await self._plan(way, root, host)
            except CAError as error:
                self.watch(Event(host.name, Outcome.FAILED, error.detail))
                return Seen(host, failure=error)
        self.watch(Event(host.name, "looked at"))
        return Seen(host, facts, plan)

    async def _apply(
        self, connections: Connections, each: Seen, operator: Operator
    ) -> Outcome:
        if each.plan is None or each.plan.blockers:
            raise Blocked(
                each.plan.blockers[0] if each.plan else "it was not looked at"
            )
        if not each.plan.changes:
            return Outcome.UNCHANGED
        way = await self._way(connections, each.host)
        root = await self._root(way, each.host)
        async with root.connection:
            facts, plan = await self._plan(way, root, each.host)
            if plan.id != each.plan.id:
                raise PlanChanged(
                    "it is not any more what it was when the plan was made",
                    hint="ca-deploy plan",
                )
            name = each.host.name
            await change.apply(
                root,
                way,
                (facts, plan),
                operator,
                lambda step: self.watch(Event(name, step)),
            )
        return Outcome.PROVED

    async def _verify(
        self, connections: Connections, each: Seen, operator: Operator
    ) -> Outcome:
        if each.plan is None or each.facts is None:
            raise Drift("it was not looked at")
        if each.plan.blockers:
            raise Drift(each.plan.blockers[0])
        if each.plan.changes:
            paths = ", ".join(change.path for change in each.plan.changes)
            raise Drift(f"not as it should be: {paths}")
        way = await self._way(connections, each.host)
        await prove(way, each.facts, each.plan.accounts, operator.canaries)
        return Outcome.PROVED

    async def _way(self, connections: Connections, host: Host) -> Way:
        return Way(connections, await self.resolver.resolve(host.name, host.options))

    async def _root(self, way: Way, host: Host) -> Root:
        connection = await way.connections.open(way.endpoint)
        become = become_of(way.endpoint.user, self.settings.become)
        return Root(connection, host.name, become, self.asker)

    async def _plan(self, way: Way, root: Root, host: Host) -> tuple[Facts, Plan]:
        desired = self.wanted(host)
        if self.settings.undo or self.trust is None:
            facts = await change.gather(root, desired.questions)
            return facts, make_undo(host.name, facts)
        now = int(time.time())
        endpoint = way.endpoint
        named = Named(host.name, names_of(endpoint.name, endpoint.address))
        return await change.plan(root, named, desired, self.trust, now=now)

    def wanted(self, host: Host) -> DesiredHost:
        """Return what a host should be."""
        return self.desired.for_host(host.groups)


def waves(seen: Sequence[Seen]) -> Iterator[tuple[Seen, ...]]:
    """Split a fleet: one of each kind, then growing shares of what is left."""
    left = list(seen)
    canaries: dict[object, Seen] = {}
    for each in left:
        if each.plan is not None and each.plan.changes:
            canaries.setdefault(kind_of(each), each)
    first = list(canaries.values())
    if first:
        yield tuple(first)
    left = [each for each in left if each not in first]
    for share in _WAVES:
        count = min(len(left), max(1, round(len(seen) * share)))
        if count:
            yield tuple(left[:count])
        left = left[count:]


def kind_of(each: Seen) -> object:
    """Return what makes a host like another: what could make a change fail on both."""
    facts, plan = each.facts, each.plan
    if facts is None or plan is None:
        return None
    effects = tuple((e.keyword, e.before) for e in plan.effects)
    paths = tuple(change.path for change in plan.changes)
    return (facts.os, facts.version, facts.manager, facts.selinux, effects, paths)
