"""Tables of the right shape → validated values, or `Misconfigured` naming the key.

What would be empty, meaningless or silently without effect is refused here, when the
file is loaded, and not found out when somebody is denied, or is not.
"""

import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from ipaddress import ip_network

from ca.certificate import (
    EXTENSIONS,
    KEY_ID,
    LONGEST_KEY_ID,
    MOST_PRINCIPALS,
    PRINCIPAL,
)
from ca.errors import Misconfigured
from ca.policy.durations import parse_duration
from ca.policy.matching import Match, any_of, build_match, refuse_unknown_issuer
from ca.policy.rules import (
    EMAIL_LOCAL,
    HOST_NAME,
    LONGEST_AUTH_AGE,
    LONGEST_CANARY_VALIDITY,
    LONGEST_HOST_VALIDITY,
    LONGEST_USER_VALIDITY,
    Deny,
    HostRule,
    Network,
    Requirements,
    Role,
    Rule,
)
from ca.policy.shape import (
    DenyTable,
    HostTable,
    Raw,
    RequireTable,
    RuleTable,
    at,
    refuse_empty,
    refuse_repeats,
)

_NAME_LENGTH = 100
_PREFIX = re.compile(r"[0-9A-Fa-f.:]+/[0-9]{1,3}", re.ASCII)


def build_rule(table: RuleTable, issuers: Collection[str]) -> Rule:
    """Validate a `[[rule]]`."""
    match = build_match(table.match, issuer=table.issuer, issuers=issuers)
    if table.canary:
        _refuse_overridden(table)
    with at("principals"):
        principals = _principals(table.principals, match)
    with at("validity"):
        most = LONGEST_CANARY_VALIDITY if table.canary else LONGEST_USER_VALIDITY
        validity = parse_duration(table.validity, most=most)
    with at("extensions"):
        extensions = _extensions(table.extensions)
    with at("require"):
        require = _require(table.require)
    with at("critical_options"):
        critical_options = _critical_options(table.critical_options)
    if require.source and not table.canary:
        critical_options["source-address"] = ",".join(map(str, require.source))
    return Rule(
        name=table.name,
        match=match,
        principals=principals,
        validity=validity,
        extensions=extensions,
        critical_options=critical_options,
        on_request=table.on_request,
        require=require,
        canary=table.canary,
    )


def build_deny(table: DenyTable, issuers: Collection[str]) -> Deny:
    """Validate a `[[deny]]`."""
    match = build_match(table.match, issuer=table.issuer, issuers=issuers)
    with at("principals"):
        for principal in refuse_empty(table.principals):
            _refuse_no_principal(principal)
    return Deny(name=table.name, match=match, principals=frozenset(table.principals))


def build_host(table: HostTable, issuers: Collection[str]) -> HostRule:
    """Validate a `[[host]]`."""
    match = build_match(table.match, issuer=table.issuer, issuers=issuers)
    with at("names"):
        for name in refuse_empty(table.names):
            # NOTE: the wildcard is of the policy alone; no certificate ever has one.
            if HOST_NAME.fullmatch(name.removeprefix("*.")) is None:
                raise Misconfigured(
                    f"{name!r} is not a host name in lower-case ASCII",
                    hint="a wildcard is *. and a domain, and stands for one label",
                )
    with at("validity"):
        validity = parse_duration(table.validity, most=LONGEST_HOST_VALIDITY)
    return HostRule(name=table.name, match=match, names=table.names, validity=validity)


def build_roles(tables: Raw, issuers: Collection[str]) -> dict[Role, Match]:
    """Validate `[roles]`: for each role one match with its issuer among the keys."""
    built: dict[Role, Match] = {}
    for name, table in tables.items():
        with at(repr(name)):
            if name not in list(Role):
                raise Misconfigured(f"not a role: there are {', '.join(Role)}")
            if not isinstance(table, dict) or not isinstance(table.get("issuer"), str):
                raise Misconfigured("must be a table with an issuer")
            keys = {key: value for key, value in table.items() if key != "issuer"}
            built[Role(name)] = build_match(
                keys, issuer=table["issuer"], issuers=issuers
            )
    return built


def build_people(tables: Raw, issuers: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Validate `[people]`: groups by key ID.

    An empty list is refused: it would only switch off denies that name groups.
    """
    built: dict[str, tuple[str, ...]] = {}
    for key_id, groups in tables.items():
        with at(repr(key_id)):
            issuer, _, who = key_id.partition(":")
            refuse_unknown_issuer(issuer, issuers)
            if not who or len(key_id) > LONGEST_KEY_ID or not KEY_ID.fullmatch(key_id):
                raise Misconfigured("not a key ID, as in <issuer>:<e-mail or subject>")
            built[key_id] = tuple(sorted(any_of(groups)))
    return built


def refuse_bad_name(name: str) -> None:
    """Refuse a name that could not stand in a log line or a record."""
    if (
        not name.isprintable()
        or name != name.strip()
        or not 0 < len(name) <= _NAME_LENGTH
    ):
        raise Misconfigured(
            f"name: must be printable, 1 to {_NAME_LENGTH} characters, without spaces"
            " around it"
        )


def _principals(written: tuple[str, ...], match: Match) -> tuple[str, ...]:
    if len(refuse_empty(written)) > MOST_PRINCIPALS:
        raise Misconfigured(f"a certificate holds at most {MOST_PRINCIPALS}")
    for principal in written:
        if principal == EMAIL_LOCAL:
            _refuse_ambiguous_template(match)
        else:
            _refuse_no_principal(principal)
    return written


def _refuse_ambiguous_template(match: Match) -> None:
    """Refuse `EMAIL_LOCAL` where two domains could give two people one account."""
    domains = match.wanted.get("email_domain")
    if not isinstance(domains, frozenset) or len(domains) != 1:
        raise Misconfigured(f"{EMAIL_LOCAL} needs match.email_domain with one domain")


def _refuse_no_principal(principal: str) -> None:
    if PRINCIPAL.fullmatch(principal) is None:
        raise Misconfigured(
            f"{principal!r} cannot be a principal",
            hint=f"1 to 64 of A-Z a-z 0-9 _ . @ + -; in rules also {EMAIL_LOCAL}",
        )


def _extensions(names: tuple[str, ...]) -> frozenset[str]:
    for name in refuse_repeats(names):
        if name not in EXTENSIONS:
            raise Misconfigured(
                f"{name!r} is unknown",
                hint=f"there are {', '.join(sorted(EXTENSIONS))}",
            )
    return frozenset(names)


def _critical_options(table: Mapping[str, object]) -> dict[str, str]:
    return {name: _critical_option(name, value) for name, value in table.items()}


def _critical_option(name: str, value: object) -> str:
    with at(repr(name)):
        if name == "verify-required" and value is True:
            return ""
        if name == "force-command" and isinstance(value, str):
            if value.strip() and value.isprintable():
                return value
            raise Misconfigured("must be one line with a command in it")
        raise Misconfigured(
            "is not an option of a rule",
            hint='write force-command = "…" or verify-required = true; source-address'
            " comes from require.source",
        )


def _require(table: RequireTable | None) -> Requirements:
    if table is None:
        return Requirements()
    if table == RequireTable():
        raise Misconfigured("requires nothing")
    return Requirements(
        max_auth_age=_max_auth_age(table.max_auth_age),
        source=_networks(table.source),
        reason=table.reason,
    )


def _max_auth_age(text: str | None) -> timedelta | None:
    with at("max_auth_age"):
        return None if text is None else parse_duration(text, most=LONGEST_AUTH_AGE)


def _networks(texts: tuple[str, ...] | None) -> tuple[Network, ...]:
    """Parse networks into one order, so that equal sets are equal source-addresses."""
    with at("source"):
        if texts is None:
            return ()
        networks = {_network(text) for text in refuse_empty(texts)}
        return tuple(sorted(networks, key=_network_order))


def _network(text: str) -> Network:
    # sshd refuses the whole certificate when bits of the host are set.
    try:
        network = ip_network(text) if _PREFIX.fullmatch(text) else None
    except ValueError as error:
        raise Misconfigured(str(error)) from error
    if network is None or network.prefixlen == 0:
        raise Misconfigured(f"{text!r} is not a network such as 10.0.0.0/8")
    return network


def _network_order(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), network.prefixlen


def _refuse_overridden(table: RuleTable) -> None:
    """Refuse in a canary rule what `decide_canary` would not honour."""
    for key in ("extensions", "critical_options", "on_request"):
        if getattr(table, key):
            raise Misconfigured(f"{key}: has no meaning in a canary rule")
    if table.require is not None and table.require.reason:
        raise Misconfigured("require.reason: nobody gives a reason for a canary")
