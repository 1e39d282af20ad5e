"""What goes to a host for one change: its programs, and the files beside them.

Everything is one script that root's shell reads whole before it runs any of it.
Contents are written with `printf`, which every POSIX shell has, and takes any byte.
"""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from deploy.facts import Facts
from deploy.planned import SUDOERS, Kind, Plan

STATE = "/var/lib/daypass/deploy"
"""Where a host keeps what was changed, and its lock."""

_HOST = resources.files("deploy") / "host"
_CHANGE = (_HOST / "change.sh").read_bytes()
_ACCOUNTS = (_HOST / "accounts.sh").read_bytes()
_KEYS = (_HOST / "keys.sh").read_bytes()
_PLAIN = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ./:_+=@,-#()[]{}"
)
_LINE_BYTES = 1024
_LOCK_MARGIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one host, as its own folder there."""

    plan: Plan
    facts: Facts
    name: str
    """Of the folder: unlike the plan's id, never the same twice."""
    owner: str
    """Who changes the host, for whoever finds it locked."""
    clock_seconds: int
    """After how long the host takes the change back unless it was proved."""

    @property
    def folder(self) -> str:
        """Where it is on the host."""
        return f"{STATE}/{self.name}"

    def upload(self) -> str:
        """Return the script that makes the folder, and runs the first step."""
        lines = [f"mkdir -p {self.folder}/new || exit 1", f"chmod 700 {STATE}"]
        for path, content in self._files().items():
            lines += write(f"{self.folder}/{path}", content)
        return _whole([*lines, f"exec /bin/sh {self.folder}/change.sh stage"])

    def step(self, name: str) -> str:
        """Return the script that runs one of the later steps."""
        words = f"{name} {self.clock_seconds}" if name == "arm" else name
        return _whole([f"exec /bin/sh {self.folder}/change.sh {words}"])

    def _files(self) -> Mapping[str, bytes]:
        manifest, steps, files = "", b"", {"change.sh": _CHANGE}
        for number, change in enumerate(self.plan.changes):
            if change.kind is Kind.ACCOUNT:
                steps += change.after or b""
                continue
            before = change.before.sum if change.before else "absent"
            mode = "-" if change.mode is None else f"{change.mode:o}"
            kind = f"keys:{change.owner}" if change.owner else change.kind
            manifest += f"{kind} {mode} {number} {before} {change.path}\n"
            if change.after is not None:
                files[f"new/{number}"] = change.after
        expect = "".join(
            f"{effect.account or '-'} {effect.keyword.lower()} {effect.after}\n"
            for effect in self.plan.expected()
        )
        if steps or any(change.path == SUDOERS for change in self.plan.changes):
            files |= {"accounts.sh": _ACCOUNTS, "accounts": steps}
        if any(change.kind is Kind.KEYS for change in self.plan.changes):
            files["keys.sh"] = _KEYS
        return files | {
            "manifest": manifest.encode(),
            "expect": expect.encode(),
            "settings": self._settings().encode(),
        }

    def _settings(self) -> str:
        client, _, server, port = self.facts.connection
        values = {
            "sshd": self.facts.sshd,
            "config": self.facts.config,
            "folder": self.plan.folder or "",
            "listener": self.facts.listener or "",
            "unit": self.facts.unit or "",
            "command": self.facts.command,
            "where": f"host={client},addr={client},laddr={server},lport={port}",
            "owner": self.owner,
            "slot": self.plan.slot,
            "undoes": "yes" if self.plan.undoes else "no",
            "lock_seconds": str(self.clock_seconds + _LOCK_MARGIN_SECONDS),
        }
        return "".join(f"{name}={shlex.quote(v)}\n" for name, v in values.items())


def _whole(lines: list[str]) -> str:
    """Return a script that does nothing unless all of it has arrived."""
    return "main() {\n" + "\n".join(["umask 077", *lines]) + "\n}\nmain </dev/null\n"


def write(path: str, content: bytes) -> Iterator[str]:
    """Yield lines of a script that write a file, whatever bytes are in it."""
    yield f": >{path} || exit 1"
    for start in range(0, len(content), _LINE_BYTES):
        piece = content[start : start + _LINE_BYTES]
        text = "".join(chr(b) if b in _PLAIN else f"\\{b:03o}" for b in piece)
        # NOTE: a leading `-` would be an option to some printf.
        if text.startswith("-"):
            text = "\\055" + text[1:]
        yield f"printf '{text}' >>{path} || exit 1"
