"""Keys of issuers, and tokens made of any bytes (RFC 7515, RFC 7517)."""

import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import (
    ECAlgorithm,
    OKPAlgorithm,
    RSAAlgorithm,
    get_default_algorithms,
)

from ca.binding import encode_base64url

ALGORITHMS = get_default_algorithms()

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def rsa_key(generation: int = 0) -> rsa.RSAPrivateKey:
    """Return the same 2048-bit key for the same number: making one takes long."""
    return _rsa_key(generation)


@cache
def _rsa_key(_: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def ec_key(generation: int = 0) -> ec.EllipticCurvePrivateKey:
    """Return the same P-256 key for the same number."""
    return _ec_key(generation)


@cache
def _ec_key(_: int) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def ed25519_key(generation: int = 0) -> Ed25519PrivateKey:
    """Return the same key for the same number."""
    return _ed25519_key(generation)


@cache
def _ed25519_key(_: int) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


KEYS: Mapping[str, Callable[[int], PrivateKey]] = {
    "RS": rsa_key,
    "PS": rsa_key,
    "ES": ec_key,
    "Ed": ed25519_key,
}


def jwk(key: PrivateKey, **members: object) -> dict[str, Any]:
    """Return the public half of a key as a JWK with these members besides."""
    public: Any = key.public_key()
    if isinstance(key, rsa.RSAPrivateKey):
        made = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        made = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        made = OKPAlgorithm.to_jwk(public, as_dict=True)
    return {**made, "use": "sig"} | members


def dump(value: object) -> bytes:
    """Return JSON as an issuer sends it; bytes are taken as they are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def compact_jws(header: object, payload: object, sign: Callable[[bytes], bytes]) -> str:
    """Return a compact JWS of any header and payload; both may be raw bytes."""
    signed = f"{encode_base64url(dump(header))}.{encode_base64url(dump(payload))}"
    return f"{signed}.{encode_base64url(sign(signed.encode()))}"
