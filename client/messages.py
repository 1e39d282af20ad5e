"""What crosses HTTP, as `ca-login` writes and reads it; `ca.messages` is the original.

Read without a library and with an open mind: a field that a later CA adds is ignored,
one that is missing or of another type is `BadAnswer`.
"""

import json
from collections.abc import Mapping

from ca.values import dataclass, field
from client.failure import BadAnswer

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Client:
    """One client id of an issuer."""

    id: str
    flow: str
    """`browser`, `device` or `ci`; a later CA may know more."""
    binding: str
    """`nonce`, `audience` or `none` (design invariant 5)."""
    scopes: tuple[str, ...]
    redirect_host: str = LOOPBACK
    redirect_ports: tuple[int, ...] = ()
    """Empty for any."""
    public_secret: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What else a sign-in begins with."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """One issuer that sign-ins may come from."""

    name: str
    url: str
    clients: tuple[Client, ...]


@dataclass(frozen=True, slots=True)
class Discovery:
    """All that is needed to begin."""

    origin: str
    issuers: tuple[Issuer, ...]
    host_patterns: tuple[str, ...]
    server_time: int
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class SignRequest:
    """Certify this key for whoever the token proves."""

    public_key: str
    """One line in OpenSSH's public key format."""
    id_token: str = field(repr=False)
    salt: str | None = field(default=None, repr=False)
    principals: tuple[str, ...] = ()
    validity_seconds: int | None = None
    reason: str | None = None
    checkpoint: str | None = None
    """The newest checkpoint of the ledger that this machine remembers."""

    def to_json(self) -> bytes:
        """Return the body, without what was not asked."""
        fields = {
            "public_key": self.public_key,
            "id_token": self.id_token,
            "salt": self.salt,
            "principals": self.principals or None,
            "validity_seconds": self.validity_seconds,
            "reason": self.reason,
            "checkpoint": self.checkpoint,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(given).encode()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that was not granted, and why."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True)
class LedgerProof:
    """What `client.ledger` verifies, each part as it was sent."""

    leaf: str
    proof: str
    checkpoint_signature: str
    consistency: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SignResponse:
    """A certificate. What it says is read from the certificate itself."""

    certificate: str
    """One line, as in a `-cert.pub` file."""
    left_out: tuple[LeftOut, ...]
    ledger: LedgerProof


def read_discovery(document: Mapping[str, object]) -> Discovery:
    """Read the answer of `GET /v1/discovery`."""
    return Discovery(
        origin=text(document, "origin"),
        issuers=tuple(_issuer(issuer) for issuer in _objects(document, "issuers")),
        host_patterns=_texts(document, "host_patterns"),
        server_time=whole(document, "server_time"),
    )


def read_sign_response(document: Mapping[str, object]) -> SignResponse:
    """Read the answer of `POST /v1/user-certificates`."""
    left_out = _objects(document, "left_out") if "left_out" in document else ()
    return SignResponse(
        certificate=text(document, "certificate"),
        left_out=tuple(
            LeftOut(text(item, "what"), text(item, "reason")) for item in left_out
        ),
        ledger=_ledger_proof(_object(document, "ledger")),
    )


def _ledger_proof(document: Mapping[str, object]) -> LedgerProof:
    return LedgerProof(
        leaf=text(document, "leaf"),
        proof=text(document, "proof"),
        checkpoint_signature=text(document, "checkpoint_signature"),
        consistency=(
            _texts(document, "consistency") if "consistency" in document else ()
        ),
    )


def _issuer(document: Mapping[str, object]) -> Issuer:
    return Issuer(
        name=text(document, "name"),
        url=text(document, "url"),
        clients=tuple(_client(client) for client in _objects(document, "clients")),
    )


def _client(document: Mapping[str, object]) -> Client:
    name = "public_secret"
    host = text({"redirect_host": LOOPBACK, **document}, "redirect_host")
    if host not in {LOOPBACK, "localhost"}:
        raise _wrong("redirect_host", "this machine")
    return Client(
        id=text(document, "id"),
        flow=text(document, "flow"),
        binding=text(document, "binding"),
        scopes=_texts(document, "scopes"),
        redirect_host=host,
        redirect_ports=_ports({"redirect_ports": [], **document}, "redirect_ports"),
        public_secret=text(document, name) if name in document else None,
        parameters=_parameters(document.get("parameters", {})),
    )


def _ports(document: Mapping[str, object], name: str) -> tuple[int, ...]:
    values = _list(document, name)
    ports = tuple(port for port in values if type(port) is int and 0 < port < 1 << 16)
    if len(ports) != len(values):
        raise _wrong(name, "a list of ports")
    return ports


def _parameters(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise _wrong("parameters", "an object")
    return {name: text(value, name) for name in value}


def text(document: Mapping[str, object], name: str) -> str:
    """Return a text that a document must have; raise `BadAnswer`."""
    value = document.get(name)
    if not isinstance(value, str):
        raise _wrong(name, "a text")
    return value


def whole(document: Mapping[str, object], name: str) -> int:
    """Return a whole number that a document must have; raise `BadAnswer`."""
    value = document.get(name)
    # `True` is an int to Python, and time stops making sense far from today.
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise _wrong(name, "a whole number")
    return value


def _list(document: Mapping[str, object], name: str) -> list[object]:
    value = document.get(name)
    if not isinstance(value, list):
        raise _wrong(name, "a list")
    return value


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = _list(document, name)
    texts = tuple(value for value in values if isinstance(value, str))
    if len(texts) != len(values):
        raise _wrong(name, "a list of texts")
    return texts


def _object(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise _wrong(name, "an object")
    return value


def _objects(
    document: Mapping[str, object], name: str
) -> tuple[Mapping[str, object], ...]:
    values = _list(document, name)
    objects = tuple(value for value in values if isinstance(value, dict))
    if len(objects) != len(values):
        raise _wrong(name, "a list of objects")
    return objects


def _wrong(name: str, kind: str) -> BadAnswer:
    return BadAnswer(f"the answer has no field {name!r} that is {kind}")
