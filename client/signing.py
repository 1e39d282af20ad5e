"""Signed requests to the CA: what can be asked with one, and the header that signs it.

`ssh-keygen` signs, so the key may be in a file, in an agent or in hardware. What is
signed names the CA by the URL that we talk to, never by what a server calls itself:
otherwise one server could have us sign for another.
"""

import json
import os
import time
from pathlib import Path

from ca import authorization
from ca.authorization import Authorization, Call
from ca.certificate import parse_certificate, parse_line, split_key
from ca.errors import BadRequest
from ca.values import dataclass
from ca.wire import decode_base64
from client import files, ssh_keygen
from client.failure import NoCertificate, Unable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self


@dataclass(frozen=True, slots=True)
class NarrowerRequest:
    """Certify this key, too, with less than the certificate that signs."""

    public_key: str
    """One line in OpenSSH's public key format."""
    principals: tuple[str, ...]
    """At least one, of those that the certificate has."""
    validity_seconds: int | None = None
    extensions: tuple[str, ...] | None = None
    reason: str | None = None
    checkpoint: str | None = None
    """The newest checkpoint of the ledger that this machine remembers."""

    def to_json(self) -> bytes:
        """Return the body, without what was not asked."""
        return _body(self, public_key=self.public_key, checkpoint=self.checkpoint)


@dataclass(frozen=True, slots=True)
class ExplainRequest:
    """What would become of this, and why?"""

    principals: tuple[str, ...] = ()
    validity_seconds: int | None = None
    extensions: tuple[str, ...] | None = None
    reason: str | None = None

    def to_json(self) -> bytes:
        """Return the body, without what was not asked."""
        return _body(self)


def _body(asked: NarrowerRequest | ExplainRequest, **more: str | None) -> bytes:
    fields = {
        **more,
        "principals": asked.principals or None,
        "validity_seconds": asked.validity_seconds,
        "extensions": asked.extensions,
        "reason": asked.reason,
    }
    given = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(given).encode()


@dataclass(frozen=True, slots=True)
class RequestSigner:
    """A key and its certificate, which an ID token must have bought."""

    key: Path
    """The private key, or the public one of a key that an agent holds."""
    certificate: bytes
    """The certificate's blob."""
    in_hardware: bool
    """Whether somebody may have to touch it."""

    @classmethod
    def open(cls, key: Path, certificate: Path) -> "Self":
        """Read the certificate beside a key; raise `NoCertificate` or `Unable`."""
        line = files.read(certificate)
        if line is None:
            raise NoCertificate(
                f"there is no certificate {certificate}", hint="ca-login"
            )
        try:
            blob = parse_line(line.decode("ascii", "replace"))
            says, _ = parse_certificate(blob)
        except BadRequest as error:
            raise Unable(f"{certificate} is no certificate: {error.detail}") from error
        key_type, _ = split_key(says.subject_key)
        return cls(key, blob, in_hardware=key_type.startswith("sk-"))

    def sign(self, call: Call, *, origin: str) -> str:
        """Return the `Authorization` header for one request to one CA, now."""
        now, id_ = int(time.time()), os.urandom(authorization.ID_BYTES)
        message = authorization.message(
            call, origin=origin, time=now, id_=id_, certificate=self.certificate
        )
        armour = ssh_keygen.sign(
            message,
            key=self.key,
            namespace=authorization.NAMESPACE,
            in_hardware=self.in_hardware,
        )
        header = authorization.render(
            Authorization(self.certificate, now, id_, _without_armour(armour))
        )
        if len(header) > authorization.LONGEST:
            raise Unable(
                "the certificate is too large to sign requests with",
                hint="sign in for fewer principals, or with a smaller key",
            )
        return header


def _without_armour(armour: str) -> bytes:
    """Return what stands between the first and the last line."""
    return decode_base64("".join(armour.splitlines()[1:-1]))
