"""Which hosts there are, in which groups, and how to reach each.

Three ways to say it: a plain list (`[group]` lines and one host a line), the hosts that
an ssh_config names, and what `ansible-inventory --list` prints. However they were
named, `ssh -G` says how ssh would reach them, so the operator's own ssh_config holds
here, too.
"""

import asyncio
import fnmatch
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from client.api import Misuse

ALL = "all"
"""The group that every host is in."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@%-]*", re.ASCII)
"""It becomes a word of a command line; so it never begins with `-`."""

_AT_ONCE = 16
"""Runs of `ssh -G` at a time."""


@dataclass(frozen=True, slots=True)
class Host:
    """A host as the inventory names it."""

    name: str
    groups: frozenset[str]
    options: tuple[str, ...] = ()
    """`Keyword=value` of ssh_config that the inventory adds."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How ssh would reach a host, by `ssh -G`."""

    name: str
    address: str
    port: int
    user: str
    alias: str | None
    """The name under which its host key is known, where that is another."""
    known_hosts: tuple[Path, ...]
    identities: tuple[Path, ...]
    certificates: tuple[Path, ...]
    agent: str | None
    """The socket of an ssh-agent, if one is to be asked."""
    jump: str | None
    """The host to go through, as it may be given to `ssh -G` again."""
    proxy_command: str | None = None
    identities_only: bool = False
    """Whether keys that the configuration does not name stay in the agent."""


def read(path: Path) -> tuple[Host, ...]:
    """Read an inventory, whichever of the three it is; raise `Misuse`."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"cannot read the inventory {path}: {error}") from error
    if text.lstrip().startswith("{"):
        hosts = _read_ansible(path, text)
    elif re.search(r"^\s*host[ =\t]", text, re.IGNORECASE | re.MULTILINE):
        hosts = _read_ssh_config(text)
    else:
        hosts = _read_list(text)
    for host in hosts:
        if _NAME.fullmatch(host.name) is None:
            raise Misuse(f"{path}: {host.name!r} cannot name a host")
    if not hosts:
        raise Misuse(f"there is no host in {path}")
    return tuple(sorted(hosts, key=lambda host: host.name))


def limit(hosts: Sequence[Host], patterns: Iterable[str]) -> tuple[Host, ...]:
    """Return those hosts whose name or group a pattern matches; `!` before leaves out.

    Raises `Misuse` for a pattern that matches nothing: it was probably mistyped.
    """
    chosen = set() if any(not p.startswith("!") for p in patterns) else set(hosts)
    for pattern in patterns:
        plain = pattern.removeprefix("!")
        found = {host for host in hosts if _matches(host, plain)}
        if not found:
            raise Misuse(f"--limit {pattern}: no host and no group is called so")
        chosen = chosen - found if pattern != plain else chosen | found
    return tuple(host for host in hosts if host in chosen)


def _matches(host: Host, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in {host.name, *host.groups})


def _read_list(text: str) -> list[Host]:
    """Read one host a line; a line `[group]` puts those below it into a group."""
    groups: dict[str, set[str]] = {}
    group = ALL
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 1 and words[0].startswith("["):
            group = words[0].strip("[]")
        elif len(words) == 1:
            groups.setdefault(words[0], {ALL}).add(group)
        elif words:
            raise Misuse(f"one host a line, not {line.strip()!r}")
    return [Host(name, frozenset(mine)) for name, mine in groups.items()]


def _read_ssh_config(text: str) -> list[Host]:
    """Read the hosts that `Host` lines name outright, without a pattern."""
    names = [
        word
        for line in text.splitlines()
        if (found := re.match(r"\s*host[\s=]+(.*)", line, re.IGNORECASE))
        for word in found[1].split()
        if not set("*?!") & set(word)
    ]
    return [Host(name, frozenset({ALL})) for name in dict.fromkeys(names)]


_VARIABLES = {
    "ansible_host": "HostName",
    "ansible_port": "Port",
    "ansible_user": "User",
}


def _read_ansible(path: Path, text: str) -> list[Host]:
    try:
        document = json.loads(text)
        groups: dict[str, set[str]] = {}
        for name in document:
            for host in _members(document, name, frozenset()):
                groups.setdefault(host, {ALL}).add(name)
        variables = document.get("_meta", {}).get("hostvars", {})
        return [
            Host(name, frozenset(mine), _options(variables.get(name, {})))
            for name, mine in groups.items()
        ]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise Misuse(
            f"{path} is not what ansible-inventory prints",
            hint="ansible-inventory --list > hosts.json",
        ) from error


def _members(
    document: Mapping[str, Mapping[str, list[str]]], name: str, above: frozenset[str]
) -> set[str]:
    group = document.get(name, {})
    below = [child for child in group.get("children", []) if child not in above]
    found = set(group.get("hosts", []))
    for child in below:
        found |= _members(document, child, above | {name})
    return found


def _options(variables: Mapping[str, object]) -> tuple[str, ...]:
    said = [
        f"{ours}={variables[v]}" for v, ours in _VARIABLES.items() if v in variables
    ]
    arguments = str(variables.get("ansible_ssh_common_args", ""))
    jump = re.search(r"-J\s*(\S+)|ProxyJump[= ][\"']?([^\s\"']+)", arguments)
    if jump:
        said.append(f"ProxyJump={jump[1] or jump[2]}")
    return tuple(said)


class Resolver:
    """Asks `ssh -G` how to reach hosts; each once."""

    def __init__(self, config: Path | None = None) -> None:
        self._config = config
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._known: dict[tuple[str, ...], Endpoint] = {}

    async def resolve(self, name: str, options: Sequence[str] = ()) -> Endpoint:
        """Return how to reach a host; raise `Misuse`."""
        asked = (name, *options)
        if asked not in self._known:
            self._known[asked] = await self._ask(name, options)
        return self._known[asked]

    async def _ask(self, name: str, options: Sequence[str]) -> Endpoint:
        file = [] if self._config is None else ["-F", str(self._config)]
        given = [word for option in options for word in ("-o", option)]
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                *("ssh", "-G", *file, *given, "--", name),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, err = await process.communicate()
        if process.returncode:
            said = err.decode(errors="replace").strip()
            raise Misuse(f"ssh -G {name}: {said}")
        return _endpoint(name, out.decode(errors="replace"))


def _endpoint(name: str, said: str) -> Endpoint:
    values: dict[str, list[str]] = {}
    for line in said.splitlines():
        keyword, _, value = line.partition(" ")
        values.setdefault(keyword, []).append(value)

    def one(keyword: str) -> str | None:
        value = values.get(keyword, ["none"])[0]
        return None if value == "none" else value

    return Endpoint(
        name=name,
        address=one("hostname") or name,
        port=int(one("port") or 22),
        user=one("user") or "root",
        alias=one("hostkeyalias"),
        known_hosts=_paths(
            " ".join(
                values.get("userknownhostsfile", [])
                + values.get("globalknownhostsfile", [])
            ).split()
        ),
        identities=_paths(values.get("identityfile", [])),
        certificates=_paths(values.get("certificatefile", [])),
        agent=_agent(values.get("identityagent", ["SSH_AUTH_SOCK"])[0]),
        jump=one("proxyjump"),
        proxy_command=one("proxycommand"),
        identities_only=one("identitiesonly") == "yes",
    )


def _agent(said: str) -> str | None:
    """Return the socket that IdentityAgent means (ssh_config(5))."""
    if said == "none":
        return None
    name = "SSH_AUTH_SOCK" if said == "SSH_AUTH_SOCK" else said.removeprefix("$")
    if name != said or said == "SSH_AUTH_SOCK":
        return os.environ.get(name.strip("{}"))
    return str(Path(said).expanduser())


def _paths(names: Iterable[str]) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in names if name != "none")
