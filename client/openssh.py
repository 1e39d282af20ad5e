"""What an ssh command line is going to do, and which extensions that needs.

Only `ssh -G` knows what its options and configuration files come to; all that is read
of a command line here is where its options end.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence

from ca.values import dataclass
from client.failure import Misuse, Unable
from client.login import NEVER_ASK

_WITH_VALUE: Mapping[str, frozenset[str]] = {
    "ssh": frozenset("BbcDEeFIiJLlmOoPpQRSWw"),
    "scp": frozenset("cDFiJloPSX"),
    "sftp": frozenset("BbcDFiJloPRSsX"),
}
"""The options that a value follows (`getopt` in ssh.c, scp.c and sftp.c of 10.5)."""

_SECONDS = 20

PTY = "permit-pty"
AGENT = "permit-agent-forwarding"
X11 = "permit-X11-forwarding"
PORTS = "permit-port-forwarding"


@dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line of ssh, scp or sftp."""

    tool: str
    options: tuple[tuple[str, str | None], ...]
    """Each letter, with its value where it takes one."""
    words: tuple[str, ...]
    """What is left: for ssh the host and the command."""

    def has(self, letters: str) -> bool:
        """Say whether one of these options is there."""
        return any(letter in letters for letter, _ in self.options)

    @property
    def host(self) -> str | None:
        """The first host it leads to."""
        if self.tool == "ssh":
            return self.words[0] if self.words else None
        remote = [word for word in self.words if _is_remote(word)]
        if self.tool == "sftp":
            remote = list(self.words)
        return _host_in(remote[0]) if remote else None


def parse(tool: str, arguments: Sequence[str]) -> CommandLine:
    """Find options and words; raise `Misuse` for an option without its value."""
    rest, words = list(arguments), list[str]()
    options: list[tuple[str, str | None]] = []
    # ssh takes options after the host as well, and the command as it is.
    most = 2 if tool == "ssh" else 1
    while rest and len(words) < most:
        word = rest.pop(0)
        if word == "--":
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        for at, letter in enumerate(word[1:], start=2):
            if letter not in _WITH_VALUE[tool]:
                options.append((letter, None))
                continue
            if at == len(word) and not rest:
                raise Misuse(f"{tool} -{letter} needs a value", hint=f"man {tool}")
            options.append((letter, word[at:] or rest.pop(0)))
            break
    return CommandLine(tool, tuple(options), (*words, *rest))


def needed_extensions(line: CommandLine, config: str) -> frozenset[str]:
    """Return the extensions without which this would not do what it is to do."""
    if line.host is None:
        return frozenset()
    found = effective(line, line.host, config)
    needed = _needed_on_the_way(found)
    if line.tool != "ssh":
        return needed
    return needed | _needed_there(line, found)


def _needed_on_the_way(found: Mapping[str, str]) -> frozenset[str]:
    if found.get("proxyjump", "none") != "none" or "proxycommand" in found:
        return frozenset({PORTS})  # at the host that it jumps over
    return frozenset()


def _needed_there(line: CommandLine, found: Mapping[str, str]) -> frozenset[str]:
    needed = set[str]()
    if found.get("forwardagent", "no") != "no":
        needed.add(AGENT)
    if found.get("forwardx11", "no") != "no":
        needed.add(X11)
    forwards = {"localforward", "remoteforward", "dynamicforward"}
    tunnels = found.get("tunnel", "false") not in {"false", "no"}
    if forwards & found.keys() or tunnels or line.has("W"):
        needed.add(PORTS)
    if _wants_pty(line, found):
        needed.add(PTY)
    return frozenset(needed)


def _wants_pty(line: CommandLine, found: Mapping[str, str]) -> bool:
    """Say whether ssh will ask for a terminal (ssh.c, `tty_flag`)."""
    requested = found.get("requesttty", "auto")
    if requested in {"yes", "true", "force"}:
        return True
    if requested in {"no", "false"} or line.has("NTW"):
        return False
    runs = len(line.words) > 1 or found.get("remotecommand", "none") != "none"
    return not runs and found.get("sessiontype", "default") == "default"


def effective(line: CommandLine, host: str, config: str | None) -> dict[str, str]:
    """Return what `ssh -G` makes of it, the first value of each keyword.

    `config` is the file to read where the command line names none; None for the
    person's and the system's.
    """
    # -P is a port to scp and sftp, and something else to ssh.
    letters = {"P": "p"} if line.tool != "ssh" else {}
    shared = frozenset("46AaCcFfGgiJKkLlMmNnopqRrsTtvWwXxYyDEeBbIOQS")
    if line.tool != "ssh":
        shared = frozenset("46CcFiJoP")
    options = [
        f"-{letters.get(letter, letter)}{value or ''}"
        for letter, value in line.options
        if letter in shared
    ]
    given = [] if line.has("F") or config is None else ["-F", config]
    try:
        done = subprocess.run(  # noqa: S603 the person's own command line
            ["ssh", "-G", *given, *options, "--", host, *line.words[1:2]],  # noqa: S607
            env={**os.environ, NEVER_ASK: "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unable("ssh cannot be run", hint="install OpenSSH's client") from error
    if done.returncode:
        raise Misuse(f"ssh says: {done.stderr.strip()}", hint="man ssh")
    found: dict[str, str] = {}
    for said in done.stdout.splitlines():
        keyword, _, value = said.partition(" ")
        found.setdefault(keyword, value)
    return found


def _is_remote(word: str) -> bool:
    """Say whether scp would take a word for a path on another host."""
    return word.startswith("scp://") or ":" in word.partition("/")[0]


def _host_in(word: str) -> str:
    """Return `user@host` of a place that scp or sftp is given."""
    for scheme in ("scp://", "sftp://"):
        if word.startswith(scheme):
            return "ssh://" + word.removeprefix(scheme).partition("/")[0]
    user, at, host = word.rpartition("@")
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    else:
        host = host.partition(":")[0]
    return f"{user}{at}{host}"
