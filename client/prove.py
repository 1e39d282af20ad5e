"""Prove who is asking, for one key: by a sign-in, or by a token that a job is given."""

import os
import re
from collections.abc import Sequence

from ca.binding import SALT_BYTES, audience_for, encode_base64url, nonce_for
from ca.values import dataclass, field
from client import ambient, flows, token
from client.failure import BadAnswer, Misuse
from client.flows import Offer
from client.messages import Discovery
from client.terminal import Terminal
from client.times import parse_length


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes to the CA to prove who asks."""

    id_token: str = field(repr=False)
    salt: str | None = field(default=None, repr=False)
    """What the token's nonce was made with."""


@dataclass(frozen=True, slots=True)
class How:
    """What was said about how to sign in."""

    flow: str | None = None
    """Of `client.flows`; None for what suits."""
    issuer: str | None = None
    """Its name; None for the first that the CA names."""
    token_file: str | None = None
    """Where an ID token is that somebody else got; no sign-in then."""
    open_browser: bool = True
    fresh_seconds: int | None = None
    """How long ago the sign-in at the provider may be; None for any time."""


_FRESH = re.compile(r"needs a sign-in of the last (\w+)")
"""What policy says of a rule with `max_auth_age` (`ca.policy.weighing`)."""


def freshness_in(refusal: str) -> int | None:
    """Return how many seconds ago a sign-in may be, where a refusal is about that."""
    found = _FRESH.search(refusal)
    return parse_length(found[1]) if found else None


def prove(discovery: Discovery, key_blob: bytes, how: How, terminal: Terminal) -> Proof:
    """Get an ID token for this key alone, where that can be had.

    It is bound to the key by its nonce or its audience (design invariant 5), so that a
    token that is stolen on the way buys nothing for another key.
    """
    if how.token_file is not None:
        terminal.step("read the token")
        return Proof(token.read(how.token_file))
    terminal.step("find a way to sign in")
    flow, offers = flows.choose(discovery, told=how.flow, issuer=how.issuer)
    if flow == flows.CI:
        return Proof(_job_token(discovery.origin, key_blob, offers, terminal))
    offer = offers[0]
    terminal.step(f"sign in at {offer.issuer.url}")
    salt = os.urandom(SALT_BYTES)
    nonce = nonce_for(key_blob, salt)
    bound = flow == flows.BROWSER or offer.client.binding == "nonce"
    if flow == flows.BROWSER:
        id_token = _with_browser(offer, nonce, how, terminal)
    else:
        id_token = _with_code(offer, nonce if bound else None, terminal)
    if not token.is_token(id_token.encode(errors="replace")):
        raise BadAnswer(
            f"{offer.issuer.url} answered with something that is no ID token"
        )
    return Proof(id_token, encode_base64url(salt) if bound else None)


def _job_token(
    origin: str, key_blob: bytes, offers: Sequence[Offer], terminal: Terminal
) -> str:
    """Return the token of the platform: made now for this key, where it can be."""
    terminal.step("get the job's token")
    if ambient.is_made():
        return ambient.read()
    if not ambient.is_there():
        raise ambient.missing()
    return ambient.request(_audience(origin, key_blob, offers))


def _audience(origin: str, key_blob: bytes, offers: Sequence[Offer]) -> str:
    """Return what to ask for: a token that is bound, if any client takes one."""
    if any(offer.client.binding == "audience" for offer in offers):
        return audience_for(origin, key_blob)
    if len({offer.client.id for offer in offers}) > 1:
        names = dict.fromkeys(offer.issuer.name for offer in offers)
        raise Misuse(
            f"this CA knows jobs under several client ids, at {', '.join(names)}",
            hint="add --issuer NAME, or give a token: --token-file FILE",
        )
    return offers[0].client.id


def _with_browser(offer: Offer, nonce: str, how: How, terminal: Terminal) -> str:
    """Have a person sign in here, with their browser."""
    # Imported here because other ways to sign in need no web server.
    from client import browser, oidc, session  # noqa: PLC0415

    client = offer.client
    endpoints = oidc.discover(offer.issuer)
    with browser.Listener(client.redirect_host, client.redirect_ports) as listener:
        attempt = oidc.Attempt(listener.redirect_uri, nonce, how.fresh_seconds)
        listener.expect(
            browser.Expected(
                attempt.state, endpoints.issuer, names_issuer=endpoints.names_itself
            )
        )
        url = oidc.authorization_url(endpoints, client, attempt)
        opened = how.open_browser and session.open_browser(url)
        terminal.say(f"{'your browser should have opened' if opened else 'open'} {url}")
        code = listener.wait()
    return oidc.exchange(endpoints, client, attempt, code=code)


def _with_code(offer: Offer, nonce: str | None, terminal: Terminal) -> str:
    """Have a person sign in on another device, with a code."""
    from client import device, oidc  # noqa: PLC0415 as above

    endpoints = oidc.discover(offer.issuer)
    begun = device.begin(endpoints, offer.client, nonce=nonce)
    terminal.say(f"on any device, open {begun.address}")
    terminal.say(f"and enter the code {begun.user_code}")
    if begun.address_with_code is not None:
        terminal.say(f"or open {begun.address_with_code}")
    terminal.say("never enter a code that somebody sent you: they would sign in as you")
    return device.wait(endpoints, offer.client, begun)
