"""Signed roots: the operator's file, which only the root key can make."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ca import bundle, wire
from ca.bundle import HostCAKey, KeyState, Roots, TrustedKey
from ca.certificate import parse_line
from ca.errors import CAError, Misconfigured
from ca.signing_key import SigningKey


@dataclass(frozen=True, slots=True)
class SignedRoots:
    """The roots as the operator put them there, and what they say."""

    document: bytes
    roots: Roots

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the document, its name under `/v1/trust/blob/`."""
        return hashlib.sha256(self.document).hexdigest()


def parse_signed_roots(document: bytes) -> SignedRoots:
    """Parse signed roots; raise `Malformed`. The signature is not verified."""
    text, _armour = bundle.split_signed(document)
    return SignedRoots(document, bundle.parse_roots(text))


def change_of(roots: SignedRoots, *, before_sha256: str) -> dict[str, object]:
    """Return what goes on record when these roots take the place of others."""
    says = roots.roots
    return {
        "v": 1,
        "act": "publish-roots",
        "version": says.version,
        "roots_sha256": roots.sha256,
        "before_sha256": before_sha256,
        "log": says.log_origin,
        "user_ca": _keys(says.user_ca),
        "host_ca": _keys(says.host_ca),
        "online": _keys(says.online),
        "revoked_ca": [wire.fingerprint(parse_line(key)) for key in says.revoked_ca],
    }


def _keys(listed: Sequence[TrustedKey | HostCAKey]) -> list[dict[str, str]]:
    return [
        {"key": wire.fingerprint(parse_line(one.key)), "state": one.state}
        for one in listed
    ]


def load_roots(file: Path) -> SignedRoots:
    """Read signed roots; raise `Misconfigured`. Readers verify the signature."""
    try:
        return parse_signed_roots(file.read_bytes())
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    except CAError as error:
        raise Misconfigured(f"{file}: {error.detail}") from error


def sign_roots(roots: Roots, root_key: SigningKey) -> bytes:
    """Return roots as a signed document."""
    text = bundle.render_roots(roots)
    armour = root_key.sign_message(bundle.ROOTS_NAMESPACE, text)
    return bundle.join_signed(text, armour)


def require_active(
    key: SigningKey, listed: Sequence[TrustedKey], *, revoked: Sequence[str] = ()
) -> None:
    """Raise `Misconfigured` unless the roots list `key` as active."""
    if key.line in revoked:
        raise Misconfigured(
            f"the roots list {key.fingerprint} as revoked, and nothing is ever signed"
            " with it again",
            hint="name the key that took its place in the configuration",
        )
    if not any(
        trusted.key == key.line and trusted.state is KeyState.ACTIVE
        for trusted in listed
    ):
        raise Misconfigured(
            f"the roots do not list {key.fingerprint} as active, so nobody would"
            " trust what it signs",
            hint="check roots_file and the key files in the configuration",
        )
