"""Policies, identities and requests for tests, written as Python values."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from ipaddress import ip_address
from typing import Any

from msgspec.structs import replace

from ca.authority import Authority
from ca.identity import Binding, Identity, VerifiedClaims
from ca.policy import Grant, Policy, Wishes, decide, load_policy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ISSUERS = frozenset({"corp", "ci"})

Table = dict[str, Any]

ADA = Identity(
    issuer="corp",
    subject="1001",
    client="ca-login",
    binding=Binding.NONCE,
    email="ada@example.com",
    groups=("dev",),
    auth_time=NOW - timedelta(minutes=5),
    claims=VerifiedClaims({"sub": "1001"}),
)


def somebody(**changes: Any) -> Identity:
    """Return Ada with these fields changed; `claims` may be a plain dict."""
    if "claims" in changes:
        changes["claims"] = VerifiedClaims(changes["claims"])
    return replace(ADA, **changes)


def rule(**changes: Any) -> Table:
    """Return the table of an ordinary rule with these keys changed."""
    ordinary = {
        "name": "developers",
        "issuer": "corp",
        "match": {"groups": ["dev"]},
        "principals": ["deploy"],
        "validity": "10h",
    }
    return ordinary | changes


def deny(**changes: Any) -> Table:
    """Return the table of an ordinary deny with these keys changed."""
    ordinary = {
        "name": "never",
        "match": {"groups": ["contractors"]},
        "principals": ["root"],
    }
    return ordinary | changes


def host(**changes: Any) -> Table:
    """Return the table of an ordinary host rule with these keys changed."""
    ordinary = {
        "name": "fleet",
        "issuer": "corp",
        "match": {"groups": ["provisioners"]},
        "names": ["*.prod.example.com"],
        "validity": "30d",
    }
    return ordinary | changes


def load(*rules: Table, **tables: Any) -> Policy:
    """Load a policy of these rules (an ordinary one if none) and other tables."""
    file = {"rule": list(rules) or [rule()]} | tables
    return load_policy(toml(file), issuers=ISSUERS)


def ask(
    policy: Policy,
    *principals: str,
    identity: Identity = ADA,
    source: str = "192.0.2.1",
    **wishes: Any,
) -> Grant:
    """Decide what an identity gets, at `NOW`."""
    wish = Wishes(principals=principals, source=ip_address(source), **wishes)
    return decide(policy, identity, wish, now=NOW)


def toml(file: Mapping[str, Any]) -> bytes:
    """Write a table as TOML, each of its values on one line."""
    lines = [f"{_string(key)} = {_value(value)}\n" for key, value in file.items()]
    return "".join(lines).encode()


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        pairs = [f"{_string(key)} = {_value(one)}" for key, one in value.items()]
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, (date, time)):
        return value.isoformat()
    return repr(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but TOML also wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


class Reloading:
    """An authority whose policy is another one each time that somebody looks."""

    def __init__(self, authority: Authority, *policies: Policy) -> None:
        self._authority = authority
        self._policies = iter(policies)

    @property
    def policy(self) -> Policy:
        """The next policy; there has to be one."""
        return next(self._policies)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._authority, name)
