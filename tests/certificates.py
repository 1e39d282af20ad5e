"""A throw-away CA for tests, and certificates that our own code refuses to make."""

import base64
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from ca import wire
from ca.certificate import (
    Certificate,
    CertificateType,
    complete,
    parse_certificate,
    render_line,
    render_to_be_signed,
    render_unnumbered,
    split_key,
)

NOON = 1767268800
"""Noon of 1 January 2026, in Unix seconds."""


class ThrowawayCA:
    """An Ed25519 CA key that nobody trusts for long."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes_raw()
        self.key = wire.text("ssh-ed25519") + wire.string(public)
        """The public key blob."""

    @property
    def line(self) -> str:
        """The public key as a line of TrustedUserCAKeys, without its newline."""
        return f"ssh-ed25519 {base64.b64encode(self.key).decode()}"

    def write(self, path: Path) -> None:
        """Write the private key as a file that ssh-keygen signs with."""
        path.touch(0o600)
        path.write_bytes(
            self._key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        )

    def certify(self, certificate: Certificate) -> bytes:
        """Sign a certificate with this CA, whatever CA it names."""
        named = replace(certificate, ca_key=self.key)
        return self.sign(render_to_be_signed(named))

    def sign(self, to_be_signed: bytes) -> bytes:
        """Sign any bytes, and so also what `ca.certificate` would never write."""
        signature = wire.string(self._key.sign(to_be_signed))
        return complete(to_be_signed, wire.text("ssh-ed25519") + signature)


def ed25519_blob(public: bytes | None = None) -> bytes:
    """Return an Ed25519 public key blob; of random bytes unless some are given."""
    return wire.text("ssh-ed25519") + wire.string(public or os.urandom(32))


def certificate(**changes: Any) -> Certificate:
    """Return an ordinary user certificate with these fields changed."""
    ordinary: dict[str, Any] = {
        "type": CertificateType.USER,
        "subject_key": ed25519_blob(bytes(range(32))),
        "ca_key": ed25519_blob(bytes(32)),
        "nonce": bytes(32),
        "serial": 7,
        "key_id": "corp:ada@example.com",
        "principals": ("ada", "deploy"),
        "valid_after": NOON,
        "valid_before": NOON + 36000,
        "critical_options": {},
        "extensions": ("permit-pty",),
    }
    return Certificate(**(ordinary | changes))


def with_serial(blob: bytes, serial: int) -> bytes:
    """Return a signed certificate with another serial, which nobody has signed."""
    says, signature = parse_certificate(blob)
    return complete(render_unnumbered(says).numbered(serial), signature)


def by_hand(ordinary: Certificate, **raw: bytes) -> bytes:
    """Return the to-be-signed bytes of `ordinary` with some fields' raw bytes changed.

    Written from draft-ietf-sshm-cert section 2 a second time, so that it also checks
    `ca.certificate`: with no field changed, both must write the same.
    """
    key_type, key_fields = split_key(ordinary.subject_key)
    name = key_type.removesuffix("@openssh.com") + "-cert-v01@openssh.com"
    critical_options = sorted(ordinary.critical_options.items())
    fields = {
        "name": wire.text(name),
        "nonce": wire.string(ordinary.nonce),
        "subject_key": key_fields,
        "serial": wire.u64(ordinary.serial),
        "type": wire.u32(ordinary.type),
        "key_id": wire.text(ordinary.key_id),
        "principals": texts(*ordinary.principals),
        "valid_after": wire.u64(ordinary.valid_after),
        "valid_before": wire.u64(ordinary.valid_before),
        "critical_options": options(*critical_options),
        "extensions": options(*((name, None) for name in ordinary.extensions)),
        "reserved": wire.string(b""),
        "ca_key": wire.string(ordinary.ca_key),
    }
    assert fields.keys() >= raw.keys()
    return b"".join((fields | raw).values())


def texts(*values: str) -> bytes:
    """Encode a list of texts inside one string, as principals are."""
    return wire.string(b"".join(map(wire.text, values)))


def options(*pairs: tuple[str, str | None]) -> bytes:
    """Encode critical options or extensions, in the order given."""
    return wire.string(
        b"".join(
            wire.text(name) + wire.string(wire.text(value) if value else b"")
            for name, value in pairs
        )
    )


def write_certificate(path: Path, blob: bytes) -> Path:
    """Write a certificate as a `-cert.pub` file; return its path."""
    path.write_text(render_line(blob, "test"))
    return path
