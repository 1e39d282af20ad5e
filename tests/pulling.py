"""A host below a folder, which pulls as it would: by any of three shells.

    host = Host(folder, ca, shell="busybox")
    assert host.pull().returncode == 0
    host.status["result"], host.krl.read_bytes()
    host.stub("mv", "kill -9 $PPID")           # from now on, what mv does

Each shell has a PATH of its own, with what such a machine has:

    dash       coreutils, curl, flock
    bash       bash --posix, coreutils, GNU wget, no flock
    busybox    its own applets for all, wget among them, no flock
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / "deploy" / "host"
PULL = SCRIPTS / "daypass-pull.sh"
END_SESSIONS = SCRIPTS / "daypass-end-sessions.sh"

SHELLS: Mapping[str, tuple[str, ...]] = {
    "dash": ("dash",),
    "bash": ("bash", "--posix"),
    "busybox": ("busybox", "sh"),
}

_TOOLS = (
    *("awk", "cat", "chmod", "cksum", "cmp", "cp", "cut", "date", "env", "grep"),
    *("head", "id", "ln", "ls", "mkdir", "mktemp", "mv", "readlink", "rm", "sed"),
    *("sha256sum", "sleep", "sort", "sync", "tail", "tr", "true", "uname", "wc"),
)
_ONLY: Mapping[str, tuple[str, ...]] = {
    "dash": ("curl", "flock", "getconf"),
    "bash": ("wget", "timeout", "getconf"),
    "busybox": ("wget", "timeout"),
}
_ALL = ("dash", "bash", "busybox", "ssh-keygen", "ssh-keyscan")


class Pulled(Protocol):
    """A CA, as far as a host needs to know it: a real one, or `tests.publisher`'s."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def pin(self) -> str:
        """The root key's fingerprint."""


class Host:
    """A host whose files are below `folder`, which must be empty."""

    def __init__(self, folder: Path, ca: Pulled, *, shell: str = "dash") -> None:
        self.root = folder / "root"
        self.daypass = self.root / "etc/ssh/daypass"
        self.daypass.mkdir(parents=True)
        self.daypass.chmod(0o755)
        self.shell = shell
        self.bin, self.stubs = folder / "bin", folder / "stubs"
        self.stubs.mkdir()
        self._fill_bin()
        # What it syncs is a test of its own; the disk of a busy machine takes seconds.
        self.stub("sync", ":")
        self.settings = {"url": ca.url, "pin": ca.pin, "host": "web1", "report": "no"}
        self.configure()

    def configure(self, **settings: str) -> None:
        """Write `pull.conf`, with these settings changed."""
        self.settings |= settings
        text = "".join(f"{name}={value}\n" for name, value in self.settings.items())
        path = self.daypass / "pull.conf"
        path.write_text(text)
        path.chmod(0o644)

    @property
    def ca_keys(self) -> Path:
        """What `TrustedUserCAKeys` names."""
        return self.daypass / "ca_keys"

    @property
    def krl(self) -> Path:
        """What `RevokedKeys` names."""
        return self.daypass / "revoked.krl"

    @property
    def status(self) -> dict[str, str]:
        """What monitoring reads."""
        text = (self.daypass / "status").read_text()
        return dict(line.split("=", 1) for line in text.splitlines())

    @property
    def files(self) -> dict[str, bytes]:
        """What an operator or sshd looks at."""
        names = ("ca_keys", "revoked.krl", "roots", "current")
        return {name: (self.daypass / name).read_bytes() for name in names}

    def stub(self, name: str, script: str) -> None:
        """Put a program before all others."""
        path = self.stubs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def set_clock(self, seconds: int) -> None:
        """Make `date` that far ahead, for the script alone."""
        real = shutil.which("date")
        self.stub("date", f'[ "$1" = +%s ] && echo $(($({real} +%s) + {seconds}))')

    def command(self, *arguments: str, script: Path = PULL) -> list[str]:
        """Return the command line that starts a script under this host's shell."""
        program, *options = SHELLS[self.shell]
        return [str(self.bin / program), *options, str(script), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        """What the script is given."""
        path = f"{self.stubs}:{self.bin}"
        return {"PATH": path, "DAYPASS_ROOT": str(self.root), "HOME": str(self.root)}

    def pull(
        self,
        *arguments: str,
        script: Path = PULL,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Run the script once."""
        return subprocess.run(
            self.command(*arguments, script=script),
            env={**self.environment, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sshd_settings(self) -> Sequence[str]:
        """Return what makes an sshd believe this host's files."""
        return (
            f"TrustedUserCAKeys {self.ca_keys}",
            f"RevokedKeys {self.krl}",
        )

    def _fill_bin(self) -> None:
        self.bin.mkdir()
        for name in (*_ALL, *_TOOLS, *_ONLY[self.shell]):
            own = self.shell == "busybox" and name not in _ALL
            real = shutil.which("busybox" if own else name, path=_path())
            assert real is not None, f"there is no {name}: see tests/setup.sh"
            (self.bin / name).symlink_to(real)
        (self.bin / "sh").symlink_to(self.bin / self.shell)


def _path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
