"""The certificates on record: who got what, found and decoded for an operator.

Reads the store alone, no key and no policy: who audits needs neither. A ledger is read
a page at a time, newest first, however long it is.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from ca.certificate import Certificate, parse_to_be_signed
from ca.errors import BadRequest, StoreUnavailable
from ca.policy import LONGEST_HOST_VALIDITY
from ca.store import Span, Store, StoredCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which certificates; all of what is given has to hold."""

    person: str | None = None
    """A key ID, or the verified e-mail address or subject of who asked for it."""
    principal: str | None = None
    since: datetime | None = None
    """Put on record at or after this."""
    until: datetime | None = None
    """Put on record before this."""
    live: bool = False
    """Good now, and not revoked."""
    serial: int | None = None


@dataclass(frozen=True)
class Issued:
    """One certificate on record."""

    stored: StoredCertificate
    is_revoked: bool = False
    """It, or its CA key."""

    @cached_property
    def certificate(self) -> Certificate | None:
        """What it says; None once erased."""
        to_be_signed = self.stored.to_be_signed
        try:
            return None if to_be_signed is None else parse_to_be_signed(to_be_signed)
        except BadRequest as error:
            index = self.stored.index
            raise StoreUnavailable(
                f"entry {index} of the ledger is damaged: {error.detail}",
                hint="compare it with a backup; nothing of ours writes such a one",
            ) from error

    @property
    def ca_key(self) -> bytes | None:
        """The blob of its CA key; None once erased."""
        return None if self.certificate is None else self.certificate.ca_key

    @cached_property
    def record(self) -> Mapping[str, Any] | None:
        """What is on record beside it; None once erased."""
        record = self.stored.record
        return None if record is None else json.loads(record)

    def state(self, *, now: datetime) -> str:
        """Return `live`, `revoked`, `ended`, `not-begun` or `erased`."""
        certificate = self.certificate
        if certificate is None:
            return "erased"
        if now.timestamp() >= certificate.valid_before:
            return "ended"
        if self.is_revoked:
            return "revoked"
        return "live" if now.timestamp() >= certificate.valid_after else "not-begun"


def find(store: Store, wanted: Wanted, *, now: datetime) -> Iterator[Issued]:
    """Yield the certificates that are wanted, newest first.

    What was erased is found by its serial and its time, and by nothing else.
    """
    revocations = store.revocations()
    serials = {one.serial for one in revocations.serials}
    lost = revocations.lost
    for stored in store.certificates(_span(wanted, now=now)):
        is_lost = any(first <= stored.serial <= last for first, last in lost)
        issued = Issued(stored, is_revoked=is_lost or stored.serial in serials)
        if issued.ca_key in revocations.ca_keys:
            issued = replace(issued, is_revoked=True)
        if _fits(issued, wanted, now=now):
            yield issued


def _span(wanted: Wanted, *, now: datetime) -> Span:
    since = wanted.since
    if wanted.live:
        # None is good for longer than this, so what is older need not be looked at.
        oldest = now - LONGEST_HOST_VALIDITY
        since = max(since, oldest) if since else oldest
    return Span(
        since=None if since is None else int(since.timestamp()),
        until=None if wanted.until is None else int(wanted.until.timestamp()),
        serial=wanted.serial,
    )


def _fits(issued: Issued, wanted: Wanted, *, now: datetime) -> bool:
    return (
        (wanted.person is None or _is_of(issued, wanted.person))
        and (wanted.principal is None or _names(issued, wanted.principal))
        and (not wanted.live or issued.state(now=now) == "live")
    )


def _is_of(issued: Issued, person: str) -> bool:
    stored = issued.stored
    if stored.record is None or not _mentions(stored, person):
        return False
    # A host that joined with a token was certified for nobody.
    identity = json.loads(stored.record)["identity"] or {}
    key_id = getattr(issued.certificate, "key_id", None)
    return person in (key_id, identity.get("email"), identity.get("subject"))


def _mentions(stored: StoredCertificate, person: str) -> bool:
    """Look for the bytes alone: to decode every record of a year takes minutes."""
    written = json.dumps(person, ensure_ascii=False)[1:-1].encode(errors="replace")
    plain = person.encode(errors="replace")
    return written in (stored.record or b"") or plain in (stored.to_be_signed or b"")


def _names(issued: Issued, principal: str) -> bool:
    certificate = issued.certificate
    return certificate is not None and principal in certificate.principals
