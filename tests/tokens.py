"""A verifier beside a fake issuer, and tokens that are good but for one thing."""

from datetime import datetime
from typing import Any

from ca.binding import audience_for, encode_base64url, nonce_for
from ca.identity import Binding, SignIn
from ca.issuers import ClientSettings, Flow, IssuerSettings
from ca.oidc import Verifier
from tests.fakes import CLIENT, NOW, FakeIdP
from tests.jose import compact_jws

ORIGIN = "https://ca.example.com"
KEY = b"a subject key"
SALT = bytes(range(32))
SALT_TEXT = encode_base64url(SALT)
NONCE = nonce_for(KEY, SALT)
AUDIENCE = audience_for(ORIGIN, KEY)
AT = int(NOW.timestamp())

CLIENTS = (
    ClientSettings(CLIENT, Flow.BROWSER, Binding.NONCE),
    ClientSettings("robot", Flow.CI, Binding.NONE, max_uses=3),
    ClientSettings(ORIGIN, Flow.CI, Binding.AUDIENCE),
)


class Desk:
    """Where tokens of one issuer are made and shown."""

    def __init__(self, idp: FakeIdP) -> None:
        self.idp = idp
        algorithms = ("RS256", "PS256", "ES256", "EdDSA")
        self.issuer = IssuerSettings("corp", idp.url, CLIENTS, algorithms)
        self.verifier = Verifier([self.issuer], origin=ORIGIN)

    def token(self, **changes: Any) -> str:
        """Return a good token with these claims, header or algorithm changed."""
        return self.idp.token(**{"nonce": NONCE} | changes)

    def raw(self, *, header: object = None, payload: object = None) -> str:
        """Return a token of exactly this header and payload, signed as it should be.

        Both may be bytes; an object is sent as it is, with its nulls.
        """
        head = {"alg": "RS256", "kid": self.idp.kid()} if header is None else header
        body = self.payload() if payload is None else payload
        return compact_jws(head, body, self.idp.signer("RS256"))

    def payload(self) -> dict[str, Any]:
        """Return the claims of a good token."""
        about = {"iss": self.idp.url, "sub": "ada", "aud": CLIENT, "nonce": NONCE}
        return {**about, "iat": AT, "exp": AT + 3600}

    def verify(
        self,
        token: str,
        *,
        key_blob: bytes = KEY,
        salt: str | None = SALT_TEXT,
        now: datetime = NOW,
    ) -> SignIn:
        """Show a token for the key that it was made for, unless told otherwise."""
        return self.verifier.verify(token, key_blob=key_blob, salt=salt, now=now)
