"""A login that is tried: what the real ssh says while it goes to a host.

It stops at the door. ssh is to open no session (`-N`), and is ended as soon as the host
has let it in, so nothing runs there, nothing is forwarded and nobody is asked. What it
says is OpenSSH's own words at `-v`; `client.cause` knows what they mean.
"""

import os
import re
import subprocess
import threading
from collections.abc import Mapping, Sequence

from ca.values import dataclass
from client.failure import Unable
from client.login import NEVER_ASK
from client.openssh import CommandLine

_SECONDS = 30
"""For a host that takes the connection and says no more."""

_CONNECT_SECONDS = 10

_QUIET = "qvVGfNTtnsEOQWw"
"""Options of the person's that would change what is said, or begin something."""

_SETTINGS: Mapping[str, str] = {
    "BatchMode": "yes",
    "ClearAllForwardings": "yes",
    "ConnectTimeout": str(_CONNECT_SECONDS),
    "ControlMaster": "no",
    "ControlPath": "none",
    "ForkAfterAuthentication": "no",
    "ForwardAgent": "no",
    "ForwardX11": "no",
    "LogLevel": "DEBUG1",
    "PermitLocalCommand": "no",
    "PreferredAuthentications": "publickey",
    "RemoteCommand": "none",
    "UpdateHostKeys": "no",
}

_LET_IN = re.compile(r"Authenticated to |Authenticated using .* with partial success")
_OFFERED = re.compile(r"Offering public key: (.+) ([A-Z0-9-]+) (SHA256:\S+)")
_ACCEPTED = re.compile(r"Server accepts key: (.+) ([A-Z0-9-]+) (SHA256:\S+)")


@dataclass(frozen=True, slots=True)
class Offer:
    """One key or certificate that ssh showed the host."""

    name: str
    """Its file, or its comment in the agent."""
    is_certificate: bool
    fingerprint: str
    """Of the key alone."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How it ended, and what ssh said."""

    let_in: bool
    lines: tuple[str, ...]

    def find(self, pattern: str) -> re.Match[str] | None:
        """Return the first place where ssh said something like that."""
        for line in self.lines:
            if found := re.search(pattern, line):
                return found
        return None

    @property
    def offers(self) -> tuple[Offer, ...]:
        """What was shown, in order."""
        return tuple(_offers(self.lines, _OFFERED))

    @property
    def accepted(self) -> Offer | None:
        """The last that the host was content with."""
        found = list(_offers(self.lines, _ACCEPTED))
        return found[-1] if found else None


def attempt(line: CommandLine, *, user: str | None = None) -> Trial:
    """Try what `ssh` with these options and this host would do, as `user` or as said.

    Raises `Unable` where there is no ssh.
    """
    named = [] if user is None else ["-l", user]
    options = [
        f"-{letter}{value or ''}"
        for letter, value in line.options
        if letter not in _QUIET
    ]
    ours = [word for one in _SETTINGS.items() for word in ("-o", "{}={}".format(*one))]
    command = ["ssh", *ours, *named, *options, "-N", "-T", "--", line.words[0]]
    try:
        return _follow(command)
    except OSError as error:
        raise Unable("ssh cannot be run", hint="install OpenSSH's client") from error


def _follow(command: Sequence[str]) -> Trial:
    lines = list[str]()
    with subprocess.Popen(  # noqa: S603 the person's own command line
        command,
        env={**os.environ, NEVER_ASK: "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        timer = threading.Timer(_SECONDS, process.kill)
        timer.start()
        try:
            for line in process.stderr or ():
                lines.append(line.rstrip("\r\n"))
                if _LET_IN.search(line):
                    return Trial(let_in=True, lines=tuple(lines))
        finally:
            timer.cancel()
            process.kill()
    return Trial(let_in=False, lines=tuple(lines))


def _offers(lines: Sequence[str], pattern: re.Pattern[str]) -> list[Offer]:
    found = (pattern.search(line) for line in lines)
    return [Offer(one[1], one[2].endswith("-CERT"), one[3]) for one in found if one]
