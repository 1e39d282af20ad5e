"""What is revoked, as the publisher of the trust bundle asks for it."""

from dataclasses import dataclass

import sqlalchemy as sa


@dataclass(frozen=True, slots=True)
class RevokedSerial:
    """One revoked certificate."""

    serial: int
    ca_key: bytes
    """The blob of the CA key that signed it."""
    ends: int
    """Its `valid_before`."""


@dataclass(frozen=True, slots=True)
class Revocations:
    """All that is revoked."""

    serials: tuple[RevokedSerial, ...] = ()
    ca_keys: tuple[bytes, ...] = ()
    """Their blobs."""


def revocations(_connection: sa.Connection) -> Revocations:
    """Return all that is revoked."""
    return Revocations()


def mark(_connection: sa.Connection) -> int:
    """Return a number that changes whenever more is revoked."""
    return 0
