"""A private key of ours, wherever it lives: today an encrypted OpenSSH key file.

Who uses one sees a public key and `sign`; where the private part is, and how it is
guarded, stays in here.
"""

import base64
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from ca import sshsig, wire
from ca.errors import KeyUnavailable

_TYPE = "ssh-ed25519"
_OTHERS_MAY = 0o077


class SigningKey:
    """An Ed25519 key that signs as OpenSSH does. Thread-safe; never shows itself."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        raw = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.blob = wire.text(_TYPE) + wire.string(raw)
        """The public key blob (RFC 8709 section 4)."""

    @classmethod
    def generate(cls) -> Self:
        """Make a new key, in memory only."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def open(cls, file: Path, passphrase_file: Path) -> Self:
        """Open an encrypted OpenSSH key file; raise `KeyUnavailable`."""
        passphrase = _read_private(passphrase_file).strip()
        try:
            key = load_ssh_private_key(_read_private(file), passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The library's words could quote the file; ours never do.
            raise KeyUnavailable(
                f"cannot open {file} with the passphrase in {passphrase_file}",
                hint="it must be an encrypted OpenSSH key file, as ca-admin init makes",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnavailable(f"{file} is not an Ed25519 key")
        return cls(key)

    @property
    def line(self) -> str:
        """`<type> <base64>`, as in a public key file."""
        return f"{_TYPE} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen prints it."""
        return wire.fingerprint(self.blob)

    def sign(self, data: bytes) -> bytes:
        """Return the SSH signature blob over `data` (RFC 8709 section 6)."""
        return wire.text(_TYPE) + wire.string(self._private_key.sign(data))

    def sign_message(self, namespace: str, message: bytes) -> str:
        """Return an armoured SSHSIG over `message`."""
        signature = self.sign(sshsig.signed_data(namespace, message))
        return sshsig.render_armour(sshsig.Signature(self.blob, namespace, signature))

    def encrypt(self, passphrase: bytes) -> bytes:
        """Return the key as an OpenSSH key file under `passphrase`."""
        return self._private_key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, BestAvailableEncryption(passphrase)
        )


def _read_private(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        content = file.read_bytes()
    except OSError as error:
        raise KeyUnavailable(f"cannot read {file}: {error.strerror}") from error
    if mode & _OTHERS_MAY:
        raise KeyUnavailable(
            f"{file} is open to others (mode {mode & 0o777:04o})",
            hint=f"chmod 600 {file}",
        )
    return content
