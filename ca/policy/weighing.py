"""Which rule answers for each principal, and what stands against the others.

Two steps: the rules that match *offer* principals, each offer with what stands against
it; then offers are *answered*, in one way when principals were asked for by name and in
another when not. Every no has its reason in words, so that whoever was left out, and
whoever explains it to them, need not read the policy.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from ca.certificate import MOST_PRINCIPALS, PRINCIPAL
from ca.identity import Identity
from ca.messages import LeftOut
from ca.policy.durations import render_duration
from ca.policy.matching import matches, may_match, unsaid
from ca.policy.rules import EMAIL_LOCAL, Deny, Policy, Requirements, Rule

FUTURE_LEEWAY = timedelta(seconds=60)
"""How far an issuer's clock may be ahead of ours, for the time of a sign-in."""


class Wishes(Struct, frozen=True, kw_only=True):
    """What a request asks for besides being somebody."""

    principals: tuple[str, ...] = ()
    """Asked for by name; empty for what the rules give unasked."""
    validity: timedelta | None = None
    """At most this long."""
    extensions: tuple[str, ...] | None = None
    """Exactly these; None for all that the rules give."""
    reason: str | None = None
    source: IPv4Address | IPv6Address
    """Where the request comes from: the peer's address."""


class Given(Struct, frozen=True):
    """A principal and the rule that answers for it."""

    principal: str
    rule: Rule


class Weighing(Struct, frozen=True):
    """What rules and denies make of a request, before it is granted or refused."""

    given: tuple[Given, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that answer, each once."""
        by_name = {given.rule.name: given.rule for given in self.given}
        return tuple(by_name.values())


class Offer(Struct, frozen=True):
    """One principal that a matching rule writes, and what stands against it."""

    rule: Rule
    written: str
    principal: str
    unmet: str | None
    """What the rule requires and does not have."""
    refused: str | None
    """Why nobody like this may have the principal."""


def weigh(
    policy: Policy,
    identity: Identity,
    wishes: Wishes,
    *,
    now: datetime,
    canary: bool = False,
) -> Weighing:
    """Find the rule that answers for each principal, and the reasons against others.

    Decides nothing: `decide` does, and whoever explains a decision can show this.
    """
    person = policy.known(identity)
    offers = [
        offer
        for rule in policy.rules
        if rule.canary is canary and matches(rule.match, person)
        for offer in offers_of(policy, rule, person, wishes, now)
    ]
    if wishes.principals:
        return _set_aside(_answer_asked(offers, wishes.principals))
    return _set_aside(_answer_unasked(offers))


def offers_of(
    policy: Policy, rule: Rule, person: Identity, wishes: Wishes, now: datetime
) -> Iterator[Offer]:
    """Yield what a rule that matches writes, each with what stands against it."""
    unmet = _unmet(rule.require, person, wishes, now)
    for written in rule.principals:
        templated = written == EMAIL_LOCAL
        principal = _email_local(person) if templated else written
        refused = _denied(policy.denies, person, principal)
        if refused is None and templated:
            refused = _unfit(principal, policy.reserved)
        yield Offer(rule, written, principal, unmet, refused)


def _email_local(person: Identity) -> str:
    # A rule with the template matches by e-mail domain, so there is an address.
    return (person.email or "").partition("@")[0]


def _unfit(principal: str, reserved: frozenset[str]) -> str | None:
    """Say why what came out of the template is not somebody's own account.

    Upper case is refused because `Ada` and `ada` are one mailbox and two accounts.
    """
    if PRINCIPAL.fullmatch(principal) is None:
        return f"{principal!r} cannot be a principal"
    if principal != principal.lower():
        return f"{principal!r} is not all lower case"
    if principal in reserved:
        return f"{principal!r} is an account of its own in this policy"
    return None


def _denied(denies: Sequence[Deny], person: Identity, principal: str) -> str | None:
    for deny in denies:
        if principal in deny.principals and may_match(deny.match, person):
            missing = " and ".join(unsaid(deny.match, person))
            because = f" (the issuer does not say {missing})" if missing else ""
            return f'denied by "{deny.name}"{because}'
    return None


def _unmet(
    require: Requirements, person: Identity, wishes: Wishes, now: datetime
) -> str | None:
    """Say what is missing, and with it how to come by it."""
    missing = []
    if require.max_auth_age is not None and not _is_fresh(
        person.auth_time, require.max_auth_age, now
    ):
        most = render_duration(require.max_auth_age)
        missing.append(f"needs a sign-in of the last {most}")
    if require.source and not _comes_from(wishes.source, require):
        networks = " or ".join(map(str, require.source))
        missing.append(f"needs a request from {networks}, not {wishes.source}")
    if require.reason and not (wishes.reason or "").strip():
        missing.append("needs a reason")
    return " and ".join(missing) or None


def _is_fresh(auth_time: datetime | None, most: timedelta, now: datetime) -> bool:
    return auth_time is not None and -FUTURE_LEEWAY <= now - auth_time <= most


def _comes_from(source: IPv4Address | IPv6Address, require: Requirements) -> bool:
    address = unmapped(source)
    return any(address in network for network in require.source)


def unmapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that a socket for both families shows as IPv6.

    sshd does the same (`ipv64_normalise_mapped`) before it compares.
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _answer_unasked(offers: Sequence[Offer]) -> Weighing:
    """Let each rule not marked `on_request` give what nothing stands against."""
    given: dict[str, Given] = {}
    left_out: dict[LeftOut, None] = {}
    for offer in offers:
        if offer.rule.on_request:
            continue
        if offer.unmet is not None:
            left_out[LeftOut(offer.rule.name, offer.unmet)] = None
        elif offer.refused is not None:
            left_out[LeftOut(offer.written, offer.refused)] = None
        else:
            given.setdefault(offer.principal, Given(offer.principal, offer.rule))
    return Weighing(tuple(given.values()), tuple(left_out))


def _answer_asked(offers: Sequence[Offer], asked: Sequence[str]) -> Weighing:
    """Find for each principal the first rule that gives it with nothing against it."""
    given: list[Given] = []
    left_out: list[LeftOut] = []
    for principal in asked:
        mine = [offer for offer in offers if offer.principal == principal]
        rules = [o.rule for o in mine if o.unmet is None and o.refused is None]
        if rules:
            given.append(Given(principal, rules[0]))
        else:
            left_out.append(LeftOut(principal, _why_not(mine)))
    return Weighing(tuple(given), tuple(left_out))


def _why_not(offers: Sequence[Offer]) -> str:
    reasons = [o.refused or f'rule "{o.rule.name}" {o.unmet}' for o in offers]
    return "; ".join(dict.fromkeys(reasons)) or "no rule gives it to you"


def _set_aside(weighing: Weighing) -> Weighing:
    """Leave out what cannot stand in one certificate with the first answer.

    Neither of two forced commands is the stricter one, nor is either of two source
    addresses; choosing one would shed what the other rule forces.
    """
    clash = _clash(weighing.rules)
    if clash is None:
        given = weighing.given[:MOST_PRINCIPALS]
        reason = f"a certificate holds {MOST_PRINCIPALS} principals: ask for two"
    else:
        first = weighing.given[0].rule.name
        given = tuple(one for one in weighing.given if one.rule.name == first)
        reason = f"the rules disagree about {clash}: ask for them separately"
    kept = {one.principal for one in given}
    aside = (one.principal for one in weighing.given if one.principal not in kept)
    left_out = (*weighing.left_out, *(LeftOut(what, reason) for what in aside))
    return Weighing(given, left_out)


def _clash(rules: Sequence[Rule]) -> str | None:
    """Return the first critical option that two rules give different values."""
    joined: dict[str, str] = {}
    for rule in rules:
        for name, value in rule.critical_options.items():
            if joined.setdefault(name, value) != value:
                return name
    return None
