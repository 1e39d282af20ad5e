"""What all our private keys have in common, and which kinds there may be."""

from abc import abstractmethod
from typing import Protocol

from ca import sshsig, wire
from ca.errors import KeyUnavailable, Malformed, UnacceptableKey
from ca.public_key import parse_public_key

LEAST_RSA_BITS = 3072
"""Of our own keys, which outlive people's (NIST SP 800-57 part 1, table 2)."""

_FIDO = "sk-"

SIGNATURE_ALGORITHMS = {"ssh-rsa": "rsa-sha2-512"}
"""What a key type signs with, where that is not its own name. RSA never signs with
SHA-1: sshd takes no such certificate since OpenSSH 8.2."""


class SigningKey(Protocol):
    """A private key that signs as OpenSSH does. Thread-safe; never shows itself."""

    blob: bytes
    """The public key blob (RFC 4253 section 6.6)."""

    @abstractmethod
    def sign(self, data: bytes) -> bytes:
        """Return the SSH signature blob over `data`; raise `KeyUnavailable`."""

    def sign_message(self, namespace: str, message: bytes) -> str:
        """Return an armoured SSHSIG over `message`."""
        signature = self.sign(sshsig.signed_data(namespace, message))
        return sshsig.render_armour(sshsig.Signature(self.blob, namespace, signature))

    @property
    def type(self) -> str:
        """The key type's name, as `ssh-ed25519`."""
        return wire.Reader(self.blob).text()

    @property
    def line(self) -> str:
        """`<type> <base64>`, as in a public key file."""
        return f"{self.type} {wire.encode_base64(self.blob)}"

    @property
    def fingerprint(self) -> str:
        """`SHA256:…`, as ssh-keygen prints it."""
        return wire.fingerprint(self.blob)


def parse_own_public_key(line: str, *, source: object) -> bytes:
    """Return the blob in a `.pub` line of a key of ours, if it may be one.

    Raises `KeyUnavailable`, naming where the line is from: Ed25519, ECDSA and RSA from
    3072 bits are the kinds that all hosts take. A FIDO key wants somebody to touch it
    at every signature, and a signer has nobody.
    """
    try:
        blob = parse_public_key(line, least_rsa_bits=LEAST_RSA_BITS)
    except (Malformed, UnacceptableKey) as error:
        raise KeyUnavailable(f"{source}: {error.detail}") from error
    if line.startswith(_FIDO):
        raise KeyUnavailable(
            f"{source} is a FIDO key, which somebody would have to touch each time",
            hint="use an Ed25519, ECDSA or RSA key",
        )
    return blob
