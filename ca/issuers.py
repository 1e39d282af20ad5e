"""What the configuration says about an issuer of ID tokens, and its clients.

These values are valid by construction: whoever holds one need not check it again.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit

from ca.errors import Misconfigured
from ca.identity import Binding

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
    | {"ES256", "ES384", "ES512", "EdDSA"}
)
"""All signature algorithms (RFC 7518 section 3.1, RFC 8037) an issuer may be given.

Asymmetric ones only: with `HS256` anyone who can verify could also sign.
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
"""Short enough that `<name>:sha256-<hex>` is a key ID, and without its colon."""

_CLIENT_ID = re.compile(r"[!-~]{1,255}", re.ASCII)
_URL = re.compile(r"[!-\[\]-~]+", re.ASCII)
"""Printable ASCII but for the backslash, which browsers read as a slash."""


_SECRET = re.compile(r"[!-~]{1,255}", re.ASCII)
_SCOPE = re.compile(r"[!#-\[\]-~]{1,255}", re.ASCII)
"""RFC 6749 section 3.3: several are joined by spaces."""

_PARAMETER = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)
_LONGEST_PARAMETER = 512

RESERVED_PARAMETERS = frozenset(
    {"client_id", "client_secret", "client_assertion", "client_assertion_type"}
    | {"response_type", "response_mode", "redirect_uri", "scope", "state", "nonce"}
    | {"code_challenge", "code_challenge_method", "code_verifier", "dpop_jkt"}
    | {"request", "request_uri", "registration", "id_token_hint"}
    | {"grant_type", "code", "device_code", "refresh_token"}
)
"""What `ca-login` says itself, and what could replace that (RFC 9101)."""

LOOPBACK_HOSTS = ("127.0.0.1", "localhost")
"""What a redirect URI may name. RFC 8252 section 8.3 wants the address; some providers
let the port vary only for the name."""


class Flow(StrEnum):
    """How a token of a client is come by."""

    BROWSER = "browser"
    """Authorization code with PKCE, sent back to loopback (RFC 8252)."""
    DEVICE = "device"
    """A code that is typed in at another device (RFC 8628)."""
    CI = "ci"
    """From the platform that a job runs on; nobody signs in."""


_BINDINGS: Mapping[Flow, frozenset[Binding]] = {
    # OpenID Connect Core 1.0, 3.1.3.7: who sends a nonce gets it back.
    Flow.BROWSER: frozenset({Binding.NONCE}),
    # RFC 8628 knows no nonce; some providers do.
    Flow.DEVICE: frozenset({Binding.NONCE, Binding.NONE}),
    Flow.CI: frozenset({Binding.AUDIENCE, Binding.NONE}),
}
"""What can tie the tokens of each flow to a key."""


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One client id that the issuer knows us under."""

    id: str
    """The exact `aud` of its tokens. Where `binding` is `audience` it is the CA's
    own origin, to which each token's audience adds `#` and a hash of the key."""
    flow: Flow
    """How `ca-login` gets a token of it. The token does not say, so what keeps the
    flows apart is that each has a client id of its own."""
    binding: Binding
    """What ties its tokens to one key. Has no default: see design invariant 5."""
    max_uses: int = 1
    """How many certificates one token may buy; above 1 only where `binding` is
    `none`. Whoever steals such a token has the uses that are left."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    """What `ca-login` asks for. Nobody is asked where the flow is `ci`."""
    redirect_host: str = LOOPBACK_HOSTS[0]
    """How the redirect URI of the flow `browser` names this machine."""
    redirect_ports: tuple[int, ...] = ()
    """The ports that the provider lets it name, the first free one is taken; none for
    any. Another account of the laptop may listen at a port that is known."""
    public_secret: str | None = None
    """What some providers call a secret though every laptop has it. It proves nothing,
    and everybody is told it."""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """More to say when a sign-in begins, such as `prompt`. A hint: whether the provider
    heeded it, only claims of the token can tell."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if _CLIENT_ID.fullmatch(self.id) is None:
            raise Misconfigured("a client id must be short, printable ASCII")
        self._refuse_other_binding()
        if self.flow is not Flow.CI:
            self._refuse_bad_request()
        elif self.public_secret is not None or self.parameters:
            raise self._misconfigured("there is no sign-in where flow = 'ci'")
        if self.flow is not Flow.BROWSER and self.redirect_ports:
            raise self._misconfigured("redirect_ports needs flow = 'browser'")

    def _refuse_other_binding(self) -> None:
        if self.binding not in _BINDINGS[self.flow]:
            bindings = " or ".join(repr(str(b)) for b in sorted(_BINDINGS[self.flow]))
            raise self._misconfigured(
                f"flow = {str(self.flow)!r} needs binding = {bindings}"
            )
        if self.max_uses < 1:
            raise self._misconfigured("max_uses must be 1 or more")
        # A person can sign in again; a job has the one token for all that it does.
        unbound = self.flow is Flow.CI and self.binding is Binding.NONE
        if self.max_uses > 1 and not unbound:
            raise self._misconfigured(
                "max_uses above 1 needs flow = 'ci' and binding = 'none'"
            )

    def _refuse_bad_request(self) -> None:
        """Refuse what `ca-login` could not say to the issuer in one clear way."""
        # Without this scope there is no ID token (OpenID Connect Core 1.0, 3.1.2.1).
        if "openid" not in self.scopes:
            raise self._misconfigured("scopes must hold 'openid'")
        if not all(_SCOPE.fullmatch(scope) for scope in self.scopes):
            raise self._misconfigured("a scope is one word of printable ASCII")
        if self.redirect_host not in LOOPBACK_HOSTS:
            raise self._misconfigured(
                f"redirect_host must be {' or '.join(LOOPBACK_HOSTS)}"
            )
        # Below 1024 only root may listen, on many systems.
        if not all(1024 <= port <= 65535 for port in self.redirect_ports):  # noqa: PLR2004
            raise self._misconfigured("redirect_ports are from 1024 to 65535")
        if self.public_secret is not None and not _SECRET.fullmatch(self.public_secret):
            raise self._misconfigured("public_secret must be short, printable ASCII")
        for name, value in self.parameters.items():
            self._refuse_parameter(name, value)

    def _refuse_parameter(self, name: str, value: str) -> None:
        if name in RESERVED_PARAMETERS:
            raise self._misconfigured(f"parameters: {name} is for ca-login to say")
        if _PARAMETER.fullmatch(name) is None:
            raise self._misconfigured(
                f"parameters: {name!r} must be of a-z 0-9 _ . - and begin with a letter"
            )
        if not 0 < len(value) <= _LONGEST_PARAMETER or not value.isprintable():
            raise self._misconfigured(f"parameters: {name} must be a short, plain text")

    def _misconfigured(self, why: str) -> Misconfigured:
        return Misconfigured(f"client {self.id!r}: {why}")


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One identity provider whose ID tokens are believed.

    Whoever controls it can be anyone that policy lets this issuer vouch for.
    """

    name: str
    """What policy, records and key IDs call it."""
    url: str
    """The exact `iss` of its tokens, character by character; discovery starts here."""
    clients: tuple[ClientSettings, ...]
    algorithms: tuple[str, ...] = ("RS256",)
    """The only ones its tokens may be signed with. RS256 is what every OpenID
    provider must support (OpenID Connect Core 1.0, 15.1)."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, or would be unsafe."""
        if _NAME.fullmatch(self.name) is None:
            raise Misconfigured("an issuer's name must be 1 to 32 of a-z 0-9 -")
        refuse_insecure_url(self.url, what=f"issuer {self.name!r}: url")
        self._refuse_clients()
        if not self.algorithms or not ALGORITHMS.issuperset(self.algorithms):
            raise self._misconfigured(
                f"algorithms must be some of {', '.join(sorted(ALGORITHMS))}"
            )

    def _refuse_clients(self) -> None:
        # An empty list must never mean any client.
        if not self.clients:
            raise self._misconfigured("no clients are named")
        ids = [client.id for client in self.clients]
        if len(set(ids)) != len(ids):
            raise self._misconfigured("a client id is named twice")
        # NOTE: audience clients are all called like the origin, so two of them are
        # also two of the same id.

    def _misconfigured(self, why: str) -> Misconfigured:
        return Misconfigured(f"issuer {self.name!r}: {why}")


def refuse_insecure_url(url: str, *, what: str, bare: bool = False) -> None:
    """Raise `Misconfigured` unless `url` is https, or http on loopback.

    A query is refused too (OpenID Connect Core 1.0, section 2), and where the URL
    must be `bare`, any path.
    """
    try:
        parts = split_url(url)
    except ValueError as error:
        raise Misconfigured(f"{what} {error}") from error
    if "?" in url:
        raise Misconfigured(f"{what} must not have a query")
    if bare and parts.path:
        raise Misconfigured(f"{what} must end with its host and port")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise Misconfigured(f"{what} must be https (http only on loopback)")


def split_url(url: str) -> SplitResult:
    """Split an absolute http(s) URL; raise `ValueError` saying what is wrong with it.

    Nothing that two programs could read in two ways: no user name, no fragment, no
    characters outside printable ASCII.
    """
    if _URL.fullmatch(url) is None:
        raise ValueError("has characters that no URL has")
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise ValueError("must begin with https:// and a host")
    if "@" in parts.netloc or "#" in url:
        raise ValueError("must have neither a user name nor a fragment")
    if parts.port == 0:
        raise ValueError("has a port that nobody can listen on")
    return parts


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine, where plain http is allowed."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
