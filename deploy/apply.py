"""The life of a change on one host. Read this first.

    facts ──▶ plan ──▶ stage ──▶ check ──▶ arm ──▶ swap ──▶ reload ──▶ logins ──▶ prove
                         │         │        │       │         │          │
                         └─────────┴────────┴───────┴─────────┴──────────┴──▶ rollback

Nothing is swapped before the host itself has a clock running that takes the change
back (`deploy/host/change.sh`), and nothing but logins on new connections stops that
clock. So whatever is cut, here or there, and whenever: the host ends either proved, or
as it was.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ca.errors import CAError
from deploy import proof
from deploy.canaries import Canaries
from deploy.desired import DesiredHost
from deploy.facts import Facts, parse_facts, script
from deploy.failure import Blocked, HostUnreachable, NotRoot, PlanChanged
from deploy.host_certificate import Certify, Named
from deploy.plan import make_plan
from deploy.planned import Plan
from deploy.proof import Way
from deploy.pulling import PULL_CONF, Register
from deploy.root import Root
from deploy.trust import Trust
from deploy.upload import Change

STEPS = ("stage", "check", "arm", "swap", "reload", "logins", "prove")

Observer = Callable[[str], None]
"""Told of each step once it is done."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who changes hosts, and with what."""

    name: str
    canaries: Canaries
    certify: Callable[[Certify], str]
    """Asks the CA for a host certificate; returns its line."""
    register: Callable[[Register], None]
    """Has the CA know a host that pulls."""
    host_ca_keys: tuple[str, ...] = ()
    clock_seconds: int = 120


async def gather(root: Root, questions: tuple[str, ...]) -> Facts:
    """Return what a host is. Changes nothing there."""
    return parse_facts(await root.run(script(questions), questions))


async def plan(
    root: Root, named: Named, desired: DesiredHost, trust: Trust
) -> tuple[Facts, Plan]:
    """Return what a host is, and what to change there."""
    facts = await gather(root, desired.questions)
    # After the report, in which the host's clock is: the two are compared.
    return facts, make_plan(named, facts, desired, trust, now=int(time.time()))


async def apply(
    root: Root,
    way: Way,
    seen: tuple[Facts, Plan],
    operator: Operator,
    observe: Observer = lambda _: None,
) -> None:
    """Bring a host to what the plan says, and prove it; or leave it as it was.

    Raises `Blocked`, and what failed, with what has become of the host then.
    """
    facts, planned = seen
    if planned.blockers:
        raise Blocked(f"{planned.host}: {planned.blockers[0]}")
    if planned.register is not None:
        await asyncio.to_thread(operator.register, planned.register)
    if planned.certify is not None:
        line = await asyncio.to_thread(operator.certify, planned.certify)
        planned = planned.with_certificate(line)
    name = f"{planned.id}-{secrets.token_hex(4)}"
    change = Change(planned, facts, name, operator.name, operator.clock_seconds)
    done = ""

    def note(step: str) -> None:
        nonlocal done
        done = step
        observe(step)

    try:
        await root.run(change.upload())
        note("stage")
        for step in ("check", "arm", "swap", "reload"):
            await root.run(change.step(step))
            note(step)
        await prove(root, way, (facts, planned), operator)
        note("logins")
        await root.run(change.step("prove"))
        note("prove")
    except CAError as error:
        raise await _roll_back(root, way, change, error, done=done) from error


async def prove(
    root: Root, way: Way, seen: tuple[Facts, Plan], operator: Operator
) -> None:
    """Raise `NotProved` unless a host lets in whom its plan says, and shows itself."""
    facts, planned = seen
    await proof.prove(way, root, facts, planned.accounts, operator.canaries)
    await proof.prove_host(way, planned.names, operator.host_ca_keys)


async def _roll_back(
    root: Root, way: Way, change: Change, why: CAError, *, done: str
) -> CAError:
    """Take a change back; return what to raise: why, and what the host is now."""
    try:
        await root.run(change.step("rollback"))
        await proof.prove_own(way)
    except HostUnreachable:
        # The answer to the last step may be all that was lost.
        fate = (
            "all logins were proved; `ca-deploy status` says whether the change stayed"
            if done == "logins"
            else "the host takes the change back by itself, within "
            f"{change.clock_seconds} s; look at it then"
        )
    except NotRoot as error:
        # As when a line for sudo took from us what we came in with.
        fate = (
            f"and we are root there no more ({error.detail}): the host takes the "
            f"change back by itself, within {change.clock_seconds} s"
        )
    except CAError as error:
        fate = f"and taking it back failed: {error.detail}"
    else:
        fate = "the host is as it was, and lets you in as before"
        if change.plan.register is not None and PULL_CONF not in change.facts.files:
            fate += (
                ". The CA knows it now and waits for its reports: apply again, or "
                f"ca-admin hosts forget {change.plan.register.id}"
            )
    kind = PlanChanged if "changed:" in why.detail else type(why)
    return kind(f"{why.detail}; {fate}", hint=why.hint)
