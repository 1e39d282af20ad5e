"""Judge whether a subject key may be certified.

A certificate is worth no more than its subject key, and libraries load keys that
anyone can break: 1024-bit RSA, moduli with known structure, points that are on no
curve. Everything here looks at the public key alone; proving that the caller holds
the private one is not its job (design section 3, below the invariants).
"""

import math
from collections.abc import Mapping
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ec
from gmpy2 import legendre  # type: ignore[import-untyped]

from ca import wire
from ca.certificate import CERTIFICATE_SUFFIX, parse_line, split_key
from ca.errors import Malformed, UnacceptableKey

LEAST_RSA_BITS = 2048
"""Never fewer, whatever the configuration says (NIST SP 800-57 part 1, table 2)."""

MOST_RSA_BITS = 16384
"""sshd reads no larger number (OpenSSH `SSHBUF_MAX_BIGNUM`)."""

LEAST_RSA_EXPONENT = 65537
"""Smaller ones have made proofs and padding checks unsound (FIPS 186-5, A.1.1)."""

MOST_RSA_EXPONENT_BITS = 64
"""OpenSSL verifies with no longer exponent once the modulus has more than 3072 bits
(`OPENSSL_RSA_MAX_PUBEXP_BITS`), so sshd could not either."""

_FERMAT_ROUNDS = 256
"""Finds primes that agree in about their upper half; boulder uses 110 rounds."""

_SMALL_PRIMES_BELOW = 1 << 16

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P
"""Prime and constant of edwards25519 (RFC 8032 section 5.1)."""

_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _P - 1,
        0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    }
)
"""The y of the eight points whose order divides 8. The last two solve
d·y⁴ + 2·y² = 1, which is y(2P) = 0. Under such a key anyone can sign (Chalkias,
Garillot, Nikolaenko, "Taming the many EdDSAs", 2020)."""

CURVES: Mapping[str, ec.EllipticCurve] = {
    "nistp256": ec.SECP256R1(),
    "nistp384": ec.SECP384R1(),
    "nistp521": ec.SECP521R1(),
}
"""By the names that RFC 5656 section 10.1 gives them."""

_HINT = "make a new one with: ssh-keygen -t ed25519"


def parse_public_key(line: str, *, least_rsa_bits: int = 3072) -> bytes:
    """Return the key blob in a line of a `.pub` file, if it may be certified.

    Raises `UnacceptableKey` for keys that exist but must not be certified, and
    `Malformed` for what is no key at all.
    """
    blob = parse_line(line)
    key_type, fields = _split(blob)
    reader = wire.Reader(fields)
    if key_type == "ssh-rsa":
        exponent, modulus = reader.mpint(), reader.mpint()
        refuse_weak_rsa(modulus, exponent, least_bits=least_rsa_bits)
    elif "ed25519" in key_type:
        refuse_bad_ed25519(reader.string())
    else:
        _refuse_bad_ecdsa(key_type, reader.text(), reader.string())
    if key_type.startswith("sk-"):
        _refuse_bad_application(reader.text())
    return blob


def _split(blob: bytes) -> tuple[str, bytes]:
    try:
        return split_key(blob)
    except Malformed as error:
        name = wire.Reader(blob).text()
        if name.endswith(CERTIFICATE_SUFFIX):
            raise UnacceptableKey(
                "a certificate cannot be certified", hint="send the plain .pub file"
            ) from error
        if name == "ssh-dss":
            raise UnacceptableKey("DSA keys are too weak", hint=_HINT) from error
        raise


def refuse_weak_rsa(modulus: int, exponent: int, *, least_bits: int) -> None:
    """Raise `UnacceptableKey` for an RSA key that is weak, or made by broken code."""
    bits = modulus.bit_length()
    least_bits = max(least_bits, LEAST_RSA_BITS)
    if bits < least_bits:
        raise _unacceptable(f"the RSA key has {bits} bits, fewer than {least_bits}")
    if bits > MOST_RSA_BITS:
        raise _unacceptable(f"the RSA key has more than {MOST_RSA_BITS} bits")
    if (
        exponent < LEAST_RSA_EXPONENT
        or exponent % 2 == 0
        or exponent.bit_length() > MOST_RSA_EXPONENT_BITS
    ):
        raise _unacceptable(
            f"the RSA key's exponent is not an odd number from {LEAST_RSA_EXPONENT}"
            f" up to {MOST_RSA_EXPONENT_BITS} bits"
        )
    if math.gcd(modulus, _product_of_small_primes()) != 1:
        raise _unacceptable("the RSA key's modulus has a small factor")
    if _is_roca(modulus):
        raise _unacceptable(
            "the RSA key was made by a chip with the ROCA flaw (CVE-2017-15361)"
        )
    if _has_close_primes(modulus):
        raise _unacceptable("the RSA key's two primes are too close")


def _unacceptable(why: str) -> UnacceptableKey:
    return UnacceptableKey(why, hint=_HINT)


def _primes_below(limit: int) -> list[int]:
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for number in range(2, math.isqrt(limit) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(
                len(sieve[number * number :: number])
            )
    return [number for number, is_prime in enumerate(sieve) if is_prime]


@cache
def _product_of_small_primes() -> int:
    return math.prod(_primes_below(_SMALL_PRIMES_BELOW))


@cache
def _roca_residues() -> dict[int, frozenset[int]]:
    """Map each odd prime up to 701 to the powers of 65537 modulo it.

    Nemec, Sys, Svenda, Klinec, Matyas, "The Return of Coppersmith's Attack" (CCS
    2017), sections 2 and 3: the flawed library's primes, and so its moduli, are
    powers of 65537 modulo the product of the first primes. In keys of 1984 bits and
    more these are at least the first 126.
    """
    return {
        prime: frozenset(pow(65537, power, prime) for power in range(prime - 1))
        for prime in _primes_below(702)[1:]
    }


def _is_roca(modulus: int) -> bool:
    return all(
        modulus % prime in residues for prime, residues in _roca_residues().items()
    )


def _has_close_primes(modulus: int) -> bool:
    """Try Fermat's factorisation: n = a² - b² with a near √n (CVE-2022-26320)."""
    root = math.isqrt(modulus)
    if root * root == modulus:
        return True
    for half_sum in range(root + 1, root + 1 + _FERMAT_ROUNDS):
        rest = half_sum * half_sum - modulus
        # Squares end in these six bits only; the others need no slow square root.
        if rest & 63 in _SQUARES_MODULO_64 and math.isqrt(rest) ** 2 == rest:
            return True
    return False


_SQUARES_MODULO_64 = frozenset(number * number % 64 for number in range(64))


def refuse_bad_ed25519(point: bytes) -> None:
    """Raise `UnacceptableKey` unless `point` encodes an Ed25519 key one could make."""
    if len(point) != 32:  # noqa: PLR2004 (RFC 8709 section 4)
        raise _unacceptable("an Ed25519 key has 32 bytes")
    # RFC 8032 section 5.1.3: little-endian y, its topmost bit the sign of x.
    y = int.from_bytes(point, "little") & ((1 << 255) - 1)
    if y >= _P:
        raise _unacceptable("the Ed25519 key is not in its canonical form")
    if y in _SMALL_ORDER_Y:
        raise _unacceptable("the Ed25519 key is a point of small order")
    # x² = (y² - 1) / (d·y² + 1) must be a square; so must numerator times
    # denominator, which needs no division.
    square = (y * y - 1) * (_D * y * y + 1)
    if legendre(square % _P, _P) != 1:
        raise _unacceptable("the Ed25519 key is not a point of the curve")


def _refuse_bad_ecdsa(key_type: str, curve_name: str, point: bytes) -> None:
    if f"ecdsa-sha2-{curve_name}" not in key_type or curve_name not in CURVES:
        raise _unacceptable("the ECDSA key names another curve than its type")
    # RFC 5656 section 3.1 allows compressed points, but OpenSSH reads none.
    if point[:1] != b"\x04":
        raise _unacceptable("the ECDSA key is not an uncompressed point")
    try:
        ec.EllipticCurvePublicKey.from_encoded_point(CURVES[curve_name], point)
    except ValueError as error:
        raise _unacceptable("the ECDSA key is not a point of its curve") from error


def _refuse_bad_application(application: str) -> None:
    # OpenSSH PROTOCOL.u2f: anything but "ssh:" is a key of a web site, whose
    # signatures a page can ask for.
    if not application.startswith("ssh:") or not application.isprintable():
        raise _unacceptable("the FIDO key was not made for SSH")
