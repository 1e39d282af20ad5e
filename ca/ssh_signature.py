"""Verify SSH signature blobs (RFC 4253 section 6.6) of all key types we certify.

A blob is an algorithm's name and what that algorithm made: RFC 8709 section 6 for
Ed25519, RFC 5656 section 3.1.2 for ECDSA, RFC 8332 section 3 for RSA, and OpenSSH's
`PROTOCOL.u2f` for keys in hardware. RSA counts with SHA-2 only, a FIDO key only when
it was touched. Whether the key is one to trust is `ca.public_key`'s business, or the
caller's: under an Ed25519 key of small order anyone can sign.

NOTE: a signature is no name for what was signed. ECDSA has two for every one, an RSA
signature may lack its leading zeros; what must not come twice needs an id of its own.
"""

import hashlib
from collections.abc import Callable, Mapping

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ca import wire
from ca.certificate import split_key
from ca.errors import Malformed, SignatureInvalid
from ca.public_key import CURVES, MOST_RSA_BITS

CURVE_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "nistp256": hashes.SHA256(),
    "nistp384": hashes.SHA384(),
    "nistp521": hashes.SHA512(),
}
"""Each curve with the hash that signatures on it use (RFC 5656 section 6.2.1)."""

RSA_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}
"""By signature algorithm. `ssh-rsa` is SHA-1, and no more refused than unknown."""

_USER_PRESENT = 0x01
"""In the flags of a FIDO signature: somebody touched the key (PROTOCOL.u2f)."""


def verify(public_key: bytes, signature: bytes, data: bytes) -> None:
    """Verify that the key signed `data`, both key and signature as SSH blobs.

    Raises `Malformed` where one of them does not parse and `SignatureInvalid` where it
    does not hold.
    """
    key_type, fields = split_key(public_key)
    reader = wire.Reader(signature)
    algorithm = reader.text()
    accepted = RSA_HASHES if key_type == "ssh-rsa" else (key_type,)
    if algorithm not in accepted:
        raise SignatureInvalid(
            f"a key of type {key_type} does not sign with {algorithm[:64]!r} here",
            hint=f"sign with {' or '.join(accepted)}",
        )
    try:
        _VERIFIERS[key_type](wire.Reader(fields), reader, algorithm, data)
    except InvalidSignature as error:
        raise SignatureInvalid(
            "the signature does not verify with the key that it is said to be of"
        ) from error


def _verify_ed25519(
    key: wire.Reader, signature: wire.Reader, _algorithm: str, data: bytes
) -> None:
    public_key = _ed25519_key(key)
    raw = signature.string()
    signature.finish()
    public_key.verify(raw, data)


def _verify_ecdsa(
    key: wire.Reader, signature: wire.Reader, algorithm: str, data: bytes
) -> None:
    public_key, hash_ = _ecdsa_key(key, algorithm)
    der = _ecdsa_signature(signature.string())
    signature.finish()
    public_key.verify(der, data, ec.ECDSA(hash_))


def _verify_rsa(
    key: wire.Reader, signature: wire.Reader, algorithm: str, data: bytes
) -> None:
    public_key = _rsa_key(key)
    raw = signature.string()
    signature.finish()
    # RFC 8332 section 3 writes the number "without lengths or padding", so some send
    # it short; OpenSSH pads it, too (`ssh_rsa_verify`).
    padded = raw.rjust(public_key.key_size // 8 + bool(public_key.key_size % 8), b"\0")
    public_key.verify(padded, data, padding.PKCS1v15(), RSA_HASHES[algorithm])


def _verify_sk_ed25519(
    key: wire.Reader, signature: wire.Reader, _algorithm: str, data: bytes
) -> None:
    public_key = _ed25519_key(key)
    raw = signature.string()
    public_key.verify(raw, _seen_by_authenticator(key.string(), signature, data))


def _verify_sk_ecdsa(
    key: wire.Reader, signature: wire.Reader, algorithm: str, data: bytes
) -> None:
    public_key, hash_ = _ecdsa_key(key, algorithm)
    der = _ecdsa_signature(signature.string())
    seen = _seen_by_authenticator(key.string(), signature, data)
    public_key.verify(der, seen, ec.ECDSA(hash_))


_VERIFIERS: Mapping[str, Callable[[wire.Reader, wire.Reader, str, bytes], None]] = {
    "ssh-ed25519": _verify_ed25519,
    "ssh-rsa": _verify_rsa,
    "ecdsa-sha2-nistp256": _verify_ecdsa,
    "ecdsa-sha2-nistp384": _verify_ecdsa,
    "ecdsa-sha2-nistp521": _verify_ecdsa,
    "sk-ssh-ed25519@openssh.com": _verify_sk_ed25519,
    "sk-ecdsa-sha2-nistp256@openssh.com": _verify_sk_ecdsa,
}


def _seen_by_authenticator(
    application: bytes, signature: wire.Reader, data: bytes
) -> bytes:
    """Read flags and counter; return what the hardware signed (PROTOCOL.u2f)."""
    flags = signature.take(1)
    counter = signature.take(4)
    signature.finish()
    # Without it a program may have asked the hardware while nobody was there.
    if not flags[0] & _USER_PRESENT:
        raise SignatureInvalid(
            "the FIDO key signed without being touched",
            hint="make a key that wants a touch: ssh-keygen without -O"
            " no-touch-required",
        )
    return b"".join(
        (
            hashlib.sha256(application).digest(),
            flags,
            counter,
            hashlib.sha256(data).digest(),
        )
    )


def _ed25519_key(key: wire.Reader) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(key.string())
    except ValueError as error:
        raise Malformed("an Ed25519 key has 32 bytes") from error


def _ecdsa_key(
    key: wire.Reader, key_type: str
) -> tuple[ec.EllipticCurvePublicKey, hashes.HashAlgorithm]:
    name = key.text()
    if name not in CURVES or f"ecdsa-sha2-{name}" not in key_type:
        raise Malformed("the ECDSA key names another curve than its type")
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(CURVES[name], key.string())
    except ValueError as error:
        raise Malformed("the ECDSA key is not a point of its curve") from error
    return point, CURVE_HASHES[name]


def _ecdsa_signature(blob: bytes) -> bytes:
    """Turn the two numbers of an ECDSA signature into the DER that is verified."""
    reader = wire.Reader(blob)
    r, s = reader.mpint(), reader.mpint()
    reader.finish()
    return encode_dss_signature(r, s)


def _rsa_key(key: wire.Reader) -> rsa.RSAPublicKey:
    exponent, modulus = key.mpint(), key.mpint()
    # OpenSSL verifies with no larger ones, and says so in no words of ours.
    if modulus.bit_length() > MOST_RSA_BITS:
        raise Malformed(f"the RSA key has more than {MOST_RSA_BITS} bits")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError as error:
        raise Malformed("the RSA key is no RSA key") from error
