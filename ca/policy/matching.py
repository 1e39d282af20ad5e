"""Whether an identity is the one that a rule means.

Equality is exact and case-sensitive; there are no wildcards, prefixes or patterns.
Each key of a match has one of three answers: it holds, it does not, or the issuer did
not say. What is not said never helps the caller: a rule needs every key to hold, a
deny applies unless some key does not.
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ca.errors import Misconfigured
from ca.identity import EMAIL, Identity
from ca.policy.shape import Raw, at, refuse_empty

Wanted = frozenset[str] | bool
"""Any of these strings, or exactly this truth value."""


@dataclass(frozen=True, slots=True)
class Match:
    """Which identities are meant: all keys have to hold."""

    issuer: str | None
    """The issuer's name in the configuration; None, in a deny, for every issuer."""
    wanted: Mapping[str, Wanted]
    """By key, never empty: an empty match would mean everybody."""


def _email_domain(identity: Identity) -> str | None:
    return identity.email.partition("@")[2] if identity.email else None


OWN_KEYS: Mapping[str, Callable[[Identity], object]] = {
    "groups": lambda identity: identity.groups,
    "email": lambda identity: identity.email,
    "email_domain": _email_domain,
    "subject": lambda identity: identity.subject,
    "client": lambda identity: identity.client,
}
"""Keys that mean a field of the identity; every other key means the claim of that name.

The fields have been through more checks than claims: an e-mail address is there only
when verified.
"""


def matches(match: Match, identity: Identity) -> bool:
    """Tell whether every key is known to hold: what a rule needs."""
    return _issuer_fits(match, identity) and all(
        _holds(identity, key, wanted) is True for key, wanted in match.wanted.items()
    )


def may_match(match: Match, identity: Identity) -> bool:
    """Tell whether no key is known not to hold: what a deny needs.

    A deny that an issuer could switch off by leaving out a claim would be none.
    """
    return _issuer_fits(match, identity) and all(
        _holds(identity, key, wanted) is not False
        for key, wanted in match.wanted.items()
    )


def unsaid(match: Match, identity: Identity) -> tuple[str, ...]:
    """Return the keys that the issuer did not say, or said in no comparable form."""
    return tuple(
        key
        for key, wanted in match.wanted.items()
        if _holds(identity, key, wanted) is None
    )


def differences(match: Match, identity: Identity) -> tuple[str, ...]:
    """Say in words what is known not to hold, and what would have to."""
    found = [
        f"{key} is not {_in_words(wanted)}"
        for key, wanted in match.wanted.items()
        if _holds(identity, key, wanted) is False
    ]
    if not _issuer_fits(match, identity):
        found.insert(0, f"issuer is not {match.issuer}")
    return tuple(found)


def _in_words(wanted: Wanted) -> str:
    if isinstance(wanted, bool):
        return str(wanted).lower()
    return " or ".join(sorted(wanted))


def _issuer_fits(match: Match, identity: Identity) -> bool:
    return match.issuer is None or match.issuer == identity.issuer


def _holds(identity: Identity, key: str, wanted: Wanted) -> bool | None:
    """Answer for one key; None when it was not said.

    A value of another type (`"true"` for a truth value, a number, a list with a null
    in it) is not said rather than different: a deny must not miss on a technicality.
    """
    own = OWN_KEYS.get(key)
    said = own(identity) if own else identity.claims.get(key)
    if isinstance(wanted, bool):
        return said is wanted if isinstance(said, bool) else None
    if isinstance(said, str):
        return _is_one(said, wanted, key)
    if isinstance(said, (list, tuple)) and all(isinstance(one, str) for one in said):
        return not wanted.isdisjoint(said)
    return None


def _is_one(said: str, wanted: frozenset[str], key: str) -> bool | None:
    # `Ada@` and `ada@` are one mailbox nearly everywhere: too like for a deny to miss,
    # not alike enough for a rule to match.
    if key == "email" and said not in wanted and said.lower() in map(str.lower, wanted):
        return None
    return said in wanted


_FORMS = {"email": EMAIL, "email_domain": re.compile(r"[a-z0-9.-]+", re.ASCII)}
"""How verified e-mail addresses are spelled; anything else could never match, which
in a deny would go unnoticed."""


def build_match(table: Raw, *, issuer: str | None, issuers: Collection[str]) -> Match:
    """Validate a match table. One that would match everybody is refused."""
    if issuer is not None:
        with at("issuer"):
            refuse_unknown_issuer(issuer, issuers)
    with at("match"):
        if not table:
            raise Misconfigured("is empty, and would match everybody")
        return Match(issuer, {key: _wanted(key, table[key]) for key in table})


def refuse_unknown_issuer(issuer: str, issuers: Collection[str]) -> None:
    """Refuse an issuer that the configuration does not have."""
    if issuer not in issuers:
        known = ", ".join(sorted(issuers)) or "none"
        raise Misconfigured(f"{issuer!r} is no issuer in the configuration ({known})")


def _wanted(key: str, value: object) -> Wanted:
    with at(repr(key)):
        if not key or "*" in key or key == "issuer":
            raise Misconfigured("cannot be matched on; an issuer stands beside match")
        if isinstance(value, bool) and key not in OWN_KEYS:
            return value
        wanted = any_of([value] if isinstance(value, str) else value)
        if key in _FORMS:
            _refuse_other_form(key, wanted)
        return wanted


def _refuse_other_form(key: str, wanted: frozenset[str]) -> None:
    for one in sorted(wanted):
        if _FORMS[key].fullmatch(one) is None:
            raise Misconfigured(
                f"{one!r} is never so", hint="domains are lower-case ASCII, without @"
            )


def any_of(value: object) -> frozenset[str]:
    """Read a non-empty list of strings, none of them empty or like a wildcard."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise Misconfigured(
            "must be a list of strings",
            hint="a match also takes one string and, for other claims, true or false",
        )
    for one in refuse_empty(value):
        if not one.strip() or "*" in one:
            raise Misconfigured(f"{one!r} cannot be matched; there are no wildcards")
    return frozenset(value)
