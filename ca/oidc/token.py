"""Take a compact JWS (RFC 7515 section 7.1) apart, trusting none of it yet."""

import re
from functools import lru_cache

from msgspec import Struct

from ca.binding import decode_base64url
from ca.errors import Malformed, TokenMalformed, TokenTypeRefused
from ca.oidc.strict_json import parse_object

LONGEST_TOKEN = 16 * 1024
"""In characters. A limit before any decoding keeps bombs small; real ID tokens with
hundreds of groups stay below it."""

LONGEST_KID = 255

_COMPACT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII)


class Token(Struct, frozen=True):
    """A token in its parts. Nothing here is proved."""

    unverified_algorithm: str
    unverified_kid: str | None
    unverified_claims: dict[str, object]
    """Parsed from the payload inside `signed`; once the signature over `signed`
    holds, these are the signed claims, and nobody parses them a second time."""
    signed: bytes
    """Header, dot and payload, as sent: exactly what the signature covers."""
    signature: bytes


def parse_token(text: str) -> Token:
    """Take a token apart; raise `TokenMalformed` or `TokenTypeRefused`."""
    if len(text) > LONGEST_TOKEN:
        raise TokenMalformed(f"the token has more than {LONGEST_TOKEN} characters")
    parts = _COMPACT.fullmatch(text)
    if parts is None:
        raise TokenMalformed("the token is not three parts of base64url")
    header, payload, signature = parts.groups()
    algorithm, kid = _read_header(header)
    return Token(
        unverified_algorithm=algorithm,
        unverified_kid=kid,
        unverified_claims=_decode_object(payload, what="payload"),
        signed=text[: parts.end(2)].encode(),
        signature=_decode_part(signature, what="signature"),
    )


def _decode_part(part: str, *, what: str) -> bytes:
    try:
        return decode_base64url(part)
    except Malformed as error:
        raise TokenMalformed(f"the token's {what} is {error.detail}") from error


def _decode_object(part: str, *, what: str) -> dict[str, object]:
    try:
        return parse_object(_decode_part(part, what=what))
    except Malformed as error:
        raise TokenMalformed(f"the token's {what} is {error.detail}") from error


@lru_cache(maxsize=64)  # all tokens that an issuer signs with one key have the same
def _read_header(part: str) -> tuple[str, str | None]:
    """Return `alg` and `kid`; for what is refused, raise each time.

    A key or a link to one in the header (`jwk`, `jku`, `x5c`, `x5u`) is never looked
    at: the issuer's JWKS says which keys are its own (CVE-2026-27962).
    """
    header = _decode_object(part, what="header")
    # RFC 7515 section 4.1.11: whoever does not understand what `crit` names must
    # refuse, and an empty list is not allowed either. `b64` (RFC 7797) would change
    # what the signature covers.
    for name in ("crit", "b64"):
        if name in header:
            raise TokenTypeRefused(f"the token's header has the extension {name}")
    # `at+jwt` is an access token (RFC 9068), `logout+jwt` a logout token.
    type_ = header.get("typ", "JWT")
    if not isinstance(type_, str) or type_.upper() != "JWT":
        raise TokenTypeRefused("the token's header says that it is no ID token")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise TokenMalformed("the token's header names no algorithm")
    if kid is None and "kid" not in header:
        return algorithm, None
    if not isinstance(kid, str) or len(kid) > LONGEST_KID:
        raise TokenMalformed("the token's key id is not a short text")
    return algorithm, kid
