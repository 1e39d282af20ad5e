"""Open sessions: sshd lets them be, and `daypass-end-sessions` ends the right ones.

sshd is the real one. It runs once for each connection, as under inetd, so that what it
says can be put into a log under its process id, as syslog does.
"""

import getpass
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca import wire
from ca.certificate import parse_line
from tests.authority import wait_until
from tests.certificates import ThrowawayCA, certificate, write_certificate
from tests.publisher import Publisher, make_krl
from tests.pulling import END_SESSIONS, Host
from tests.sshd import LOOPBACK, Sshd, make_key, openssh_version

pytestmark = pytest.mark.openssh

ADA, GRACE = 17, 18
"""Serials; Ada's is revoked."""


class LoggedSshd(Sshd):
    """An sshd whose log has a time and a process id before each line."""

    def __init__(self, folder: Path, settings: tuple[str, ...]) -> None:
        super().__init__(folder, settings)
        self.syslog = folder / "auth.log"
        self.syslog.touch()
        self._listener: socket.socket | None = None
        self._children: list[subprocess.Popen[bytes]] = []

    def _start(self) -> bool:
        self._configure()
        self._listener = socket.create_server((LOOPBACK, self.port))
        threading.Thread(
            target=self._serve, args=(self._listener,), daemon=True
        ).start()
        self.log.touch()
        return True

    def _serve(self, listener: socket.socket) -> None:
        command = [self._binary, "-i", "-e", "-f", str(self.folder / "sshd_config")]
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                child = subprocess.Popen(
                    command,
                    stdin=connection.fileno(),
                    stdout=connection.fileno(),
                    stderr=subprocess.PIPE,
                )
            self._children.append(child)
            threading.Thread(target=self._log, args=(child,), daemon=True).start()

    def _log(self, child: "subprocess.Popen[bytes]") -> None:
        assert child.stderr is not None
        with child.stderr, self.syslog.open("a", buffering=1) as log:
            for line in child.stderr:
                stamp = datetime.now(UTC).isoformat(timespec="microseconds")
                said = line.decode(errors="replace").rstrip()
                log.write(f"{stamp} web1 sshd[{child.pid}]: {said}\n")

    def _stop(self) -> None:
        if self._listener is not None:
            # Closing alone would leave the thread waiting in `accept`.
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for child in self._children:
            child.terminate()
            child.wait(10)
        self._children.clear()


@pytest.fixture
def ca():
    with Publisher() as ca:
        yield ca


@pytest.fixture
def host(request, tmp_path, ca):
    host = Host(tmp_path, ca, shell=getattr(request, "param", "dash"))
    assert host.pull().returncode == 0
    return host


in_each_shell = pytest.mark.parametrize("host", ["dash", "busybox"], indirect=True)


@pytest.fixture
def sshd(host, tmp_path):
    folder = tmp_path / "sshd"
    folder.mkdir()
    with LoggedSshd(folder, tuple(host.sshd_settings())) as sshd:
        yield sshd


def certified(folder: Path, ca: ThrowawayCA, serial: int) -> tuple[Path, Path]:
    """Return somebody's new key and their certificate for our own account."""
    key = folder / f"key-{serial}"
    make_key(key)
    now = int(time.time())
    blob = ca.certify(
        certificate(
            serial=serial,
            subject_key=parse_line((folder / f"key-{serial}.pub").read_text()),
            principals=(getpass.getuser(),),
            valid_after=now - 60,
            valid_before=now + 3600,
        )
    )
    return key, write_certificate(folder / f"key-{serial}-cert.pub", blob)


@contextmanager
def session(
    sshd: Sshd, key: Path, path: Path, *, options: tuple[str, ...] = ()
) -> Iterator["subprocess.Popen[bytes]"]:
    """Log in, and stay."""
    command = [*sshd.ssh_command(key, path, options=options), "echo in; sleep 300"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as ssh:
        try:
            assert ssh.stdout is not None
            assert ssh.stdout.readline() == b"in\n"
            yield ssh
        finally:
            ssh.kill()


def end_sessions(host, sshd, *more):
    return host.pull("--log", str(sshd.syslog), *more, script=END_SESSIONS)


def revoke(host, ca, *serials):
    ca.publish(revoked=serials)
    assert host.pull().returncode == 0


@in_each_shell
def test_a_revoked_persons_session_ends_and_another_persons_stays(
    tmp_path, ca, host, sshd
):
    ada, grace = (certified(tmp_path, ca.user_ca, n) for n in (ADA, GRACE))
    with session(sshd, *ada) as hers, session(sshd, *grace) as others:
        done = end_sessions(host, sshd)
        assert (done.returncode, done.stderr) == (0, "")
        revoke(host, ca, ADA)
        # So far sshd does nothing about it: that is why this script is there.
        assert hers.poll() is None

        began = time.monotonic()
        done = end_sessions(host, sshd)

        assert hers.wait(10) == 255
        assert time.monotonic() - began < 10
        assert done.returncode == 0
        assert f"serial {ADA}:" in done.stderr
        assert others.poll() is None
        assert len(done.stderr.splitlines()) == 1


def test_a_pull_ends_them_when_told_to(tmp_path, ca, host, sshd):
    place = host.root / "usr/local/sbin/daypass-end-sessions"
    place.parent.mkdir(parents=True)
    calls = host.root / "calls"
    place.write_text(
        f"#!/bin/sh\necho >>{calls}\nexec {' '.join(host.command(script=END_SESSIONS))}"
        f" --log {sshd.syslog}\n"
    )
    place.chmod(0o755)
    host.configure(end_sessions="yes")
    ada, grace = (certified(tmp_path, ca.user_ca, n) for n in (ADA, GRACE))
    with session(sshd, *ada) as hers, session(sshd, *grace) as others:
        revoke(host, ca, ADA)

        assert hers.wait(10) == 255
        assert others.poll() is None

    # Once more for who was just logging in, and then not until the next KRL.
    counts = []
    for seconds in (3600, 7200):
        host.set_clock(seconds)
        assert host.pull().returncode == 0
        counts.append(len(calls.read_text().splitlines()))
    assert counts == [2, 2]


@in_each_shell
def test_what_the_session_began_ends_with_it(tmp_path, ca, host, sshd):
    ada = certified(tmp_path, ca.user_ca, ADA)
    mark = tmp_path / "pid"
    command = f"sh -c 'trap \"\" HUP TERM; echo $$ >{mark}; while :; do sleep 1; done'"
    with subprocess.Popen([*sshd.ssh_command(*ada), command], stdin=subprocess.DEVNULL):
        wait_until(lambda: mark.exists() and mark.read_text().strip())
        pid = int(mark.read_text())
        revoke(host, ca, ADA)

        end_sessions(host, sshd)

        wait_until(lambda: not is_alive(pid), seconds=10)


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_a_dry_run_ends_nobody(tmp_path, ca, host, sshd):
    ada = certified(tmp_path, ca.user_ca, ADA)
    with session(sshd, *ada) as hers:
        revoke(host, ca, ADA)
        assert f"serial {ADA}:" in end_sessions(host, sshd, "--dry-run").stderr
        time.sleep(0.5)
        assert hers.poll() is None


def test_a_serial_of_another_ca_is_another_certificate(tmp_path, ca, host):
    """The same serial, by a CA key that the KRL says nothing of."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    other = ThrowawayCA()
    (tmp_path / "cas").write_text(f"{other.line}\n")
    settings = (f"TrustedUserCAKeys {tmp_path / 'cas'}", f"RevokedKeys {host.krl}")
    with (
        LoggedSshd(folder, settings) as sshd,
        session(sshd, *certified(tmp_path, other, ADA)) as theirs,
    ):
        revoke(host, ca, ADA)
        done = end_sessions(host, sshd)
        assert (done.returncode, done.stderr) == (0, "")
        assert theirs.poll() is None


def test_a_revoked_ca_key_ends_all_its_sessions(tmp_path, ca, host, sshd):
    ada = certified(tmp_path, ca.user_ca, ADA)
    (tmp_path / "ca.pub").write_text(f"{ca.user_ca.line}\n")
    with session(sshd, *ada) as hers:
        krl = make_krl(ca.user_ca, ())
        (tmp_path / "krl").write_bytes(krl)
        command = ["ssh-keygen", "-q", "-k", "-u", "-f", "krl", "ca.pub"]
        subprocess.run(command, cwd=tmp_path, check=True)
        ca.publish(krl=(tmp_path / "krl").read_bytes())
        assert host.pull().returncode == 0

        end_sessions(host, sshd)

        assert hers.wait(10) == 255


def line(pid, message, *, at=None, program="sshd"):
    """Return a line as syslog writes it."""
    stamp = datetime.fromtimestamp(at or time.time(), UTC).isoformat()
    return f"{stamp} web1 {program}[{pid}]: {message}\n"


def accepted(ca, serial, key_id="corp:ada@example.com"):
    key = wire.fingerprint(bytes(32))
    return (
        f"Accepted publickey for ada from 192.0.2.7 port 55192 ssh2: ED25519-CERT {key}"
        f" ID {key_id} (serial {serial}) CA ED25519 {wire.fingerprint(ca.user_ca.key)}"
    )


def serving(sshd: LoggedSshd) -> int:
    """Return the process that serves the one session."""
    (pid,) = (child.pid for child in sshd._children if child.poll() is None)  # noqa: SLF001
    return pid


@pytest.mark.parametrize(
    "forge",
    [
        pytest.param(
            lambda ca, pid: line(
                pid, f"Invalid user {accepted(ca, ADA)} from 192.0.2.66 port 1"
            ),
            id="a user name",
        ),
        pytest.param(
            lambda ca, pid: line(
                pid, f"Invalid user x sshd[{pid}]: {accepted(ca, ADA)}"
            ),
            id="a user name with a process id",
        ),
        pytest.param(
            lambda ca, pid: line(
                pid, accepted(ca, GRACE, f"x {accepted(ca, ADA).partition('ID ')[2]} y")
            ),
            id="a key ID",
        ),
        pytest.param(
            lambda ca, pid: line(pid, accepted(ca, ADA), program="cron"),
            id="another program",
        ),
        pytest.param(
            lambda ca, pid: line(pid, accepted(ca, ADA), at=time.time() - 3600),
            id="a process id given anew",
        ),
        pytest.param(
            lambda ca, pid: line(os.getpid(), accepted(ca, ADA)), id="no sshd"
        ),
        pytest.param(lambda ca, pid: line(pid, accepted(ca, ADA)[:-1]), id="cut short"),
    ],
)
def test_a_line_that_is_not_about_this_session_ends_nobody(
    tmp_path, ca, host, sshd, forge
):
    grace = certified(tmp_path, ca.user_ca, GRACE)
    revoke(host, ca, ADA)
    with session(sshd, *grace) as hers:
        with sshd.syslog.open("a") as log:
            log.write(forge(ca, serving(sshd)))

        done = end_sessions(host, sshd)

        assert (done.returncode, done.stderr) == (0, "")
        assert hers.poll() is None


@in_each_shell
def test_the_journal_is_read_where_there_is_one(tmp_path, ca, host, sshd):
    ada = certified(tmp_path, ca.user_ca, ADA)
    with session(sshd, *ada) as hers:
        wait_until(lambda: "Accepted" in sshd.syslog.read_text())
        (said,) = (
            line.split(" ", 2)[2]
            for line in sshd.syslog.read_text().splitlines()
            if "Accepted publickey" in line
        )
        journal = tmp_path / "journal"
        journal.write_text(f"{time.time():.6f} web1 {said}\n")
        host.stub("journalctl", f'echo "$@" >>{tmp_path}/asked; cat {journal}')
        revoke(host, ca, ADA)

        assert host.pull(script=END_SESSIONS).returncode == 0

        assert hers.wait(10) == 255
    # The journal knows by itself who wrote a line: no one but root's sshd counts.
    assert "_UID=0 _COMM=sshd + _UID=0 _COMM=sshd-session" in (
        (tmp_path / "asked").read_text()
    )


@in_each_shell
@pytest.mark.parametrize("form", ["%b %e %H:%M:%S", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_logs_of_syslog_are_found_in_either_form_of_time(
    tmp_path, ca, host, sshd, form
):
    ada = certified(tmp_path, ca.user_ca, ADA)
    auth = host.root / "var/log/auth.log"
    auth.parent.mkdir(parents=True)
    host.stub("journalctl", "exit 1")
    with session(sshd, *ada) as hers:
        wait_until(lambda: "Accepted" in sshd.syslog.read_text())
        stamp = datetime.now(UTC).strftime(form)
        lines = (line.split(" ", 1)[1] for line in sshd.syslog.read_text().splitlines())
        auth.write_text("".join(f"{stamp} {line}\n" for line in lines))
        revoke(host, ca, ADA)

        done = host.pull(script=END_SESSIONS, more={"TZ": "UTC0"})

        assert done.returncode == 0
        assert hers.wait(10) == 255


def test_a_krl_that_cannot_be_read_ends_nobody(ca, host):
    host.krl.write_bytes(b"no KRL")

    done = host.pull(script=END_SESSIONS)

    assert done.returncode == 1
    assert "cannot read" in done.stderr


# --- What sshd does by itself -------------------------------------------------------


def test_a_multiplexed_connection_goes_on_after_revocation(tmp_path, ca, host, sshd):
    ada = certified(tmp_path, ca.user_ca, ADA)
    control = ("-o", f"ControlPath={tmp_path}/mux")
    with session(sshd, *ada, options=(*control, "-o", "ControlMaster=yes")):
        revoke(host, ca, ADA)

        command = sshd.ssh_command(*ada, options=control)
        again = subprocess.run(
            [*command, "echo still in"], capture_output=True, check=False
        )
        assert again.stdout == b"still in\n"

        command = sshd.ssh_command(*ada)
        fresh = subprocess.run([*command, "true"], capture_output=True, check=False)
        assert fresh.returncode == 255


def test_idle_connections_are_ended_by_channel_timeout(tmp_path, ca, host):
    if openssh_version() < (9, 2):
        return  # the keywords are not there
    folder = tmp_path / "sshd"
    folder.mkdir()
    settings = (
        *host.sshd_settings(),
        "ChannelTimeout session:*=5s",
        "UnusedConnectionTimeout 1s",
        "ClientAliveInterval 1",
    )
    with (
        LoggedSshd(folder, settings) as sshd,
        session(sshd, *certified(tmp_path, ca.user_ca, ADA)) as idle,
    ):
        began = time.monotonic()
        assert idle.wait(30) != 0
        assert time.monotonic() - began < 25


def test_an_active_session_and_client_alive_go_on(tmp_path, ca, host):
    """`ClientAliveInterval` ends connections whose client is gone, and no others."""
    folder = tmp_path / "sshd"
    folder.mkdir()
    settings = (
        *host.sshd_settings(),
        "ClientAliveInterval 1",
        "ClientAliveCountMax 1",
    )
    with (
        LoggedSshd(folder, settings) as sshd,
        session(sshd, *certified(tmp_path, ca.user_ca, ADA)) as hers,
    ):
        revoke(host, ca, ADA)
        time.sleep(3.5)
        assert hers.poll() is None
