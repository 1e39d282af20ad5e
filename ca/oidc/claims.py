"""The rules for what an ID token says (OpenID Connect Core 1.0, section 2).

These functions are given claims whose signature holds, and believe nothing else about
them: an honest issuer can still be asked for odd things. Nothing is converted: a
number in a string is refused, not read. Errors name claims, never their values.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ca.errors import (
    TokenAudienceWrong,
    TokenClaimInvalid,
    TokenExpired,
    TokenNotYetValid,
    TokenTypeRefused,
)
from ca.identity import EMAIL, Binding
from ca.issuers import ClientSettings

Claims = Mapping[str, object]

LEEWAY_SECONDS = 60
"""How far an issuer's clock may run ahead of ours, for `iat`, `nbf` and `auth_time`.

There is none at `exp`: a spent token's row may go once `exp` has passed, so a token
that were good a little longer could be spent again.
"""

LATEST = 253_402_300_799
"""The last second of the year 9999, the last that a `datetime` holds."""

LONGEST_SUBJECT = 255
LONGEST_EMAIL = 254
"""RFC 5321 section 4.5.3.1.3, less the angle brackets."""

MOST_GROUPS = 1000
LONGEST_GROUP = 256
MOST_METHODS = 32


def refuse_other_kinds(claims: Claims) -> None:
    """Raise `TokenTypeRefused` for a signed token that is no ID token."""
    if "events" in claims:
        raise TokenTypeRefused("the token is a logout token or a security event")
    # Keycloak and Cognito say in the payload what the header's `typ` could have; a
    # Keycloak access token can carry our audience and even our nonce.
    kind = claims.get("typ", "ID"), claims.get("token_use", "id")
    if kind != ("ID", "id"):
        raise TokenTypeRefused("the token says that it is no ID token")


def check_times(claims: Claims, *, now: datetime) -> tuple[int, int]:
    """Return when the token was made and when it ends; raise unless it holds now.

    In Unix seconds, as the token has them.
    """
    seconds = now.timestamp()
    expires = _moment(claims, "exp")
    begun = _moment(claims, "iat")
    if expires is None or begun is None:
        raise TokenClaimInvalid("the token lacks exp or iat")
    if expires <= seconds:
        raise TokenExpired("the token has expired", hint="sign in again")
    if max(begun, _moment(claims, "nbf") or 0) > seconds + LEEWAY_SECONDS:
        raise TokenNotYetValid(
            "the token is from the future", hint="compare the clocks of CA and issuer"
        )
    return begun, expires


def find_client(
    claims: Claims, clients: Sequence[ClientSettings], *, origin: str
) -> tuple[ClientSettings, str]:
    """Return the client of ours that the token was made for, and the audience.

    A client whose binding is `audience` is recognised by the CA's origin, with which
    the audience of its tokens begins; what follows is the binding's business.
    """
    audiences = _audiences(claims)
    party = claims.get("azp", audiences[0])
    # Several audiences could each use the token unless `azp` says who may
    # (OpenID Connect Core 1.0, 3.1.3.7); with one, it must not say another.
    if len(audiences) > 1 and "azp" not in claims:
        raise TokenAudienceWrong("the token was made for several clients")
    for client in clients:
        if client.binding is not Binding.AUDIENCE:
            if client.id == party and party in audiences:
                return client, client.id
        # NOTE: `azp` is not compared where the audience is bound to the key: there
        # it names the machine's account (Google Cloud), and adds no proof.
        elif len(audiences) == 1 and _is_of_origin(audiences[0], origin):
            return client, audiences[0]
    raise TokenAudienceWrong("the token was made for another client")


def _audiences(claims: Claims) -> list[str]:
    value = claims.get("aud")
    values = value if isinstance(value, list) else [value]
    audiences = [audience for audience in values if isinstance(audience, str)]
    if not audiences or len(audiences) != len(values):
        raise TokenClaimInvalid("the claim aud is neither a text nor a list of texts")
    if not isinstance(claims.get("azp", ""), str):
        raise TokenClaimInvalid("the claim azp is not a text")
    return audiences


def _is_of_origin(audience: str, origin: str) -> bool:
    # The bare origin counts too, so that the answer is "not bound to your key".
    return audience.partition("#")[0] == origin


def read_subject(claims: Claims) -> str:
    """Return `sub`: the issuer's own name for whoever this is."""
    subject = claims.get("sub")
    # Unicode's control and format characters, line ends and unassigned code points
    # are not printable; `sub` goes into records that people read.
    if (
        not isinstance(subject, str)
        or not 0 < len(subject) <= LONGEST_SUBJECT
        or not subject.isprintable()
    ):
        raise TokenClaimInvalid("the claim sub is not a short printable text")
    return subject


def read_verified_email(claims: Claims) -> str | None:
    """Return the e-mail address if the issuer verified it, its domain in lower case.

    Only the domain: case means nothing in DNS, but the part before the `@` belongs
    to its domain's owner (RFC 5321 section 2.4). What is not verified is not looked
    at, so nobody is kept out by an address that has no say.
    """
    email = claims.get("email", "")
    verified = claims.get("email_verified", False)
    if not isinstance(verified, bool):
        raise TokenClaimInvalid("the claim email_verified is neither true nor false")
    if not isinstance(email, str):
        raise TokenClaimInvalid("the claim email is not a text")
    if not verified or "email" not in claims:
        return None
    local, at, domain = email.partition("@")
    address = local + at + domain.lower()
    # Asked of the original: U+212A KELVIN SIGN is a k in lower case.
    if (
        not email.isascii()
        or len(email) > LONGEST_EMAIL
        or EMAIL.fullmatch(address) is None
    ):
        raise TokenClaimInvalid("the claim email is not an ASCII address")
    return address


def read_groups(claims: Claims) -> tuple[str, ...] | None:
    """Return the groups, or None when the issuer sent no such claim.

    Raises where the issuer sent a link instead of groups (OpenID Connect Core 1.0,
    5.6.2; Microsoft's overage): taken for no groups, it would outwit every deny.
    """
    for name in ("_claim_names", "_claim_sources"):
        elsewhere = claims.get(name, {})
        if not isinstance(elsewhere, dict):
            raise TokenClaimInvalid(f"the claim {name} is not an object")
        if "groups" in elsewhere:
            raise _groups_overflowed()
    if "hasgroups" in claims:
        raise _groups_overflowed()
    return _texts(claims, "groups", most=MOST_GROUPS, longest=LONGEST_GROUP)


def _groups_overflowed() -> TokenClaimInvalid:
    return TokenClaimInvalid(
        "there are so many groups that the token has only a link to them",
        hint="have the issuer send only the groups assigned to this client",
    )


def read_auth_time(claims: Claims, *, now: datetime) -> datetime | None:
    """Return when they last proved themselves to the issuer, where it says so."""
    seconds = _moment(claims, "auth_time")
    if seconds is None:
        return None
    # From the future it would satisfy any `max_auth_age` for long.
    if seconds > now.timestamp() + LEEWAY_SECONDS:
        raise TokenNotYetValid("the claim auth_time is in the future")
    return datetime.fromtimestamp(seconds, UTC)


def check_methods(claims: Claims) -> None:
    """Raise unless `amr` (RFC 8176) is absent or a list of texts."""
    _texts(claims, "amr", most=MOST_METHODS, longest=LONGEST_GROUP)


def _moment(claims: Claims, name: str) -> int | None:
    """Return a time in Unix seconds; only whole numbers, for which one reading exists.

    RFC 7519 section 2 allows fractions, but no issuer sends them.
    """
    if name not in claims:
        return None
    value = claims[name]
    # Python calls True an int.
    if type(value) is not int or not 0 <= value <= LATEST:
        raise TokenClaimInvalid(f"the claim {name} is not a whole number of seconds")
    return value


def _texts(
    claims: Claims, name: str, *, most: int, longest: int
) -> tuple[str, ...] | None:
    if name not in claims:
        return None
    values = claims[name]
    if not isinstance(values, list) or len(values) > most:
        raise TokenClaimInvalid(f"the claim {name} is not a list of at most {most}")
    if not all(isinstance(value, str) and len(value) <= longest for value in values):
        raise TokenClaimInvalid(f"the claim {name} holds more than short texts")
    return tuple(values)
