"""Somebody is revoked, and a whole fleet knows it: judged by real logins.

Each host is a real sshd whose files its own script fetches from a real signer, and
reports, at an interval, as its timer would have it. A person is revoked by the command
that an operator types. From when it returns on no login of that person succeeds on any
host, and every login of another person does.
"""

import getpass
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ca.admin.__main__ import main
from ca.authority import Authority
from ca.hosts import NewHost, register_host
from tests.authority import Signer, make_ca, opened, request_of, write_whole
from tests.fakes import FakeIdP
from tests.pulling import Host
from tests.sshd import LOOPBACK, Sshd, free_port, make_key

pytestmark = pytest.mark.openssh

ME = getpass.getuser()
POLICY = f"""
[[rule]]
name       = "developers"
issuer     = "corp"
match      = {{ groups = ["dev"] }}
principals = ["{ME}"]
validity   = "10h"
"""
LOGINS = 10
"""Of each person on each host."""

AT_ONCE = 4

REVOKE = ("revoke", "--person", "ada@example.com", "--reason", "stolen", "--wait")


@dataclass(frozen=True)
class CA:
    """As far as a host's script needs to know it."""

    url: str
    pin: str


@dataclass
class Member:
    """One host of the fleet."""

    host: Host
    sshd: Sshd

    def admits(self, key: Path) -> bool:
        """Log in with this key and the certificate beside it."""
        certificate = key.with_name(f"{key.name}-cert.pub")
        command = [*self.sshd.ssh_command(key, certificate), "true"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        assert done.returncode in {0, 255}, done.stderr
        return done.returncode == 0


@pytest.fixture
def authority(tmp_path):
    with FakeIdP() as idp:
        port = free_port()
        origin = f"http://{LOOPBACK}:{port}"
        config_file = make_ca(tmp_path / "ca", idp, origin=origin)
        write_whole(config_file.with_name("policy.toml"), POLICY)
        with opened(config_file) as authority, Signer(config_file, port=port) as signer:
            for person in ("ada", "grace"):
                sign_in(signer, idp, person, tmp_path)
            yield authority


def sign_in(signer: Signer, idp: FakeIdP, person: str, folder: Path) -> None:
    """Leave a key and its certificate in the folder."""
    make_key(folder / person)
    line = (folder / f"{person}.pub").read_text()
    answer = signer.sign(request_of(idp, person, key=line)).certificate
    (folder / f"{person}-cert.pub").write_text(f"{answer.certificate}\n")


@contextmanager
def fleet(
    authority: Authority, folder: Path, *, size: int, every: float
) -> Iterator[list[Member]]:
    """Run hosts that pull every so many seconds, each at its own moment."""
    ca = CA(authority.config.origin, authority.trust.root_key_fingerprint)
    stopping = threading.Event()

    def keep_pulling(member: Member, first: float) -> None:
        pause = first
        while not stopping.wait(pause):
            member.host.pull()
            pause = every

    with ExitStack() as stack:
        members = [
            stack.enter_context(_member(authority, folder / f"host{number}", ca))
            for number in range(size)
        ]
        threads = [
            threading.Thread(target=keep_pulling, args=(member, number * every / size))
            for number, member in enumerate(members)
        ]
        for thread in threads:
            stack.callback(thread.join)
        stack.callback(stopping.set)
        for thread in threads:
            thread.start()
        yield members


@contextmanager
def _member(authority: Authority, folder: Path, ca: CA) -> Iterator[Member]:
    folder.mkdir()
    host = Host(folder, ca)
    key = host.root / "etc/ssh/host_key"
    make_key(key)
    host.configure(host=folder.name, report="yes", host_key="/etc/ssh/host_key")
    line = key.with_suffix(".pub").read_text().strip()
    new = NewHost(id=folder.name, names=(), keys=(line,), pulls=True)
    register_host(authority, new, {"identity": None}, now=datetime.now(UTC))
    (folder / "sshd").mkdir()
    # As provisioning does: the files are there before sshd is told of them.
    assert host.pull().returncode == 0
    with Sshd(folder / "sshd", host.sshd_settings()) as sshd:
        yield Member(host, sshd)


def admitted(members: list[Member], key: Path, *, each: int) -> int:
    """Return how many of the logins on all hosts succeed."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(lambda member: member.admits(key), members * each))


@pytest.mark.parametrize(
    "every", [5.0, pytest.param(30.0, marks=pytest.mark.soak)], ids=str
)
def test_who_is_revoked_gets_in_nowhere_once_the_command_returns(
    authority, tmp_path, rounds, every, capsys, record_property
):
    ada, grace = tmp_path / "ada", tmp_path / "grace"
    with fleet(authority, tmp_path, size=rounds(5), every=every) as members:
        size = len(members)
        assert admitted(members, ada, each=1) == size
        assert admitted(members, grace, each=1) == size

        began = time.monotonic()
        status = main([*REVOKE, "--config", str(tmp_path / "ca/daypass.toml")])
        seconds = time.monotonic() - began

        said = capsys.readouterr().out
        assert status == 0, said
        assert f"applied everywhere: {size} of {size} hosts" in said
        assert admitted(members, ada, each=LOGINS) == 0
        assert admitted(members, grace, each=LOGINS) == size * LOGINS
    record_property("seconds", round(seconds, 1))
