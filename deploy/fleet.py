"""Many hosts at a time: look at them, change them wave by wave, prove them.

    survey ──▶ plans ──▶ one host of each kind ──▶ growing waves (`deploy.waves`)

A run that stopped is taken up by the same command: hosts that are done have nothing
left to change.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ca.errors import CAError
from deploy import apply as change
from deploy import pulling
from deploy.apply import Operator
from deploy.connection import Connections
from deploy.desired import Desired, DesiredHost
from deploy.facts import Facts
from deploy.failure import Drift, PasswordNeeded, PlanChanged
from deploy.host_certificate import Named, names_of
from deploy.inventory import Host, Resolver
from deploy.leftover import QUESTION
from deploy.plan import make_undo
from deploy.planned import Plan
from deploy.proof import Way
from deploy.retirement import make_restoration, make_retirement
from deploy.root import Password, Root, become_of
from deploy.trust import Trust
from deploy.waves import Outcome, Seen, Tally, waves


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a host."""

    host: str
    what: str
    """A step, or an outcome."""
    detail: str = ""


Watch = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to go about a fleet."""

    parallel: int = 10
    max_fail: int = 0
    become: str | None = None
    undo: bool = False
    """Take the last change back."""
    keys: bool = False
    """Ask about authorized keys, and take these away, or bring them back."""


@dataclass(frozen=True, slots=True)
class _Run:
    """What all hosts of a run share."""

    connections: Connections
    turns: asyncio.Semaphore


@dataclass(slots=True)
class Fleet:
    """The hosts of one run, and the way to each."""

    desired: Desired
    trust: Trust | None
    """None where nothing is planned that needs it."""
    password: Password
    resolver: Resolver
    settings: Settings
    watch: Watch

    async def survey(self, hosts: Sequence[Host]) -> tuple[Seen, ...]:
        """Look at hosts and plan, many at a time. Changes nothing."""
        async with self._begin() as run:
            return tuple(await asyncio.gather(*(self._look(run, h) for h in hosts)))

    async def roll_out(
        self, seen: Sequence[Seen], operator: Operator
    ) -> dict[str, Outcome]:
        """Bring hosts to their plans, wave by wave; say what became of each."""
        tally = Tally(self.settings.max_fail)
        for each in seen:
            if not each.would_change:
                tally.outcomes[each.host.name] = self._say_why_not(each)

        async def change_one(run: _Run, each: Seen) -> None:
            name = each.host.name
            async with run.turns:
                why = tally.reason_to_stop(each)
                tally.outcomes[name] = (
                    self._end(name, Outcome.NOT_TRIED, why)
                    if why is not None
                    else await self._outcome(name, self._apply(run, each, operator))
                )

        async with self._begin() as run:
            for number, wave in enumerate(waves(seen)):
                await asyncio.gather(*(change_one(run, each) for each in wave))
                if number == 0:
                    tally.judge_canaries(wave)
        return tally.outcomes

    async def verify(
        self, seen: Sequence[Seen], operator: Operator
    ) -> dict[str, Outcome]:
        """Prove hosts without changing any; what differs from the plan is a failure."""

        async def verify_one(run: _Run, each: Seen) -> Outcome:
            name = each.host.name
            if each.failure is not None:
                return self._end(name, Outcome.UNSEEN, each.failure.detail)
            async with run.turns:
                return await self._outcome(name, self._verify(run, each, operator))

        async with self._begin() as run:
            outcomes = await asyncio.gather(*(verify_one(run, each) for each in seen))
        return {e.host.name: o for e, o in zip(seen, outcomes, strict=True)}

    @asynccontextmanager
    async def _begin(self) -> AsyncIterator[_Run]:
        async with Connections(self.resolver) as connections:
            yield _Run(connections, asyncio.Semaphore(self.settings.parallel))

    def _end(self, host: str, outcome: Outcome, detail: str = "") -> Outcome:
        self.watch(Event(host, outcome, detail))
        return outcome

    async def _outcome(self, host: str, done: Awaitable[None]) -> Outcome:
        """Wait for what is done to a host; what fails is an outcome."""
        try:
            await done
        except CAError as error:
            return self._end(host, Outcome.FAILED, error.detail)
        return self._end(host, Outcome.PROVED)

    def _say_why_not(self, each: Seen) -> Outcome:
        name = each.host.name
        if each.failure is not None:
            return self._end(name, Outcome.UNSEEN, each.failure.detail)
        if each.plan is not None and each.plan.blockers:
            return self._end(name, Outcome.BLOCKED, each.plan.blockers[0])
        return self._end(name, Outcome.UNCHANGED)

    async def _look(self, run: _Run, host: Host) -> Seen:
        async with run.turns:
            try:
                way, root = await self._visit(run, host)
                async with root.connection:
                    facts, plan = await self._plan(way, root, host)
            except PasswordNeeded as error:
                # Whoever asked for the survey asks for it, and for this host again.
                return Seen(host, failure=error)
            except CAError as error:
                self.watch(Event(host.name, Outcome.UNSEEN, error.detail))
                return Seen(host, failure=error)
        self.watch(Event(host.name, "looked at"))
        return Seen(host, facts, plan)

    async def _apply(self, run: _Run, each: Seen, operator: Operator) -> None:
        way, root = await self._visit(run, each.host)
        async with root.connection:
            facts, plan = await self._plan(way, root, each.host)
            if each.plan is None or plan.id != each.plan.id:
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

    async def _verify(self, run: _Run, each: Seen, operator: Operator) -> None:
        if each.plan is None or each.facts is None:
            raise Drift("it was not looked at")
        if each.plan.blockers:
            raise Drift(each.plan.blockers[0])
        if each.plan.changes:
            paths = ", ".join(change.path for change in each.plan.changes)
            raise Drift(f"not as it should be: {paths}")
        left = make_retirement(each.plan, each.facts, self.wanted(each.host))
        for why in left.blockers:
            raise Drift(why)
        if left.changes:
            paths = ", ".join(change.path for change in left.changes)
            raise Drift(f"authorized keys are left: {paths}")
        if self.wanted(each.host).source is not None:
            for why in pulling.signs_of_standstill(each.facts):
                raise Drift(why)
        way, root = await self._visit(run, each.host)
        async with root.connection:
            await change.prove(root, way, (each.facts, each.plan), operator)

    async def _visit(self, run: _Run, host: Host) -> tuple[Way, Root]:
        endpoint = await self.resolver.resolve(host.name, host.options)
        connection = await run.connections.open(endpoint)
        become = become_of(endpoint.user, self.settings.become)
        root = Root(connection, host.name, become, self.password)
        return Way(run.connections, endpoint), root

    async def _plan(self, way: Way, root: Root, host: Host) -> tuple[Facts, Plan]:
        desired = self.wanted(host)
        if self.settings.undo or self.trust is None:
            facts = await change.gather(root, self._questions(desired))
            undo = make_restoration if self.settings.keys else make_undo
            return facts, undo(host.name, facts)
        endpoint = way.endpoint
        named = Named(host.name, names_of(endpoint.name, endpoint.address))
        facts, plan = await change.plan(root, named, desired, self.trust)
        if self.settings.keys:
            plan = make_retirement(plan, facts, desired)
        return facts, plan

    def _questions(self, desired: DesiredHost) -> tuple[str, ...]:
        return (*desired.questions, *([QUESTION] if self.settings.keys else []))

    def wanted(self, host: Host) -> DesiredHost:
        """Return what a host should be."""
        return self.desired.for_host(host.groups)
