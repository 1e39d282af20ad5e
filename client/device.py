"""Sign in on another device, with a code that is typed in there (RFC 8628).

For machines without a browser. A code can be phished, since whoever began the sign-in
gets the token: so people are told to enter only what their own terminal shows, and the
CA's policy can give less for such a token.
"""

import re
import time
from collections.abc import Callable, Mapping

from ca.values import dataclass, field
from client import oidc
from client.failure import BadAnswer, Misuse, SignInFailed, Unreachable
from client.https import split_url
from client.messages import Client, text, whole
from client.oidc import Endpoints

_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

_INTERVAL = 5
"""Seconds between questions where the issuer does not say (section 3.2), and by how
many more when it says `slow_down` (section 3.5)."""

_LONGEST = 1800
"""Seconds that we wait for a person, however long the code is good for."""

_EIGHT = re.compile(r"[A-Z]{8}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in that waits for somebody to type its code in."""

    device_code: str = field(repr=False)
    user_code: str
    """As the issuer spells it, but eight letters in two groups: issuers are to ignore
    the dash (section 6.1)."""
    address: str
    """Where it is typed in."""
    address_with_code: str | None
    """Where it need not be."""
    seconds: int
    """How long the code is good for."""
    interval: int
    """Seconds between questions."""


def begin(endpoints: Endpoints, client: Client, *, nonce: str | None) -> Begun:
    """Ask for a code. With a `nonce` where the issuer puts it into the ID token."""
    if endpoints.device is None:
        raise SignInFailed(
            f"{endpoints.issuer} has no sign-in by code", hint="ca-login --browser"
        )
    form = dict(client.parameters) | oidc.identify(client)
    form |= {"scope": oidc.scope(client)} | ({"nonce": nonce} if nonce else {})
    document = oidc.ask(endpoints.device, form)
    oidc.refuse_error(document, endpoints.device)
    # Google has the address under a name from before RFC 8628.
    name = "verification_uri" if "verification_uri" in document else "verification_url"
    complete = "verification_uri_complete"
    code = text(document, "user_code")
    return Begun(
        device_code=text(document, "device_code"),
        user_code=f"{code[:4]}-{code[4:]}" if _EIGHT.fullmatch(code) else code,
        address=_address(document, name),
        address_with_code=(
            _address(document, complete) if complete in document else None
        ),
        seconds=min(whole(document, "expires_in"), _LONGEST),
        interval=_interval(document),
    )


def wait(
    endpoints: Endpoints,
    client: Client,
    begun: Begun,
    *,
    pause: Callable[[float], object] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Ask until somebody has signed in; return the ID token or raise `SignInFailed`."""
    ends, interval = clock() + begun.seconds, begun.interval
    form = {"grant_type": _GRANT, "device_code": begun.device_code}
    form |= oidc.identify(client)
    while clock() < ends:
        pause(min(interval, ends - clock()))
        try:
            document = oidc.ask(endpoints.token, form)
        except Unreachable:
            # Section 3.5: less often, after a timeout.
            interval *= 2
            continue
        match document.get("error"):
            case "authorization_pending":
                continue
            case "slow_down":
                interval += _INTERVAL
            case "access_denied":
                raise SignInFailed("the sign-in was refused at the other device")
            case "expired_token":
                break
            case _:
                oidc.refuse_error(document, endpoints.token)
                return text(document, "id_token")
    raise SignInFailed(f"nobody signed in within {begun.seconds / 60:.0f} minutes")


def _interval(document: Mapping[str, object]) -> int:
    given = whole(document, "interval") if "interval" in document else _INTERVAL
    return max(1, given)


def _address(document: Mapping[str, object], name: str) -> str:
    """Return a URL that a person is sent to: as safe as one we would go to."""
    url = text(document, name)
    try:
        split_url(url)
    except Misuse as error:
        raise BadAnswer(f"the issuer names a bad URL: {error.detail}") from error
    return url
