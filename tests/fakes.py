"""Small stand-ins for other people's services, over real sockets: no mocks.

`FakeIdP` is an OpenID provider that believes everybody and can misbehave:

    with FakeIdP() as idp:
        idp.token(sub="ada", aud="ca-login")      # a good token
        idp.token(exp=None)                       # the same without `exp`
        idp.token(algorithm="ES256", header={"kid": "?"})
        idp.rotate()
        idp.answers["/jwks"] = Answer(status=500)
        idp.hits["/jwks"]                         # how often it was asked

Its `/authorize` signs in `idp.user`, or whomever `login_hint` names, without a
question, and so does the device flow, once `idp.device_errors` are used up.
"""

import contextlib
import secrets
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from ca.binding import encode_base64url
from tests.jose import (
    ALGORITHMS,
    KEYS,
    compact_jws,
    dump,
    ec_key,
    ed25519_key,
    jwk,
    rsa_key,
)
from tests.serving import Serving

__all__ = [
    "CLIENT",
    "NOW",
    "Answer",
    "FakeIdP",
    "dump",
    "ec_key",
    "ed25519_key",
    "jwk",
    "rsa_key",
]

NOW = datetime(2026, 1, 1, tzinfo=UTC)

CLIENT = "ca-login"
"""The client id that tokens are made for unless a test says otherwise."""


@dataclass(frozen=True)
class Answer:
    """What a path answers instead of what it should."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_seconds: float = 0
    """Between any two bytes of the body."""


class FakeIdP:
    """An OpenID provider on loopback; as a context manager it listens."""

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.now = now
        self.generation = 0
        """Which keys sign; `rotate` counts it up."""
        self.published = [0]
        """The generations whose keys `/jwks` shows."""
        self.hits: Counter[str] = Counter()
        self.answers: dict[str, Answer] = {}
        self.delay_seconds = 0.0
        """Before each answer."""
        self.user = "ada"
        """Who signs in at `/authorize` without a `login_hint`."""
        self.people: dict[str, dict[str, Any]] = {
            name: {"email": f"{name}@example.com", "email_verified": True, "groups": g}
            for name, g in (("ada", ["dev"]), ("grace", ["dev", "oncall"]))
        }
        """The claims about each person, besides `sub`."""
        self.forms: list[dict[str, str]] = []
        """What was asked at `/device_authorization` and `/token`."""
        self.device: dict[str, Any] = {
            "user_code": "WDJBMJHT",
            "verification_uri": "https://login.example.com/device",
            "expires_in": 600,
            "interval": 1,
        }
        """What a sign-in by code begins with."""
        self.device_errors: list[str] = []
        """What is answered, one after the other, before somebody has signed in."""
        self.signed_in_ago = 0
        """Seconds, for whoever need not sign in anew."""
        self.device_nonce = True
        """Whether a nonce comes back in the device flow, as no standard says."""
        self._codes: dict[str, dict[str, str]] = {}
        self._server = _Server(self)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme, host = ("https", "localhost") if tls else ("http", "127.0.0.1")
        self.url = f"{scheme}://{host}:{self._server.server_port}"
        self.issuer = self.url
        """What discovery and tokens say; another value than `url` is a lie."""

    def __enter__(self) -> Self:
        self._serving = Serving(self._server)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._serving.end()

    def rotate(self, *, keep: bool = False) -> None:
        """Sign with new keys from now on, and withdraw the old ones unless told."""
        self.generation += 1
        self.published = [*(self.published if keep else []), self.generation]

    def token(
        self,
        *,
        algorithm: str = "RS256",
        header: Mapping[str, object] | None = None,
        key: Any = None,
        **claims: object,
    ) -> str:
        """Return a signed token; a claim or header member that is None is left out."""
        head = {"alg": algorithm, "typ": "JWT", "kid": self.kid(algorithm)}
        now = int(self.now())
        body = {"iss": self.issuer, "sub": "ada", "aud": CLIENT, "iat": now}
        return compact_jws(
            _present(head | dict(header or {})),
            _present(body | {"exp": now + 3600} | claims),
            self.signer(algorithm, key),
        )

    def kid(self, algorithm: str = "RS256") -> str:
        """Return the id of the key that now signs with `algorithm`."""
        return f"{algorithm[:2]}-{self.generation}".replace("PS", "RS")

    def signer(self, algorithm: str, key: Any = None) -> Callable[[bytes], bytes]:
        """Return what signs bytes with `key`, or else with the key of now."""
        chosen = key or KEYS[algorithm[:2]](self.generation)
        return lambda signed: ALGORITHMS[algorithm].sign(signed, chosen)

    def jwks(self) -> list[dict[str, Any]]:
        """Return the keys that `/jwks` publishes."""
        return [
            jwk(make(generation), kid=f"{kind}-{generation}")
            for generation in self.published
            for kind, make in KEYS.items()
            if kind != "PS"
        ]

    # What follows answers HTTP.

    def discovery(self, _: dict[str, str]) -> Answer:
        """Answer `/.well-known/openid-configuration`."""
        return _json(
            issuer=self.issuer,
            jwks_uri=f"{self.url}/jwks",
            authorization_endpoint=f"{self.url}/authorize",
            token_endpoint=f"{self.url}/token",
            device_authorization_endpoint=f"{self.url}/device_authorization",
            response_types_supported=["code"],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=["RS256", "ES256", "EdDSA"],
            code_challenge_methods_supported=["S256"],
            authorization_response_iss_parameter_supported=True,
        )

    def publish_keys(self, _: dict[str, str]) -> Answer:
        """Answer `/jwks`."""
        return _json(keys=self.jwks())

    def authorize(self, asked: dict[str, str]) -> Answer:
        """Sign somebody in and send them back at once (RFC 6749 section 4.1)."""
        if asked.get("code_challenge_method") != "S256" or "nonce" not in asked:
            return _json(400, error="invalid_request")
        code = secrets.token_urlsafe(16)
        user = asked.get("login_hint", self.user).partition("@")[0]
        self._codes[code] = {**asked, "user": user}
        back = {"code": code, "state": asked["state"], "iss": self.issuer}
        location = f"{asked['redirect_uri']}?{urlencode(back)}"
        return Answer(302, headers={"Location": location})

    def exchange(self, asked: dict[str, str]) -> Answer:
        """Give tokens for a code, once, to whoever began (RFC 7636 section 4.6)."""
        self.forms.append(asked)
        if "device_code" in asked:
            return self._exchange_device_code(asked)
        begun = self._codes.pop(asked.get("code", ""), None)
        challenge = sha256(asked.get("code_verifier", "").encode()).digest()
        if (
            begun is None
            or encode_base64url(challenge) != begun["code_challenge"]
            or asked.get("client_id") != begun["client_id"]
            or asked.get("redirect_uri") != begun["redirect_uri"]
        ):
            return _json(400, error="invalid_grant")
        ago = self.signed_in_ago
        if int(begun.get("max_age", ago)) < ago:
            ago = 0  # they had to sign in anew
        return self._tokens(begun["user"], begun["client_id"], begun["nonce"], ago)

    def begin_device(self, asked: dict[str, str]) -> Answer:
        """Answer `/device_authorization` (RFC 8628 section 3.1)."""
        self.forms.append(asked)
        code = secrets.token_urlsafe(16)
        self._codes[code] = asked
        return _json(**{"device_code": code} | self.device)

    def _exchange_device_code(self, asked: dict[str, str]) -> Answer:
        if self.device_errors:
            return _json(400, error=self.device_errors.pop(0))
        begun = self._codes.pop(asked["device_code"], None)
        if begun is None or begun["client_id"] != asked.get("client_id"):
            return _json(400, error="invalid_grant")
        nonce = begun.get("nonce") if self.device_nonce else None
        return self._tokens(self.user, begun["client_id"], nonce)

    def _tokens(
        self, user: str, client: str, nonce: str | None, ago: int = 0
    ) -> Answer:
        claims: dict[str, Any] = {"sub": user, "nonce": nonce, "aud": client}
        claims |= {"auth_time": int(self.now()) - ago} | self.people[user]
        id_token = self.token(**claims)
        return _json(id_token=id_token, access_token="none", token_type="Bearer")  # noqa: S106


def _present(members: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}


def _json(status: int = 200, **members: object) -> Answer:
    return Answer(status, dump(members), {"Content-Type": "application/json"})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, idp: FakeIdP) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.idp = idp
        self.routes = {
            "GET /.well-known/openid-configuration": idp.discovery,
            "GET /jwks": idp.publish_keys,
            "GET /authorize": idp.authorize,
            "POST /token": idp.exchange,
            "POST /device_authorization": idp.begin_device,
        }

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._answer(urlsplit(self.path).query)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

    def _answer(self, form: str) -> None:
        idp, path = self.server.idp, urlsplit(self.path).path
        idp.hits[path] += 1
        time.sleep(idp.delay_seconds)
        answer = idp.answers.get(path)
        if answer is None:
            route = self.server.routes.get(f"{self.command} {path}")
            answer = route(dict(parse_qsl(form))) if route else Answer(404)
        self.send_response(answer.status)
        length = {"Content-Length": str(len(answer.body))}
        for name, value in (length | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        if not answer.drip_seconds:
            self.wfile.write(answer.body)
            return
        for at in range(len(answer.body)):
            self.wfile.write(answer.body[at : at + 1])
            time.sleep(answer.drip_seconds)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests count hits."""
