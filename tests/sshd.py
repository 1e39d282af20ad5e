"""A real sshd on a loopback port, and a real ssh that logs in to it.

It runs as whoever starts it. Root may let any account in; an ordinary user's sshd
can only let that user in, because changing accounts needs root. It shares nothing
with the machine's own sshd: own port, host key, configuration and log.

Used by the tests and by `make demo`, so there is no pytest in here.
"""

import getpass
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
_START_SECONDS = 20.0
_LOGIN_SECONDS = 30.0
_END_OF_CONNECTION = re.compile(
    r"^(Connection (closed|reset) by|Disconnect(ed|ing)|Read error from remote host"
    r"|debug1: do_cleanup$)",
    re.MULTILINE,
)

_SETTINGS = """\
Port {port}
ListenAddress {address}
HostKey {folder}/host_key
PidFile none
# The folder is a temporary one, perhaps below a directory that all may write to.
StrictModes no
UsePAM {pam}
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
PermitUserRC no
AuthorizedKeysFile none
MaxStartups 100
LogLevel {log_level}
"""


class CannotStart(Exception):
    """sshd is missing or ended at once; says why."""


def find_sshd() -> str:
    """Return the path of sshd, which is often outside an ordinary user's PATH."""
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    sshd = shutil.which("sshd", path=path)
    if sshd is None:
        raise CannotStart("there is no sshd: install openssh-server")
    return sshd


def _root_is_locked() -> bool:
    """Say whether we are root with a locked password, as on a fresh Ubuntu.

    Without PAM sshd then refuses root whatever key or certificate it shows. With PAM it
    may need what not every container has; so PAM is used only here.
    """
    if os.geteuid() != 0:
        return False
    lines = Path("/etc/shadow").read_text().splitlines()
    return any(line.startswith(("root:!", "root:*LK*")) for line in lines)


def openssh_version() -> tuple[int, int]:
    """Return the version of `ssh` in the PATH, such as (9, 2)."""
    said = _run(["ssh", "-V"]).stderr
    found = re.match(r"OpenSSH_(\d+)\.(\d+)", said)
    if found is None:
        raise CannotStart(f"ssh -V said {said!r}")
    return int(found[1]), int(found[2])


class Sshd:
    """An sshd that serves while the `with` block runs.

    `settings` are lines of sshd_config that say whom it trusts. The first value of
    a keyword wins, so they stand before our own. `folder` must exist and be empty.
    """

    def __init__(
        self, folder: Path, settings: Sequence[str] = (), *, log_level: str = "VERBOSE"
    ) -> None:
        self.folder = folder
        self.settings = tuple(settings)
        self.log_level = log_level
        self.log = folder / "sshd.log"
        """Everything that sshd has said since it started."""
        self.known_hosts = folder / "known_hosts"
        self.port = 0
        self._binary = find_sshd()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection_at = 0

    def __enter__(self) -> Self:
        """Make a host key, write the configuration and wait until sshd listens."""
        if os.geteuid() == 0:
            # sshd refuses to run as root without this folder for its chroot.
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        make_key(self.folder / "host_key")
        self.restart()
        return self

    def restart(self) -> None:
        """Start it, anew if it runs: then it reads its host keys again."""
        self._stop()
        try:
            while not self._start():
                pass
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End this sshd, and no other: by its process id."""
        self._stop()

    def login(
        self,
        key: Path,
        certificate: Path | None = None,
        *,
        user: str | None = None,
        command: str = "true",
        options: Sequence[str] = (),
    ) -> subprocess.CompletedProcess[str]:
        """Log in and run `command`; the answer has its exit status and its output.

        ssh itself exits with 255 when it is refused. Afterwards `said` holds what
        sshd logged about it.
        """
        ssh = self.ssh_command(key, certificate, user=user, options=options)
        with self.listening():
            return _run([*ssh, command])

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let `said` be about the one connection that the `with` block makes."""
        self._connection_at = self.log.stat().st_size
        yield
        _wait(lambda: _END_OF_CONNECTION.search(self.said) is not None, 5)

    @property
    def said(self) -> str:
        """What sshd has logged since the last connection began."""
        with self.log.open("rb") as log:
            log.seek(self._connection_at)
            return log.read().decode(errors="replace").replace("\r\n", "\n")

    def ssh_command(
        self,
        key: Path,
        certificate: Path | None = None,
        *,
        user: str | None = None,
        options: Sequence[str] = (),
    ) -> list[str]:
        """Return the ssh command line that offers this key and nothing else."""
        offered = [f"IdentityFile={key}"]
        if certificate is not None:
            offered.append(f"CertificateFile={certificate}")
        mine = (
            *offered,
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "PreferredAuthentications=publickey",
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.known_hosts}",
            "GlobalKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        )
        settings = [word for option in mine for word in ("-o", option)]
        address = ["-p", str(self.port), f"{user or getpass.getuser()}@{LOOPBACK}"]
        return ["ssh", "-F", "/dev/null", *settings, *options, *address]

    def _start(self) -> bool:
        self._configure()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._binary, "-D", "-e", "-f", str(self.folder / "sshd_config")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        process = self._process
        _wait(lambda: self._listens or process.poll() is not None, _START_SECONDS)
        # Another process may have taken the port since it was found free; only that
        # is worth another try.
        if not self._listens and "in use" not in self.log.read_text():
            raise CannotStart(self.log.read_text())
        return self._listens

    @property
    def _listens(self) -> bool:
        return b"Server listening on" in self.log.read_bytes()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _configure(self) -> None:
        self.port = free_port()
        config = self.folder / "sshd_config"
        ours = _SETTINGS.format(
            port=self.port,
            address=LOOPBACK,
            folder=self.folder,
            log_level=self.log_level,
            pam="yes" if _root_is_locked() else "no",
        )
        config.write_text("\n".join((*self.settings, ours)))
        # OpenSSH 9.8 and later shut out an address after a few refusals, and all of
        # ours come from one. Older versions do not know the keyword.
        effective = _run([self._binary, "-T", "-f", str(config)]).stdout
        if "persourcepenalties" in effective.lower():
            config.write_text(config.read_text() + "PerSourcePenalties no\n")
        host_key = (self.folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"[{LOOPBACK}]:{self.port} {host_key}")


def make_key(path: Path) -> None:
    """Make an Ed25519 key pair without a passphrase: `path` and `path`.pub."""
    made = _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path])
    if made.returncode:
        raise CannotStart(made.stderr)


def free_port() -> int:
    """Return a port on which nobody listens at this moment."""
    with socket.socket() as listener:
        listener.bind((LOOPBACK, 0))
        port: int = listener.getsockname()[1]
        return port


def _wait(happened: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not happened() and time.monotonic() < until:
        time.sleep(0.01)


def _run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LOGIN_SECONDS,
        check=False,
    )
