"""Keys that somebody published an attack on are never certified."""

import base64
import random
from math import prod

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography_vectors import open_vector_file

from ca import wire
from ca.errors import CAError, UnacceptableKey
from ca.public_key import parse_public_key, refuse_weak_rsa

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P


def mpint(number):
    return number.to_bytes(number.bit_length() // 8 + 1) if number else b""


def rsa_line(modulus, exponent=65537):
    fields = (b"ssh-rsa", mpint(exponent), mpint(modulus))
    blob = b"".join(map(wire.string, fields))
    return f"ssh-rsa {base64.b64encode(blob).decode()}"


def ed25519_line(point):
    blob = wire.text("ssh-ed25519") + wire.string(point)
    return f"ssh-ed25519 {base64.b64encode(blob).decode()}"


def is_prime(number):
    """Say whether Fermat's test takes a number for prime: for random ones, it is."""
    return all(pow(base, number - 1, number) == 1 for base in (2, 3))


def next_prime(number):
    number |= 1
    while not is_prime(number):
        number += 2
    return number


@pytest.fixture(scope="module")
def good():
    return rsa.generate_private_key(65537, 2048).private_numbers()


def refused(line, why):
    with pytest.raises(UnacceptableKey, match=why) as error:
        parse_public_key(line, least_rsa_bits=2048)
    assert error.value.hint == "make a new one with: ssh-keygen -t ed25519"


def test_the_ordinary_key_that_the_others_are_made_from_passes(good):
    assert parse_public_key(rsa_line(good.public_numbers.n), least_rsa_bits=2048)


# openpubkey #231, #371: proofs are unsound for small and even exponents.
@pytest.mark.parametrize(
    "exponent", [0, 1, 2, 3, 17, 65535, 65536, 65538, 2**64 + 1, 2**255 + 95]
)
def test_an_unusual_exponent_is_refused(good, exponent):
    refused(rsa_line(good.public_numbers.n, exponent), "exponent")


@pytest.mark.parametrize("factor", [2, 3, 752, 65521])
def test_a_modulus_with_a_small_factor_is_refused(good, factor):
    refused(rsa_line(good.public_numbers.n * factor), "small factor")


@pytest.mark.parametrize("bits", [512, 1024, 2047])
def test_a_short_modulus_is_refused(good, bits):
    refused(rsa_line(good.public_numbers.n >> (2048 - bits)), "fewer than 2048")


def test_a_modulus_longer_than_sshd_reads_is_refused():
    refused(rsa_line(2**16384 + 1), "more than 16384")


def test_a_square_is_refused(good):
    refused(rsa_line(max(good.p, good.q) ** 2), "too close")


# CVE-2022-26320: printers whose second prime was the next one after the first.
def test_neighbouring_primes_are_refused(good):
    p = max(good.p, good.q)

    refused(rsa_line(p * next_prime(p + 2)), "too close")


def test_primes_that_agree_in_their_upper_half_are_refused(good):
    p = max(good.p, good.q)
    distance = 1 << (p.bit_length() // 2 + 3)

    refused(rsa_line(p * next_prime(p + distance)), "too close")


# CVE-2017-15361: primes of the form k·M + (65537^a mod M), M the product of the first
# n primes; the paper's table 1 gives n by length. For the fingerprint they need not
# be prime, only free of the small factors that are refused for another reason.
@pytest.mark.parametrize(("bits", "primes"), [(2048, 126), (3072, 126), (4096, 225)])
def test_a_key_of_an_infineon_chip_is_refused(bits, primes):
    below = [n for n in range(2, 1500) if all(n % m for m in range(2, int(n**0.5) + 1))]
    modulus_of_form = prod(below[:primes])

    def factor():
        while True:
            room = (1 << (bits // 2)) // modulus_of_form
            k = random.randrange(room * 3 // 4, room)  # noqa: S311
            residue = pow(65537, random.randrange(1 << 60), modulus_of_form)  # noqa: S311
            candidate = k * modulus_of_form + residue
            if all(candidate % divisor for divisor in range(2, 1 << 16)):
                return candidate

    with pytest.raises(UnacceptableKey, match="ROCA"):
        refuse_weak_rsa(factor() * factor(), 65537, least_bits=2048)


def points_of_small_order():
    """Return every encoding of a point whose order divides 8, canonical or not.

    Found by search, not taken from a list: for each candidate y, the point times 8
    must be the identity.
    """
    root = pow(2, (P - 1) // 4, P)  # of -1
    square_root_of_1_plus_d = next(
        r
        for r in [pow(1 + D, (P + 3) // 8, P), pow(1 + D, (P + 3) // 8, P) * root % P]
        if r * r % P == (1 + D) % P
    )
    ys = {0, 1, P - 1}
    for sign in (1, -1):
        y_squared = (-1 + sign * square_root_of_1_plus_d) * pow(D, -1, P) % P
        y = pow(y_squared, (P + 3) // 8, P)
        for candidate in (y, y * root % P):
            if candidate * candidate % P == y_squared:
                ys |= {candidate, P - candidate}
    encodings = {y + add for y in ys for add in (0, P) if y + add < 2**255}
    return sorted(
        (number | sign << 255).to_bytes(32, "little")
        for number in encodings
        for sign in (0, 1)
    )


def test_there_are_as_many_encodings_of_small_order_as_the_literature_says():
    """Chalkias and others, "Taming the many EdDSAs": 8 canonical and 6 more."""
    assert len(points_of_small_order()) == 14


@pytest.mark.parametrize("point", points_of_small_order(), ids=bytes.hex)
def test_an_ed25519_key_of_small_order_is_refused(point):
    refused(ed25519_line(point), "small order|canonical")


@pytest.mark.parametrize("number", range(P, 2**255))
def test_an_ed25519_key_that_is_not_canonical_is_refused(number):
    refused(ed25519_line(number.to_bytes(32, "little")), "canonical")


def test_dsa_is_refused():
    fields = (b"ssh-dss", b"\x01", b"\x01", b"\x01", b"\x01")
    blob = b"".join(map(wire.string, fields))

    refused(f"ssh-dss {base64.b64encode(blob).decode()}", "DSA")


# CVE-2025-49825 (Teleport): a certificate where a key belongs. pyca's loader takes
# the key out of one and says nothing.
@pytest.mark.parametrize(
    "name",
    [
        "dsa-p256.pub",
        "p256-dsa.pub",
        "p256-ed25519-non-singular-crit-opt-val.pub",
        "p256-p256-broken-signature-key-type.pub",
        "p256-p256-duplicate-extension.pub",
        "p256-p256-empty-principals.pub",
        "p256-p256-invalid-cert-type.pub",
        "p256-rsa-sha1.pub",
        "p256-rsa-sha512.pub",
    ],
)
def test_no_certificate_passes_for_a_key(name):
    path = f"asymmetric/OpenSSH/certs/{name}"
    with open_vector_file(path, "r") as file:
        line = file.read()

    with pytest.raises(UnacceptableKey, match="a certificate cannot be certified"):
        parse_public_key(line)
    with pytest.raises(CAError):
        parse_public_key(line.replace("-cert-v01@openssh.com", "", 1))
