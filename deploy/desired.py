"""What hosts should be: `deploy.toml`, read strictly, and merged for one host.

    version = 1
    ca  = "https://ca.example.com"
    pin = "SHA256:…"                          # the root key, from `ca-admin init`

    [host]                                    # every host
    accounts = { root = ["root"], deploy = ["dev", "ops"] }

    [group.db]                                # and those in the inventory's group db
    accounts = { postgres = ["dba"] }

An account takes a certificate with one of its principals, and nobody else's: one that
is not named here takes none. What groups say is added, in the order of their names.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec

from client.api import Misuse, parse_pin

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


class HostTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table `[host]` or `[group.…]`, as written."""

    accounts: Mapping[str, tuple[str, ...]] = {}
    krl: bool | None = None
    host_certificate: bool | None = None
    pull: bool | None = None
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


@dataclass(frozen=True, slots=True)
class Desired:
    """What the whole fleet should be."""

    ca: str
    pin: str
    host: HostTable
    groups: Mapping[str, HostTable]

    def for_host(self, groups: Iterable[str]) -> DesiredHost:
        """Merge what concerns a host in these groups; raise `Misuse`.

        Principals of one account add up. Of the rest, the last group by name decides.
        """
        mine = [
            self.host,
            *(self.groups[g] for g in sorted(groups) if g in self.groups),
        ]
        accounts: dict[str, set[str]] = {}
        settings: dict[str, object] = {}
        pulls = True
        for table in mine:
            for account, principals in table.accounts.items():
                accounts.setdefault(account, set()).update(principals)
            said = {
                "krl": table.krl,
                "drop_in": table.drop_in,
                "taken": table.taken,
                "host_certificate": table.host_certificate,
            }
            pulls = pulls if table.pull is None else table.pull
            settings |= {
                name: value for name, value in said.items() if value is not None
            }
        return DesiredHost(
            {name: tuple(sorted(accounts[name])) for name in sorted(accounts)},
            source=Source(self.ca, self.pin) if pulls else None,
            **settings,  # type: ignore[arg-type]  # checked when they were read
        )


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
    return Desired(file.ca, parse_pin(file.pin), file.host, file.group)


def _check(account: str, principals: tuple[str, ...], *, where: str) -> None:
    if _ACCOUNT.fullmatch(account) is None:
        raise Misuse(f"{where}: {account!r} cannot name an account")
    if not principals:
        raise Misuse(f"{where}: nobody is named; leave the account out")
    for principal in principals:
        if PRINCIPAL.fullmatch(principal) is None:
            raise Misuse(f"{where}: {principal!r} cannot be a principal")
