"""What provisioning asks for: certificates of hosts, and canaries.

A *canary* is a user certificate that proves a host lets people in again after its
configuration was changed. It may name any account that somebody deploys to, so it is
worth next to nothing: ten minutes, one address, one `echo`, no terminal.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from msgspec.structs import replace

from ca.certificate import MOST_PRINCIPALS
from ca.errors import BadRequest, Denied
from ca.identity import Binding, Identity
from ca.messages import LeftOut
from ca.policy.decision import Grant, grant_whole, refuse_malformed
from ca.policy.matching import matches
from ca.policy.rules import HOST_NAME, HostRule, Policy, Role, roles
from ca.policy.weighing import Wishes, unmapped, weigh

_CANARY_NONCE = re.compile(r"[A-Za-z0-9]{16,64}", re.ASCII)
"""It becomes part of a command line on the host: letters and digits only."""


@dataclass(frozen=True, slots=True)
class HostGrant:
    """What a host certificate may say."""

    principals: tuple[str, ...]
    """Host names, exact: a wildcard of the policy never gets into a certificate."""
    validity: timedelta
    rules: tuple[str, ...]
    """Names of the `[[host]]` rules that answered."""

    # What a user certificate may have, and a host's has not: ssh would refuse the host.
    extensions: tuple[str, ...] = field(default=(), init=False)
    critical_options: Mapping[str, str] = field(default_factory=dict, init=False)
    left_out: tuple[LeftOut, ...] = field(default=(), init=False)


def decide_host(
    policy: Policy,
    identity: Identity | None,
    names: tuple[str, ...],
    *,
    now: datetime,  # noqa: ARG001 - every decision is told the time, this one needs none
) -> HostGrant:
    """Decide whether `identity` may have a certificate for a host of these names.

    None stands for the operator, whose join token let the host in: then each name must
    be one that some rule still gives to somebody. One name that no rule covers refuses
    them all; the shortest validity holds. Like a role, this is never reached through a
    token without a bound key. Raises `Denied`, and `BadRequest` for what is not a host
    name.
    """
    _refuse_bad_names(names)
    rules = policy.hosts if identity is None else _rules_for(policy, identity)
    answers = [_covering(rules, name) for name in names]
    return HostGrant(
        principals=names,
        validity=min(rule.validity for rule in answers),
        rules=tuple(dict.fromkeys(rule.name for rule in answers)),
    )


def _rules_for(policy: Policy, identity: Identity) -> tuple[HostRule, ...]:
    if identity.binding is Binding.NONE:
        raise Denied("a token that is bound to no key gets no host certificates")
    person = policy.known(identity)
    return tuple(rule for rule in policy.hosts if matches(rule.match, person))


def decide_canary(
    policy: Policy,
    identity: Identity,
    principals: tuple[str, ...],
    *,
    source: IPv4Address | IPv6Address,
    nonce: str,
    now: datetime,
) -> Grant:
    """Decide on a canary for these accounts, to be used from `source` alone.

    All the certificate can do is print `nonce`. Only provisioners get one, by rules
    marked `canary`; denies hold as ever. Raises `Denied` and `BadRequest`.
    """
    wishes = Wishes(principals=principals, source=source)
    _refuse_malformed_canary(wishes, nonce)
    if Role.PROVISIONER not in roles(policy, identity):
        raise Denied("only provisioners get canaries")
    weighing = weigh(policy, identity, wishes, now=now, canary=True)
    address = unmapped(source)
    return replace(
        grant_whole(weighing, wishes),
        extensions=(),
        critical_options={
            "force-command": f"echo {nonce}",
            "source-address": f"{address}/{address.max_prefixlen}",
        },
    )


def _refuse_bad_names(names: tuple[str, ...]) -> None:
    if not 0 < len(names) <= MOST_PRINCIPALS:
        raise BadRequest(f"a host certificate has 1 to {MOST_PRINCIPALS} names")
    for name in names:
        if HOST_NAME.fullmatch(name) is None:
            raise BadRequest(
                f"{name[:80]!r} is not a host name",
                hint="write it in lower-case ASCII, at most 64 characters",
            )
    if len(set(names)) != len(names):
        raise BadRequest("a host name is given twice")


def _covering(rules: Sequence[HostRule], name: str) -> HostRule:
    rule = next((rule for rule in rules if rule.covers(name)), None)
    if rule is None:
        raise Denied(
            f"{name}: no [[host]] rule gives it to you",
            hint="ask whoever keeps the policy for a [[host]] rule with this name",
        )
    return rule


def _refuse_malformed_canary(wishes: Wishes, nonce: str) -> None:
    refuse_malformed(wishes)
    if not wishes.principals:
        raise BadRequest("a canary must be asked for by principal")
    if _CANARY_NONCE.fullmatch(nonce) is None:
        raise BadRequest("the nonce of a canary has 16 to 64 letters and digits")
    if isinstance(wishes.source, IPv6Address) and wishes.source.scope_id is not None:
        raise BadRequest("a source-address cannot have a zone", hint="use another one")
