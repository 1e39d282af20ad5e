"""What hosts should be: `deploy.toml`, read strictly, and merged for one host.

    version = 1
    ca  = "https://ca.example.com"
    pin = "SHA256:…"                          # the root key, from `ca-admin init`

    [host]                                    # every host
    accounts = { root = ["root"], deploy = ["dev", "ops"] }

    [group.db]                                # and those in the inventory's group db
    accounts = { postgres = ["dba"] }

    groups   = { ops = {} }                   # which there are to be
    users    = { deploy = { groups = ["ops"] }, old = { gone = true } }
    sudoers  = ["%ops ALL=(ALL) NOPASSWD: ALL"]

An account takes a certificate with one of its principals, and nobody else's: one that
is not named here takes none. What groups say is added, in the order of their names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from client.api import Misuse, parse_pin
from deploy.leftover import QUESTION

PRINCIPAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}", re.ASCII)
"""As in design invariant 7: sshd cuts lines at `#` and splits them at spaces."""

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
"""What becomes a file name and a word of a shell script."""

_DROP_IN = r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,62}\.conf$"


class Taken(StrEnum):
    """What to do where somebody else's setting is in force already."""

    REFUSE = "refuse"
    """Leave the host alone, and say whose it is."""
    REPLACE = "replace"
    """Put ours before it: whoever came in by it comes in no more."""


class Keys(StrEnum):
    """What to do with authorized keys of accounts that take certificates."""

    KEEP = "keep"
    RETIRE = "retire"


_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^SHA256:[A-Za-z0-9+/]{43}$")]
_Number = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Path = Annotated[str, msgspec.Meta(pattern=r"^(/[A-Za-z0-9_.+-]+)+$")]
_Line = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x1f\x7f\\]$")]


class GroupTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A group that there is to be."""

    gid: _Number | None = None


class Password(StrEnum):
    """What opens a user besides keys and certificates."""

    NONE = "none"
    KEEP = "keep"
    """A password that is there stays, for sudo that asks for one."""


class UserTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user that there is to be, or not to be any more."""

    uid: _Number | None = None
    home: _Path | None = None
    shell: _Path | None = None
    groups: tuple[str, ...] = ()
    password: Password = Password.NONE
    gone: bool = False
    """Locked and expired; the user stays known by name, and the home where it is."""


class HostTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table `[host]` or `[group.…]`, as written."""

    accounts: Mapping[str, tuple[str, ...]] = {}
    groups: Mapping[str, GroupTable] = {}
    users: Mapping[str, UserTable] = {}
    sudoers: tuple[_Line, ...] = ()
    authorized_keys: Keys | None = None
    kept_keys: tuple[_Fingerprint, ...] = ()
    krl: bool | None = None
    host_certificate: bool | None = None
    pull: bool | None = None
    end_sessions: bool | None = None
    drop_in: Annotated[str, msgspec.Meta(pattern=_DROP_IN)] | None = None
    taken: Taken | None = None


class DesiredFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file, as written."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)]
    ca: str
    pin: str
    host: HostTable = HostTable()
    group: Mapping[str, HostTable] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """Where hosts pull the trust bundle from."""

    url: str
    pin: str
    """The root key's fingerprint."""


@dataclass(frozen=True, slots=True)
class DesiredHost:
    """What one host should be."""

    accounts: Mapping[str, tuple[str, ...]]
    """Account to the principals that it takes, both in sorted order."""
    krl: bool = True
    """Whether sshd is told of revoked certificates."""
    drop_in: str = "05-daypass.conf"
    """sshd takes the first value it reads, and reads drop-ins in the order of names."""
    taken: Taken = Taken.REFUSE
    host_certificate: bool = False
    """Whether one of its own keys has a certificate, so that clients know it."""
    source: Source | None = None
    """Where it keeps its trust files fresh from; None where it does not."""
    end_sessions: bool = False
    """Whether what it pulls also ends open sessions of revoked certificates."""
    groups: Mapping[str, GroupTable] = field(default_factory=dict)
    users: Mapping[str, UserTable] = field(default_factory=dict)
    sudoers: tuple[str, ...] = ()
    authorized_keys: Keys = Keys.KEEP
    kept_keys: frozenset[str] = frozenset()
    """Fingerprints of keys that stay where the others are retired."""

    @property
    def questions(self) -> tuple[str, ...]:
        """What to ask a host about, in the words of `deploy/host/facts.sh`."""
        groups = {*self.groups, *(g for u in self.users.values() for g in u.groups)}
        return (
            *self.accounts,
            *(f"user={name}" for name in sorted(self.users)),
            *(f"group={name}" for name in sorted(groups)),
            *(f"uid={u.uid}" for _, u in sorted(self.users.items()) if u.uid),
            *(f"gid={g.gid}" for _, g in sorted(self.groups.items()) if g.gid),
            *([QUESTION] if self.authorized_keys is Keys.RETIRE else []),
        )


@dataclass(frozen=True, slots=True)
class Desired:
    """What the whole fleet should be."""

    ca: str
    pin: str
    host: HostTable
    groups: Mapping[str, HostTable]

    def for_host(self, groups: Iterable[str]) -> DesiredHost:
        """Merge what concerns a host in these groups; raise `Misuse`.

        Principals of one account, lines for sudo and kept keys add up. Of the rest, and
        of each user, the last group by name decides.
        """
        mine = [
            self.host,
            *(self.groups[g] for g in sorted(groups) if g in self.groups),
        ]
        settings: dict[str, object] = {}
        pulls = True
        for table in mine:
            said = {
                "krl": table.krl,
                "drop_in": table.drop_in,
                "taken": table.taken,
                "host_certificate": table.host_certificate,
                "end_sessions": table.end_sessions,
                "authorized_keys": table.authorized_keys,
            }
            pulls = pulls if table.pull is None else table.pull
            settings |= {
                name: value for name, value in said.items() if value is not None
            }
        users = {name: user for table in mine for name, user in table.users.items()}
        accounts = _accounts(mine)
        for name in sorted(set(accounts) & set(users)):
            if users[name].gone:
                raise Misuse(f"{name} is to be gone, and to take certificates")
        lines = [line for table in mine for line in table.sudoers]
        return DesiredHost(
            accounts,
            groups={k: group for table in mine for k, group in table.groups.items()},
            users=users,
            sudoers=tuple(dict.fromkeys(lines)),
            kept_keys=frozenset(key for table in mine for key in table.kept_keys),
            source=Source(self.ca, self.pin) if pulls else None,
            **settings,  # type: ignore[arg-type]  # checked when they were read
        )


def _accounts(tables: Iterable[HostTable]) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for table in tables:
        for account, principals in table.accounts.items():
            found.setdefault(account, set()).update(principals)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def load(path: Path) -> Desired:
    """Read the file; raise `Misuse` with the key that is wrong."""
    try:
        file = msgspec.toml.decode(path.read_bytes(), type=DesiredFile)
    except OSError as error:
        raise Misuse(
            f"cannot read {path}: {error.strerror}", hint="ca-deploy --help"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Misuse(f"{path}: {error}") from error
    for name, table in [("host", file.host), *file.group.items()]:
        for account, principals in table.accounts.items():
            _check(account, principals, where=f"{path}: {name}.accounts.{account}")
        _check_users(table, where=f"{path}: {name}")
    return Desired(file.ca, parse_pin(file.pin), file.host, file.group)


def _check(account: str, principals: tuple[str, ...], *, where: str) -> None:
    if _ACCOUNT.fullmatch(account) is None:
        raise Misuse(f"{where}: {account!r} cannot name an account")
    if not principals:
        raise Misuse(f"{where}: nobody is named; leave the account out")
    for principal in principals:
        if PRINCIPAL.fullmatch(principal) is None:
            raise Misuse(f"{where}: {principal!r} cannot be a principal")


def _check_users(table: HostTable, *, where: str) -> None:
    named = {f"{where}.users.{name}": name for name in table.users}
    named |= {f"{where}.groups.{name}": name for name in table.groups}
    for name, user in table.users.items():
        named |= {f"{where}.users.{name}.groups {g!r}": g for g in user.groups}
        if name == "root":
            raise Misuse(f"{where}.users.root: root is there, and stays as it is")
        if user.gone and user != UserTable(gone=True):
            raise Misuse(f"{where}.users.{name}: gone, so nothing else can be said")
    for place, name in named.items():
        if _ACCOUNT.fullmatch(name) is None:
            raise Misuse(f"{place}: no name of a user or a group")
