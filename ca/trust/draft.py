"""New roots, drafted from those that hold, and judged before the root key signs them.

Everything here is about text: nothing is signed, and no key opened. `draft` makes what
an operator asks for; `refuse_successor` and `differences` are for whoever holds the
root key, and trust no draft.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from ca import wire
from ca.bundle import ClosedLog, HostCAKey, KeyState, Roots, TrustedKey
from ca.certificate import parse_line
from ca.errors import Conflict
from ca.public_key import parse_public_key

_Key = TypeVar("_Key", bound=TrustedKey)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be different in new roots. Keys are `<type> <base64>`."""

    host_domains: tuple[str, ...] | None = None
    """What all host CA keys may speak for; None for what each may now."""
    user_ca: tuple[str, ...] = ()
    """To be trusted and active, beside those that are."""
    host_ca: tuple[str, ...] = ()
    online: tuple[str, ...] = ()
    retire: tuple[str, ...] = ()
    """To be trusted still, and to sign nothing more."""
    drop: tuple[str, ...] = ()
    """To be trusted no longer."""
    revoke: tuple[str, ...] = ()
    """CA keys that no host may ever take again."""


def draft(present: Roots, wanted: Wanted, *, now: datetime) -> Roots:
    """Return roots with what is wanted, of a version that has grown.

    Raises `Conflict` where that names a key that it cannot be said of.
    """
    _refuse_unknown(present, wanted)
    gone = {*wanted.drop, *wanted.revoke}
    domains = wanted.host_domains
    host_ca = tuple(
        one if domains is None else replace(one, domains=domains)
        for one in present.host_ca
    )
    new_domains = domains or next((one.domains for one in present.host_ca), ())
    new_hosts = [HostCAKey(KeyState.ACTIVE, key, new_domains) for key in wanted.host_ca]
    return replace(
        present,
        version=grown(present.version, now=now),
        user_ca=_after(present.user_ca, _active(wanted.user_ca), gone, wanted.retire),
        host_ca=_after(host_ca, new_hosts, gone, wanted.retire),
        online=_after(present.online, _active(wanted.online), gone, wanted.retire),
        revoked_ca=(*present.revoked_ca, *wanted.revoke),
    )


def draft_new_log(
    present: Roots, *, origin: str, serial_base: int, closed_size: int, now: datetime
) -> Roots:
    """Return roots that give the present log up, at a size, for another."""
    closed = ClosedLog(present.log_origin, closed_size)
    return replace(
        present,
        version=grown(present.version, now=now),
        log_origin=origin,
        serial_base=serial_base,
        closed_logs=(*present.closed_logs, closed),
    )


def grown(version: int, *, now: datetime) -> int:
    """Return the version that follows on another."""
    return max(version + 1, int(now.timestamp() * 1000))


def refuse_successor(present: Roots, following: Roots) -> None:
    """Raise `Conflict` where no reader could take these roots after the present."""
    if following.root_key != present.root_key:
        raise Conflict("the root key is not the present one, which readers have pinned")
    if following.version <= present.version:
        raise Conflict(
            f"version {following.version} does not grow: {present.version} is there",
            hint="draft the roots again: ca-admin keys draft-roots",
        )
    back = set(present.revoked_ca) - set(following.revoked_ca)
    if back:
        raise Conflict(
            f"{_named(min(back))} is revoked, and would not be any more: a revoked key"
            " never comes back"
        )


def refuse_unsound(roots: Roots) -> None:
    """Raise a `CAError` for a key that nobody should trust, whoever signs the roots."""
    for one in (*roots.user_ca, *roots.host_ca, *roots.online):
        parse_public_key(one.key)


def differences(before: Roots, after: Roots) -> Iterator[str]:
    """Yield in words what is different, one difference a line."""
    yield f"version {before.version} becomes {after.version}"
    for what, old, new in (
        ("user CA key", before.user_ca, after.user_ca),
        ("host CA key", before.host_ca, after.host_ca),
        ("online key", before.online, after.online),
    ):
        yield from _of_keys(what, old, new)
    for key in after.revoked_ca:
        if key not in before.revoked_ca:
            yield f"REVOKED for ever: CA key {_named(key)}"
    yield from _of_logs(before, after)


def warnings(roots: Roots) -> Iterator[str]:
    """Yield what these roots would keep from working."""
    for what, keys in (("user CA", roots.user_ca), ("online", roots.online)):
        if not any(one.state is KeyState.ACTIVE for one in keys):
            yield f"no {what} key is active: no signer will start with these roots"


def _refuse_unknown(present: Roots, wanted: Wanted) -> None:
    trusted = [*present.user_ca, *present.host_ca, *present.online]
    known = {one.key for one in trusted}
    for key in (*wanted.drop, *wanted.retire):
        if key not in known:
            raise Conflict(f"{_named(key)} is not in the present roots")
    if {one.key for one in present.online} & set(wanted.revoke):
        raise Conflict(
            "an online key is not revoked, but dropped: no certificate names it"
        )
    added = [*wanted.user_ca, *wanted.host_ca, *wanted.online]
    for key in added:
        if key in known or key in {*present.revoked_ca, *wanted.revoke}:
            raise Conflict(f"{_named(key)} is in the present roots, or revoked")
    for key in wanted.revoke:
        if key in present.revoked_ca:
            raise Conflict(f"{_named(key)} is revoked already")


def _active(keys: Sequence[str]) -> list[TrustedKey]:
    return [TrustedKey(KeyState.ACTIVE, key) for key in keys]


def _after(
    present: Sequence[_Key], new: Sequence[_Key], gone: set[str], retire: Sequence[str]
) -> tuple[_Key, ...]:
    stays = tuple(
        replace(one, state=KeyState.RETIRING) if one.key in retire else one
        for one in present
        if one.key not in gone
    )
    return (*stays, *new)


def _of_keys(
    what: str, before: Sequence[TrustedKey], after: Sequence[TrustedKey]
) -> Iterator[str]:
    old, new = ({one.key: one for one in keys} for keys in (before, after))
    for key, one in old.items():
        if key not in new:
            yield f"NO LONGER TRUSTED: {what} {_named(key)}, which was {one.state}"
    for key, one in new.items():
        known = old.get(key)
        if known is None:
            yield f"TRUSTED FROM NOW ON: {what} {_named(key)}, {one.state}{_for(one)}"
        elif known != one:
            yield (
                f"{what} {_named(key)} is {one.state}{_for(one)}, and was"
                f" {known.state}{_for(known)}"
            )


def _of_logs(before: Roots, after: Roots) -> Iterator[str]:
    if (before.log_origin, before.serial_base) != (after.log_origin, after.serial_base):
        yield (
            f"the ledger is {after.log_origin} with serials from {after.serial_base},"
            f" and was {before.log_origin} with serials from {before.serial_base}"
        )
    for log in after.closed_logs:
        if log not in before.closed_logs:
            yield f"the ledger {log.origin} is closed with {log.size} entries"
    for log in before.closed_logs:
        if log not in after.closed_logs:
            yield f"NOT CLOSED ANY MORE: the ledger {log.origin} of {log.size} entries"


def _for(one: TrustedKey) -> str:
    if not isinstance(one, HostCAKey):
        return ""
    return f" for {', '.join(one.domains) or 'no hosts'}"


def _named(key: str) -> str:
    return wire.fingerprint(parse_line(key))
