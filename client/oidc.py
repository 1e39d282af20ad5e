"""The identity provider's side of a sign-in: where to go, and the token for the code.

Authorization code with PKCE (RFC 7636), for a public client: what some providers call a
client secret is told to everybody. The ID token is not checked here; the CA checks it,
and nothing else uses it.
"""

import hashlib
import os
from collections.abc import Mapping
from urllib.parse import urlencode

from ca.binding import encode_base64url
from ca.values import dataclass, field
from client.failure import BadAnswer, Misuse, SignInFailed
from client.https import Site
from client.messages import Client, Issuer, text

_CHALLENGE_METHOD = "S256"
_DEVICE = "device_authorization_endpoint"


def _random() -> str:
    return encode_base64url(os.urandom(32))


@dataclass(frozen=True, slots=True)
class Endpoints:
    """What an issuer says about itself."""

    issuer: str
    authorization: str
    token: str
    device: str | None
    """Where a sign-in by code begins (RFC 8628), where there is one."""
    names_itself: bool
    """Whether answers must carry `iss` (RFC 9207)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One authorization request: what must be the same at both ends of it."""

    redirect_uri: str
    nonce: str
    max_age: int | None = None
    """Seconds after which the issuer is to have the person sign in anew."""
    state: str = field(default_factory=_random, repr=False)
    verifier: str = field(default_factory=_random, repr=False)


def discover(issuer: Issuer) -> Endpoints:
    """Ask an issuer where its endpoints are (OpenID Connect Discovery 1.0)."""
    url = f"{issuer.url.rstrip('/')}/.well-known/openid-configuration"
    document = ask(url)
    refuse_error(document, url)
    if text(document, "issuer") != issuer.url:
        # Section 4.3: they MUST be identical, or this is somebody else's document.
        raise BadAnswer(f"{issuer.url} says that it is another issuer")
    endpoints = Endpoints(
        issuer=issuer.url,
        authorization=text(document, "authorization_endpoint"),
        token=text(document, "token_endpoint"),
        device=text(document, _DEVICE) if _DEVICE in document else None,
        names_itself=document.get("authorization_response_iss_parameter_supported")
        is True,
    )
    # It is opened in a browser, which would open anything.
    _site(endpoints.authorization)
    return endpoints


def authorization_url(endpoints: Endpoints, client: Client, attempt: Attempt) -> str:
    """Return the URL where a person signs in."""
    challenge = hashlib.sha256(attempt.verifier.encode()).digest()
    # Ours last: the CA's parameters add to them and never take their place.
    query = dict(client.parameters) | {
        "response_type": "code",
        "client_id": client.id,
        "redirect_uri": attempt.redirect_uri,
        "scope": scope(client),
        "state": attempt.state,
        "nonce": attempt.nonce,
        "code_challenge": encode_base64url(challenge),
        "code_challenge_method": _CHALLENGE_METHOD,
    }
    if attempt.max_age is not None:
        query["max_age"] = str(attempt.max_age)
    separator = "&" if "?" in endpoints.authorization else "?"
    return f"{endpoints.authorization}{separator}{urlencode(query)}"


def exchange(
    endpoints: Endpoints, client: Client, attempt: Attempt, *, code: str
) -> str:
    """Return the ID token that the issuer gives for an authorization code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": attempt.redirect_uri,
        "code_verifier": attempt.verifier,
    }
    document = ask(endpoints.token, form | identify(client))
    refuse_error(document, endpoints.token)
    return text(document, "id_token")


def scope(client: Client) -> str:
    """Return what to ask for; without `openid` there is no ID token."""
    return " ".join(dict.fromkeys(("openid", *client.scopes)))


def identify(client: Client) -> dict[str, str]:
    """Return how a public client says who it is (RFC 6749 section 2.3.1)."""
    secret = client.public_secret
    return {"client_id": client.id} | ({"client_secret": secret} if secret else {})


def ask(url: str, form: Mapping[str, str] | None = None) -> Mapping[str, object]:
    """Return the document at a URL, which may be a refusal."""
    site = _site(url)
    try:
        if form is None:
            return site.get().document()
        body = urlencode(form).encode()
        kind = "application/x-www-form-urlencoded"
        return site.post("", body, content_type=kind).document()
    finally:
        site.close()


def refuse_error(document: Mapping[str, object], url: str) -> None:
    """Raise `SignInFailed` for an error (RFC 6749 section 5.2).

    Its words are the issuer's, never a code or token.
    """
    if "error" in document:
        why = document.get("error_description") or document["error"]
        raise SignInFailed(f"{_site(url).name} refused: {why}")


def _site(url: str) -> Site:
    try:
        return Site(url)
    except Misuse as error:
        raise BadAnswer(f"the issuer names a bad URL: {error.detail}") from error
