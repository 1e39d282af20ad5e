"""A KRL that was published before, proved, and what it revokes.

A restored backup must not un-revoke anybody: whatever the newest published KRL lists
goes back into the database (design section 4). Any host has that one, with the
*current* that names it.
"""

import hashlib
from dataclasses import dataclass

from ca import bundle, ssh_signature, sshsig
from ca.bundle import Roots
from ca.certificate import parse_line
from ca.errors import Conflict, SignatureInvalid
from ca.krl import KRL, parse_krl, runs_of
from ca.store import Forgotten
from ca.trust.revocations import ca_keys_of

LOG_SERIALS = 1 << 32
"""More than one log of ours gives."""

MOST_AHEAD = 10_000
"""Serials in a row that may be revoked behind those: made offline, entered later. What
has more would revoke the future, as only who stole the online key wants it."""


@dataclass(frozen=True, slots=True)
class PublishedKRL:
    """A KRL, and the version of the *current* that proves it."""

    version: int
    krl: KRL


def prove_published(current: bytes, krl: bytes, *, roots: Roots) -> PublishedKRL:
    """Return the KRL that a published *current* names.

    It must be signed by an online key of these roots, in whatever state, and name
    exactly these bytes. Raises `Malformed`, `SignatureInvalid`, `Conflict`.
    """
    text, armour = bundle.split_signed(current)
    signature = sshsig.parse_armour(armour)
    online = [parse_line(trusted.key) for trusted in roots.online]
    if signature.public_key not in online:
        raise SignatureInvalid("it is not signed by an online key of these roots")
    if signature.namespace != bundle.CURRENT_NAMESPACE:
        raise SignatureInvalid("it is signed as something else")
    signed = sshsig.signed_data(bundle.CURRENT_NAMESPACE, text)
    ssh_signature.verify(signature.public_key, signature.signature, signed)
    says = bundle.parse_current(text)
    if hashlib.sha256(krl).hexdigest() != says.krl_sha256:
        raise Conflict("the KRL is not the one that was published with this")
    return PublishedKRL(says.version, parse_krl(krl))


def forgotten_in(published: PublishedKRL, roots: Roots) -> Forgotten:
    """Return what was published as revoked, to be put on record again.

    As runs of serials: between a log that was closed and the next there are billions.
    Which CA key signed each does not matter, since no two of ours share a serial.
    Raises `Conflict` for a KRL that we cannot have published.
    """
    ours = ca_keys_of(roots)
    sections = [one for one in published.krl.certificates if one.ca_key in ours]
    serials = runs_of(run for section in sections for run in section.serials)
    ahead = roots.serial_base + LOG_SERIALS
    if any(last > ahead and last - first > MOST_AHEAD for first, last in serials):
        raise Conflict("the KRL revokes serials that nobody can have had yet")
    return Forgotten(serials, published.krl.keys)
