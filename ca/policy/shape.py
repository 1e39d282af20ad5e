"""The shape of `policy.toml`: bytes → tables with the right keys, each of its type.

Unknown keys are errors here, as everywhere: a key that is quietly ignored is a limit
that quietly does not hold. What the values mean is checked in `ca.policy.build`.
`docs/policy.md` describes every key to those who write the file.
"""

import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from msgspec import Struct

from ca.errors import Misconfigured

Raw = Mapping[str, object]
"""A table as TOML gives it, keys and types not yet checked."""


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """What all tables have in common."""


class PolicyFile(Table, frozen=True):
    """The whole file. Who can write it can be anyone, everywhere."""

    rule: tuple[dict[str, object], ...] = ()
    deny: tuple[dict[str, object], ...] = ()
    host: tuple[dict[str, object], ...] = ()
    test: tuple[dict[str, object], ...] = ()
    roles: dict[str, object] = msgspec.field(default_factory=dict)
    people: dict[str, object] = msgspec.field(default_factory=dict)


class RequireTable(Table, frozen=True):
    """What a rule requires of a request besides its identity."""

    max_auth_age: str | None = None
    source: tuple[str, ...] | None = None
    reason: bool = False


class RuleTable(Table, frozen=True):
    """`[[rule]]`: who may log in as whom, for how long, and with what."""

    name: str
    issuer: str
    match: dict[str, object]
    principals: tuple[str, ...]
    validity: str
    extensions: tuple[str, ...] = ()
    critical_options: dict[str, object] = msgspec.field(default_factory=dict)
    on_request: bool = False
    require: RequireTable | None = None
    canary: bool = False


class DenyTable(Table, frozen=True):
    """`[[deny]]`: who is never given these principals, whatever rules say."""

    name: str
    match: dict[str, object]
    principals: tuple[str, ...]
    issuer: str | None = None


class HostTable(Table, frozen=True):
    """`[[host]]`: who may ask for certificates of hosts, and of which."""

    name: str
    issuer: str
    match: dict[str, object]
    names: tuple[str, ...]
    validity: str


class CaseTable(Table, frozen=True):
    """`[[test]]`: what an identity must get, checked whenever the file is loaded."""

    identity: dict[str, object]
    gets: tuple[str, ...]
    asks: tuple[str, ...] = ()
    source: str = "192.0.2.1"
    reason: str | None = None


TableT = TypeVar("TableT", bound=Table)


@contextmanager
def at(where: str) -> Iterator[None]:
    """Put the place in front of whatever is found wrong inside."""
    try:
        yield
    except Misconfigured as error:
        raise Misconfigured(f"{where}: {error.detail}", hint=error.hint) from error


def parse_file(text: bytes) -> PolicyFile:
    """Parse the bytes of a policy file; raise `Misconfigured` for all else."""
    try:
        raw = tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        # ValueError is what tomllib, UTF-8 and integers of 5,000 digits raise.
        raise Misconfigured(f"not a TOML file: {error}") from error
    return convert(raw, PolicyFile)


def convert(raw: object, shape: type[TableT]) -> TableT:
    """Convert a raw table; raise `Misconfigured` naming the key that is wrong."""
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        raise Misconfigured(_key_first(str(error))) from error


_FAULTS = {
    "Object missing required field `": "is missing",
    "Object contains unknown field `": "no such key",
}
"""How msgspec says what is wrong with a table's keys, and how we do."""


def _key_first(message: str) -> str:
    """Turn "Expected `str`, got `int` - at `$.name`" into "name: expected …"."""
    what, _, path = message.partition(" - at `$")
    places = [path.strip(".`")]
    for fault, words in _FAULTS.items():
        if what.startswith(fault):
            places.append(what.removeprefix(fault).removesuffix("`"))
            what = words
    place = ".".join(filter(None, places))
    return f"{printable(place)}: {what[0].lower()}{what[1:]}"


def refuse_empty(values: Collection[str]) -> Collection[str]:
    """Return a list that says something; refuse an empty one and one with repeats."""
    if not values:
        raise Misconfigured("is empty, and would mean nothing")
    return refuse_repeats(values)


def refuse_repeats(values: Collection[str]) -> Collection[str]:
    """Return a list that says each thing once."""
    if len(set(values)) != len(values):
        raise Misconfigured("names something twice")
    return values


def printable(text: str) -> str:
    """Escape what could forge a line of a log or hide on a terminal."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )
