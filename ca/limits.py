"""How often one address may be refused, and one identity may ask.

Where a request writes to the database anyway, its identity's bucket is taken from in
the same transaction: exact, whichever process it came to. Refusals write nothing, so a
process counts them in memory, by address, and adds them to the database once a second
at most. Until then it gives away no more than its share of what is allowed.
"""

import hashlib
import logging
import threading
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from ca.errors import StoreUnavailable
from ca.identity import Identity
from ca.store import MINUTE, Store, Take, limited

_log = logging.getLogger(__name__)

_SECOND = MINUTE // 60
_MOST_REMEMBERED = 50_000
"""Subjects. A stranger with more addresses than this is the network's to stop."""


class Limits:
    """Judges who asks too often. Thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        requests: int,
        refusals: int,
        processes: int,
        remembers: int = _MOST_REMEMBERED,
    ) -> None:
        self._store = store
        self._remembers = remembers
        self._identity_cost = MINUTE // requests
        self._address_cost = MINUTE // refusals
        self._share = max(1, refusals // processes)
        self._lock = threading.Lock()
        self._full_at: dict[bytes, int] = {}
        """The buckets of addresses, as the database last had them."""
        self._counted: dict[bytes, int] = {}
        """Refusals since then."""
        self._told_at = 0
        self._blocked: dict[bytes, int] = {}
        """Until when an identity need not be looked up to be refused."""

    def of_identity(self, identity: Identity, *, now: datetime) -> Take:
        """Return what a request of this identity takes; raise `RateLimited`."""
        return self._of(f"identity\0{identity.issuer}\0{identity.subject}", now=now)

    def of_host(self, id_: str, *, now: datetime) -> Take:
        """Return what a request of a registered host takes; raise `RateLimited`."""
        return self._of(f"host\0{id_}", now=now)

    def _of(self, who: str, *, now: datetime) -> Take:
        take = Take(_hash(who), cost=self._identity_cost, now=_microseconds(now))
        blocked_until = self._blocked.get(take.subject, 0)
        if take.now < blocked_until <= take.now + MINUTE:
            raise limited(take.subject, wait=blocked_until - take.now)
        return take

    def remember(self, subject: bytes, *, seconds: int, now: datetime) -> None:
        """Note that the database refuses an identity for so long."""
        with self._lock:
            self._make_room(self._blocked)
            self._blocked[subject] = _microseconds(now) + seconds * _SECOND

    def refuse_spent(
        self, address: IPv4Address | IPv6Address, *, now: datetime
    ) -> None:
        """Raise `RateLimited` for an address that was refused too often."""
        take = self._of_address(address, now)
        counted = self._counted.get(take.subject, 0)
        take.allowed(take.after(self._full_at.get(take.subject, 0), times=counted))
        if counted >= self._share:
            raise limited(take.subject, wait=_SECOND)

    def count(self, address: IPv4Address | IPv6Address, *, now: datetime) -> None:
        """Count a refusal."""
        subject = self._of_address(address, now).subject
        with self._lock:
            self._counted[subject] = self._counted.get(subject, 0) + 1

    def tell(self, *, now: datetime) -> None:
        """Add to the database what was counted, if that was a second ago.

        Whoever was refused waits for it, not whoever is served.
        """
        at = _microseconds(now)
        with self._lock:
            if not self._counted or 0 <= at - self._told_at < _SECOND:
                return
            counted, self._counted, self._told_at = self._counted, {}, at
            takes = {
                Take(subject, cost=self._address_cost, now=at): times
                for subject, times in counted.items()
            }
            # Until the database answers, and if it does not, ours alone counts.
            mine = {
                take.subject: take.after(self._full_at.get(take.subject, 0), times=n)
                for take, n in takes.items()
            }
            self._make_room(self._full_at)
            self._full_at.update(mine)
        try:
            shared = self._store.take_all(takes)
        except StoreUnavailable as error:
            _log.warning("refusals are counted by each process: %s", error.detail)
            return
        with self._lock:
            self._full_at.update(shared)

    def _of_address(self, address: IPv4Address | IPv6Address, now: datetime) -> Take:
        # One IPv6 customer has a /64 of addresses at least (RFC 6177).
        network = address.packed[:8] if address.version == 6 else address.packed  # noqa: PLR2004 (its name)
        subject = _hash(f"address\0{network.hex()}")
        return Take(subject, cost=self._address_cost, now=_microseconds(now))

    def _make_room(self, known: dict[bytes, int]) -> None:
        if len(known) >= self._remembers:
            known.clear()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _microseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000)
