"""What is to be revoked: a request, as a judgement of each certificate."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from ca import wire
from ca.administration import Person, RevocationRequest
from ca.authority import Authority
from ca.certificate import parse_line, split_key
from ca.errors import BadRequest, NotFound
from ca.revoke.scan import Found
from ca.store import Target
from ca.trust import load_roots

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What a request means."""

    means: Callable[[Found], bool]
    """Whether a certificate on record is one of those."""
    serial: int | None = None
    """Where it is this one."""
    ca_keys: tuple[bytes, ...] = ()
    """CA keys that are revoked with it, or rather instead."""
    targets: tuple[Target, ...] = ()
    """Who or what is blocked with it."""
    email: bool = False
    """Whether the people found are blocked, too: their address may change."""


def aim_at(authority: Authority, request: RevocationRequest, *, now: datetime) -> Aim:
    """Read a request; raise `BadRequest`, or `NotFound` for a CA key not of ours."""
    given = {
        name: value for name in _AIMS if (value := getattr(request, name)) is not None
    }
    if len(given) != 1:
        raise BadRequest(f"say what to revoke, by exactly one of {', '.join(_AIMS)}")
    if request.serial is not None:
        serial = int(request.serial)
        return Aim(means=lambda found: found.serial == serial, serial=serial)
    if request.key_id is not None:
        return _by_key_id(request.key_id)
    if request.person is not None:
        return _by_person(authority, request.person)
    if request.key is not None:
        return _by_key(request.key)
    if request.ca_key is not None:
        return _by_ca_key(authority, request.ca_key)
    assert request.issued_between is not None  # noqa: S101 (one of them is given)
    return _by_time(request.issued_between, now=now)


_AIMS = ("serial", "key_id", "person", "key", "ca_key", "issued_between")


def target_of(authority: Authority, person: Person) -> Target:
    """Return how somebody is blocked; raise `BadRequest` for an unknown issuer."""
    issuers = [issuer.name for issuer in authority.config.issuers]
    if person.issuer not in issuers:
        raise BadRequest(
            f"{person.issuer!r} is no issuer of this CA",
            hint=f"its issuers are {', '.join(issuers)}",
        )
    if (person.subject is None) == (person.email is None):
        raise BadRequest("say who by either subject or email")
    if person.subject is not None:
        return Target.subject(person.issuer, person.subject)
    if person.email is None or person.email.count("@") != 1:
        raise BadRequest(f"{person.email!r} is not an e-mail address")
    return Target.email(person.issuer, person.email)


def fingerprint_of(key: str) -> str:
    """Return the fingerprint that a key has, or is; raise `BadRequest`."""
    if _FINGERPRINT.fullmatch(key) is not None:
        return key
    blob = parse_line(key)
    split_key(blob)  # a certificate is none
    return wire.fingerprint(blob)


def _by_key_id(key_id: str) -> Aim:
    return Aim(means=lambda found: found.key_id == key_id)


def _by_person(authority: Authority, person: Person) -> Aim:
    target = target_of(authority, person)
    # A host's certificate is not that of the provisioner who asked for it.
    return Aim(
        means=lambda found: not found.is_host and target in found.people,
        targets=(target,),
        email=person.email is not None,
    )


def _by_key(key: str) -> Aim:
    fingerprint = fingerprint_of(key)
    return Aim(
        means=lambda found: found.subject_key == fingerprint,
        targets=(Target.key(fingerprint),),
    )


def _by_ca_key(authority: Authority, key: str) -> Aim:
    fingerprint = fingerprint_of(key)
    roots = load_roots(authority.config.roots_file).roots
    ours = [parse_line(one.key) for one in (*roots.user_ca, *roots.host_ca)]
    named = [blob for blob in ours if wire.fingerprint(blob) == fingerprint]
    if not named:
        raise NotFound(
            f"{fingerprint} is no CA key of ours",
            hint="the roots list them: GET /v1/trust/current names the roots",
        )
    return Aim(means=lambda found: found.ca_key == named[0], ca_keys=(named[0],))


def _by_time(between: tuple[int, int], *, now: datetime) -> Aim:
    since, until = between
    if not since < until <= now.timestamp():
        raise BadRequest("issued_between is two times, neither of them to come")
    return Aim(means=lambda found: since <= found.time < until)


def describe(request: RevocationRequest) -> dict[str, object]:
    """Return what was asked, for the record."""
    asked = msgspec.to_builtins(request)
    return {name: asked[name] for name in _AIMS if name in asked}
