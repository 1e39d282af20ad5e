"""Whom to trust: a bundle proved by the pinned root key (design section 5).

    pin ──▶ root key ──signed──▶ roots ──list──▶ online key ──signed──▶ current
                                   ▲                                       │
                                   └───────────── hash of the whole ───────┘

The unverified *current* says which roots to fetch; nothing of either is believed
before both signatures, the hash and the versions hold. A bundle whose *current* has
run out is still a bundle: that is an alarm, not a lockout (invariant 9).
"""

import hashlib

from ca import bundle, wire
from ca.certificate import parse_line
from ca.errors import Malformed
from ca.values import dataclass
from client import ssh_keygen
from client.failure import BadAnswer, Untrusted


@dataclass(frozen=True, slots=True)
class Known:
    """What an earlier, verified bundle left behind: never go back before it."""

    roots_document: bytes
    """With its signature. Verified once under the same pin, so not again."""
    current_version: int
    current_sha256: str = ""
    """Of the document, with its signature; verified once by these roots, likewise."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified trust bundle, and the documents it was read from."""

    roots: bundle.Roots
    current: bundle.Current
    roots_document: bytes
    current_document: bytes

    def known(self) -> Known:
        """Return what to remember of it."""
        digest = _sha256(self.current_document)
        return Known(self.roots_document, self.current.version, digest)


def named_roots(current_document: bytes) -> str:
    """Return the hash of the roots that a still unverified *current* names."""
    return _parse_current(current_document)[0].roots_sha256


def root_fingerprint(roots_document: bytes) -> str:
    """Return the fingerprint of the root key that still unverified roots name."""
    return _fingerprint(_parse_roots(roots_document)[0])


def verify(
    current_document: bytes, roots_document: bytes, *, pin: str, known: Known | None
) -> Bundle:
    """Return the bundle in two documents; raise `Untrusted` unless all of it holds."""
    roots = _verify_roots(roots_document, pin=pin, known=known)
    current = _verify_current(current_document, roots, known=known)
    if _sha256(roots_document) != current.roots_sha256:
        raise Untrusted("the roots are not those that the CA says hold now")
    if known is not None:
        _refuse_older(roots, current, known)
    return Bundle(roots, current, roots_document, current_document)


def _verify_roots(document: bytes, *, pin: str, known: Known | None) -> bundle.Roots:
    roots, text, armour = _parse_roots(document)
    if _fingerprint(roots) != pin:
        raise Untrusted(
            f"the CA's root key is {_fingerprint(roots)}, and {pin} is pinned",
            hint="do not go on; ask whoever runs the CA whether its root key changed",
        )
    if known is None or known.roots_document != document:
        ssh_keygen.verify(
            text,
            armour=armour,
            namespace=bundle.ROOTS_NAMESPACE,
            keys=(roots.root_key,),
            what="trust bundle (roots)",
        )
    return roots


def _verify_current(
    document: bytes, roots: bundle.Roots, *, known: Known | None
) -> bundle.Current:
    current, text, armour = _parse_current(document)
    # The same document names the same roots, and so the same online keys.
    if known is None or known.current_sha256 != _sha256(document):
        ssh_keygen.verify(
            text,
            armour=armour,
            namespace=bundle.CURRENT_NAMESPACE,
            keys=active(roots.online),
            what="trust bundle (current)",
        )
    return current


def active(keys: tuple[bundle.TrustedKey, ...]) -> tuple[str, ...]:
    """Return those of `keys` that sign today."""
    return tuple(
        trusted.key for trusted in keys if trusted.state is bundle.KeyState.ACTIVE
    )


def _refuse_older(roots: bundle.Roots, current: bundle.Current, known: Known) -> None:
    before = _parse_roots(known.roots_document)[0].version
    # Newer roots may come with a lower version of *current*: that is how a root key
    # cures a stolen online key, whose thief signed the highest version there is.
    if (roots.version, current.version) < (before, known.current_version):
        raise Untrusted(
            "the CA's trust bundle is older than the one this machine has seen",
            hint="do not go on; ask whoever runs the CA whether it was restored",
        )


def _sha256(document: bytes) -> str:
    return hashlib.sha256(document).hexdigest()


def _fingerprint(roots: bundle.Roots) -> str:
    return wire.fingerprint(parse_line(roots.root_key))


def _parse_roots(document: bytes) -> tuple[bundle.Roots, bytes, str]:
    try:
        text, armour = bundle.split_signed(document)
        return bundle.parse_roots(text), text, armour
    except Malformed as error:
        raise _no_bundle(error) from error


def _parse_current(document: bytes) -> tuple[bundle.Current, bytes, str]:
    try:
        text, armour = bundle.split_signed(document)
        return bundle.parse_current(text), text, armour
    except Malformed as error:
        raise _no_bundle(error) from error


def _no_bundle(error: Malformed) -> BadAnswer:
    return BadAnswer(
        f"what came is no trust bundle: {error.detail}",
        hint="check that the URL is the CA's",
    )
