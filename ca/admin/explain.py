"""What `ca-admin policy explain` takes from the command line, and how it answers."""

import argparse
import json
import sys
from collections.abc import Mapping
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from ca.admin.command import Misuse, Options, listed
from ca.config import Config
from ca.errors import Misconfigured
from ca.identity import Identity
from ca.policy import LONGEST_USER_VALIDITY, Explanation, Wishes
from ca.policy.durations import parse_duration, render_duration
from ca.policy.examples import identity_in as identity_written

_IDENTITY = ("issuer", "subject", "client", "email", "auth_age")
"""Options that are keys of an identity by themselves."""


def add_request(parser: argparse.ArgumentParser) -> None:
    """Add who asks, and what they ask."""
    for name in ("issuer", "subject", "client", "email", "auth-age", "identity"):
        parser.add_argument(f"--{name}")
    for name in ("group", "claim", "principal"):
        parser.add_argument(f"--{name}", action="append", default=[])
    parser.add_argument("--extension", action="append")
    parser.add_argument("--validity")
    parser.add_argument("--reason")
    parser.add_argument("--source", default="127.0.0.1")


def identity_table(options: Options) -> dict[str, object]:
    """Return the identity as a test's table, from a file and what is typed besides."""
    table = _identity_file(options.identity) if options.identity else {}
    for name in _IDENTITY:
        if getattr(options, name) is not None:
            table[name] = getattr(options, name)
    if options.email is not None:
        table["email_verified"] = True
    if options.group:
        table["groups"] = options.group
    claims: dict[str, list[object]] = {}
    for claim in options.claim:
        name, equals, value = claim.partition("=")
        if not name or not equals:
            raise Misuse(f"--claim {claim}: write NAME=VALUE", hint=_HELP)
        claims.setdefault(name, []).append(_TRUTH.get(value, value))
    for name, values in claims.items():
        table[name] = values[0] if len(values) == 1 else values
    return table


_HELP = "ca-admin policy --help"
_TRUTH: Mapping[str, object] = {"true": True, "false": False}


def _identity_file(name: str) -> dict[str, object]:
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text("utf-8")
        table = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise Misuse(f"--identity {name}: {error}", hint=_HELP) from error
    if not isinstance(table, dict):
        raise Misuse(f"--identity {name}: not a JSON object", hint=_HELP)
    return table


def identity_in(
    table: Mapping[str, object], config: Config, *, now: datetime
) -> Identity:
    """Return the identity that a table describes; raise `Misuse`."""
    issuers = [issuer.name for issuer in config.issuers]
    only = {"issuer": issuers[0]} if len(issuers) == 1 else {}
    try:
        return identity_written({**only, **table}, issuers, now=now)
    except Misconfigured as error:
        raise Misuse(f"who asks: {error.detail}", hint=error.hint or _HELP) from error


def wishes_of(options: Options) -> Wishes:
    """Return what is asked; raise `Misuse`."""
    extensions = options.extension
    try:
        return Wishes(
            principals=tuple(options.principal),
            validity=_length(options.validity),
            extensions=None if extensions is None else tuple(extensions),
            reason=options.reason,
            source=ip_address(options.source),
        )
    except (ValueError, Misconfigured) as error:
        raise Misuse(f"what is asked: {error}", hint=_HELP) from error


def _length(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text, most=LONGEST_USER_VALIDITY)


def render(explanation: Explanation) -> str:
    """Write an explanation for a person."""
    granted = explanation.granted
    lines = [f"{explanation.key_id}, policy {explanation.policy_sha256}"]
    if granted is None:
        lines.append(f"REFUSED: {explanation.refusal}")
        lines.extend([f"  hint: {explanation.hint}"] if explanation.hint else [])
    else:
        length = render_duration(timedelta(seconds=granted.validity_seconds))
        lines.append(f"GRANTED: {listed(granted.principals)} for {length}")
        lines.append(f"  extensions: {listed(granted.extensions)}")
        options = [f"{k} {v}".strip() for k, v in granted.critical_options.items()]
        lines.append(f"  critical options: {listed(options)}")
        lines.extend(f"  left out: {o.what}: {o.reason}" for o in granted.left_out)
    for rule in explanation.rules:
        lines.append(_line("rule", rule.name, rule.outcome, rule.reason))
        lines.extend(
            f"  {one.principal}: {one.reason or 'given'}" for one in rule.principals
        )
    for deny in explanation.denies:
        lines.append(_line("deny", deny.name, deny.outcome, deny.reason))
        lines.extend(f"  {principal}: denied" for principal in deny.principals)
    return "\n".join(lines)


def _line(kind: str, name: str, outcome: str, reason: str) -> str:
    because = f": {reason}" if reason else ""
    return f'{kind} "{name}" {outcome}{because}'
