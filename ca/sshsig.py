"""SSHSIG framing (OpenSSH `PROTOCOL.sshsig`), both ways: what `ssh-keygen -Y` reads.

A signature here is bound to a namespace, so that one made for one purpose cannot be
shown for another. This module frames; the signing is `ca.signing_key`'s, the
verifying `ssh-keygen -Y verify`'s.
"""

import hashlib
import re

from ca import wire
from ca.errors import Malformed
from ca.values import dataclass

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASH = "sha512"
_BEGIN = "-----BEGIN SSH SIGNATURE-----\n"
_END = "-----END SSH SIGNATURE-----\n"
_LINE = 70
_BODY = re.compile(r"([A-Za-z0-9+/=]{1,76}\n)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Signature:
    """An SSHSIG as read: whose key, for what purpose, and the signature itself."""

    public_key: bytes
    """The signer's public key blob."""
    namespace: str
    signature: bytes
    """An SSH signature blob over `signed_data(namespace, message)`."""


def signed_data(namespace: str, message: bytes) -> bytes:
    """Return the bytes a key signs for `message` under `namespace`."""
    return (
        _MAGIC
        + wire.text(namespace)
        + wire.string(b"")
        + wire.text(_HASH)
        + wire.string(hashlib.sha512(message).digest())
    )


def render_blob(signature: Signature) -> bytes:
    """Return the signature as bytes, without armour."""
    return (
        _MAGIC
        + wire.u32(_VERSION)
        + wire.string(signature.public_key)
        + wire.text(signature.namespace)
        + wire.string(b"")
        + wire.text(_HASH)
        + wire.string(signature.signature)
    )


def render_armour(signature: Signature) -> str:
    """Return the armoured text that `ssh-keygen -Y verify -s` takes."""
    encoded = wire.encode_base64(render_blob(signature))
    lines = (encoded[at : at + _LINE] for at in range(0, len(encoded), _LINE))
    return _BEGIN + "\n".join(lines) + "\n" + _END


def parse_armour(armour: str) -> Signature:
    """Parse armoured text; raise `Malformed` unless it is one SSHSIG with SHA-512."""
    if not armour.startswith(_BEGIN) or not armour.endswith(_END):
        raise Malformed("not an armoured SSH signature")
    body = armour[len(_BEGIN) : -len(_END)]
    if _BODY.fullmatch(body) is None:
        raise Malformed("the armour of an SSH signature holds more than base64")
    return parse_blob(wire.decode_base64(body.replace("\n", "")))


def parse_blob(blob: bytes) -> Signature:
    """Parse a signature without armour; raise `Malformed` as `parse_armour` does."""
    reader = wire.Reader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.u32() != _VERSION:
        raise Malformed("not an SSH signature of version 1")
    signature = _read_fields(reader)
    reader.finish()
    return signature


def _read_fields(reader: wire.Reader) -> Signature:
    public_key = reader.string()
    namespace = reader.text()
    # "Reserved" is ignored by OpenSSH; nothing of ours ever fills it.
    if reader.string() or reader.text() != _HASH:
        raise Malformed(f"an SSH signature must use {_HASH} and nothing reserved")
    return Signature(public_key, namespace, reader.string())
