"""A fleet: canaries first, a limit for failures, and a second run that goes on."""

import asyncio
import getpass
import os
from dataclasses import replace

import pytest

from client.api import parse_pin
from deploy.desired import Desired, HostTable
from deploy.fleet import Event, Fleet, Settings
from deploy.inventory import Host, Resolver
from deploy.output import Output
from deploy.planned import Change, Effect, Kind, Plan
from deploy.report import Watcher
from deploy.root import Password
from deploy.status import describe
from deploy.waves import Outcome, Seen, Tally, waves
from tests.fleet import Office
from tests.known import facts
from tests.targets import MAIN, Target, make_login

DESIRED = Desired(
    "https://ca.example.com",
    parse_pin(f"SHA256:{'A' * 43}"),
    HostTable(accounts={"deploy": ("dev",), "root": ("root",)}),
    {},
)
NAMES = ("t0", "t1", "t2")
HOSTS = tuple(Host(name, frozenset({"all"})) for name in NAMES)


def seen(name: str, before: str = "none", *, changes: bool = True) -> Seen:
    effects = (Effect("TrustedUserCAKeys", "", before, "/x"),)
    change = Change(Kind.CONFIG, "/etc/x", None, b"")
    plan = Plan(name, (change,) if changes else (), effects, {}, None)
    return Seen(Host(name, frozenset()), facts(), plan)


def test_one_host_of_each_kind_goes_first_and_then_growing_shares():
    fleet = [seen(f"h{n:02}", "odd" if n == 30 else "none") for n in range(40)]

    sizes = [[each.host.name for each in wave] for wave in waves(fleet)]

    assert sizes[0] == ["h00", "h30"]
    assert [len(wave) for wave in sizes] == [2, 2, 10, 26]
    names = sorted(name for wave in sizes for name in wave)
    assert names == [each.host.name for each in fleet]


def test_a_host_with_nothing_to_change_is_no_canary():
    fleet = [seen("a", changes=False), seen("b"), Seen(Host("c", frozenset()))]

    assert [each.host.name for each in next(iter(waves(fleet)))] == ["b"]


def test_no_host_begins_once_too_many_have_failed():
    tally = Tally(max_fail=1)
    tally.outcomes["a"] = Outcome.FAILED

    assert tally.reason_to_stop(seen("b")) is None
    tally.outcomes |= {"b": Outcome.UNSEEN, "c": Outcome.BLOCKED}
    assert tally.reason_to_stop(seen("d")) is None
    tally.outcomes["d"] = Outcome.FAILED
    assert tally.reason_to_stop(seen("e")) == "too many others failed"


def test_where_the_first_of_a_kind_failed_no_other_of_it_begins():
    tally = Tally(max_fail=9)
    tally.outcomes |= {"a": Outcome.FAILED, "b": Outcome.PROVED}
    tally.judge_canaries([seen("a"), seen("b", "odd")])

    assert tally.reason_to_stop(seen("c")) == "the first host of its kind failed"
    assert tally.reason_to_stop(seen("d", "odd")) is None


def test_no_host_speaks_for_another(capsys):
    """Nor does who stands between: why a connection ended is in their words."""
    said = "sudo: a password is required\nca-deploy: t1: proved\r\nca-deploy: hint: x"

    Watcher(Output(), 1)(Event("t0", Outcome.FAILED, said))

    first, *more = capsys.readouterr().err.splitlines()
    assert first == "ca-deploy: t0: failed: sudo: a password is required"
    assert more == ["  | ca-deploy: t1: proved\\x0d", "  | ca-deploy: hint: x"]


def test_hosts_that_are_done_are_no_part_of_a_wave():
    done = [seen(f"a{n:02}", changes=False) for n in range(60)]
    fleet = [*done, *(seen(f"b{n:02}") for n in range(40))]

    assert [len(wave) for wave in waves(fleet)] == [1, 2, 10, 27]


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder))


@pytest.fixture(scope="module")
def targets(office):
    """Three hosts, of which the last is of another kind."""
    key = office.login.line
    other = MAIN.replace("Include", "# Include")
    with (
        Target(office.folder / "a", key) as first,
        Target(office.folder / "b", key) as second,
        Target(office.folder / "c", key, main=other) as third,
    ):
        office.know(first, second, third)
        yield first, second, third


class Run:
    """One run over the three, and what was said in it."""

    def __init__(self, office: Office, **settings: object) -> None:
        self.events: list[Event] = []
        self.operator = office.operator()
        self.fleet = Fleet(
            DESIRED,
            office.trust,
            Password(office.password),
            Resolver(office.config),
            Settings(**settings),  # type: ignore[arg-type]  # as the test says
            self.events.append,
        )

    def survey(self) -> tuple[Seen, ...]:
        return asyncio.run(self.fleet.survey(HOSTS))

    def roll_out(self) -> dict[str, Outcome]:
        return asyncio.run(self.fleet.roll_out(self.survey(), self.operator))

    def verify(self) -> dict[str, Outcome]:
        return asyncio.run(self.fleet.verify(self.survey(), self.operator))

    def order(self, what: str) -> list[str]:
        return [event.host for event in self.events if event.what == what]

    def described(self, host: str) -> str:
        found = next(each.facts for each in self.survey() if each.host.name == host)
        assert found is not None
        return describe(host, found)[1]

    def said(self, host: str) -> str:
        return " ".join(event.detail for event in self.events if event.host == host)


on_hosts = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]


class TestOnHosts:
    """One after the other, each finds the hosts as the one before left them."""

    pytestmark = on_hosts

    def test_a_canary_that_fails_spares_the_others(self, office, targets):
        stranger = Office(office.folder, office.login)
        run = Run(replace(office, minter=stranger), max_fail=1)

        outcomes = run.roll_out()

        assert outcomes == {
            "t0": Outcome.FAILED,
            "t1": Outcome.NOT_TRIED,
            "t2": Outcome.FAILED,
        }
        assert "does not open deploy" in run.said("t0")
        assert "the host is as it was" in run.said("t0")
        assert run.said("t1") == " the first host of its kind failed"

    def test_the_first_of_each_kind_is_proved_before_the_rest(self, office, targets):
        # One at a time: the others wait, in one event loop and then in another.
        run = Run(office, parallel=1)

        outcomes = run.roll_out()

        assert set(outcomes.values()) == {Outcome.PROVED}
        assert set(run.order("proved")[:2]) == {"t0", "t2"}
        assert run.order("swap").index("t1") == 2

    def test_a_second_run_changes_nothing(self, office, targets):
        assert set(Run(office).roll_out().values()) == {Outcome.UNCHANGED}

    def test_the_proof_holds_at_any_time_and_drift_is_named(self, office, targets):
        path = targets[1].path("etc/ssh/daypass/principals/deploy")
        path.write_text("intruder\n")
        targets[2].write("etc/ssh/daypass/status", "result=ok\nchecked=1\n")
        run = Run(office)

        outcomes = run.verify()

        assert outcomes["t0"] is Outcome.PROVED
        assert outcomes["t2"] is Outcome.FAILED
        assert "it has not pulled for" in run.said("t2")
        assert outcomes["t1"] is Outcome.FAILED
        assert "/etc/ssh/daypass/principals/deploy" in run.said("t1")
        path.write_text("dev\n")

    def test_the_last_change_is_taken_back_and_only_once(self, office, targets):
        before = [target.path("etc/ssh/daypass/ca_keys") for target in targets]

        outcomes = Run(office, undo=True).roll_out()
        again = Run(office, undo=True).roll_out()

        assert set(outcomes.values()) == {Outcome.PROVED}
        assert set(again.values()) == {Outcome.BLOCKED}
        for target in targets:
            assert not list(target.path("etc/ssh/daypass/principals").iterdir())
            assert not list(target.path("etc/ssh/sshd_config.d").iterdir())
            assert "daypass" not in target.path("etc/ssh/sshd_config").read_text()
        assert all(path.exists() for path in before)

    def test_a_host_says_what_it_trusts(self, office, targets):
        Run(office).roll_out()

        known = Run(office).survey()[0].facts

        assert known is not None
        document, text = describe("t0", known)
        assert "t0: trusts 1 CA keys\n" in text
        assert "  deploy takes dev\n" in text
        assert document["roots_version"] == 7
        assert document["last_change"] == known.last
        assert document["locked_by"] is None

    def test_a_host_that_does_not_answer_fails_alone(self, office, targets):
        config = office.config.read_text()
        port = str(targets[1].port)
        office.config.write_text(config.replace(port, "1", 1))
        run = Run(office)

        outcomes = run.roll_out()

        assert outcomes["t1"] is Outcome.UNSEEN
        assert "cannot connect to t1" in run.said("t1")
        office.config.write_text(config)

    def test_a_host_that_somebody_changes_is_left_to_them(self, office, targets):
        lock = targets[0].path("var/lib/daypass/deploy/locks/somebody-s")
        lock.write_text("99999999999 grace@laptop\n")
        targets[0].path("etc/ssh/sshd_config.d/05-daypass.conf").unlink()
        run = Run(office)

        outcomes = run.roll_out()

        assert outcomes["t0"] is Outcome.FAILED
        assert "grace@laptop is changing this host" in run.said("t0")
        assert getpass.getuser() not in run.said("t0")
        assert [path.name for path in lock.parent.iterdir()] == [lock.name]
        assert "being changed by grace@laptop" in run.described("t0")
        lock.unlink()
