"""What crosses HTTP, with the same words in Python, JSON and the documentation.

msgspec decodes and validates; nothing here is parsed by hand. Unknown fields are
errors: a field that is quietly ignored is a wish that is quietly refused.
"""

import json
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from ca.errors import BadRequest

Serial = Annotated[str, Meta(pattern=r"^[0-9]{1,20}$")]
"""A 64-bit number in decimal: JSON numbers lose digits beyond 2^53."""


Checkpoint = Annotated[str, Meta(max_length=8192)]
"""The newest checkpoint of the ledger that the caller remembers, a signed note: the
answer proves that the ledger still begins with all of it."""


class Message(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all messages have in common."""


class Asked(Message, frozen=True, kw_only=True):
    """What may be asked of policy."""

    principals: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    """Asked for by name; empty for what the rules give unasked."""
    validity_seconds: Annotated[int, Meta(gt=0)] | None = None
    """At most this long; never more than the rules give."""
    extensions: Annotated[tuple[str, ...], Meta(max_length=16)] | None = None
    """Only these; null for all that the rules give."""
    reason: Annotated[str, Meta(max_length=500)] | None = None
    """Why, for the record, where a rule requires it."""


class CertificateRequest(Asked, frozen=True, kw_only=True):
    """What everybody asks who asks for a user certificate."""

    public_key: Annotated[str, Meta(max_length=4096)]
    """One line in OpenSSH's public key format."""
    checkpoint: Checkpoint | None = None


class SignRequest(CertificateRequest, frozen=True):
    """`POST /v1/user-certificates`: certify this key for whoever the token proves."""

    id_token: Annotated[str, Meta(max_length=16384)]
    """A compact JWS from a configured issuer."""
    salt: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}$")] | None = None
    """32 bytes in unpadded base64url; needed where the client's binding is `nonce`."""


class NarrowerRequest(CertificateRequest, frozen=True):
    """The same path, signed: certify this key with less than the signer's certificate.

    Principals have to be named: what is meant to be narrower says how.
    """

    principals: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]


class HostCertificateRequest(Message, frozen=True, kw_only=True):
    """`POST /v1/host-certificates`: certify this host key for these names."""

    public_key: Annotated[str, Meta(max_length=4096)]
    """One line of the host's `ssh_host_*_key.pub`."""
    principals: Annotated[tuple[str, ...], Meta(min_length=1, max_length=256)]
    """The names that people reach it by."""
    validity_seconds: Annotated[int, Meta(gt=0)] | None = None
    """At most this long; never more than the rules give."""
    reason: Annotated[str, Meta(max_length=500)] | None = None
    """Why, for the record."""
    checkpoint: Checkpoint | None = None


HostId = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
"""What a host is called in the registry."""


class HostRegistration(Message, frozen=True, kw_only=True):
    """`POST /v1/hosts`, signed: this host exists, and these are its keys."""

    id: HostId
    names: Annotated[tuple[str, ...], Meta(max_length=256)] = ()
    """The names that its certificates may have; policy decides when it asks for one."""
    keys: Annotated[
        tuple[Annotated[str, Meta(max_length=4096)], ...],
        Meta(min_length=1, max_length=16),
    ]
    """Lines of its `ssh_host_*_key.pub`."""
    pulls: bool = True
    """Whether it fetches the trust bundle by itself, and reports which it has."""


class HostStatus(Message, frozen=True, kw_only=True):
    """A host as the registry has it."""

    id: HostId
    names: tuple[str, ...]
    keys: tuple[str, ...]
    """Fingerprints."""
    pulls: bool
    state: str
    """`active`, `stale` or `forgotten`."""
    registered: int
    """Unix seconds."""
    entry: int
    """The index of the ledger's entry that says who registered it."""
    seen: int
    """When it last reported, or was registered, in Unix seconds."""
    roots_version: int
    """Of the trust bundle that it last reported; 0 before the first report."""
    current_version: int
    alarms: tuple[str, ...] = ()
    """What is wrong with it, for an operator."""


class HostList(Message, frozen=True):
    """`GET /v1/hosts`: all that are not forgotten."""

    hosts: tuple[HostStatus, ...]
    current_version: int | None = None
    """The newest that was published."""


class Canary(Message, frozen=True, kw_only=True):
    """One certificate that logs in once and prints its nonce."""

    principal: str
    nonce: str
    """16 to 64 letters and digits."""
    source: Annotated[str, Meta(max_length=45)] | None = None
    """The address that this login comes from, as the host sees it; null for that of
    the whole request."""


class CanaryRequest(Message, frozen=True, kw_only=True):
    """`POST /v1/canary-certificates`, signed: for one key and one run."""

    public_key: Annotated[str, Meta(max_length=4096)]
    source: Annotated[str, Meta(max_length=45)]
    """The address that the logins come from, as the hosts see it."""
    canaries: Annotated[tuple[Canary, ...], Meta(min_length=1, max_length=256)]
    checkpoint: Checkpoint | None = None


class ExplainRequest(Asked, frozen=True, kw_only=True):
    """`POST /v1/explain`, signed: what would become of this, and why."""

    identity: dict[str, Any] | None = None
    """Somebody else, as `identity` in a `[[test]]` of the policy; for admins only."""
    source: Annotated[str, Meta(max_length=45)] | None = None
    """The address that the request would come from; null for where this one does."""


class LeftOut(Message, frozen=True):
    """Something that was not granted, and why."""

    what: str
    """A principal, or the name of a rule."""
    reason: str


class LedgerProof(Message, frozen=True):
    """That a certificate is on the ledger, and that the ledger only grew."""

    leaf: str
    """Base64 of the entry's leaf, `ca.leaf`: it holds the hash of what was signed."""
    proof: str
    """A C2SP tlog-proof: the way from the leaf's hash to a checkpoint, and that."""
    checkpoint_signature: str
    """Armoured SSHSIG over the checkpoint's text by an online key, under the namespace
    `daypass-checkpoint`: what `ssh-keygen` verifies."""
    consistency: tuple[str, ...] = ()
    """Base64 of the hashes that prove it to extend the checkpoint in the request."""


class SignResponse(Message, frozen=True):
    """A certificate, and in words what it says."""

    certificate: str
    """One line, as in a `-cert.pub` file."""
    serial: Serial
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    """Unix seconds, inclusive."""
    valid_before: int
    """Unix seconds, exclusive."""
    critical_options: dict[str, str]
    extensions: tuple[str, ...]
    ledger: LedgerProof
    left_out: tuple[LeftOut, ...] = ()
    """What the rules might have given but did not."""


class CanaryResponse(Message, frozen=True):
    """The canaries, in the order in which they were asked for."""

    certificates: tuple[SignResponse, ...]


class RecordResponse(Message, frozen=True):
    """`GET /v1/log/records/<index>`: an entry of the ledger, for those it is for."""

    index: int
    leaf: str
    """Base64 of the entry's leaf, which holds the hashes of the other two."""
    record: str | None = None
    """Base64 of the record, canonical JSON; null once it was erased."""
    to_be_signed: str | None = None
    """Base64 of what the CA key signed; null once it was erased."""


class DiscoveryClient(Message, frozen=True):
    """One client id of an issuer, as `ca-login` needs to know it."""

    id: str
    flow: str
    """`browser`, `device` or `ci`."""
    binding: str
    """`nonce`, `audience` or `none`."""
    scopes: tuple[str, ...]
    redirect_host: str = "127.0.0.1"
    redirect_ports: tuple[int, ...] = ()
    """Empty for any."""
    public_secret: str | None = None
    parameters: dict[str, str] = {}
    """What else a sign-in begins with."""


class DiscoveryIssuer(Message, frozen=True):
    """One issuer that sign-ins may come from."""

    name: str
    url: str
    clients: tuple[DiscoveryClient, ...]


class Discovery(Message, frozen=True):
    """`GET /v1/discovery`: all that `ca-login` needs to begin."""

    origin: str
    """The CA's one public URL."""
    issuers: tuple[DiscoveryIssuer, ...]
    host_patterns: tuple[str, ...]
    """`ssh_config` patterns of the hosts that trust this CA."""
    server_time: int
    """Unix seconds."""


class Readiness(Message, frozen=True):
    """`GET /readyz`: whether this process can serve."""

    ready: bool
    problems: tuple[str, ...]
    """What keeps it from serving, for an operator."""


class Problem(Struct, frozen=True, omit_defaults=True):
    """An RFC 9457 problem document, sent as `application/problem+json`."""

    title: str
    status: int
    code: str
    """Stable, from `ca.errors`."""
    detail: str
    request_id: str
    hint: str | None = None
    type: str = "about:blank"


M = TypeVar("M", bound=Message)


def decode(body: bytes, as_type: type[M]) -> M:
    """Decode a JSON body; raise `BadRequest` saying which field is wrong and how."""
    try:
        message = msgspec.json.decode(body, type=as_type)
        # Of a member named twice msgspec takes the last, and whoever looked at the
        # request before us may have taken the first (RFC 8259 section 4).
        _EACH_ONCE.decode(body.decode())
    except (ValueError, RecursionError) as error:
        # msgspec names the field and the rule, never the value that was sent; but for
        # an unknown field the name was sent, too, and may be anything.
        words = _LONG_NAME.sub("`…`", str(error))
        raise BadRequest(f"the request body is wrong: {words}") from error
    return message


_LONG_NAME = re.compile(r"`[^`]{41,}`")


def _refuse_repeats(members: list[tuple[str, object]]) -> None:
    if len({name for name, _ in members}) != len(members):
        raise ValueError("a member is named twice")


_EACH_ONCE = json.JSONDecoder(object_pairs_hook=_refuse_repeats)
