"""Keep one issuer's keys at hand: fresh enough, and without waiting where possible.

Caching keys for the life of the process is the commonest fault in this field: a
rotation locks everybody out, and a key withdrawn after a theft goes on being trusted.
Asking each time hands the issuer, and whoever invents key ids, the power to stop us.
So there are three ages:

    fresh    used as they are
    stale    one caller asks for new ones, the others go on with what there is
    too old  nobody goes on without new ones

and an unknown key id has us look again, but not often. Only good answers are kept.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ca.errors import IssuerUnavailable, Malformed, TokenKeyUnknown
from ca.issuers import IssuerSettings
from ca.oidc.fetch import fetch_object
from ca.oidc.jwk import IssuerKeys, PublicKey, parse_jwks
from ca.waiting import apart

Clock = Callable[[], float]
"""Seconds that never jump, such as `time.monotonic`: a wall clock set back would make
old keys young again."""

FRESH_SECONDS = 600
"""How long a withdrawn key goes on being trusted while the issuer answers."""

USABLE_SECONDS = 3600
"""How long it does when somebody keeps us from asking; also how long the issuer's
keys may be out of reach before sign-ins stop."""

DISCOVERY_SECONDS = 3600
"""How long the address of the key set is believed."""

LOOK_AGAIN_SECONDS = 10
"""Between fetches for unknown key ids, which anybody can invent; also between
attempts to renew stale keys."""

RETRY_SECONDS = 1
"""Between attempts while there is nothing usable, so as not to hammer an issuer that
is just coming back. Until then callers get the last attempt's error."""

_LONG_AGO = float("-inf")


@dataclass(frozen=True, slots=True)
class _State:
    """All that callers look at without the lock; replaced whole, never changed."""

    keys: IssuerKeys = field(default_factory=IssuerKeys)
    fetched_at: float = _LONG_AGO
    attempts: int = 0
    attempted_at: float = _LONG_AGO
    problem: str = "has not been asked yet"
    """Why the last attempt failed, if it did."""


class JWKSCache:
    """One issuer's keys. Threads may share it."""

    def __init__(
        self, issuer: IssuerSettings, *, clock: Clock = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._state = _State()
        self._jwks_uri = ""
        self._discovered_at = _LONG_AGO
        self._looked_again_at = _LONG_AGO

    def find(self, kid: str | None, algorithm: str) -> PublicKey:
        """Return the issuer's key; raise `TokenKeyUnknown` or `IssuerUnavailable`."""
        state = self._state
        if self._clock() - state.fetched_at < FRESH_SECONDS:
            key = state.keys.find(kid, algorithm)
            if key is not None:
                return key
        return apart(partial(self._find_patiently, kid, algorithm))

    def _find_patiently(self, kid: str | None, algorithm: str) -> PublicKey:
        """Find a key where the issuer may have to be asked, or waited for."""
        state = self._usable_state()
        key = state.keys.find(kid, algorithm)
        if key is None:
            key = self._look_again(state).keys.find(kid, algorithm)
        if key is None:
            raise TokenKeyUnknown("the token's issuer publishes no such key")
        return key

    def problem(self) -> str | None:
        """Say why no token of this issuer could be verified now, if that is so."""
        try:
            keys = self._usable_state().keys.keys
        except IssuerUnavailable as error:
            return error.detail
        return None if keys else f"issuer {self._issuer.name}: publishes no usable key"

    def _usable_state(self) -> _State:
        """Return keys that may be used, fetching new ones where it is time to."""
        state, now = self._state, self._clock()
        if now - state.fetched_at < FRESH_SECONDS:
            return state
        if now - state.fetched_at < USABLE_SECONDS:
            self._renew(state, now)
        else:
            self._fetch_once(state)
        state = self._state
        if self._clock() - state.fetched_at >= USABLE_SECONDS:
            raise IssuerUnavailable(
                f"issuer {self._issuer.name}: {state.problem}",
                hint="try again when the identity provider is back",
            )
        return state

    def _renew(self, state: _State, now: float) -> None:
        """Fetch new keys, unless somebody is already at it or has just tried."""
        if now - state.attempted_at < LOOK_AGAIN_SECONDS:
            return
        if self._lock.acquire(blocking=False):
            try:
                self._fetch()
            finally:
                self._lock.release()

    def _fetch_once(self, state: _State) -> None:
        """Fetch, unless somebody has since `state`: who waits shares the outcome."""
        with self._lock:
            recent = self._clock() - self._state.attempted_at < RETRY_SECONDS
            if self._state.attempts == state.attempts and not recent:
                self._fetch()

    def _look_again(self, state: _State) -> _State:
        """Return newer keys than `state`, where it is not too early to ask."""
        with self._lock:
            now = self._clock()
            early = now - self._looked_again_at < LOOK_AGAIN_SECONDS
            if self._state.attempts == state.attempts and not early:
                self._looked_again_at = now
                self._fetch()
            return self._state

    def _fetch(self) -> None:
        """Make one attempt; the lock is held. A failure leaves the keys as they are."""
        # Before the attempt: what the answer says may be as old as that.
        now, old = self._clock(), self._state
        try:
            keys = parse_jwks(fetch_object(self._current_jwks_uri(now)))
        except (IssuerUnavailable, Malformed) as error:
            # Perhaps the key set has moved; the next attempt finds out.
            self._discovered_at = _LONG_AGO
            self._state = _State(
                keys=old.keys,
                fetched_at=old.fetched_at,
                attempts=old.attempts + 1,
                attempted_at=self._clock(),
                problem=error.detail,
            )
        else:
            self._state = _State(
                keys=keys,
                fetched_at=now,
                attempts=old.attempts + 1,
                attempted_at=now,
            )

    def _current_jwks_uri(self, now: float) -> str:
        if now - self._discovered_at >= DISCOVERY_SECONDS:
            self._jwks_uri = self._discover()
            self._discovered_at = now
        return self._jwks_uri

    def _discover(self) -> str:
        """Return the key set's address (OpenID Connect Discovery 1.0, section 4)."""
        base = self._issuer.url.removesuffix("/")
        document = fetch_object(f"{base}/.well-known/openid-configuration")
        # Section 4.3: otherwise one issuer's page could hand out another's keys.
        if document.get("issuer") != self._issuer.url:
            raise IssuerUnavailable("its discovery document names another issuer")
        jwks_uri = document.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise IssuerUnavailable("its discovery document names no key set")
        if self._issuer.url.startswith("https:") and not jwks_uri.startswith("https:"):
            raise IssuerUnavailable(
                "its discovery document names a key set without TLS"
            )
        return jwks_uri
