"""Publish the trust bundle: signed roots as the operator gave them, and *current*.

The roots come signed by the root key, which no process of the signer can open; this
module can only say which roots hold now (design invariant 10).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ca import bundle, wire
from ca.bundle import Current, KeyState, Roots
from ca.certificate import parse_line
from ca.errors import CAError, Misconfigured, NotFound
from ca.signing_key import SigningKey
from ca.store import PublishedCurrent, Store

REFRESH = timedelta(hours=1)
"""A *current* older than this is published anew when next asked for."""

LIFE = timedelta(days=2)
"""How long a *current* is news. Readers that see no newer one raise an alarm then;
two days let a signer be down over a night without one."""


_EMPTY_KRL = b"SSHKRL\n\0" + bytes((0, 0, 0, 1)) + bytes(32)


@dataclass(frozen=True, slots=True)
class SignedRoots:
    """The roots as the operator put them there, and what they say."""

    document: bytes
    roots: Roots

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the document, its name under `/v1/trust/blob/`."""
        return hashlib.sha256(self.document).hexdigest()


def load_roots(file: Path) -> SignedRoots:
    """Read signed roots; raise `Misconfigured`. Readers verify the signature."""
    try:
        document = file.read_bytes()
        text, _armour = bundle.split_signed(document)
        return SignedRoots(document, bundle.parse_roots(text))
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    except CAError as error:
        raise Misconfigured(f"{file}: {error.detail}") from error


def sign_roots(roots: Roots, root_key: SigningKey) -> bytes:
    """Return roots as a signed document."""
    text = bundle.render_roots(roots)
    armour = root_key.sign_message(bundle.ROOTS_NAMESPACE, text)
    return bundle.join_signed(text, armour)


def require_active(key: SigningKey, listed: tuple[bundle.TrustedKey, ...]) -> None:
    """Raise `Misconfigured` unless the roots list `key` as active."""
    if not any(
        trusted.key == key.line and trusted.state is KeyState.ACTIVE
        for trusted in listed
    ):
        raise Misconfigured(
            f"the roots do not list {key.fingerprint} as active, so nobody would"
            " trust what it signs",
            hint="check roots_file and the key files in the configuration",
        )


class Trust:
    """The bundle as the signer serves it. Thread-safe."""

    def __init__(
        self, store: Store, *, signed_roots: SignedRoots, online_key: SigningKey
    ) -> None:
        self._store = store
        self._signed_roots = signed_roots
        self._online_key = online_key
        self._latest: PublishedCurrent | None = None

    @property
    def root_key_fingerprint(self) -> str:
        """What readers pin."""
        return wire.fingerprint(parse_line(self._signed_roots.roots.root_key))

    @property
    def online_key_fingerprint(self) -> str:
        """Of the key that signs *current*."""
        return self._online_key.fingerprint

    def current(self, *, now: datetime) -> bytes:
        """Return the newest *current*, as a signed document."""
        latest = self._latest
        if latest is None or not self._is_fresh(latest, now):
            # The parts first: whoever sees the new *current* must find what it names.
            self._store.add_blob(self._signed_roots.sha256, self._signed_roots.document)
            self._store.add_blob(hashlib.sha256(_EMPTY_KRL).hexdigest(), _EMPTY_KRL)
            latest = self._latest = self._store.publish(self._maker(now))
        return latest.document

    def blob(self, sha256: str) -> bytes:
        """Return an immutable part of the bundle; raise `NotFound`."""
        content = self._store.blob(sha256)
        if content is None:
            raise NotFound("no part of the trust bundle has this hash")
        return content

    def _is_fresh(self, published: PublishedCurrent, now: datetime) -> bool:
        age = now - datetime.fromtimestamp(published.published, UTC)
        # A clock that was set back must not keep an old one alive for ever.
        return (
            timedelta(0) <= age < REFRESH
            and published.roots_sha256 == self._signed_roots.sha256
        )

    def _maker(
        self, now: datetime
    ) -> Callable[[PublishedCurrent | None], PublishedCurrent]:
        def make(newest: PublishedCurrent | None) -> PublishedCurrent:
            if newest is not None and self._is_fresh(newest, now):
                return newest
            # Milliseconds, so that versions go on growing after a restored backup.
            version = max(
                (newest.version if newest else 0) + 1, int(now.timestamp() * 1000)
            )
            return PublishedCurrent(
                version=version,
                published=int(now.timestamp()),
                roots_sha256=self._signed_roots.sha256,
                document=self._sign_current(version, now),
            )

        return make

    def _sign_current(self, version: int, now: datetime) -> bytes:
        expires = int((now + LIFE).timestamp())
        text = bundle.render_current(
            Current(
                version=version,
                expires=expires,
                roots_sha256=self._signed_roots.sha256,
                krl_sha256=hashlib.sha256(_EMPTY_KRL).hexdigest(),
            )
        )
        armour = self._online_key.sign_message(bundle.CURRENT_NAMESPACE, text)
        return bundle.join_signed(text, armour)
