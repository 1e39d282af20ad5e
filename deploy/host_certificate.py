"""Whether a host needs a certificate for its key, and for which.

One of its keys is certified: the Ed25519 key where there is one. What is certified is
what the host says over the session that has proved it; later it renews by itself.
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from ca.certificate import CertificateType, parse_certificate, parse_line
from ca.errors import BadRequest
from deploy.facts import Facts
from deploy.trust import Trust

_LEAST_LIFE = 0.2
"""A certificate of which less than this share is left is asked for anew. The host does
so itself at half, and looks every six hours: one that it still has by then is a sign
that it cannot."""


@dataclass(frozen=True, slots=True)
class Named:
    """A host, by the name in the inventory and by those that people use."""

    name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Certify:
    """A certificate to ask for."""

    path: str
    """Where it goes on the host."""
    public_key: str
    """`<type> <base64>`."""
    names: tuple[str, ...]


def certificate_of(facts: Facts, names: tuple[str, ...]) -> Certify | None:
    """Return what a host's certificate would be; None where it shows no key."""
    keys = sorted(
        facts.host_keys.items(), key=lambda item: not item[1].startswith("ssh-ed25519")
    )
    if not keys:
        return None
    private, public = keys[0]
    return Certify(f"{private}-cert.pub", public, names)


def names_of(name: str, address: str) -> tuple[str, ...]:
    """Return the name that people reach a host by: no number, no short name if long."""
    for each in (address, name):
        if not _is_number(each):
            return (each.lower(),)
    return ()


def is_good(facts: Facts, wanted: Certify, trust: Trust, *, now: int) -> bool:
    """Say whether the host has this certificate, and for long enough."""
    file = facts.files.get(wanted.path)
    if file is None or file.content is None:
        return False
    try:
        says, _ = parse_certificate(parse_line(file.content.strip()))
        key = parse_line(wanted.public_key)
        trusted = [parse_line(line) for line in trust.host_ca_keys]
    except BadRequest:
        return False
    life = says.valid_before - says.valid_after
    return (
        says.type is CertificateType.HOST
        and says.subject_key == key
        and says.ca_key in trusted
        and set(says.principals) >= set(wanted.names)
        and says.valid_after <= now < says.valid_before - life * _LEAST_LIFE
    )


def against(certify: Certify | None, trust: Trust) -> Iterator[str]:
    """Say why a host can have no certificate."""
    if certify is None:
        yield "it shows no host key that could be certified"
    elif not certify.names:
        yield "it is known by a number, and certificates are for names"
    if not trust.host_ca_keys:
        yield "the CA has no host CA key"


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
