"""The commands that go to hosts: look, say what was found, and do it when told to."""

import asyncio
import getpass
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from client.api import Misuse
from deploy import ca, desired, host_keys, inventory
from deploy.apply import Operator
from deploy.failure import NotRoot, PlanChanged
from deploy.fleet import Event, Fleet, Outcome, Seen, Settings
from deploy.inventory import Host, Resolver
from deploy.options import Options
from deploy.output import Output
from deploy.planned import Plan, fleet_id
from deploy.report import Watcher
from deploy.root import Asker
from deploy.status import describe

DONE = 0
FAILED = 1
DRIFT = 9


def plan(options: Options, output: Output) -> int:
    """Say what would change."""
    fleet, hosts = _open(options, output)
    if options.accept_new:
        asyncio.run(host_keys.accept(fleet.resolver, hosts, output, _confirm))
    seen = _look(fleet, hosts, output)
    _show(seen, output)
    return _status(seen)


def apply(options: Options, output: Output) -> int:
    """Do what the plan says."""
    return _change(options, output, undo=False)


def rollback(options: Options, output: Output) -> int:
    """Take the last change back."""
    return _change(options, output, undo=True)


def verify(options: Options, output: Output) -> int:
    """Prove every host, and change none."""
    fleet, hosts = _open(options, output)
    seen = _look(fleet, hosts, output)
    operator = _operator(fleet, _key(options))
    _ask_for_canaries(operator, seen)
    with Watcher(output, len(seen)) as watch:
        fleet.watch = watch
        outcomes = asyncio.run(fleet.verify(seen, operator))
    bad = [name for name, outcome in outcomes.items() if outcome is not Outcome.PROVED]
    unseen = {each.host.name for each in seen if each.failure is not None}
    if set(bad) - unseen:
        return DRIFT
    return FAILED if bad else DONE


def status(options: Options, output: Output) -> int:
    """Say what hosts trust."""
    fleet, hosts = _open(options, output, undo=True)
    seen = _look(fleet, hosts, output)
    for each in seen:
        if each.facts is not None:
            document, text = describe(each.host.name, each.facts)
            output.result(document, text)
    return _status(seen)


def _open(
    options: Options, output: Output, *, undo: bool = False
) -> tuple[Fleet, tuple[Host, ...]]:
    wanted = desired.load(Path(options.file))
    hosts = inventory.read(Path(options.inventory))
    if options.limit:
        hosts = inventory.limit(hosts, options.limit)
    config = Path(options.ssh_config) if options.ssh_config else None
    settings = Settings(
        parallel=options.parallel,
        max_fail=getattr(options, "max_fail", 0),
        become=options.become,
        undo=undo,
    )
    # What takes a change back, or only looks, has to work when the CA does not.
    trust = None if undo else ca.fetch_trust(wanted)
    watch = Watcher(output, len(hosts))
    fleet = Fleet(
        wanted, trust, Asker(_ask_password), Resolver(config), settings, watch
    )
    return fleet, hosts


def _look(fleet: Fleet, hosts: Sequence[Host], output: Output) -> tuple[Seen, ...]:
    with Watcher(output, len(hosts)) as watch:

        def failures(event: Event) -> None:
            if event.what is Outcome.FAILED or not output.as_json:
                watch(event)

        fleet.watch = failures
        return asyncio.run(fleet.survey(hosts))


def _show(seen: Sequence[Seen], output: Output) -> str:
    """Print the plans; return the id of all of them together."""
    plans = [each.plan for each in seen if each.plan is not None]
    for one in plans:
        output.result(_document(one), one.render())
    whole = fleet_id(plans)
    changing = sum(bool(one.changes) and not one.blockers for one in plans)
    text = f"plan {whole}: {changing} of {len(seen)} hosts would change\n"
    output.result({"plan": whole, "hosts": len(seen), "changing": changing}, text)
    return whole


def _document(plan: Plan) -> dict[str, object]:
    return {
        "host": plan.host,
        "plan": plan.id,
        "changes": [
            {"path": change.path, "kind": str(change.kind), "diff": change.diff}
            for change in plan.changes
        ],
        "effective": [
            {
                "keyword": e.keyword,
                "account": e.account,
                "from": e.before,
                "to": e.after,
            }
            for e in plan.effects
        ],
        "accounts": dict(plan.accounts),
        "risks": list(plan.risks),
        "blockers": list(plan.blockers),
    }


def _change(options: Options, output: Output, *, undo: bool) -> int:
    fleet, hosts = _open(options, output, undo=undo)
    seen = _look(fleet, hosts, output)
    whole = _show(seen, output)
    if not any(each.plan and each.plan.changes for each in seen):
        return _status(seen)
    if options.plan is None:
        if not _confirm(f"type yes to go on with plan {whole}: "):
            raise PlanChanged("nothing was changed", hint=None)
    elif options.plan != whole:
        raise PlanChanged(
            f"the plan is now {whole}, and not {options.plan}; nothing was changed",
            hint=f"look at it above, then: ca-deploy {options.command} --plan {whole}",
        )
    key = None if undo else _key(options)
    operator = _operator(fleet, key, clock_seconds=options.clock)
    _ask_for_canaries(operator, seen)
    with Watcher(output, len(seen)) as watch:
        fleet.watch = watch
        outcomes = asyncio.run(fleet.roll_out(seen, operator))
    good = {Outcome.PROVED, Outcome.UNCHANGED}
    return DONE if set(outcomes.values()) <= good else FAILED


def _operator(fleet: Fleet, key: Path | None, *, clock_seconds: int = 120) -> Operator:
    return Operator(
        _name(),
        ca.canaries(fleet.desired, key),
        ca.certifier(fleet.desired, key),
        ca.registrar(fleet.desired, key),
        fleet.trust.host_ca_keys if fleet.trust else (),
        clock_seconds,
    )


def _ask_for_canaries(operator: Operator, seen: Sequence[Seen]) -> None:
    """Ask the CA once for those of every host, before any of them is touched."""
    for each in seen:
        if each.plan is not None and each.facts is not None and not each.plan.blockers:
            operator.canaries.expect(each.plan.accounts, each.facts)
    operator.canaries.prepare()


def _status(seen: Sequence[Seen]) -> int:
    return FAILED if any(each.failure is not None for each in seen) else DONE


def _key(options: Options) -> Path:
    return Path(options.key).expanduser()


def _name() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def _confirm(question: str) -> bool:
    """Ask a person; without one, say how to go on without."""
    if not sys.stdin.isatty():
        raise Misuse(
            "there is nobody to ask: this is not a terminal",
            hint="look at the plan first, then give its id: --plan ID",
        )
    sys.stderr.write(question)
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


def _ask_password(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise NotRoot("sudo asks for a password, and there is no terminal to ask at")
    return getpass.getpass(prompt)
