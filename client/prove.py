"""Prove who is asking: by an ID token from a browser sign-in, or one that was given."""

import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from ca.binding import SALT_BYTES, encode_base64url, nonce_for
from client import files
from client.failure import BadAnswer, Misuse, SignInFailed
from client.messages import Client, Discovery, Issuer
from client.terminal import Terminal

_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_LONGEST_TOKEN = 16_384
"""Bytes; the CA takes no longer one."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes to the CA to prove who asks."""

    id_token: str = field(repr=False)
    salt: str | None = field(default=None, repr=False)
    """What the token's nonce was made with."""


def read_token(source: str) -> Proof:
    """Read an ID token from a file, or from standard input for `-`.

    It is sent as it is, so its client must be one that is not bound to a key by a
    nonce. No error ever quotes what was read.
    """
    content = _read_source(source)
    token = content.strip()
    if len(token) > _LONGEST_TOKEN or _TOKEN.fullmatch(token) is None:
        raise Misuse(
            f"{'standard input' if source == '-' else source} holds no ID token",
            hint="give the file that holds the token and nothing else",
        )
    return Proof(token.decode())


def _read_source(source: str) -> bytes:
    # One byte more than fits, to know that it does not.
    if source == "-":
        # Closed (`<&-`), standard input is None.
        return sys.stdin.buffer.read(_LONGEST_TOKEN + 1024) if sys.stdin else b""
    content = files.read(Path(source), limit=_LONGEST_TOKEN + 1024)
    if content is None:
        raise Misuse(f"there is no file {source}", hint="ca-login --help")
    return content


def sign_in(
    discovery: Discovery, key_blob: bytes, *, open_browser: bool, terminal: Terminal
) -> Proof:
    """Have a person sign in with their browser, for this key alone.

    The token's nonce is a hash of the key (design invariant 5), so a token that is
    stolen on the way buys nothing for another key.
    """
    # Imported here because a sign-in with a token needs no web server.
    from client import browser, oidc  # noqa: PLC0415

    issuer, client = _choose(discovery)
    terminal.step(f"sign in at {issuer.url}")
    endpoints = oidc.discover(issuer)
    salt = os.urandom(SALT_BYTES)
    with browser.Listener() as listener:
        attempt = oidc.Attempt(listener.redirect_uri, nonce_for(key_blob, salt))
        listener.expect(
            browser.Expected(
                attempt.state, endpoints.issuer, names_issuer=endpoints.names_itself
            )
        )
        url = oidc.authorization_url(endpoints, client, attempt)
        opened = open_browser and browser.open_browser(url)
        terminal.say(f"{'your browser should have opened' if opened else 'open'} {url}")
        code = listener.wait()
    token = oidc.exchange(endpoints, client, attempt, code=code)
    if _TOKEN.fullmatch(token.encode(errors="replace")) is None:
        raise BadAnswer(f"{issuer.url} answered with something that is no ID token")
    return Proof(token, encode_base64url(salt))


def _choose(discovery: Discovery) -> tuple[Issuer, Client]:
    """Return the first client that people sign in with."""
    for issuer in discovery.issuers:
        for client in issuer.clients:
            if client.binding == "nonce":
                return issuer, client
    raise SignInFailed(
        "this CA has no sign-in by browser",
        hint="give a token: ca-login --token-file FILE",
    )
