"""Who is asking: claims whose proof was checked, and the identity made from them."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

from ca.certificate import KEY_ID, LONGEST_KEY_ID

VerifiedClaims = NewType("VerifiedClaims", Mapping[str, object])
"""Claims whose signature, issuer, audience and times have all been checked.

Only `ca.oidc` makes one. A function that takes this type may trust it; a function
that takes a plain mapping may not.
"""

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


@dataclass(frozen=True, slots=True)
class Identity:
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


@dataclass(frozen=True, slots=True)
class SignIn:
    """A proved ID token: whom it names, and what is needed to spend it once."""

    identity: Identity
    token_sha256: bytes
    """SHA-256 of issuer, a NUL and the signed bytes: the same however re-encoded."""
    expires: datetime
    """When the token ends; its row may go after that."""
    max_uses: int
    """How many certificates it may buy; above 1 only where binding is `none`."""
