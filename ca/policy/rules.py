"""What `policy.toml` says, as validated values, and the ceilings it cannot raise.

Made by `ca.policy.build` and never changed: a request is decided by one `Policy` from
beginning to end, also while the file is read again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from msgspec.structs import replace

from ca.errors import Denied
from ca.identity import Binding, Identity
from ca.policy.matching import Match, matches

LONGEST_USER_VALIDITY = timedelta(hours=24)
"""A certificate outlives the account it was made from by at most this, when nobody
revokes it (design invariant 7)."""

LONGEST_HOST_VALIDITY = timedelta(days=90)
"""A host that stays away longer than this must be introduced again."""

LONGEST_CANARY_VALIDITY = timedelta(minutes=10)
"""A canary is for one login, right after a change; slow hosts included."""

LONGEST_AUTH_AGE = timedelta(days=365)
"""A sign-in longer ago than this is no requirement."""

EMAIL_LOCAL = "{email_local}"
"""The one template: what stands before the `@` of the verified e-mail address."""


_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
HOST_NAME = re.compile(rf"(?=.{{1,64}}\Z){_LABEL}(?:\.{_LABEL})*", re.ASCII)
"""DNS labels in lower-case ASCII (RFC 1123 section 2.1), as long as a principal."""

Network = IPv4Network | IPv6Network


class Role(StrEnum):
    """What somebody may do to the CA itself."""

    AUDITOR = "auditor"
    """May read records."""
    ADMIN = "admin"
    """May revoke, block and read."""
    PROVISIONER = "provisioner"
    """May register hosts and ask for canaries."""


@dataclass(frozen=True, slots=True)
class Requirements:
    """What a rule requires of a request besides its identity."""

    max_auth_age: timedelta | None = None
    """How long ago the person may have proved themselves to the issuer."""
    source: tuple[Network, ...] = ()
    """Where the request must come from; empty for anywhere."""
    reason: bool = False
    """Whether a reason must be given, for the record."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Who may log in as whom, for how long, and with what."""

    name: str
    match: Match
    principals: tuple[str, ...]
    """As written: literal, or `EMAIL_LOCAL`."""
    validity: timedelta
    extensions: frozenset[str]
    critical_options: Mapping[str, str]
    """As in a certificate, with the `source-address` that `require.source` becomes."""
    on_request: bool
    """Answers only for principals that are asked for by name."""
    require: Requirements
    canary: bool
    """Answers only `decide_canary`."""


@dataclass(frozen=True, slots=True)
class Deny:
    """Who is never given these principals, whatever rules say."""

    name: str
    match: Match
    principals: frozenset[str]


@dataclass(frozen=True, slots=True)
class HostRule:
    """Who may ask for certificates of hosts, and of which."""

    name: str
    match: Match
    names: tuple[str, ...]
    """Exact, or `*.` and a domain for one label in front of it."""
    validity: timedelta

    def covers(self, name: str) -> bool:
        """Tell whether the host name is one that this rule gives."""
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy file, validated; its own tests have passed."""

    sha256: str
    """Of the file's bytes, in hex: in every record, so that each can be explained."""
    rules: tuple[Rule, ...]
    """In the order of the file, which decides who answers first."""
    denies: tuple[Deny, ...]
    hosts: tuple[HostRule, ...]
    roles: Mapping[Role, Match]
    people: Mapping[str, tuple[str, ...]]
    """Groups by key ID, for issuers that send none."""
    reserved: frozenset[str]
    """Principals that no template may turn into: `root` and all that are written.
    Otherwise whoever gets the mailbox deploy@ would be deploy."""
    changed: int = 0
    """When its file was last changed, in microseconds; 0 where it is from no file."""

    def known(self, identity: Identity) -> Identity:
        """Return the identity with the groups of `[people]` if its issuer sent none."""
        if identity.groups is not None:
            return identity
        return replace(identity, groups=self.people.get(identity.key_id))


def roles(policy: Policy, identity: Identity) -> frozenset[Role]:
    """Return what `identity` may do to the CA itself.

    Nothing, when no key is bound to its token: whoever got hold of the token first
    would hold the role (design invariant 5).
    """
    if identity.binding is Binding.NONE:
        return frozenset()
    person = policy.known(identity)
    return frozenset(
        role for role, match in policy.roles.items() if matches(match, person)
    )


def require_role(policy: Policy, identity: Identity, role: Role, *, to: str) -> None:
    """Raise `Denied` unless `identity` has the role; `to` says what takes it."""
    if role not in roles(policy, identity):
        raise Denied(
            f"only {role}s may {to}",
            hint="[roles] in the policy says who is one; whoever keeps it can tell",
        )
