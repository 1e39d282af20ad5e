"""Judge the keys an issuer publishes (RFC 7517, RFC 7518 section 6, RFC 8037).

A key that cannot be used is passed over, not an error: issuers publish keys for other
purposes and of new kinds beside the ones that sign ID tokens. But a weak one is as
unusable as an unknown one, since nobody can tell who signs with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ca.binding import decode_base64url
from ca.errors import Malformed, UnacceptableKey
from ca.public_key import LEAST_RSA_BITS, refuse_bad_ed25519, refuse_weak_rsa

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey

_RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

# The algorithm fixes the curve (RFC 7518 section 3.4), and with it the length of each
# coordinate (section 6.2.1.2).
_CURVES: Mapping[str, tuple[ec.EllipticCurve, int, str]] = {
    "P-256": (ec.SECP256R1(), 32, "ES256"),
    "P-384": (ec.SECP384R1(), 48, "ES384"),
    "P-521": (ec.SECP521R1(), 66, "ES512"),
}


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A public key that may verify ID tokens."""

    kid: str | None
    algorithms: frozenset[str]
    """The only algorithms it may be used with."""
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class IssuerKeys:
    """All usable keys of one issuer."""

    keys: tuple[IssuerKey, ...] = ()

    def find(self, kid: str | None, algorithm: str) -> PublicKey | None:
        """Return the one key that fits, None if there is none or more than one.

        Without a `kid` too: trying one key after the other would let whoever can
        add a key to the set, for whatever purpose, sign ID tokens.
        """
        fitting = [
            key.public_key
            for key in self.keys
            if algorithm in key.algorithms and (kid is None or kid == key.kid)
        ]
        return fitting[0] if len(fitting) == 1 else None


def parse_jwks(jwks: Mapping[str, object]) -> IssuerKeys:
    """Return the usable keys of a JWK set; raise `Malformed` if it is none."""
    entries = jwks.get("keys")
    if not isinstance(entries, list):
        raise Malformed("has no list of keys")
    keys = []
    for entry in entries:
        try:
            keys.append(_parse_jwk(entry))
        except (Malformed, UnacceptableKey):
            continue
    return IssuerKeys(tuple(keys))


def _parse_jwk(jwk: object) -> IssuerKey:
    if not isinstance(jwk, dict):
        raise Malformed("not a JWK")
    _refuse_other_purposes(jwk)
    kid, parse = jwk.get("kid"), _PARSERS.get(str(jwk.get("kty")))
    if parse is None or not isinstance(kid, str | None):
        raise Malformed("a JWK of a kind we do not know")
    try:
        public_key, algorithms = parse(jwk)
    except ValueError as error:
        raise Malformed("a JWK that is no key") from error
    # RFC 7517 section 4.4: a key made for RS256 is not used with PS256.
    if "alg" in jwk:
        algorithms &= {str(jwk["alg"])}
    return IssuerKey(kid, algorithms, public_key)


def _refuse_other_purposes(jwk: Mapping[str, object]) -> None:
    # RFC 7517 sections 4.2 and 4.3.
    if jwk.get("use", "sig") != "sig":
        raise Malformed("a JWK for encryption")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise Malformed("a JWK that must not verify")
    # A private key that is published is everybody's.
    if "d" in jwk:
        raise UnacceptableKey("a JWK with its private part")


def _parse_rsa(jwk: Mapping[str, object]) -> tuple[PublicKey, frozenset[str]]:
    modulus, exponent = _number(jwk, "n"), _number(jwk, "e")
    refuse_weak_rsa(modulus, exponent, least_bits=LEAST_RSA_BITS)
    return rsa.RSAPublicNumbers(exponent, modulus).public_key(), _RSA_ALGORITHMS


def _parse_ec(jwk: Mapping[str, object]) -> tuple[PublicKey, frozenset[str]]:
    curve_name = jwk.get("crv")
    if not isinstance(curve_name, str) or curve_name not in _CURVES:
        raise Malformed("a JWK on another curve")
    curve, length, algorithm = _CURVES[curve_name]
    x, y = _bytes(jwk, "x"), _bytes(jwk, "y")
    if not len(x) == len(y) == length:
        raise Malformed("a JWK with short coordinates")
    # cryptography refuses a point that is not on the curve.
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)
    return public_key, frozenset({algorithm})


def _parse_okp(jwk: Mapping[str, object]) -> tuple[PublicKey, frozenset[str]]:
    if jwk.get("crv") != "Ed25519":
        raise Malformed("a JWK on another curve")
    point = _bytes(jwk, "x")
    refuse_bad_ed25519(point)
    return Ed25519PublicKey.from_public_bytes(point), frozenset({"EdDSA"})


_PARSERS: Mapping[
    str, Callable[[Mapping[str, object]], tuple[PublicKey, frozenset[str]]]
] = {"RSA": _parse_rsa, "EC": _parse_ec, "OKP": _parse_okp}


def _bytes(jwk: Mapping[str, object], name: str) -> bytes:
    value = jwk.get(name)
    if not isinstance(value, str):
        raise Malformed(f"a JWK without {name}")
    return decode_base64url(value)


def _number(jwk: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_bytes(jwk, name))
