"""The commands that go to hosts: look, say what was found, and do it when told to."""

import asyncio
import getpass
import socket
import sys
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client.api import Misuse
from deploy import ca, desired, host_keys, inventory, key_report
from deploy.apply import Operator
from deploy.failure import PasswordNeeded, PlanChanged
from deploy.fleet import Event, Fleet, Settings
from deploy.inventory import Host, Resolver
from deploy.options import Options
from deploy.output import Output
from deploy.planned import Plan, fleet_id
from deploy.report import Watcher
from deploy.root import Password
from deploy.status import describe
from deploy.waves import Outcome, Seen

DONE = 0
FAILED = 1
DRIFT = 9


@dataclass(frozen=True, slots=True)
class _Desk:
    """Where a command works: on these hosts, in one event loop from end to end.

    Questions are asked between two runs of the loop, never inside: Ctrl-C would be lost
    there, and whatever is open would wait for the answer.
    """

    fleet: Fleet
    hosts: tuple[Host, ...]
    output: Output
    runner: asyncio.Runner

    def look(self) -> tuple[Seen, ...]:
        """Survey the hosts; ask for the password for sudo where some host does."""
        seen = self._survey(self.hosts)
        needing = [e.host for e in seen if isinstance(e.failure, PasswordNeeded)]
        if not needing or not sys.stdin.isatty():
            for host in needing:
                why = "sudo asks for a password, and there is no terminal to ask at"
                Watcher(self.output, 1)(Event(host.name, Outcome.UNSEEN, why))
            return seen
        self.fleet.password.text = getpass.getpass(
            f"password for sudo, which {len(needing)} hosts ask for: "
        )
        # One alone first: where it is wrong there, no other account gets locked.
        again = {e.host: e for e in self._survey(needing[:1])}
        again |= {e.host: e for e in self._survey(needing[1:])}
        return tuple(again.get(each.host, each) for each in seen)

    def _survey(self, hosts: Sequence[Host]) -> tuple[Seen, ...]:
        with Watcher(self.output, len(hosts)) as watch:

            def failures(event: Event) -> None:
                if event.what is Outcome.UNSEEN or not self.output.as_json:
                    watch(event)

            self.fleet.watch = failures
            return self.runner.run(self.fleet.survey(hosts))

    def run(
        self, work: Coroutine[None, None, dict[str, Outcome]], count: int
    ) -> dict[str, Outcome]:
        """Do something to hosts while somebody watches."""
        with Watcher(self.output, count) as watch:
            self.fleet.watch = watch
            return self.runner.run(work)


def plan(options: Options, output: Output) -> int:
    """Say what would change."""
    with _open(options, output) as desk:
        if options.accept_new:
            unknown = host_keys.find_unknown(desk.fleet.resolver, desk.hosts)
            host_keys.accept(desk.runner.run(unknown), output, _confirm)
        seen = desk.look()
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
    with _open(options, output) as desk:
        seen = desk.look()
        operator = _operator(desk.fleet, _key(options))
        _ask_for_canaries(operator, seen)
        outcomes = desk.run(desk.fleet.verify(seen, operator), len(seen))
    found = set(outcomes.values())
    if Outcome.FAILED in found:
        return DRIFT
    return FAILED if Outcome.UNSEEN in found else DONE


def status(options: Options, output: Output) -> int:
    """Say what hosts trust."""
    with _open(options, output, undo=True) as desk:
        seen = desk.look()
    for each in seen:
        if each.facts is not None:
            document, text = describe(each.host.name, each.facts)
            output.result(document, text)
    return _status(seen)


def authorized_keys(options: Options, output: Output) -> int:
    """List the keys that open accounts, take them away, or bring them back."""
    if options.action != "report":
        return _change(options, output, undo=options.action == "restore")
    with _open(options, output, undo=True) as desk:
        seen = desk.look()
    found = [
        place
        for each in seen
        if each.facts is not None
        for place in key_report.places(
            each.host.name, each.facts, desk.fleet.wanted(each.host)
        )
    ]
    for document, text in key_report.describe(found):
        output.result(document, text)
    return _status(seen)


@contextmanager
def _open(options: Options, output: Output, *, undo: bool = False) -> Iterator[_Desk]:
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
        keys=options.command == "authorized-keys",
    )
    # What takes a change back, or only looks, has to work when the CA does not.
    trust = None if undo else ca.fetch_trust(wanted)
    watch = Watcher(output, len(hosts))
    fleet = Fleet(wanted, trust, Password(), Resolver(config), settings, watch)
    with asyncio.Runner() as runner:
        yield _Desk(fleet, hosts, output, runner)


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
    with _open(options, output, undo=undo) as desk:
        seen = desk.look()
        whole = _show(seen, output)
        if not any(each.would_change for each in seen):
            return FAILED if any(map(_is_amiss, seen)) else DONE
        _agree(options, whole)
        operator = _operator(
            desk.fleet, None if undo else _key(options), clock_seconds=options.clock
        )
        _ask_for_canaries(operator, seen)
        outcomes = desk.run(desk.fleet.roll_out(seen, operator), len(seen))
    good = {Outcome.PROVED, Outcome.UNCHANGED}
    return DONE if set(outcomes.values()) <= good else FAILED


def _agree(options: Options, whole: str) -> None:
    """Go on only with a plan that somebody has seen."""
    if options.plan is None:
        if not _confirm(f"type yes to go on with plan {whole}: "):
            raise PlanChanged("nothing was changed", hint=None)
    elif options.plan != whole:
        raise PlanChanged(
            f"the plan is now {whole}, and not {options.plan}; nothing was changed",
            hint=f"look at it above, then: ca-deploy {_typed(options)} --plan {whole}",
        )


def _is_amiss(each: Seen) -> bool:
    return each.failure is not None or bool(each.plan and each.plan.blockers)


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


def _typed(options: Options) -> str:
    return f"{options.command} {getattr(options, 'action', '')}".strip()


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
