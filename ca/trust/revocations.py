"""What is revoked: from the database and the roots into a KRL, and back from one.

KRLs hold serials in a section for each CA key, since a serial is unique for its CA key
alone, and the revoked CA keys themselves, which never leave.
"""

from datetime import datetime, timedelta

from ca.bundle import Roots
from ca.certificate import parse_line
from ca.krl import KRL, RevokedCertificates, runs_of
from ca.store import Revocations

CLOCK_SKEW = timedelta(days=1)
"""How long a revoked certificate stays listed after it has ended: no host's clock that
is slow by less takes it again."""


def krl_of(
    revocations: Revocations, roots: Roots, *, version: int, now: datetime
) -> KRL:
    """Return the KRL that says what is revoked now."""
    ended = int((now - CLOCK_SKEW).timestamp())
    by_key: dict[bytes, list[tuple[int, int]]] = {}
    if revocations.lost:
        by_key = {key: list(revocations.lost) for key in ca_keys_of(roots)}
    for one in revocations.serials:
        if one.ends >= ended:
            by_key.setdefault(one.ca_key, []).append((one.serial, one.serial))
    return KRL(
        version=version,
        generated=int(now.timestamp()),
        certificates=tuple(
            RevokedCertificates(ca_key, runs_of(serials))
            for ca_key, serials in sorted(by_key.items())
        ),
        keys=tuple(sorted(revoked_ca_keys(revocations, roots))),
    )


def revoked_ca_keys(revocations: Revocations, roots: Roots) -> frozenset[bytes]:
    """Return the CA keys that are revoked, by the roots or by the database."""
    return frozenset(map(parse_line, roots.revoked_ca)) | set(revocations.ca_keys)


def ca_keys_of(roots: Roots) -> frozenset[bytes]:
    """Return all CA keys that roots name, trusted or revoked."""
    trusted = (one.key for one in (*roots.user_ca, *roots.host_ca))
    return frozenset(map(parse_line, (*trusted, *roots.revoked_ca)))


def says_the_same(one: KRL, other: KRL) -> bool:
    """Say whether two KRLs revoke the same, whenever they were made."""
    return (one.certificates, one.keys) == (other.certificates, other.keys)
