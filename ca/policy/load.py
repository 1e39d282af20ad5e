"""The bytes of `policy.toml` → `Policy`, or what is wrong with them and where."""

import hashlib
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from ca.errors import Misconfigured
from ca.policy.build import (
    build_deny,
    build_host,
    build_people,
    build_roles,
    build_rule,
    refuse_bad_name,
)
from ca.policy.examples import run_case
from ca.policy.rules import Deny, Policy, Rule
from ca.policy.shape import (
    CaseTable,
    DenyTable,
    HostTable,
    PolicyFile,
    Raw,
    RuleTable,
    at,
    convert,
    parse_file,
    printable,
)

TableT = TypeVar("TableT", RuleTable, DenyTable, HostTable)
ValueT = TypeVar("ValueT")


def load_policy(text: bytes, *, issuers: frozenset[str]) -> Policy:
    """Read a policy file and run its tests; raise `Misconfigured` for anything wrong.

    `issuers` are the names in the configuration. A file without a rule is refused:
    more likely it was cut short than meant.
    """
    policy, cases = load_untested(text, issuers=issuers)
    for number, raw in enumerate(cases, start=1):
        run_test(policy, raw, number=number, issuers=issuers)
    return policy


def load_untested(
    text: bytes, *, issuers: frozenset[str]
) -> tuple[Policy, tuple[Raw, ...]]:
    """Read a policy file; return it and its tests, which nobody has run yet."""
    file = parse_file(text)
    return _build(file, hashlib.sha256(text).hexdigest(), issuers), file.test


def run_test(
    policy: Policy, raw: Raw, *, number: int, issuers: frozenset[str]
) -> CaseTable:
    """Run one `[[test]]` and return it; raise `Misconfigured` if it fails."""
    with at(f"test {number}"):
        case = convert(raw, CaseTable)
        run_case(policy, case, issuers=issuers)
    return case


def _build(file: PolicyFile, sha256: str, issuers: frozenset[str]) -> Policy:
    if not file.rule:
        raise Misconfigured("rule: there is none, and nobody would get anything")
    rules = _build_each("rule", file.rule, RuleTable, build_rule, issuers)
    denies = _build_each("deny", file.deny, DenyTable, build_deny, issuers)
    hosts = _build_each("host", file.host, HostTable, build_host, issuers)
    with at("roles"):
        roles = build_roles(file.roles, issuers)
    with at("people"):
        people = build_people(file.people, issuers)
    return Policy(
        sha256=sha256,
        rules=rules,
        denies=denies,
        hosts=hosts,
        roles=roles,
        people=people,
        reserved=_reserved([*rules, *denies]),
    )


def _reserved(writers: Iterable[Rule | Deny]) -> frozenset[str]:
    written = {principal for writer in writers for principal in writer.principals}
    return frozenset(written | {"root"})


def _build_each(
    kind: str,
    raws: Iterable[Raw],
    shape: type[TableT],
    build: Callable[[TableT, Collection[str]], ValueT],
    issuers: Collection[str],
) -> tuple[ValueT, ...]:
    """Build all tables of a kind; what is wrong is found under the table's name."""
    built: dict[str, ValueT] = {}
    for number, raw in enumerate(raws, start=1):
        with at(_place(kind, number, raw)):
            table = convert(raw, shape)
            refuse_bad_name(table.name)
            if table.name in built:
                raise Misconfigured("name: another one has it")
            built[table.name] = build(table, issuers)
    return tuple(built.values())


def _place(kind: str, number: int, raw: Raw) -> str:
    name = raw.get("name")
    return (
        f'{kind} "{printable(name)}"' if isinstance(name, str) else f"{kind} {number}"
    )
