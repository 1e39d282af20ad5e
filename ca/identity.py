"""Who is asking: claims whose proof was checked, and the identity made from them."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, NewType

import msgspec
from msgspec import Meta, Struct

from ca.certificate import KEY_ID, LONGEST_KEY_ID
from ca.errors import Malformed

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, object])
"""Claims whose signature, issuer, audience and times have all been checked.

Only `ca.oidc` makes one, and `identity_from_record` from what one was put on record
as. A function that takes this type may trust it; a function that takes a plain mapping
may not.
"""

_NOT_RECORDED = frozenset(
    {"email", "groups", "nonce", "at_hash", "c_hash", "s_hash", "jti"}
)
"""Claims that never go on record: the first two because the identity has what policy
reads of them, an unverified address being nobody's business; the others because they
are of one token, not of whom it names."""

_LATEST = 253_402_300_799
"""The last second that a `datetime` holds."""

EMAIL = re.compile(r"[!-?A-~]+@[a-z0-9.-]+", re.ASCII)
"""One `@`, no spaces, a lower-case ASCII domain."""


class Binding(StrEnum):
    """What ties an ID token to one subject key (design invariant 5)."""

    NONCE = "nonce"
    """The token's nonce is a hash of the key: the browser's sign-in."""
    AUDIENCE = "audience"
    """The token's audience ends in a hash of the key: CI that lets us ask for one."""
    NONE = "none"
    """Nothing does: who comes first wins, and no role is ever reached that way."""


class Identity(Struct, frozen=True):
    """A person or a machine that an issuer has vouched for."""

    issuer: str
    """The issuer's name in the configuration, not its URL."""
    subject: str
    """The issuer's own, never reused name for them (`sub`)."""
    client: str
    """The client id that the token was made for."""
    binding: Binding
    email: str | None
    """Present only when the issuer verified it."""
    groups: tuple[str, ...] | None
    """None when the issuer sent no such claim, which is not the same as no groups."""
    auth_time: datetime | None
    """When they last proved themselves to the issuer, where it says so."""
    claims: VerifiedClaims
    """All claims of the token, as verified."""

    @property
    def key_id(self) -> str:
        """`<issuer name>:<verified e-mail, else subject>`, as sshd logs it.

        A name that is not short printable ASCII is replaced by a hash of the
        subject: refused names would lock people out, stripped ones would collide. So
        is a subject with an `@`: it could be spelled like somebody's e-mail address,
        which the issuer has not verified.
        """
        key_id = f"{self.issuer}:{self.email or self.subject}"
        if len(key_id) > LONGEST_KEY_ID or KEY_ID.fullmatch(key_id) is None:
            return self._hashed_key_id
        return self._hashed_key_id if self._poses_as_email else key_id

    @property
    def _poses_as_email(self) -> bool:
        return self.email is None and "@" in self.subject

    @property
    def _hashed_key_id(self) -> str:
        return (
            f"{self.issuer}:sha256-{hashlib.sha256(self.subject.encode()).hexdigest()}"
        )

    def to_record(self) -> dict[str, object]:
        """Return what policy may ask about later, as canonical JSON can hold it.

        A claim that is left out counts as not said, which never helps its holder: a
        rule does not match by it, and a deny does.
        """
        auth_time = self.auth_time
        return {
            "issuer": self.issuer,
            "subject": self.subject,
            "client": self.client,
            "binding": self.binding,
            "email": self.email,
            "groups": self.groups,
            "auth_time": None if auth_time is None else int(auth_time.timestamp()),
            "claims": {
                name: value
                for name, value in self.claims.items()
                if name.isascii() and name not in _NOT_RECORDED and _is_matchable(value)
            },
        }


def _is_matchable(value: object) -> bool:
    """Tell whether policy can match a claim of this form; others are not said to it."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(one, str) for one in value)
    return isinstance(value, (str, bool))


class _Recorded(Struct, frozen=True, forbid_unknown_fields=True):
    """What `Identity.to_record` writes."""

    issuer: str
    subject: str
    client: str
    binding: Binding
    email: str | None
    groups: tuple[str, ...] | None
    auth_time: Annotated[int, Meta(ge=0, le=_LATEST)] | None
    claims: dict[str, str | bool | tuple[str, ...]]


def identity_from_record(recorded: object) -> Identity:
    """Return the identity that was put on record; raise `Malformed` for all else.

    Policy decides about it as about the one that was verified then (a test compares),
    but for the claims that are left out of records.
    """
    try:
        said = msgspec.convert(recorded, _Recorded)
    except msgspec.ValidationError as error:
        raise Malformed(f"not an identity as we put it on record: {error}") from error
    return Identity(
        issuer=said.issuer,
        subject=said.subject,
        client=said.client,
        binding=said.binding,
        email=said.email,
        groups=said.groups,
        auth_time=(
            None
            if said.auth_time is None
            else datetime.fromtimestamp(said.auth_time, UTC)
        ),
        claims=VerifiedClaims(MappingProxyType(said.claims)),
    )


class SignIn(Struct, frozen=True):
    """A proved ID token: whom it names, and what is needed to spend it once."""

    identity: Identity
    token_sha256: bytes
    """SHA-256 of issuer, a NUL and the signed bytes: the same however re-encoded."""
    issued: int
    """When the token was made, by its `iat`, in Unix seconds."""
    expires: int
    """When the token ends, in Unix seconds; its row may go after that."""
    max_uses: int
    """How many certificates it may buy; above 1 only where binding is `none`."""
