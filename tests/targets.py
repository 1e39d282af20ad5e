"""Hosts to deploy to: real sshds, each with an /etc, accounts and processes of its own.

    with Target(tmp_path / "host", operator.line) as target:
        target.port

A target is a mount and a process namespace of this machine. What it changes is below
its folder, where a test can look and can put things; and nothing outlives it. That
takes root.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.sshd import LOOPBACK, find_sshd, free_port, make_key

PASSWORD = "correct horse"  # noqa: S105 of accounts that end with a test
"""Of every account that has one."""

_HASH = (
    "$6$daypass$Wo5WH7V8NYxXJj.EnPDeeEYAFAyHqr76tVZTX"
    "XXwuedxIxufuec8YL3NtPj2I8U1iPsIxOG2IZfWHI7IkiXhu0"
)
"""What `openssl passwd -6` makes of it."""
_START_SECONDS = 20.0

_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child")

_ENTER = """\
set -eu
cd {folder}
for name in etc root home usr/local var/lib var/log run var/cron; do
    [ -d "/$name" ] || continue
    mount --bind "$name" "/$name"
done
for name in bin/* sbin/*; do
    [ ! -f "$name" ] || mount --bind "$name" "$(readlink -f "/usr/$name")"
done
mount -t proc proc /proc
{sshd} -D -e {options} 2>>var/log/auth.log &
echo $! >listener
trap 'kill -9 -1' TERM
# The first process of a namespace inherits every orphan, and has to bury them.
while :; do wait || true; sleep {pause}; done
"""

MAIN = """\
Include /etc/ssh/sshd_config.d/*.conf
Port {port}
ListenAddress {address}
HostKey /etc/ssh/ssh_host_ed25519_key
PidFile /run/sshd.pid
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
LogLevel VERBOSE
"""


@dataclass(frozen=True)
class Login:
    """A key that opens an account, and nothing else that we have."""

    key: Path

    @property
    def line(self) -> str:
        """Its public key."""
        return self.key.with_suffix(".pub").read_text().strip()


class Target:
    """A host of our own, which serves while the `with` block runs.

    `main` is its sshd_config, with {port} and {address} to fill in; `files` go where
    their names say before sshd starts; `programs` take the place of the system's, such
    as {"bin/sh": busybox}; one that is nothing ("") is as if it were not there.
    """

    def __init__(
        self,
        folder: Path,
        operator: str,
        *,
        main: str = MAIN,
        files: Mapping[str, str] | None = None,
        programs: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = 0
        self.address = LOOPBACK
        self._operator = operator
        self._main = main
        self._files = files or {}
        self._programs = programs or {}
        self._options = options
        self.pause_seconds = 0.2
        """After which its first process looks again for what has ended."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._build()
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every process in the namespace, by ending its first."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @property
    def known_hosts(self) -> str:
        """Its line of known_hosts."""
        key = self.path("etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return f"[{self.address}]:{self.port} {key}"

    @property
    def locks(self) -> list[Path]:
        """The locks of changes that have begun there, and not ended."""
        return list(self.path("var/lib/daypass/deploy/locks").glob("*"))

    @property
    def listener(self) -> str:
        """The process id of its sshd, as the target knows it."""
        return self.path("listener").read_text().strip()

    @property
    def log(self) -> str:
        """What its sshd has said."""
        return self.path("var/log/auth.log").read_text(errors="replace")

    def path(self, name: str) -> Path:
        """Return where a file of the target is for us; `name` without its first `/`."""
        return self.folder / name

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command there as root, without any ssh: as on its console."""
        if self._process is None:
            raise AssertionError("it does not run")
        first = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        inside = [
            "nsenter",
            "--target",
            first.read_text().split()[0],
            "--mount",
            "--pid",
        ]
        return subprocess.run(
            [*inside, *command], capture_output=True, text=True, check=False
        )

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        """Put a file on the target."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def snapshot(self, *below: str) -> dict[str, bytes]:
        """Return every file below these folders, to compare it later."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for name in below
            for path in sorted(self.path(name).rglob("*"))
            if path.is_file() and not path.is_symlink()
        }

    def _build(self) -> None:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)
        for name in (
            "home",
            "usr/local",
            "var/lib",
            "var/log",
            "bin",
            "sbin",
            "var/cron",
            "run/sshd",
        ):
            self.path(name).mkdir(parents=True, mode=0o755)
        self.path("root").mkdir(mode=0o700)
        subprocess.run(["cp", "-a", "/etc", self.folder], check=True)
        shutil.rmtree(self.path("etc/ssh"))
        self.path("etc/ssh/sshd_config.d").mkdir(parents=True)
        make_key(self.path("etc/ssh/ssh_host_ed25519_key"))
        for name, program in self._programs.items():
            if program:
                shutil.copy(program, self.path(name))
            else:
                self.path(name).touch(0o600)
        self._add_accounts()
        for name, text in self._files.items():
            self.write(name, text)

    def _add_accounts(self) -> None:
        """Root, ada who may sudo, and three who have nothing yet."""
        self._set_shadow("root", "*")
        people = {"ada": "/bin/sh", "deploy": "/bin/sh", "web": "/usr/sbin/nologin"}
        for number, (name, shell) in enumerate(people.items(), 2001):
            with self.path("etc/passwd").open("a") as file:
                file.write(f"{name}:x:{number}:{number}::/home/{name}:{shell}\n")
            with self.path("etc/group").open("a") as file:
                file.write(f"{name}:x:{number}:\n")
            with self.path("etc/shadow").open("a") as file:
                password = _HASH if name == "ada" else "*"
                file.write(f"{name}:{password}:19000:0:99999:7:::\n")
            home = self.path(f"home/{name}")
            home.mkdir()
            os.chown(home, number, number)
        for place in ("root", "home/ada"):
            self.write(f"{place}/.ssh/authorized_keys", f"{self._operator}\n")
        self.write("etc/sudoers.d/ada", "ada ALL=(ALL) NOPASSWD: ALL\n", 0o440)

    def _set_shadow(self, name: str, password: str) -> None:
        shadow = self.path("etc/shadow")
        lines = [
            ":".join([name, password, *line.split(":")[2:]])
            if line.startswith(f"{name}:")
            else line
            for line in shadow.read_text().splitlines()
        ]
        shadow.write_text("\n".join(lines) + "\n")

    def lock_account(self, name: str) -> None:
        """Give an account the password `!`, as `useradd` does."""
        self._set_shadow(name, "!")

    def _start(self) -> None:
        self.port = free_port()
        main = self._main.format(port=self.port, address=self.address)
        config = self.path("etc/ssh/sshd_config")
        config.write_text(main)
        said = subprocess.run(
            [find_sshd(), "-T", "-f", "/dev/null", "-h", "/dev/null"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout
        if "persourcepenalties" in said.lower():
            config.write_text(main + "PerSourcePenalties no\n")
        enter = _ENTER.format(
            folder=self.folder,
            sshd=find_sshd(),
            options=" ".join(self._options),
            pause=self.pause_seconds,
        )
        with self.path("start.log").open("wb") as log:
            self._process = subprocess.Popen(
                [*_NAMESPACES, "sh", "-c", enter], stdin=subprocess.DEVNULL, stderr=log
            )
        wait_until(lambda: self._listens() or self._process_ended(), _START_SECONDS)
        if self._process_ended():
            raise AssertionError(self.path("start.log").read_text() + self.log)

    def _process_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((self.address, self.port)) == 0


def wait_until(condition: Callable[[], object], seconds: float) -> None:
    """Return when `condition` holds; raise `TimeoutError` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.05)


def make_login(folder: Path) -> Login:
    """Make the key of somebody who may log in."""
    key = folder / "operator"
    make_key(key)
    return Login(key)
