"""A FIDO key in software: signs as hardware does (OpenSSH `PROTOCOL.u2f`).

No FIDO hardware is needed to test what verifies its signatures; ssh-keygen and asyncssh
judge that ours are like the real ones.
"""

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ca import wire

TOUCHED = 0x01
VERIFIED = 0x04
"""A PIN was given, or a finger recognised."""


@dataclass(frozen=True)
class FidoKey:
    """A FIDO key; touched at each signature unless `flags` says otherwise."""

    private_key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey
    application: str = "ssh:"

    @property
    def type(self) -> str:
        """The key type's name, which is also the signature algorithm's."""
        if isinstance(self.private_key, Ed25519PrivateKey):
            return "sk-ssh-ed25519@openssh.com"
        return "sk-ecdsa-sha2-nistp256@openssh.com"

    @property
    def blob(self) -> bytes:
        """The public key blob."""
        application = wire.text(self.application)
        if isinstance(self.private_key, Ed25519PrivateKey):
            point = self.private_key.public_key().public_bytes_raw()
            return wire.text(self.type) + wire.string(point) + application
        point = self.private_key.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        curve = wire.text("nistp256")
        return wire.text(self.type) + curve + wire.string(point) + application

    def sign(self, data: bytes, *, flags: int = TOUCHED, counter: int = 7) -> bytes:
        """Return the SSH signature blob over `data`."""
        tail = bytes([flags]) + wire.u32(counter)
        application = hashlib.sha256(self.application.encode()).digest()
        seen = application + tail + hashlib.sha256(data).digest()
        if isinstance(self.private_key, Ed25519PrivateKey):
            made = self.private_key.sign(seen)
        else:
            der = self.private_key.sign(seen, ec.ECDSA(hashes.SHA256()))
            made = b"".join(map(wire.mpint, decode_dss_signature(der)))
        return wire.text(self.type) + wire.string(made) + tail


def fido_ed25519() -> FidoKey:
    """Make a FIDO key on Ed25519."""
    return FidoKey(Ed25519PrivateKey.generate())


def fido_ecdsa() -> FidoKey:
    """Make a FIDO key on P-256."""
    return FidoKey(ec.generate_private_key(ec.SECP256R1()))
