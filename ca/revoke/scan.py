"""Which certificates on record are meant, and which were bought with those.

What is read here nobody trusts beyond its row: a damaged entry must not keep anybody
from being revoked, so what cannot be read of it counts as the worst it could be.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from ca import wire
from ca.authority import Authority
from ca.certificate import Certificate, parse_to_be_signed
from ca.errors import BadRequest
from ca.ledger import EntryKind
from ca.policy import LONGEST_HOST_VALIDITY, LONGEST_USER_VALIDITY
from ca.store import RevokedSerial, Span, Store, StoredCertificate, Target
from ca.trust.revocations import CLOCK_SKEW

_NO_PARENT = b'"parent_serial":null'
"""As our records write it; quotes inside a value are written otherwise."""


@dataclass(frozen=True)
class Found:
    """A certificate on record, as far as its entry can be read."""

    stored: StoredCertificate
    host_ca_key: bytes
    user_ca_key: bytes
    """The CA keys that sign now: which one it was, an erased entry does not say."""

    @property
    def serial(self) -> int:
        """Its serial."""
        return self.stored.serial

    @property
    def time(self) -> int:
        """When it was put on record."""
        return self.stored.time

    @property
    def is_host(self) -> bool:
        """Whether it is for a host."""
        return self.stored.kind == EntryKind.HOST_CERTIFICATE

    @cached_property
    def _says(self) -> Certificate | None:
        try:
            return parse_to_be_signed(self.stored.to_be_signed or b"")
        except BadRequest:
            return None

    @cached_property
    def _record(self) -> dict[str, Any]:
        try:
            record = json.loads(self.stored.record or b"")
        except ValueError:
            return {}
        return record if isinstance(record, dict) else {}

    @property
    def key_id(self) -> str | None:
        """Its key ID."""
        return None if self._says is None else self._says.key_id

    @property
    def subject_key(self) -> str | None:
        """The fingerprint of its subject key."""
        return None if self._says is None else wire.fingerprint(self._says.subject_key)

    @property
    def ca_key(self) -> bytes:
        """The blob of its CA key."""
        if self._says is not None:
            return self._says.ca_key
        return self.host_ca_key if self.is_host else self.user_ca_key

    @property
    def ends(self) -> int:
        """When it ends, or the latest that it could."""
        if self._says is not None:
            return self._says.valid_before
        longest = LONGEST_HOST_VALIDITY if self.is_host else LONGEST_USER_VALIDITY
        return self.stored.time + int(longest.total_seconds())

    @property
    def parent(self) -> int | None:
        """The serial of the certificate that it was bought with."""
        if _NO_PARENT in (self.stored.record or b""):
            return None  # to decode every record of a day would take seconds
        serial = self._record.get("parent_serial")
        return int(serial) if isinstance(serial, str) and serial.isdecimal() else None

    @property
    def people(self) -> frozenset[Target]:
        """Whom it was made for: by subject, and by verified address."""
        identity = self._record.get("identity")
        if not isinstance(identity, dict):
            return frozenset()
        issuer, email = str(identity.get("issuer")), identity.get("email")
        subject = Target.subject(issuer, str(identity.get("subject")))
        if not isinstance(email, str):
            return frozenset({subject})
        return frozenset({subject, Target.email(issuer, email)})

    @property
    def subject(self) -> Target | None:
        """Whom it was made for."""
        return next((one for one in self.people if one.kind == "subject"), None)

    @property
    def revoked(self) -> RevokedSerial:
        """What is written of it when it is revoked."""
        return RevokedSerial(self.serial, self.ca_key, self.ends)


@dataclass
class Scan:
    """What was found so far. To look at the same certificate again changes nothing."""

    authority: Authority
    means: Callable[[Found], bool]
    now: datetime
    _chosen: dict[int, Found] = field(default_factory=dict)
    _derived: dict[int, Found] = field(default_factory=dict)
    """Those bought with another one, which are chosen if that is."""

    def look(self, certificates: Iterable[StoredCertificate]) -> None:
        """Look at some more."""
        user, host = self.authority.user_ca_key, self.authority.host_ca_key
        # On a host whose clock is slow it may be good for so long.
        ended = (self.now - CLOCK_SKEW).timestamp()
        for stored in certificates:
            found = Found(stored, b"" if host is None else host.blob, user.blob)
            if found.ends <= ended:
                continue
            if self.means(found):
                self._chosen[found.serial] = found
            elif found.parent is not None:
                self._derived[found.serial] = found

    def chosen(self) -> dict[int, Found]:
        """Return those that are meant, with those that were bought with them."""
        chosen, more = dict(self._chosen), dict(self._chosen)
        while more:
            more = {
                serial: found
                for serial, found in self._derived.items()
                if found.parent in more and serial not in chosen
            }
            chosen |= more
        return chosen


def on_record(
    store: Store, *, serial: int | None, now: datetime
) -> Iterator[StoredCertificate]:
    """Yield the certificates that may be good somewhere, and the one with `serial`.

    Each at least once.
    """
    if serial is not None:
        yield from store.certificates(Span(serial=serial))
    for span, longest in (
        (Span(), LONGEST_USER_VALIDITY),
        (Span(hosts=True), LONGEST_HOST_VALIDITY),
    ):
        since = (now - longest - CLOCK_SKEW).timestamp()
        yield from _newer(store.certificates(span), int(since))


_OLD_IN_A_ROW = 5_000


def _newer(
    newest_first: Iterable[StoredCertificate], since: int
) -> Iterator[StoredCertificate]:
    """Yield those from `since` or later, without reading years of others.

    Times grow with the index, as far as the clocks of signers agree: one old one among
    the new ones says nothing, thousands in a row do.
    """
    old = 0
    for certificate in newest_first:
        old = 0 if certificate.time >= since else old + 1
        if not old:
            yield certificate
        elif old == _OLD_IN_A_ROW:
            return
