"""`daypass-pull` when things go wrong: killed, offline, full disks, meddled files.

Whatever happens, sshd's two files are each one that the CA published, the KRL never
goes back and is never older than the CA keys, and the next run takes the newest one.
"""

import getpass
import os
import random
import signal
import stat
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ca.certificate import parse_line
from tests.authority import wait_until
from tests.certificates import ThrowawayCA, certificate, write_certificate
from tests.fakes import Answer
from tests.publisher import Publisher, make_krl
from tests.pulling import PULL, Host
from tests.sshd import Sshd, make_key

pytestmark = pytest.mark.openssh

WEEK = 7 * 86_400
GOOD, REVOKED = 1, 1000
"""Serials: never revoked; revoked from the second version on."""


@pytest.fixture
def ca():
    with Publisher() as ca:
        yield ca


@pytest.fixture(params=["dash", "busybox"])
def host(request, tmp_path, ca):
    return Host(tmp_path, ca, shell=request.param)


@pytest.fixture
def one_host(tmp_path, ca):
    return Host(tmp_path, ca)


@dataclass
class Person:
    """Whoever has a certificate of the CA's."""

    key: Path
    certificate: Path

    def gets_in(self, sshd: Sshd) -> bool:
        """Say whether sshd lets them in."""
        return sshd.login(self.key, self.certificate).returncode == 0


def person(folder: Path, ca: ThrowawayCA, serial: int) -> Person:
    """Return somebody with a new key and a certificate for our own account."""
    key = folder / f"key-{serial}"
    make_key(key)
    now = int(time.time())
    blob = ca.certify(
        certificate(
            serial=serial,
            subject_key=parse_line(key.with_name(f"{key.name}.pub").read_text()),
            principals=(getpass.getuser(),),
            valid_after=now - 60,
            valid_before=now + 2 * WEEK,
        )
    )
    path = folder / f"key-{serial}-cert.pub"
    return Person(key, write_certificate(path, blob))


@dataclass
class Watch:
    """Remembers all that was published, and judges what a host has."""

    host: Host
    ca: Publisher
    krls: list[bytes] = field(default_factory=list)
    ca_keys: list[bytes] = field(default_factory=list)
    newest: int = -1
    """The newest KRL that the host was seen with."""

    def publish(self, *serials: int) -> None:
        """Publish a version with another KRL and other CA keys."""
        even = len(self.krls) % 2
        trusted = (self.ca.user_ca, *(ThrowawayCA() for _ in range(even)))
        self.ca.publish(revoked=(*serials, 5000 + len(self.krls)), user_ca=trusted)
        self.krls.append(self.ca.krl)
        self.ca_keys.append("".join(f"{ca.line}\n" for ca in trusted).encode())

    def judge(self) -> None:
        """Fail unless what sshd reads is whole, and not older than it was."""
        krl = self.krls.index(self.host.krl.read_bytes())
        keys = self.host.ca_keys.read_bytes()
        assert krl >= self.newest, "the KRL went back"
        assert keys in self.ca_keys[: krl + 1], "CA keys newer than the KRL, or no file"
        self.newest = krl


def start(host: Host) -> "subprocess.Popen[bytes]":
    """Start a run whose processes are a group of their own."""
    return subprocess.Popen(
        host.command(script=PULL),
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


CHANGING = ("mkdir", "mv", "cp", "sync", "chmod", "curl", "wget")
"""What changes a file, or asks for one. The shell itself writes only into staging."""


KILL_ALL = "read -r stat </proc/$$/stat; set -- ${stat##*)}; kill -9 -$4; kill -9 0"
"""Kill the run, and us: `timeout` of coreutils has made a group of its own."""


def count_and_kill(host: Host, at: int) -> None:
    """Have the whole run killed just before its command number `at`; 0 is never."""
    counter = host.root / "counter"
    counter.unlink(missing_ok=True)
    for name in CHANGING:
        real = host.bin / name
        if real.exists():
            host.stub(
                name,
                f"echo {name} >>{counter}\n"
                f"[ $(wc -l <{counter}) -ne {at} ] || {{ {KILL_ALL}; }}\n"
                f'exec {real} "$@"',
            )


@pytest.mark.parametrize(
    ("shell", "stride"),
    [
        ("dash", 2),
        ("busybox", 5),
        pytest.param("dash", 1, marks=pytest.mark.soak),
        pytest.param("busybox", 1, marks=pytest.mark.soak),
        pytest.param("bash", 1, marks=pytest.mark.soak),
    ],
)
def test_killed_at_any_step_it_leaves_old_or_new_and_the_next_run_heals(
    tmp_path, ca, shell, stride
):
    host = Host(tmp_path, ca, shell=shell)
    watch = Watch(host, ca)
    watch.publish()
    assert host.pull().returncode == 0
    watch.judge()

    at, seen = 0, set()
    while True:
        at += stride
        watch.publish(REVOKED)
        count_and_kill(host, at)
        with start(host) as run:
            killed = run.wait(60) == -signal.SIGKILL
        watch.judge()
        seen.add(
            (watch.newest == len(watch.krls) - 1, (host.daypass / ".pending").exists())
        )
        if not killed:
            break
        count_and_kill(host, 0)
        assert host.pull().returncode == 0
        watch.judge()
        assert host.krl.read_bytes() == ca.krl
        assert host.files["current"] == ca.current
        assert not list(host.daypass.glob(".staging*"))

    # It was killed before, in and after the moment in which a version becomes ours.
    assert stride > 2 or seen == {(n, p) for n in (False, True) for p in (False, True)}
    assert at > 15


def test_what_is_renamed_is_on_the_disk_before(ca, one_host):
    log = one_host.root / "order"
    for name in ("sync", "mv"):
        real = one_host.bin / name
        one_host.stub(name, f'echo {name} "$@" >>{log}\nexec {real} "$@"')

    assert one_host.pull().returncode == 0

    order = log.read_text().replace(f"{one_host.daypass}/", "").splitlines()
    accepted = next(i for i, line in enumerate(order) if line.endswith(" .pending"))
    staged = order[accepted].split()[1]
    names = ("revoked.krl", ".revoked.krl", "ca_keys", "roots", "current")
    synced = set(order[accepted - 1].split())
    assert {staged, *(f"{staged}/{name}" for name in names)} <= synced
    assert order[accepted + 1].split()[0] == "sync", "the rename itself"
    assert order[accepted + 2].split()[-1] == ".revoked.krl"
    assert order[accepted + 3].split()[-1] == "revoked.krl"
    assert order[accepted + 4].split()[-1] == "ca_keys"


def test_killed_at_any_moment_it_leaves_old_or_new(tmp_path, ca, rounds):
    host = Host(tmp_path, ca)
    watch = Watch(host, ca)
    watch.publish(REVOKED)
    assert host.pull().returncode == 0
    good, revoked = (person(tmp_path, ca.user_ca, n) for n in (GOOD, REVOKED))
    chance = random.Random(7)  # noqa: S311 the same moments each time
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd", host.sshd_settings()) as sshd:
        longest = 0.3
        for turn in range(1000 if rounds(1) > 1 else 25):
            watch.publish(REVOKED)
            with start(host) as run:
                try:
                    began = time.monotonic()
                    run.wait(chance.uniform(0, longest))
                    longest = max(0.05, 1.2 * (time.monotonic() - began))
                except subprocess.TimeoutExpired:
                    longest *= 1.02
                    os.killpg(run.pid, signal.SIGKILL)
            watch.judge()
            if turn % 12 == 0:
                assert good.gets_in(sshd)
                assert not revoked.gets_in(sshd)

    assert host.pull().returncode == 0
    assert host.krl.read_bytes() == ca.krl


def test_a_week_without_the_ca_rings_and_locks_nobody_out(tmp_path, ca, host):
    good, revoked = (person(tmp_path, ca.user_ca, n) for n in (GOOD, REVOKED))
    ca.publish(revoked=(REVOKED,))
    assert host.pull().returncode == 0
    ca.answers["/v1/trust/current"] = Answer(503, b"")
    (tmp_path / "sshd").mkdir()
    with Sshd(tmp_path / "sshd", host.sshd_settings()) as sshd:
        for day in (0, 1, 2, 7):
            host.set_clock(day * 86_400)
            done = host.pull()

            status = host.status
            assert (status["result"], status["reason"]) == ("kept", "unreachable")
            assert done.returncode == (7 if day == 0 else 1)
            # It was good for a day.
            assert status["alarm"] == ("no" if day == 0 else "yes")
            assert ("ALARM" in done.stderr) == (day > 0)
        assert good.gets_in(sshd)
        assert not revoked.gets_in(sshd)

    # Back after the week, the CA has something newer, and the alarm is over.
    ca.answers.clear()
    ca.publish(revoked=(REVOKED,), expires_in=WEEK * 2)
    done = host.pull()
    assert done.returncode == 0
    assert host.status["alarm"] == "no"
    assert "ok" in done.stderr


def test_the_alarm_rings_at_once_and_then_hourly(ca, one_host):
    one_host.stub("logger", f'echo "$@" >>{one_host.root}/syslog')
    one_host.pull()
    ca.answers["/v1/trust/current"] = Answer(503, b"")
    lines = []
    for minutes in (0, 1, 1500, 1501, 1555, 1565):
        one_host.set_clock(minutes * 60)
        one_host.pull()
        lines.append(len((one_host.root / "syslog").read_text().splitlines()))

    # Unreachable; the same; the alarm; the same; the same; an hour later.
    assert lines == [1, 1, 2, 2, 2, 3]
    said = (one_host.root / "syslog").read_text().splitlines()
    assert "daemon.warning kept" in said[0]
    assert "daemon.err ALARM: kept" in said[1]


def test_a_ca_that_answers_byte_by_byte_is_given_up(tmp_path, ca, host):
    """Judged with a copy of the script that has less patience."""
    host.pull()
    before = host.files
    ca.publish(revoked=(REVOKED,))
    ca.answers["/v1/trust/current"] = Answer(200, ca.current, drip_seconds=0.5)
    hasty = tmp_path / "hasty.sh"
    patience = "FETCH_SECONDS=60"
    assert PULL.read_text().count(patience) == 1
    hasty.write_text(PULL.read_text().replace(patience, "FETCH_SECONDS=2"))

    began = time.monotonic()
    done = host.pull(script=hasty)

    assert time.monotonic() - began < 20
    assert done.returncode == 7
    assert host.files == before


def test_between_two_publications_one_is_taken_as_a_whole(tmp_path, ca, host):
    watch = Watch(host, ca)
    watch.publish()
    host.pull()
    turns = iter(range(10))

    def publish_meanwhile(path: str) -> None:
        if path.startswith("/v1/trust/blob/") and next(turns, None) is not None:
            watch.publish(REVOKED)

    ca.before = publish_meanwhile
    watch.publish(REVOKED)
    for _ in range(2):
        assert host.pull().returncode == 0
        watch.judge()
        at = watch.newest
        assert host.ca_keys.read_bytes() == watch.ca_keys[at]


def test_a_full_disk_changes_nothing_and_is_said(ca, host):
    """A limit on file size is what every write of that run meets, as a full disk is."""
    host.pull()
    before = host.files
    ca.publish(revoked=range(1, 40_000, 80))
    limited = ["sh", "-c", 'trap "" XFSZ; ulimit -f 2; exec "$@"', "sh"]

    done = subprocess.run(
        [*limited, *host.command()],
        env=host.environment,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode != 0
    assert host.files == before
    assert host.pull().returncode == 0
    assert host.krl.read_bytes() == ca.krl


@pytest.mark.parametrize("command", ["cp", "mv", "chmod"])
def test_a_write_that_fails_changes_nothing_and_is_said(ca, one_host, command):
    one_host.pull()
    before = one_host.files
    ca.publish(revoked=(REVOKED,))
    one_host.stub(command, "echo 'No space left on device' >&2; exit 1")

    assert one_host.pull().returncode == 1

    assert one_host.files == before
    (one_host.stubs / command).unlink()
    assert one_host.pull().returncode == 0
    assert one_host.krl.read_bytes() == ca.krl


def test_a_folder_that_cannot_be_written_changes_nothing(ca, one_host):
    one_host.pull()
    before = one_host.files
    ca.publish(revoked=(REVOKED,))
    one_host.stub("mkdir", "echo 'Read-only file system' >&2; exit 1")

    done = one_host.pull()

    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert one_host.files == before


@pytest.mark.parametrize(
    "meddle",
    [
        pytest.param(lambda file: file.unlink(), id="deleted"),
        pytest.param(lambda file: file.write_bytes(b""), id="emptied"),
        pytest.param(lambda file: file.write_bytes(b"# by hand\n"), id="written over"),
    ],
)
@pytest.mark.parametrize("name", ["revoked.krl", "ca_keys"])
def test_what_others_did_to_the_files_is_undone_without_the_ca(
    ca, one_host, name, meddle
):
    ca.publish(revoked=(REVOKED,))
    one_host.pull()
    before = one_host.files
    ca.answers["/v1/trust/current"] = Answer(503, b"")

    meddle(one_host.daypass / name)

    assert one_host.pull().returncode == 7
    assert one_host.files == before
    assert (one_host.daypass / ".revoked.krl").read_bytes() == before["revoked.krl"]


def test_a_newer_krl_that_somebody_else_put_there_stays(tmp_path, ca, one_host):
    """As when `ca-deploy apply` was interrupted: ours would un-revoke somebody."""
    one_host.pull()
    ca.answers["/v1/trust/current"] = Answer(503, b"")
    newer = make_krl(ca.user_ca, (REVOKED,), version=ca.version + 1)
    one_host.krl.write_bytes(newer)
    assert one_host.pull().returncode == 7
    assert one_host.krl.read_bytes() == newer

    older = make_krl(ca.user_ca, (REVOKED,), version=ca.version - 1)
    one_host.krl.write_bytes(older)
    assert one_host.pull().returncode == 7
    assert one_host.krl.read_bytes() == ca.krl


def test_documents_that_do_not_fit_each_other_still_say_what_is_older(ca, one_host):
    one_host.pull()
    old = ca.current
    ca.publish(revoked=(REVOKED,))
    (one_host.daypass / "roots").write_bytes(ca.roots)
    newest, ca.current = ca.current, old
    before = one_host.files

    assert one_host.pull().returncode == 1
    assert one_host.status["reason"] == "older"
    assert one_host.files == before
    ca.current = newest
    assert one_host.pull().returncode == 0
    assert one_host.files["current"] == newest


def test_a_lost_krl_without_its_copy_comes_from_the_ca(ca, one_host):
    ca.publish(revoked=(REVOKED,))
    one_host.pull()
    before = one_host.files
    for name in ("revoked.krl", ".revoked.krl"):
        (one_host.daypass / name).write_bytes(b"SSHKRL\n\0 no KRL")

    assert one_host.pull().returncode == 0
    assert one_host.files == before


def test_a_lost_krl_that_nobody_has_is_said(ca, one_host):
    one_host.pull()
    for name in ("revoked.krl", ".revoked.krl"):
        (one_host.daypass / name).unlink()
    ca.answers["/v1/trust/current"] = Answer(503, b"")
    ca.answers["/v1/trust/blob/"] = Answer(503, b"")

    assert one_host.pull().returncode == 1
    assert (one_host.status["result"], one_host.status["reason"]) == ("failed", "lost")


def test_without_what_it_remembers_it_begins_anew(ca, one_host):
    host = one_host
    host.pull()
    (host.daypass / "current").write_bytes(b"gone to dust")

    assert host.pull().returncode == 0
    assert host.files["current"] == ca.current


# --- One at a time ------------------------------------------------------------------


def test_two_runs_take_turns(ca, host):
    """A long one holds the lock; another waits, and does its work afterwards."""
    inside, go_on = threading.Event(), threading.Event()

    def hold(_path: str) -> None:
        inside.set()
        go_on.wait(30)

    ca.before = hold
    with start(host) as first:
        assert inside.wait(30)
        with start(host) as second:
            time.sleep(1.5)
            assert ca.hits["/v1/trust/current"] == 1
            go_on.set()
            assert (first.wait(60), second.wait(60)) == (0, 0)
    assert host.status["result"] == "ok"


def test_a_lock_whose_owner_was_killed_holds_nobody_up(ca, host):
    host.pull()
    for _ in range(3):
        ca.publish(revoked=(REVOKED,))
        stuck = threading.Event()

        def tarry(_path: str, stuck: threading.Event = stuck) -> None:
            stuck.set()
            time.sleep(0.2)

        ca.before = tarry
        with start(host) as run:
            assert stuck.wait(30)
            os.killpg(run.pid, signal.SIGKILL)
        ca.before = lambda _path: None

    began = time.monotonic()
    assert host.pull().returncode == 0
    assert time.monotonic() - began < 15
    assert host.krl.read_bytes() == ca.krl


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_the_lock_is_roots_alone(ca, one_host):
    """Whoever can open a file can hold its lock, and revocations would not arrive."""
    (one_host.daypass / "lock").touch(0o644)
    assert one_host.pull().returncode == 0
    assert stat.S_IMODE((one_host.daypass / "lock").stat().st_mode) == 0o600


def test_a_lock_that_is_held_is_given_up_on(tmp_path, ca, host):
    hasty = tmp_path / "hasty.sh"
    assert PULL.read_text().count("LOCK_SECONDS=20") == 1
    hasty.write_text(PULL.read_text().replace("LOCK_SECONDS=20", "LOCK_SECONDS=1"))
    holder = subprocess.Popen(
        host.command("--locked", "sleep", "60"), env=host.environment
    )
    try:
        wait_until((host.daypass / "lock").exists)
        wait_until(lambda: b"--locked" not in command_line(holder.pid))

        done = host.pull(script=hasty)
    finally:
        holder.kill()
        holder.wait()

    assert done.returncode == 1
    assert "lock" in done.stderr
    assert host.pull(script=hasty).returncode == 0


def test_who_is_lent_the_lock_finds_an_interrupted_run_finished(ca, one_host):
    """Else the next run would put older files over what was done meanwhile."""
    one_host.pull()
    ca.publish(revoked=(REVOKED,))
    real = one_host.bin / "mv"
    one_host.stub("mv", f'{real} "$@"\n[ "${{2##*/}}" != .pending ] || kill -9 0')
    with start(one_host) as run:
        assert run.wait(60) == -signal.SIGKILL
    (one_host.stubs / "mv").unlink()
    assert one_host.krl.read_bytes() != ca.krl

    seen = one_host.root / "seen"
    assert one_host.pull("--locked", "cp", str(one_host.krl), str(seen)).returncode == 0

    assert seen.read_bytes() == ca.krl
    newer = make_krl(ca.user_ca, (REVOKED,), version=ca.version + 1)
    one_host.krl.write_bytes(newer)
    assert one_host.pull().returncode == 0
    assert one_host.krl.read_bytes() == newer


@pytest.mark.parametrize("host", ["dash", "bash"], indirect=True)
def test_many_runs_at_once_are_one_after_the_other(ca, host):
    """Without flock the lock is links; nobody is to remove another's."""
    log = host.root / "turns"
    command = host.command(
        "--locked", "sh", "-c", f"echo in >>{log}; sleep 0.05; echo out >>{log}"
    )
    runs = [subprocess.Popen(command, env=host.environment) for _ in range(6)]

    assert [run.wait(120) for run in runs] == [0] * 6
    assert log.read_text().split() == ["in", "out"] * 6
