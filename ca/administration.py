"""What crosses HTTP when an admin revokes, blocks, or looks at certificates."""

from typing import Annotated, Any

from msgspec import Meta

from ca.messages import Message, Serial

Reason = Annotated[str, Meta(min_length=1, max_length=500)]
"""Why; it goes on record, and nothing is done without."""

Name = Annotated[str, Meta(min_length=1, max_length=320)]
Key = Annotated[str, Meta(min_length=1, max_length=4096)]
"""One line in OpenSSH's public key format, or a fingerprint `SHA256:…`."""

Time = Annotated[int, Meta(ge=0, le=253_402_300_799)]
"""Unix seconds, up to the last that a `datetime` holds."""


class Person(Message, frozen=True, kw_only=True):
    """Somebody, by what an issuer calls them: one of the two."""

    issuer: Annotated[str, Meta(min_length=1, max_length=64)]
    """The issuer's name in the configuration."""
    subject: Name | None = None
    """The issuer's own name for them (`sub`)."""
    email: Name | None = None
    """Their verified address; also of somebody who never signed in."""


class RevocationRequest(Message, frozen=True, kw_only=True):
    """`POST /v1/revocations`: exactly one of what there is to revoke, and why."""

    reason: Reason
    serial: Serial | None = None
    key_id: Name | None = None
    person: Person | None = None
    """Also blocks them."""
    key: Key | None = None
    """A subject key; also blocks it."""
    ca_key: Key | None = None
    """One of ours: all that it signed or will sign."""
    issued_between: tuple[Time, Time] | None = None
    """Put on record at the first or later, and before the second."""
    dry_run: bool = False
    """Only say what it would cut."""


class RevocationResponse(Message, frozen=True, kw_only=True):
    """What was revoked, or would be."""

    certificates: int
    """How many were good, and are not any more."""
    people: int
    """Of how many people."""
    ends: int | None = None
    """When the last of them would have ended by itself; null where none was good."""
    index: int | None = None
    """Of the ledger's entry; null for a dry run."""


class BlockRequest(Message, frozen=True, kw_only=True):
    """`POST /v1/blocks`: whom or which key to keep out; certificates stay good."""

    reason: Reason
    person: Person | None = None
    key: Key | None = None


class LiftRequest(Message, frozen=True):
    """`DELETE /v1/blocks/<id>`: why a block is lifted."""

    reason: Reason


class Recorded(Message, frozen=True):
    """That something was done."""

    index: int
    """Of the ledger's entry."""


class Block(Message, frozen=True, kw_only=True):
    """A block on record."""

    id: int
    kind: str
    """`subject`, `email` or `key`."""
    name: str
    """A subject, an address, or a fingerprint."""
    issuer: str = ""
    """Empty for a key."""
    lifted: bool
    index: int
    """Of the entry that made it."""
    time: int
    """When that was."""
    reason: str | None = None
    """Null once its record was erased, like the following."""
    by: dict[str, Any] | None = None


class Blocks(Message, frozen=True):
    """`GET /v1/blocks`: all of them, newest first."""

    blocks: tuple[Block, ...]


class CertificateSummary(Message, frozen=True, kw_only=True):
    """A certificate on record; what it says is left out once erased."""

    serial: Serial
    kind: str
    time: int
    """When it was put on record."""
    state: str
    """`live`, `revoked`, `ended`, `not-begun` or `erased`."""
    key_id: str | None = None
    principals: tuple[str, ...] = ()
    valid_after: int | None = None
    valid_before: int | None = None
    record: dict[str, Any] | None = None
    """Only where one certificate was asked for."""


class Certificates(Message, frozen=True):
    """`GET /v1/certificates`: those that are good now, newest first."""

    certificates: tuple[CertificateSummary, ...]
    more: bool = False
    """Whether there are more than are shown."""
