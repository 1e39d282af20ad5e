"""A change of one host: proved, or as if it had never been. On real sshds.

Whatever is cut after any step, one of the two ways in works at every moment, and in the
end the host is either what the plan said or, byte for byte, what it was.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.apply import STEPS, apply, prove
from deploy.desired import DesiredHost
from deploy.failure import HostUnreachable, NotProved, PlanChanged, StepFailed
from tests.fleet import Office
from tests.targets import Target, make_login, wait_until

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

DESIRED = DesiredHost({"deploy": ("dev", "ops"), "root": ("root",), "web": ("web",)})
CONFIGURED = ("etc/ssh/sshd_config.d", "etc/ssh/daypass/principals")
CLOCK = 3607
"""Seconds; also how a test finds the clock among the processes of the machine."""


class Cut(BaseException):
    """The operator's machine is gone."""


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder), clock_seconds=CLOCK)


@pytest.fixture(scope="module")
def target(office):
    with Target(office.folder / "host", office.login.line) as target:
        office.know(target)
        yield target


def run(coroutine):
    return asyncio.run(coroutine)


async def deploy(office, desired=DESIRED, observe=lambda _: None, name="t0"):
    async with office.on(name) as visit:
        return await visit.apply(desired, observe)


async def look(office, desired=DESIRED, name="t0"):
    async with office.on(name) as visit:
        return (await visit.plan(desired))[1]


def lets_in(office, name="t0"):
    """Say whether the operator's key opens a new connection.

    For a moment after a reload nobody listens, whatever the configuration.
    """
    patient = ["-o", "BatchMode=yes", "-o", "ConnectionAttempts=10"]
    said = subprocess.run(
        ["ssh", "-F", office.config, *patient, name, "true"],
        capture_output=True,
        check=False,
    )
    return said.returncode == 0


def clocks():
    """Return the process ids of the clocks that are running on targets."""
    wanted = f"sleep\0{CLOCK}\0".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def run_out():
    """Let the clock run out now: its sleep ends, and it does what it then does."""
    for process in clocks():
        os.kill(process, signal.SIGTERM)


@pytest.mark.parametrize("step", STEPS[:-1])
def test_a_host_is_as_it_was_when_all_is_cut_after_a_step(step, office, target):
    # But for what an earlier change left when it died, which the next sweeps away.
    whole = target.snapshot("etc/ssh")
    before = {n: c for n, c in whole.items() if not Path(n).name.startswith(".")}

    async def cut_after():
        async with office.on("t0") as visit:

            def observe(done):
                assert lets_in(office), f"locked out after {done}"
                if done == step:
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.apply(DESIRED, observe)

    run(cut_after())

    armed = STEPS.index(step) >= STEPS.index("arm")
    assert len(clocks()) == armed
    run_out()
    wait_until(lambda: not armed or not target.locks, 20)
    assert lets_in(office)
    after = target.snapshot("etc/ssh")
    assert {n: c for n, c in after.items() if n in before} == before
    assert not [n for n in after if n not in before and _is_sshds(n)]
    if not armed:
        # Nobody takes the lock away; it runs out.
        with pytest.raises(StepFailed, match="locked: root is changing this host"):
            run(deploy(office))
        for lock in target.locks:
            lock.write_text("1 root\n")


def _is_sshds(name):
    """Say whether a file is the configuration's, and not the CA's or half-written."""
    return name.startswith(CONFIGURED) and not Path(name).name.startswith(".")


ON_RESTART = {
    "etc/cron.d/daypass-rollback": "@reboot root ",
    "etc/systemd/system/daypass-rollback.service": "ExecStart=",
}


@pytest.mark.parametrize(
    ("left", "place"), [*zip(("armed", "rolling"), ON_RESTART, strict=True)]
)
def test_a_machine_that_goes_down_takes_back_what_nobody_proved(
    left, place, office, target
):
    before = target.snapshot(*CONFIGURED)
    on_restart = target.path(place)
    systemd = target.path("run/systemd")
    if "systemd" in place:
        (systemd / "system").mkdir(parents=True)

    async def cut():
        async with office.on("t0") as visit:

            def observe(done):
                if done == "reload":
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.apply(DESIRED, observe)

    run(cut())
    assert target.snapshot(*CONFIGURED) != before
    go_down()
    text = on_restart.read_text()
    command = text.partition(ON_RESTART[place])[2].splitlines()[0]
    if "systemd" in place:
        link = target.path("etc/systemd/system/sysinit.target.wants") / on_restart.name
        assert link.readlink() == Path(f"../{on_restart.name}")
        assert complaints_of_systemd(on_restart) == []
    folder = Path(command.split()[1]).parent
    target.path(f"{folder}/armed"[1:]).rename(target.path(f"{folder}/{left}"[1:]))

    subprocess.run(["ssh", "-F", office.config, "t0", command], check=True)

    assert target.snapshot(*CONFIGURED) == before
    assert lets_in(office)
    assert not on_restart.exists()
    assert not target.locks
    shutil.rmtree(systemd, ignore_errors=True)


def test_a_rollback_that_was_ended_midway_is_done_by_the_clock(office, target):
    """As by a system that ends what a session leaves behind."""
    before = target.snapshot(*CONFIGURED)

    async def cut():
        async with office.on("t0") as visit:

            def observe(done):
                if done == "reload":
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.apply(DESIRED, observe)

    run(cut())
    (lock,) = target.locks
    folder = target.path(f"var/lib/daypass/deploy/{lock.name}")
    (folder / "roller").write_text("4000000\n")
    (folder / "armed").rename(folder / "rolling")

    run_out()

    wait_until(lambda: not target.locks, 20)
    assert target.snapshot(*CONFIGURED) == before
    assert (folder / "restored").exists()
    assert lets_in(office)


def complaints_of_systemd(unit):
    """Return what systemd says against a unit, where there is systemd."""
    if shutil.which("systemd-analyze") is None:
        return []
    said = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )
    return [line for line in said.stderr.splitlines() if unit.name in line]


def go_down():
    """End the clocks as a power cut does: they do nothing any more."""
    for process in clocks():
        status = Path(f"/proc/{process}/status").read_text()
        parent = int(status.partition("PPid:")[2].split()[0])
        os.kill(parent, signal.SIGKILL)
        os.kill(process, signal.SIGKILL)


def test_the_clock_runs_out_by_itself(office, target):
    before = target.snapshot(*CONFIGURED)
    hasty = Office(office.folder, office.login, office.ca, clock_seconds=4)

    async def cut():
        async with hasty.on("t0") as visit:

            def observe(done):
                if done == "swap":
                    visit.root.connection.abort()
                    raise Cut

            with pytest.raises(Cut):
                await visit.apply(DESIRED, observe)

    run(cut())
    wait_until(lambda: target.snapshot(*CONFIGURED) == before, 20)
    assert lets_in(office)


def test_a_login_that_fails_takes_the_change_back(office, target):
    before = target.snapshot(*CONFIGURED)
    other = Office(office.folder, office.login, clock_seconds=CLOCK)
    confused = Office(office.folder, office.login, office.ca, minter=other)

    with pytest.raises(NotProved) as failed:
        run(deploy(confused))

    assert "does not open deploy" in failed.value.detail
    assert "the host is as it was, and lets you in as before" in failed.value.detail
    assert target.snapshot(*CONFIGURED) == before
    assert clocks() == []


def test_what_is_lost_with_the_last_answer_is_said(office, target):
    async def cut():
        async with office.on("t0") as visit:

            def observe(done):
                if done == "logins":
                    visit.root.connection.abort()

            await visit.apply(DESIRED, observe)

    with pytest.raises(HostUnreachable, match="says whether the change stayed"):
        run(cut())

    run_out()
    wait_until(lambda: not target.locks, 20)


def test_what_a_lost_connection_leaves_to_the_host_is_said(office, target):
    async def cut():
        async with office.on("t0") as visit:

            def observe(done):
                if done == "swap":
                    visit.root.connection.abort()

            await visit.apply(DESIRED, observe)

    with pytest.raises(HostUnreachable, match="takes the change back by itself"):
        run(cut())

    run_out()
    wait_until(lambda: not target.locks, 20)


def test_a_host_that_changed_meanwhile_is_left_alone(office, target):
    async def change_between():
        async with office.on("t0") as visit:
            facts, plan = await visit.plan(DESIRED)
            target.write("etc/ssh/sshd_config.d/05-daypass.conf", "# somebody's\n")
            await apply(visit.root, visit.way, (facts, plan), office.operator())

    with pytest.raises(PlanChanged, match="is not what it was when the plan was made"):
        run(change_between())

    left = target.path("etc/ssh/sshd_config.d/05-daypass.conf")
    assert left.read_text() == "# somebody's\n"
    left.unlink()
    assert not list(target.path("etc/ssh").rglob(".*.daypass"))


def test_planning_changes_nothing_and_says_the_same_twice(office, target):
    before = target.snapshot("etc", "root", "var/lib")

    first, second = run(look(office)), run(look(office))

    assert first.render() == second.render()
    assert first.id == second.id
    assert "TrustedUserCAKeys: none -> /etc/ssh/daypass/ca_keys" in first.render()
    assert target.snapshot("etc", "root", "var/lib") == before


def test_a_change_is_proved_and_the_second_changes_nothing(office, target):
    done: list[str] = []

    first = run(deploy(office, observe=done.append))
    second = run(look(office))

    assert done == list(STEPS)
    assert first.changes
    assert second.changes == ()
    assert second.render() == "t0: nothing to change\n"
    assert "Accepted publickey for deploy" in target.log
    assert clocks() == []
    assert lets_in(office)


def test_a_client_that_knows_the_host_ca_alone_knows_the_host(office, target):
    certified = DesiredHost(DESIRED.accounts, host_certificate=True)
    known = office.folder / "host_ca"
    known.write_text(f"@cert-authority t0 {office.ca.line}\n")
    only = [f"UserKnownHostsFile={known}", "HostKeyAlias=t0"]
    options = [word for one in only for word in ("-o", one)]

    first = run(deploy(office, certified))
    second = run(look(office, certified))

    assert first.certify is not None
    assert second.changes == ()
    said = subprocess.run(
        ["ssh", *options, "-F", office.config, "-o", "BatchMode=yes", "t0", "echo in"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout == "in\n", said.stderr


def test_a_host_that_shows_another_certificate_is_not_proved(office, target):
    certified = DesiredHost(DESIRED.accounts, host_certificate=True)
    stranger = Office(office.folder, office.login)

    async def work():
        async with office.on("t0") as visit:
            seen = await visit.plan(certified)
            operator = replace(office.operator(), host_ca_keys=(stranger.ca.line,))
            await prove(visit.root, visit.way, seen, operator)

    with pytest.raises(NotProved, match="that knows the host CA does not know t0"):
        run(work())


def test_an_account_that_is_not_named_any_more_takes_no_certificate(office, target):
    fewer = DesiredHost({"deploy": ("ops",)})

    plan = run(deploy(office, fewer))

    assert {change.path for change in plan.changes if change.after is None} == {
        "/etc/ssh/daypass/principals/root",
        "/etc/ssh/daypass/principals/web",
    }
    folder = target.path("etc/ssh/daypass/principals")
    assert {p.name: p.read_text() for p in folder.iterdir()} == {"deploy": "ops\n"}


def test_of_two_who_come_at_once_at_most_one_changes_a_host(office, target):
    wanted = [DesiredHost({"deploy": (name,)}) for name in ("ada", "grace")]

    async def both():
        return await asyncio.gather(
            *(deploy(office, one) for one in wanted), return_exceptions=True
        )

    ended = run(both())

    refused = [e for e in ended if isinstance(e, BaseException)]
    assert refused
    assert all("locked: " in str(e) or "changed: " in str(e) for e in refused)
    assert not target.locks
    assert clocks() == []
    assert lets_in(office)
