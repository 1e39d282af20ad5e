"""Throw-away keys that stand for a CA key where OpenSSH wants a signature of it.

Each is of the same kind as the key it stands for, and its blob as long, so that it can
take that one's place inside finished bytes. It is known to nobody and trusted nowhere.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca import wire
from ca.certificate import split_key
from ca.errors import Malformed
from ca.public_key import CURVES, LEAST_RSA_EXPONENT
from ca.signing_key import FileKey

_TOUCHED = bytes([1]) + wire.u32(1)
"""Flags and counter of a FIDO signature (OpenSSH `PROTOCOL.u2f`)."""

_FIDO = {
    "sk-ssh-ed25519@openssh.com": "ssh-ed25519",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ecdsa-sha2-nistp256",
}
"""Each with the kind of key that is inside the hardware."""


class StandIn(Protocol):
    """A key that signs as the one does that it stands for."""

    blob: bytes

    def sign(self, data: bytes) -> bytes:
        """Return the SSH signature blob over `data`."""


@lru_cache(maxsize=64)  # an RSA key takes a good part of a second
def stand_in_for(ca_key: bytes) -> StandIn:
    """Return a key of the same kind and length; raise a `CAError` where there is none.

    The same one for the same key, as long as the process lives.
    """
    name, fields = split_key(ca_key)
    stand_in = (
        _FIDOStandIn(name, wire.Reader(fields))
        if name in _FIDO
        else FileKey(_generate(name, wire.Reader(fields)))
    )
    if len(stand_in.blob) != len(ca_key):
        raise Malformed(f"a key of type {name} has an odd length")
    return stand_in


def _generate(
    name: str, fields: wire.Reader
) -> Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    if name == "ssh-ed25519":
        return Ed25519PrivateKey.generate()
    if name == "ssh-rsa":
        _exponent, modulus = fields.mpint(), fields.mpint()
        return rsa.generate_private_key(LEAST_RSA_EXPONENT, modulus.bit_length())
    return ec.generate_private_key(CURVES[fields.text()])


class _FIDOStandIn:
    """Signs as hardware does that somebody touches."""

    def __init__(self, name: str, fields: wire.Reader) -> None:
        inside = _FIDO[name]
        self._name = name
        self._key = FileKey(_generate(inside, fields))
        *_, application = _strings(fields)
        self._application = application
        _, public = split_key(self._key.blob)
        self.blob = wire.text(name) + public + wire.string(application)

    def sign(self, data: bytes) -> bytes:
        """Return the SSH signature blob over `data`."""
        about = sha256(self._application).digest() + _TOUCHED + sha256(data).digest()
        _algorithm, made = _strings(wire.Reader(self._key.sign(about)))
        return wire.text(self._name) + wire.string(made) + _TOUCHED


def _strings(reader: wire.Reader) -> list[bytes]:
    strings = []
    while not reader.at_end:
        strings.append(reader.string())
    return strings
