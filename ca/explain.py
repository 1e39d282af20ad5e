"""Why may or may not I have that: policy, asked without asking for a certificate.

Whoever signs the request is told about themselves; an admin may ask about anybody they
can describe. Nothing is recorded or signed.
"""

from collections.abc import Iterator
from datetime import datetime
from ipaddress import ip_address

from msgspec.structs import replace

from ca.authority import Authority
from ca.errors import BadRequest, Misconfigured
from ca.identity import Identity
from ca.issue import Caller, wishes_in
from ca.messages import ExplainRequest
from ca.policy import (
    Explanation,
    Outcome,
    Policy,
    Role,
    explain,
    identity_in,
    require_role,
    roles,
)
from ca.policy.explanation import RuleOutcome
from ca.signed_request import SignedBy

_NAMES_PEOPLE = frozenset({"email", "subject"})
"""Keys of a match that say who somebody is, rather than what."""


def explain_request(
    authority: Authority,
    request: ExplainRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> Explanation:
    """Say what each rule of today makes of what is asked, and what a token would buy.

    Raises `BadRequest`, and `Denied` for those who ask about somebody else and may not.
    """
    policy = authority.policy
    asker = signed_by.identity
    wishes = wishes_in(request, _where(request, caller))
    if request.identity is not None:
        require_role(policy, asker, Role.ADMIN, to="ask about somebody else")
        somebody = _described(authority, request.identity, now=now)
        return explain(policy, somebody, wishes, now=now)
    explanation = explain(policy, asker, wishes, now=now)
    if Role.ADMIN in roles(policy, asker):
        return explanation
    return _discreet(policy, explanation)


def _where(request: ExplainRequest, caller: Caller) -> Caller:
    if request.source is None:
        return caller
    try:
        return Caller(ip_address(request.source), caller.request_id)
    except ValueError as error:
        raise BadRequest("source: not an address such as 192.0.2.7") from error


def _described(
    authority: Authority, table: dict[str, object], *, now: datetime
) -> Identity:
    issuers = frozenset(issuer.name for issuer in authority.config.issuers)
    try:
        return identity_in(table, issuers, now=now)
    except Misconfigured as error:
        raise BadRequest(f"identity: {error.detail}", hint=error.hint) from error


def _discreet(policy: Policy, explanation: Explanation) -> Explanation:
    """Leave out who other people are.

    A rule or a deny that means others may name them, by address or subject.
    """
    return replace(
        explanation,
        rules=tuple(_without_names(policy, explanation)),
        denies=tuple(
            deny for deny in explanation.denies if deny.outcome is not Outcome.NO_MATCH
        ),
    )


def _without_names(policy: Policy, explanation: Explanation) -> Iterator[RuleOutcome]:
    for rule, outcome in zip(policy.rules, explanation.rules, strict=True):
        names_people = not _NAMES_PEOPLE.isdisjoint(rule.match.wanted)
        if outcome.outcome is Outcome.NO_MATCH and names_people:
            yield replace(outcome, reason="means certain people")
        else:
            yield outcome
