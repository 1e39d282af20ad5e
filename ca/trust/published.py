"""A KRL that was published before, proved, and what of it is missing here.

A restored backup must not un-revoke anybody: whatever the newest published KRL lists
goes back into the database (design section 4). Any host has that one, with the
*current* that names it.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from ca import bundle, ssh_signature, sshsig
from ca.bundle import Roots
from ca.certificate import parse_line
from ca.errors import Conflict, SignatureInvalid
from ca.krl import KRL, parse_krl
from ca.policy import LONGEST_HOST_VALIDITY
from ca.store import Revocations, RevokedSerial

MOST_SERIALS = 5_000_000
"""In a KRL of ours, by far; one that says more revokes serials that nobody had."""


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


def missing_from(
    present: Revocations, published: PublishedKRL, *, now: datetime
) -> Revocations:
    """Return what was published as revoked and is not so here, to be put on record.

    When these certificates end, the KRL does not say. So they stay listed for as long
    as any certificate that exists by now can live.
    """
    known = {(one.ca_key, one.serial) for one in present.serials}
    ends = int((now + LONGEST_HOST_VALIDITY).timestamp())
    count = sum(
        last - first + 1
        for one in published.krl.certificates
        for first, last in one.serials
    )
    if count > MOST_SERIALS:
        raise Conflict(f"the KRL has {count} serials, more than were ever issued")
    return Revocations(
        serials=tuple(
            RevokedSerial(serial, one.ca_key, ends)
            for one in published.krl.certificates
            for first, last in one.serials
            for serial in range(first, last + 1)
            if (one.ca_key, serial) not in known
        ),
        ca_keys=tuple(key for key in published.krl.keys if key not in present.ca_keys),
    )
