"""Why a request is granted or refused: what each rule and each deny makes of it.

Shows what `weigh` and `decide` did, in the words that a person who asks can use; it
decides nothing itself, and says about a request what signing would.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ca.errors import Denied
from ca.identity import Identity
from ca.messages import LeftOut, Message
from ca.policy.decision import Grant, decide
from ca.policy.matching import Match, differences, matches, may_match, unsaid
from ca.policy.rules import Deny, Policy, Rule
from ca.policy.weighing import Offer, Weighing, Wishes, offers_of, weigh


class Outcome(StrEnum):
    """What came of a rule or a deny."""

    ANSWERS = "answers"
    """The rule gives at least one of its principals."""
    ADDS_NOTHING = "adds-nothing"
    """It matches, and something stands against each of its principals."""
    UNMET = "unmet"
    """It matches, and requires what this request does not have."""
    ON_REQUEST = "on-request"
    """It matches, and answers only when a principal is asked for by name."""
    CANARY = "canary"
    """It answers nobody but provisioners who ask for a canary."""
    APPLIES = "applies"
    """The deny keeps its principals from this identity."""
    NO_MATCH = "no-match"
    """It means other people."""


class PrincipalOutcome(Message, frozen=True):
    """One principal that a matching rule writes."""

    principal: str
    given: bool
    reason: str = ""
    """Why not."""


class RuleOutcome(Message, frozen=True):
    """What one `[[rule]]` makes of the request."""

    name: str
    outcome: Outcome
    reason: str = ""
    principals: tuple[PrincipalOutcome, ...] = ()


class DenyOutcome(Message, frozen=True):
    """What one `[[deny]]` makes of it."""

    name: str
    outcome: Outcome
    reason: str = ""
    principals: tuple[str, ...] = ()
    """What it denies to whom it means."""


class Granted(Message, frozen=True):
    """What a certificate for this request would say."""

    principals: tuple[str, ...]
    validity_seconds: int
    extensions: tuple[str, ...]
    critical_options: dict[str, str]
    rules: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


class Explanation(Message, frozen=True):
    """Why a request is granted or refused."""

    key_id: str
    policy_sha256: str
    granted: Granted | None
    """None where the request would be refused."""
    refusal: str
    """Why it would be, as the answer to it would say; empty where it would not."""
    hint: str | None
    rules: tuple[RuleOutcome, ...]
    """All of the policy, in the order of the file."""
    denies: tuple[DenyOutcome, ...]


def explain(
    policy: Policy, identity: Identity, wishes: Wishes, *, now: datetime
) -> Explanation:
    """Explain what `decide` makes of the same arguments.

    Raises `BadRequest` for wishes that make no sense to anybody. The reasons tell about
    policy: they are for the identity itself, once proved, and for who may read policy.
    """
    granted: Granted | None = None
    refusal, hint = "", None
    try:
        granted = _granted(decide(policy, identity, wishes, now=now))
    except Denied as denied:
        refusal, hint = denied.detail, denied.hint
    weighing = weigh(policy, identity, wishes, now=now)
    request = _Request(policy, policy.known(identity), wishes, weighing, now)
    return Explanation(
        key_id=identity.key_id,
        policy_sha256=policy.sha256,
        granted=granted,
        refusal=refusal,
        hint=hint,
        rules=tuple(map(request.explain_rule, policy.rules)),
        denies=tuple(request.explain_deny(deny) for deny in policy.denies),
    )


def _granted(grant: Grant) -> Granted:
    return Granted(
        principals=grant.principals,
        validity_seconds=int(grant.validity.total_seconds()),
        extensions=grant.extensions,
        critical_options=dict(grant.critical_options),
        rules=grant.rules,
        left_out=grant.left_out,
    )


@dataclass(frozen=True, slots=True)
class _Request:
    """What was decided, with what it was decided from."""

    policy: Policy
    person: Identity
    wishes: Wishes
    weighing: Weighing
    now: datetime

    def explain_rule(self, rule: Rule) -> RuleOutcome:
        if rule.canary:
            return RuleOutcome(rule.name, Outcome.CANARY, "answers provisioners alone")
        if not matches(rule.match, self.person):
            return RuleOutcome(rule.name, Outcome.NO_MATCH, self._why_not(rule.match))
        if rule.on_request and not self.wishes.principals:
            reason = "answers only for principals that are asked for by name"
            return RuleOutcome(rule.name, Outcome.ON_REQUEST, reason)
        offers = list(offers_of(self.policy, rule, self.person, self.wishes, self.now))
        if offers[0].unmet is not None:
            return RuleOutcome(rule.name, Outcome.UNMET, offers[0].unmet)
        principals = tuple(map(self._explain_offer, offers))
        answers = any(one.given for one in principals)
        outcome = Outcome.ANSWERS if answers else Outcome.ADDS_NOTHING
        return RuleOutcome(rule.name, outcome, principals=principals)

    def explain_deny(self, deny: Deny) -> DenyOutcome:
        if not may_match(deny.match, self.person):
            reason = "; ".join(differences(deny.match, self.person))
            return DenyOutcome(deny.name, Outcome.NO_MATCH, reason)
        reason = "; ".join(self._unsaid(deny.match))
        principals = tuple(sorted(deny.principals))
        return DenyOutcome(deny.name, Outcome.APPLIES, reason, principals)

    def _why_not(self, match: Match) -> str:
        return "; ".join([*differences(match, self.person), *self._unsaid(match)])

    def _unsaid(self, match: Match) -> list[str]:
        return [f"the issuer does not say {k}" for k in unsaid(match, self.person)]

    def _explain_offer(self, offer: Offer) -> PrincipalOutcome:
        reason = self._against(offer)
        return PrincipalOutcome(offer.principal, given=not reason, reason=reason)

    def _against(self, offer: Offer) -> str:
        """Say why this rule does not give the principal; empty when it does."""
        if offer.refused is not None:
            return offer.refused
        principal, asked = offer.principal, self.wishes.principals
        if asked and principal not in asked:
            return "not asked for"
        for given in self.weighing.given:
            if given.principal == principal:
                mine = given.rule is offer.rule
                return "" if mine else f'rule "{given.rule.name}" answers for it'
        return next(o.reason for o in self.weighing.left_out if o.what == principal)
