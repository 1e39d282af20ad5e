"""The identity provider's side of a sign-in: where to go, and the token for the code.

Authorization code with PKCE (RFC 7636), for a public client: there is no secret on a
laptop. The ID token is not checked here; the CA checks it, and nothing else uses it.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ca.binding import encode_base64url
from client.failure import BadAnswer, Misuse, SignInFailed
from client.https import Site
from client.messages import Client, Issuer, text

_CHALLENGE_METHOD = "S256"


def _random() -> str:
    return encode_base64url(os.urandom(32))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What an issuer says about itself."""

    issuer: str
    authorization: str
    token: str
    names_itself: bool
    """Whether answers must carry `iss` (RFC 9207)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One authorization request: what must be the same at both ends of it."""

    redirect_uri: str
    nonce: str
    state: str = field(default_factory=_random, repr=False)
    verifier: str = field(default_factory=_random, repr=False)


def discover(issuer: Issuer) -> Endpoints:
    """Ask an issuer where its endpoints are (OpenID Connect Discovery 1.0)."""
    document = _ask(f"{issuer.url.rstrip('/')}/.well-known/openid-configuration")
    if text(document, "issuer") != issuer.url:
        # Section 4.3: they MUST be identical, or this is somebody else's document.
        raise BadAnswer(f"{issuer.url} says that it is another issuer")
    endpoints = Endpoints(
        issuer=issuer.url,
        authorization=text(document, "authorization_endpoint"),
        token=text(document, "token_endpoint"),
        names_itself=document.get("authorization_response_iss_parameter_supported")
        is True,
    )
    # It is opened in a browser, which would open anything.
    _site(endpoints.authorization)
    return endpoints


def authorization_url(endpoints: Endpoints, client: Client, attempt: Attempt) -> str:
    """Return the URL where a person signs in."""
    challenge = hashlib.sha256(attempt.verifier.encode()).digest()
    query = urlencode(
        {
            "response_type": "code",
            "client_id": client.id,
            "redirect_uri": attempt.redirect_uri,
            "scope": " ".join(dict.fromkeys(("openid", *client.scopes))),
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": encode_base64url(challenge),
            "code_challenge_method": _CHALLENGE_METHOD,
        }
    )
    separator = "&" if "?" in endpoints.authorization else "?"
    return f"{endpoints.authorization}{separator}{query}"


def exchange(
    endpoints: Endpoints, client: Client, attempt: Attempt, *, code: str
) -> str:
    """Return the ID token that the issuer gives for an authorization code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.redirect_uri,
        "client_id": client.id,
        "code_verifier": attempt.verifier,
    }
    document = _ask(endpoints.token, urlencode(form).encode())
    return text(document, "id_token")


def _ask(url: str, form: bytes | None = None) -> Mapping[str, object]:
    """Return the document at a URL; raise what it refuses with."""
    site = _site(url)
    try:
        answer = (
            site.get()
            if form is None
            else site.post("", form, content_type="application/x-www-form-urlencoded")
        )
    finally:
        site.close()
    document = answer.document()
    if "error" in document:
        # RFC 6749 section 5.2; its words are the issuer's, never a code or token.
        why = document.get("error_description") or document["error"]
        raise SignInFailed(f"{answer.site} refused: {why}")
    return document


def _site(url: str) -> Site:
    try:
        return Site(url)
    except Misuse as error:
        raise BadAnswer(f"the issuer names a bad URL: {error.detail}") from error
