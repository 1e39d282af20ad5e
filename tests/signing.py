"""Requests signed in Python, right but for one thing.

    ada = holder()                             # a key
    ada = ada.with_certificate(answer)         # and the certificate it was given
    header = ada.sign(Call("POST", "/v1/explain", b"{}"), at=NOW)

`client.signing` signs with ssh-keygen; this can also sign what that never would.
"""

import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca import authorization, sshsig, wire
from ca.authorization import Authorization, Call
from ca.certificate import Certificate, parse_certificate, parse_line
from ca.messages import SignResponse

ORIGIN = "http://127.0.0.1:8440"
"""That of a CA as `tests.authority.make_ca` makes it."""


@dataclass(frozen=True)
class Holder:
    """Who holds a key, and perhaps a certificate for it."""

    key: bytes
    """The public key blob."""
    sign_data: Callable[[bytes], bytes]
    """Returns an SSH signature blob."""
    certificate: bytes = b""

    @property
    def line(self) -> str:
        """The public key as `<type> <base64>`."""
        return f"{wire.Reader(self.key).text()} {b64encode(self.key).decode()}"

    @property
    def says(self) -> Certificate:
        """What the certificate says."""
        return parse_certificate(self.certificate)[0]

    def with_certificate(self, answer: SignResponse) -> Self:
        """Return them with the certificate that they were given."""
        return replace(self, certificate=parse_line(answer.certificate))

    def with_blob(self, certificate: bytes) -> Self:
        """Return them with another certificate, whosever it is."""
        return replace(self, certificate=certificate)

    def sign(self, call: Call, *, at: datetime, **changes: Any) -> str:
        """Return the header for a call.

        `changes` are to what is signed: `origin`, `id_`, `certificate`, `namespace`,
        `key` (that the signature names), or `signer`, another holder who signs.
        """
        id_ = changes.get("id_") or secrets.token_bytes(authorization.ID_BYTES)
        time = int(at.timestamp())
        signed = authorization.message(
            call,
            origin=changes.get("origin", ORIGIN),
            time=time,
            id_=id_,
            certificate=changes.get("certificate", self.certificate),
        )
        namespace = changes.get("namespace", authorization.NAMESPACE)
        signer = changes.get("signer", self)
        signature = sshsig.Signature(
            public_key=changes.get("key", self.key),
            namespace=namespace,
            signature=signer.sign_data(sshsig.signed_data(namespace, signed)),
        )
        blob = sshsig.render_blob(signature)
        return authorization.render(Authorization(self.certificate, time, id_, blob))


def holder() -> Holder:
    """Return the holder of a new Ed25519 key."""
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    name = wire.text("ssh-ed25519")
    return Holder(
        key=name + wire.string(public),
        sign_data=lambda data: name + wire.string(private.sign(data)),
    )
