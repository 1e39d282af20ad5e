"""What in a policy file is allowed and probably not meant.

A file with any of it loads: it may be meant. Each finding says what would happen and
what to write instead. This is no proof that a policy is right; its `[[test]]`s are
nearer to one.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from ca.policy.matching import Match, Wanted
from ca.policy.rules import EMAIL_LOCAL, Policy, Requirements, Rule

SERVICE_ACCOUNTS = frozenset(
    {"admin", "backup", "debian", "ec2-user", "git", "postgres", "ubuntu", "www-data"}
)
"""Accounts that machines come with, some of which may become root with sudo."""

_NOTHING = Requirements()


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Something that is probably not meant."""

    where: str
    what: str
    hint: str


def suspicions(
    policy: Policy, *, unbound: Mapping[str, Collection[str]], tests: int
) -> tuple[Suspicion, ...]:
    """Return what looks wrong.

    `unbound` are the client ids, by issuer, whose tokens no key is bound to; `tests` is
    how many the file has.
    """
    found: list[Suspicion] = []
    if tests == 0:
        found.append(
            Suspicion(
                "policy",
                "has no [[test]]: nothing says who must get what, and who nothing",
                "write one for who gets in, and one for who must not",
            )
        )
    for number, rule in enumerate(policy.rules):
        found.extend(_of_reach(rule, policy, policy.rules[:number]))
        if not rule.canary:
            found.extend(_of_generosity(rule, policy, unbound))
    return tuple(found)


def _of_reach(
    rule: Rule, policy: Policy, above: tuple[Rule, ...]
) -> Iterator[Suspicion]:
    """Find why a rule gives nothing to anybody."""
    where = f'rule "{rule.name}"'
    if _contradicts_itself(rule.match):
        yield Suspicion(
            where,
            "matches nobody: no address in match.email is in match.email_domain",
            "leave one of them out",
        )
    for other in above:
        if _answers_always_before(other, rule):
            yield Suspicion(
                where,
                f'never answers: rule "{other.name}", above it, gives all of its'
                " principals to everybody whom it means",
                "put the narrower rule first, or remove it",
            )
    denied = {
        principal
        for deny in policy.denies
        if _means_all(deny.match, rule.match)
        for principal in deny.principals
    }
    if set(rule.principals) <= denied:
        yield Suspicion(
            where,
            "gives nothing: denies keep all of its principals from everybody whom it"
            " means",
            "remove the rule, or narrow the deny",
        )


def _of_generosity(
    rule: Rule, policy: Policy, unbound: Mapping[str, Collection[str]]
) -> Iterator[Suspicion]:
    """Find what a rule gives more easily than is likely to be meant."""
    where = f'rule "{rule.name}"'
    if "root" in rule.principals and rule.require == _NOTHING:
        yield Suspicion(
            where,
            "gives root and requires nothing but a sign-in, however old",
            'write require = { max_auth_age = "1h", reason = true }',
        )
    open_ = sorted(SERVICE_ACCOUNTS - policy.reserved)
    if EMAIL_LOCAL in rule.principals and open_:
        yield Suspicion(
            where,
            f"lets a mailbox open the account of its name: {', '.join(open_)}",
            "name these accounts in a [[deny]], which keeps every mailbox from them",
        )
    clients = _reached(rule.match, unbound)
    if clients:
        yield Suspicion(
            where,
            f"answers tokens that are bound to no key, of {', '.join(clients)}: whoever"
            " gets hold of one first has what the rule gives",
            "name the clients that it is for in match.client",
        )


def _contradicts_itself(match: Match) -> bool:
    emails, domains = match.wanted.get("email"), match.wanted.get("email_domain")
    if not isinstance(emails, frozenset) or not isinstance(domains, frozenset):
        return False
    return domains.isdisjoint(email.partition("@")[2] for email in emails)


def _answers_always_before(other: Rule, rule: Rule) -> bool:
    return (
        other.canary is rule.canary
        and other.on_request <= rule.on_request
        and other.require in (_NOTHING, rule.require)
        and set(rule.principals) <= set(other.principals)
        and _means_all(other.match, rule.match)
    )


def _means_all(wide: Match, narrow: Match) -> bool:
    """Tell whether everybody whom `narrow` means is meant by `wide` too, surely."""
    return wide.issuer in (None, narrow.issuer) and all(
        _implied(narrow.wanted.get(key), wanted) for key, wanted in wide.wanted.items()
    )


def _implied(narrow: Wanted | None, wide: Wanted) -> bool:
    if isinstance(narrow, frozenset) and isinstance(wide, frozenset):
        return narrow <= wide
    return narrow is wide


def _reached(match: Match, unbound: Mapping[str, Collection[str]]) -> list[str]:
    clients = unbound.get(match.issuer or "", ())
    wanted = match.wanted.get("client")
    if isinstance(wanted, frozenset):
        return []
    return sorted(clients)
