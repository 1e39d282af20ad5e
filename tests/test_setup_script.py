"""What a machine lacks is installed where we may; else we say what to type.

The script is run as it is, on a machine whose `id`, `sudo` and `apt-get` are ours.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("setup.sh")
PACKAGE = "no-such-program"
"""A command that nobody has; what is not known otherwise is called like its package."""

INSTALL = f"install -qq --yes --no-install-recommends {PACKAGE}"


@dataclass(frozen=True)
class Machine:
    """A PATH whose first folder says who we are, and keeps what is installed."""

    folder: Path

    def program(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def run(self, *commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", SCRIPT, *commands],
            env={"PATH": f"{self.folder}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def done(self) -> list[str]:
        """What was asked of apt-get, and by sudo or not."""
        log = self.folder / "log"
        return log.read_text().splitlines() if log.exists() else []


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.program("apt-get", f'echo "apt-get $*" >>{tmp_path}/log')
    machine.program("mkdir", "")  # /run/sshd, which only root may make
    return machine


def user(machine, *, sudo):
    """Be an ordinary user, with sudo that asks for no password or with none."""
    machine.program("id", "echo 1000")
    script = f'shift; echo sudo >>{machine.folder}/log; exec "$@"'
    machine.program("sudo", script if sudo else "exit 1")


def test_who_may_not_install_is_told_what_to_type(machine):
    user(machine, sudo=False)

    said = machine.run("sh", PACKAGE)

    assert said.returncode == 1
    assert said.stderr == (
        "setup: some packages are missing; type: sudo apt-get update"
        f" && sudo apt-get {INSTALL}\n"
    )
    assert machine.done == []


def test_root_installs_what_is_missing(machine):
    machine.program("id", "echo 0")

    said = machine.run("sh", PACKAGE)

    assert said.returncode == 0, said.stderr
    assert machine.done == ["apt-get -qq update", f"apt-get {INSTALL}"]
    assert subprocess.run([said.stdout.strip(), "-c", ""], check=False).returncode == 0


def test_sudo_that_asks_nothing_installs_what_is_missing(machine):
    user(machine, sudo=True)

    said = machine.run(PACKAGE)

    assert said.returncode == 0, said.stderr
    asked, updated, installed = machine.done[0], machine.done[2], machine.done[4]
    assert asked == "sudo"
    assert (updated, installed) == ("apt-get -qq update", f"apt-get {INSTALL}")


def test_nothing_is_installed_where_nothing_is_missing(machine):
    user(machine, sudo=True)

    said = machine.run("sh", "id")

    assert (said.returncode, said.stderr, machine.done) == (0, "", [])


def test_without_a_python_that_is_new_enough_it_says_so(machine):
    said = subprocess.run(
        ["sh", SCRIPT],
        env={"PATH": "/usr/bin:/bin", "PYTHON": "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 1
    assert "no Python 3.11 or newer" in said.stderr
    assert "make PYTHON=" in said.stderr
