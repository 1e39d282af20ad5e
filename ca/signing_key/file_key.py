"""A private key in an encrypted OpenSSH key file, as ssh-keygen makes them, too."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Self, assert_never

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)

from ca import wire
from ca.errors import KeyUnavailable
from ca.public_key import LEAST_RSA_EXPONENT
from ca.signing_key.key import (
    LEAST_RSA_BITS,
    SIGNATURE_ALGORITHMS,
    SigningKey,
    parse_own_public_key,
)
from ca.ssh_signature import CURVE_HASHES, RSA_HASHES

_OTHERS_MAY = 0o077

KDF_ROUNDS = 16
"""Of bcrypt, for a passphrase that somebody may have thought up: as many as ssh-keygen
takes (ssh-keygen.1 of OpenSSH 9.2, `-a`)."""

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class KeyType(StrEnum):
    """What kinds of key we make; by ssh-keygen's names."""

    ED25519 = "ed25519"
    ECDSA = "ecdsa"
    """On P-256."""
    RSA = "rsa"
    """Of 3072 bits."""


class FileKey(SigningKey):
    """A key whose private part is in this process."""

    def __init__(self, private_key: PrivateKey, *, source: object = "the key") -> None:
        public = private_key.public_key().public_bytes(
            Encoding.OpenSSH, PublicFormat.OpenSSH
        )
        self._private_key = private_key
        self.blob = parse_own_public_key(public.decode(), source=source)
        algorithm = SIGNATURE_ALGORITHMS.get(self.type, self.type)
        self._begin = wire.text(algorithm)
        self._sign = _signing_with(private_key, algorithm)

    @classmethod
    def generate(cls, key_type: KeyType = KeyType.ED25519) -> Self:
        """Make a new key, in memory only."""
        return cls(_generate(key_type))

    @classmethod
    def open(cls, file: Path, passphrase_file: Path) -> Self:
        """Open an encrypted OpenSSH key file; raise `KeyUnavailable`."""
        passphrase = _read_private(passphrase_file).strip()
        try:
            key = load_ssh_private_key(_read_private(file), passphrase)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            # The library's words could quote the file; ours never do.
            raise KeyUnavailable(
                f"cannot open {file} with the passphrase in {passphrase_file}",
                hint="it must be an encrypted OpenSSH key file, as ca-admin init makes",
            ) from error
        if not isinstance(key, PrivateKey):
            raise KeyUnavailable(f"{file} is not an Ed25519, ECDSA or RSA key")
        return cls(key, source=file)

    def sign(self, data: bytes) -> bytes:
        """Return the SSH signature blob over `data`."""
        return self._begin + wire.string(self._sign(data))

    def encrypt(self, passphrase: bytes, *, kdf_rounds: int = KDF_ROUNDS) -> bytes:
        """Return the key as an OpenSSH key file under `passphrase`.

        Fewer rounds are for a passphrase that is random, and long enough that nobody
        could try them all.
        """
        builder = PrivateFormat.OpenSSH.encryption_builder().kdf_rounds(kdf_rounds)
        encryption = builder.build(passphrase)
        return self._private_key.private_bytes(
            Encoding.PEM, PrivateFormat.OpenSSH, encryption
        )


def _signing_with(key: PrivateKey, algorithm: str) -> Callable[[bytes], bytes]:
    """Return what signs with the key, as in an SSH signature blob of this algorithm."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign  # RFC 8709 section 6
    if isinstance(key, rsa.RSAPrivateKey):  # RFC 8332 section 3
        hash_ = RSA_HASHES[algorithm]
        return lambda data: key.sign(data, padding.PKCS1v15(), hash_)
    ecdsa = ec.ECDSA(CURVE_HASHES[algorithm.removeprefix("ecdsa-sha2-")])
    return lambda data: _pair(key.sign(data, ecdsa))


def _pair(ecdsa_signature: bytes) -> bytes:
    """Encode an ECDSA signature as RFC 5656 section 3.1.2 has it."""
    r, s = decode_dss_signature(ecdsa_signature)
    return wire.mpint(r) + wire.mpint(s)


def _generate(key_type: KeyType) -> PrivateKey:
    match key_type:
        case KeyType.ED25519:
            return Ed25519PrivateKey.generate()
        case KeyType.ECDSA:
            return ec.generate_private_key(ec.SECP256R1())
        case KeyType.RSA:
            return rsa.generate_private_key(LEAST_RSA_EXPONENT, LEAST_RSA_BITS)
    assert_never(key_type)


def _read_private(file: Path) -> bytes:
    try:
        mode = file.stat().st_mode
        content = file.read_bytes()
    except OSError as error:
        raise KeyUnavailable(f"cannot read {file}: {error.strerror}") from error
    if mode & _OTHERS_MAY:
        raise KeyUnavailable(
            f"{file} is open to others (mode {mode & 0o777:04o})",
            hint=f"chmod 600 {file}",
        )
    return content
