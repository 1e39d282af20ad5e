"""PuTTY's private key files, version 3, with the certificate inside. Writes only.

The form is appendix C of PuTTY's manual. A certificate stands where the public key
would: it and its type are in the header and under the MAC, and the private half is as
ever (PuTTY 0.78 and later).
"""

import hashlib
import hmac
from base64 import b64encode

from ca import wire
from ca.errors import Malformed

_MAGIC = b"openssh-key-v1\0"
_NONE = b"none"
_ED25519 = b"ssh-ed25519"
_SEED_BYTES = 32
_LINE = 64
"""Characters of base64 on a line, as puttygen writes them."""


def render_ppk(*, certificate: bytes, seed: bytes, comment: str) -> bytes:
    """Return the file for an Ed25519 key; it is as secret as the seed.

    `certificate` is its blob; `comment` is ASCII without line ends.
    """
    algorithm = wire.Reader(certificate).string()
    # NOTE: PuTTY keeps the seed as a string of bytes, where it has numbers as mpints.
    private = wire.string(seed)
    authentic = b"".join(
        map(wire.string, (algorithm, _NONE, comment.encode(), certificate, private))
    )
    # Unencrypted, so with an empty key: it finds accidents, not forgers.
    mac = hmac.digest(b"", authentic, hashlib.sha256)
    lines = [
        f"PuTTY-User-Key-File-3: {algorithm.decode()}",
        "Encryption: none",
        f"Comment: {comment}",
        *_base64("Public", certificate),
        *_base64("Private", private),
        f"Private-MAC: {mac.hex()}",
    ]
    return "".join(f"{line}\n" for line in lines).encode("ascii")


def read_seed(file: bytes, *, public_key: bytes) -> bytes:
    """Return the seed in an unencrypted Ed25519 key file of OpenSSH (`PROTOCOL.key`).

    `public_key` is the blob that must belong to it. Raises `Malformed`, without a word
    of what is in there.
    """
    try:
        lines = file.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise Malformed("the private key file is not ASCII") from error
    reader = wire.Reader(wire.decode_base64("".join(lines[1:-2])))
    if reader.take(len(_MAGIC)) != _MAGIC or reader.string() != _NONE:
        raise Malformed("it is not an unencrypted OpenSSH private key")
    for _ in range(2):  # KDF and its options
        reader.string()
    reader.u32()
    if reader.string() != public_key:
        raise Malformed("it is another key than the certificate's")
    secret = wire.Reader(reader.string())
    secret.u64()  # two equal numbers, which tell a wrong passphrase
    if secret.string() != _ED25519:
        raise Malformed("it is not an Ed25519 key")
    public, both = secret.string(), secret.string()
    if len(public) != _SEED_BYTES or both[_SEED_BYTES:] != public:
        raise Malformed("the halves of the private key do not belong together")
    return both[:_SEED_BYTES]


def _base64(what: str, data: bytes) -> list[str]:
    text = b64encode(data).decode()
    lines = [text[at : at + _LINE] for at in range(0, len(text), _LINE)]
    return [f"{what}-Lines: {len(lines)}", *lines]
