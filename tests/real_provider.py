"""A real OpenID provider on loopback: npm's `oidc-provider`, on Node.js.

    with OIDCProvider() as provider:
        provider.issuer
        provider.id_token("ada", nonce=...)        # code, PKCE, login, consent
        provider.rotate_keys()
        provider.asked("/jwks")                    # how often
        provider.freeze(); provider.thaw()         # takes connections, answers none
        provider.stop(); provider.start()          # at the same address, with new keys

Its people are ada, whose e-mail address is verified, and grace, whose is not. What it
knows is in oidc_provider/server.mjs; `tests.fakes.FakeIdP` is the one that can lie.
"""

import json
import os
import secrets
import signal
import subprocess
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

from ca.binding import encode_base64url
from tests.browsing import sign_in
from tests.node import PROVIDER, node

CLIENT = "ca-login"
ANOTHER_CLIENT = "another"
DEVICE_CLIENT = "ca-login-device"
"""For sign-ins by code; the nonce comes back."""

UNBOUND_DEVICE_CLIENT = "ca-login-device-unbound"
"""For sign-ins by code; the nonce is forgotten."""

_CALLBACK = "http://127.0.0.1:9/callback"
"""Where nobody listens: the code in it is read here, not there."""

_SECONDS = 20


class CannotStart(Exception):
    """Node.js or its packages are missing; says what it said."""


class OIDCProvider:
    """Serves while the `with` block runs; `folder` is where server.mjs is."""

    def __init__(self, folder: Path = PROVIDER) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.issuer = ""

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        self.start()
        return self

    def start(self) -> None:
        """Start it and wait until it listens, where it did before if it did."""
        port = str(urlsplit(self.issuer).port or 0)
        self._process = subprocess.Popen(
            [node(), "server.mjs", port],
            cwd=self._folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.issuer = self._hear("issuer")

    def stop(self) -> None:
        """End it."""
        assert self._process is not None
        with self._process as process:
            process.kill()  # also when it is frozen

    def freeze(self) -> None:
        """Stop it where it is: connections are taken, and nothing is answered."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it; it would end by itself if we were killed."""
        self.stop()

    def rotate_keys(self) -> str:
        """Sign with a new key from now on; return its id. The last one stays known."""
        self._say("rotate")
        return self._hear("rotated")

    def asked(self, path: str) -> int:
        """Return how often somebody has asked for a path."""
        self._say(f"asked {path}")
        return int(self._hear("asked"))

    def id_token(self, person: str, *, nonce: str, client: str = CLIENT) -> str:
        """Sign `person` in at `client` and return the ID token."""
        verifier, state = secrets.token_urlsafe(32), secrets.token_urlsafe()
        query = {
            "response_type": "code",
            "client_id": client,
            "redirect_uri": _CALLBACK,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": encode_base64url(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        came_back = sign_in(person, f"{self.issuer}/auth?{urlencode(query)}")
        answer = parse_qs(urlsplit(came_back).query)
        assert came_back.startswith(_CALLBACK)
        assert answer["state"] == [state]
        assert answer["iss"] == [self.issuer]
        return self._exchange(answer["code"][0], client=client, verifier=verifier)

    def _exchange(self, code: str, *, client: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": _CALLBACK,
            "client_id": client,
            "code_verifier": verifier,
        }
        body = urlencode(form).encode()
        with urlopen(f"{self.issuer}/token", body, _SECONDS) as answer:  # noqa: S310
            return str(json.load(answer)["id_token"])

    def _say(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _hear(self, first_word: str) -> str:
        """Return what follows `first_word` in the provider's next line."""
        assert self._process is not None
        assert self._process.stdout is not None
        words = self._process.stdout.readline().split()
        if words[:1] != [first_word]:
            self._process.kill()
            raise CannotStart("the OpenID provider ended; try: python -m tests.node")
        return words[1]
