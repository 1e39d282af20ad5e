"""What ties an ID token to one subject key (design invariant 5), for both sides.

`ca-login` asks the issuer for a token with one of these values in it, and the CA
computes the same value from the key that it was sent. Standard library only, since a
laptop has nothing else.
"""

import binascii
import hashlib

from ca.errors import Malformed

SALT_BYTES = 32
"""Of fixed length, so that key blob and salt cannot be cut in another place."""

_NONCE_LABEL = b"daypass-nonce-v1\0"
_AUDIENCE_LABEL = b"daypass-audience-v1\0"


def nonce_for(key_blob: bytes, salt: bytes) -> str:
    """Return the OIDC nonce that binds a token to the key, 43 characters.

    The salt makes the nonce unforeseeable, as OpenID Connect Core 1.0 section 15.5.2
    wants it, and keeps the issuer from learning which key it is for.
    """
    if len(salt) != SALT_BYTES:
        raise Malformed(f"a salt has {SALT_BYTES} bytes")
    return encode_base64url(hashlib.sha256(_NONCE_LABEL + key_blob + salt).digest())


def audience_for(origin: str, key_blob: bytes) -> str:
    """Return the audience to ask for in CI, which binds the token to the key."""
    digest = hashlib.sha256(_AUDIENCE_LABEL + key_blob).digest()
    return f"{origin}#{encode_base64url(digest)}"


def encode_base64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515 section 2)."""
    return _encode(data).translate(_TO_URL_SAFE).decode()


def decode_base64url(encoded: str) -> bytes:
    """Decode strict, unpadded base64url; raise `Malformed` for anything else."""
    try:
        standard = encoded.encode("ascii").translate(_TO_STANDARD)
        data = binascii.a2b_base64(standard + b"=" * (-len(standard) % 4))
    except ValueError as error:
        raise Malformed("not base64url") from error
    # The decoder skips what it does not know, and ignores bits beyond the last byte:
    # encoding again is what gives one value one spelling.
    if _encode(data) != standard:
        raise Malformed("not canonical base64url")
    return data


def _encode(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False).rstrip(b"=")


_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_TO_STANDARD = bytes.maketrans(b"-_+/", b"+/..")
"""A dot is in neither alphabet: what only the other one has is refused."""
