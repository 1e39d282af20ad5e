"""Whom nothing is certified for: who is blocked, and what is revoked.

Judged under the lock of the ledger's head, so that who is blocked by one signer gets
nothing from another from that moment on. What is blocked is few, and kept in memory: a
number in the head's row changes with each revocation and block, so that each process
knows whether what it remembers still holds. What is revoked may be much, and is looked
up, where a certificate is shown or asked for again.
"""

import secrets
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

import sqlalchemy as sa
from msgspec import Struct

from ca import wire
from ca.errors import Blocked, CAError, CertificateRevoked, KeyUnavailable
from ca.store import bulk, lost, tables
from ca.store.transactions import Head

_MARK_BITS = 62

_ACTIVE = sa.select(tables.blocks.c.kind, tables.blocks.c.issuer, tables.blocks.c.name)
_ACTIVE = _ACTIVE.where(tables.blocks.c.lifted_index.is_(None))
_CA_KEYS = sa.select(tables.revoked_ca_keys.c.ca_key)
_SET_MARK = sa.update(tables.ledger_head).values(revocation_mark=sa.bindparam("mark"))


class Target(NamedTuple):
    """What a block keeps out."""

    kind: str
    """`subject`, `email` or `key`."""
    issuer: str
    """The issuer's name in the configuration; empty for a key."""
    name: str
    """A subject; a verified address in lower case; a fingerprint."""

    @classmethod
    def subject(cls, issuer: str, subject: str) -> "Target":
        """Return whom an issuer names so."""
        return cls("subject", issuer, subject)

    @classmethod
    def email(cls, issuer: str, email: str) -> "Target":
        """Return whoever an issuer gives this verified address."""
        return cls("email", issuer, email.lower())

    @classmethod
    def key(cls, fingerprint: str) -> "Target":
        """Return a subject key."""
        return cls("key", "", fingerprint)


def targets_of(
    *, issuer: str, subject: str, email: str | None, key: bytes
) -> tuple[Target, ...]:
    """Return all by which somebody with a key could be blocked."""
    targets = (Target.subject(issuer, subject), *targets_of_key(key))
    return targets if email is None else (*targets, Target.email(issuer, email))


def targets_of_key(key: bytes) -> tuple[Target, ...]:
    """Return all by which nobody but a key could be blocked."""
    return (Target.key(wire.fingerprint(key)),)


class Bearer(Struct, frozen=True):
    """Whom and what a certificate is about, as far as a block could mean it."""

    targets: Callable[[], tuple[Target, ...]] = tuple
    """Makes them where anybody is blocked at all."""
    ca_key: bytes = b""
    """That signs it; a blob."""
    serial: int | None = None
    """Of a certificate that must not be revoked: the one that asks."""


NOBODY = Bearer()
"""Whom no block means: a host, which is kept out by its key when it is certified."""


class Barred(Struct, frozen=True):
    """What is blocked at one moment, and which CA keys are revoked."""

    targets: frozenset[Target] = frozenset()
    ca_keys: frozenset[bytes] = frozenset()

    def refusal(self, bearer: Bearer, revoked: Collection[int]) -> CAError | None:
        """Return why nothing is certified for the bearer, or None.

        `revoked` are the revoked ones among the serials that bearers name.
        """
        if self.targets and not self.targets.isdisjoint(bearer.targets()):
            return blocked()
        if bearer.serial in revoked:
            return certificate_revoked()
        if bearer.ca_key in self.ca_keys:
            return KeyUnavailable(
                "the CA key that would sign this is revoked",
                hint="operator: name another one in the configuration",
            )
        return None


class Barring:
    """What is barred, remembered for as long as it holds. Thread-safe."""

    def __init__(self) -> None:
        self._known: tuple[int, Barred] = (0, Barred())

    def at(self, connection: sa.Connection, head: Head) -> Barred:
        """Return what is barred now; the head must be locked."""
        known_mark, known = self._known
        mark = head.revocation_mark or 0
        if mark == known_mark:
            return known
        found = Barred(
            frozenset(Target(*row) for row in connection.execute(_ACTIVE)),
            frozenset(connection.scalars(_CA_KEYS)),
        )
        self._known = (mark, found)
        return found

    def refuse(self, connection: sa.Connection, head: Head, bearer: Bearer) -> None:
        """Raise `Blocked` or `CertificateRevoked` for who asks with a certificate."""
        barred = self.at(connection, head)
        if bearer.ca_key in barred.ca_keys:
            raise certificate_revoked()
        serials = () if bearer.serial is None else (bearer.serial,)
        refusal = barred.refusal(bearer, revoked_among(connection, serials))
        if refusal is not None:
            raise refusal


def blocked() -> Blocked:
    """Return the refusal of whoever is blocked."""
    return Blocked(
        "you are blocked, or the key is",
        hint="only an admin of this CA can lift a block",
    )


def certificate_revoked() -> CertificateRevoked:
    """Return the refusal of a certificate that is revoked."""
    return CertificateRevoked(
        "the certificate is revoked", hint="sign in again: ca-login"
    )


def revoked_among(connection: sa.Connection, serials: Iterable[int]) -> set[int]:
    """Return those of the serials that are revoked."""
    asked = set(serials)
    keys = [(str(serial),) for serial in asked]
    rows = bulk.select(connection, tables.revoked_serials, keyed=1, keys=keys)
    runs = lost.read(connection) if asked else ()
    return {int(serial) for serial, *_ in rows} | {
        serial for serial in asked if any(a <= serial <= b for a, b in runs)
    }


def mark(connection: sa.Connection) -> int:
    """Return a number that changes with each revocation and block."""
    return connection.scalar(sa.select(tables.ledger_head.c.revocation_mark)) or 0


def set_mark(connection: sa.Connection) -> None:
    """Let everybody look again.

    Not a count: after a restored backup it would have been there before.
    """
    connection.execute(_SET_MARK, {"mark": 1 + secrets.randbits(_MARK_BITS)})
