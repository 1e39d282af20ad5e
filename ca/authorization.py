"""The `Authorization` header of a signed request, and the bytes that are signed.

    Authorization: Daypass-SSHSIG certificate=…, time=…, id=…, signature=…

For both sides: `client` writes what `ca.signed_request` reads. The header has one
spelling. What is signed covers all of the request that means something, the CA that it
is for, and the certificate that is shown: another certificate for the same key, which
anybody can have made, cannot take its place.
"""

import base64
import hashlib
import re

from ca import wire
from ca.errors import Malformed
from ca.values import dataclass

SCHEME = "Daypass-SSHSIG"

NAMESPACE = "daypass-request"
"""The SSHSIG namespace: a signature for another purpose is none here."""

ID_BYTES = 16
"""Random, so that nobody can use up another's id."""

LEEWAY_SECONDS = 60
"""How far the time of a request may be from the CA's, either way."""

LONGEST = 8190
"""In characters. The signer takes no longer header field, and few proxies do."""

_FORM = re.compile(
    SCHEME
    + r" certificate=(?P<certificate>[A-Za-z0-9+/=]+), time=(?P<time>[1-9]\d{,11})"
    r", id=(?P<id>[0-9a-f]{32}), signature=(?P<signature>[A-Za-z0-9+/=]+)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP request, as far as it is signed."""

    method: str
    target: str
    """Path and query exactly as in the request line: nothing decoded or tidied up."""
    body: bytes


@dataclass(frozen=True, slots=True)
class Authorization:
    """What the header says."""

    certificate: bytes
    """The certificate's blob."""
    time: int
    """When the request was signed, in Unix seconds."""
    id: bytes
    signature: bytes
    """An SSHSIG, without its armour."""


def message(
    call: Call, *, origin: str, time: int, id_: bytes, certificate: bytes
) -> bytes:
    """Return the bytes that are signed: a line for each thing, none left open.

    `origin` is the CA's one public URL. Raises `Malformed` for a method or target that
    could not stand on a line of its own.
    """
    lines = (
        "daypass-request-v1",
        call.method,
        call.target,
        hashlib.sha256(call.body).hexdigest(),
        origin,
        str(time),
        id_.hex(),
        hashlib.sha256(certificate).hexdigest(),
    )
    if not all(line.isascii() and line.isprintable() for line in lines):
        raise Malformed("a signed request is for printable ASCII paths only")
    return "".join(f"{line}\n" for line in lines).encode()


def render(authorization: Authorization) -> str:
    """Write the value of the header."""
    return (
        f"{SCHEME} certificate={base64.b64encode(authorization.certificate).decode()}"
        f", time={authorization.time}, id={authorization.id.hex()}"
        f", signature={base64.b64encode(authorization.signature).decode()}"
    )


def parse(header: str) -> Authorization:
    """Parse what `render` wrote; raise `Malformed` for all else."""
    found = _FORM.fullmatch(header)
    if found is None:
        raise Malformed(f"not a header of the form {SCHEME} certificate=…, time=…, …")
    return Authorization(
        certificate=wire.decode_base64(found["certificate"]),
        time=int(found["time"]),
        id=bytes.fromhex(found["id"]),
        signature=wire.decode_base64(found["signature"]),
    )
