"""What the configuration says about an issuer of ID tokens, and its clients.

These values are valid by construction: whoever holds one need not check it again.
"""

import ipaddress
import re
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """One client id that the issuer knows us under."""

    id: str
    """The exact `aud` of its tokens. Where `binding` is `audience` it is the CA's
    own origin, to which each token's audience adds `#` and a hash of the key."""
    binding: Binding
    """What ties its tokens to one key. Has no default: see design invariant 5."""
    max_uses: int = 1
    """How many certificates one token may buy; above 1 only where `binding` is
    `none`. Whoever steals such a token has the uses that are left."""
    scopes: tuple[str, ...] = ("openid", "email", "profile")
    """What `ca-login` asks for."""

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        if _CLIENT_ID.fullmatch(self.id) is None:
            raise Misconfigured("a client id must be short, printable ASCII")
        if self.max_uses < 1:
            raise Misconfigured(f"client {self.id!r}: max_uses must be 1 or more")
        if self.max_uses > 1 and self.binding is not Binding.NONE:
            raise Misconfigured(
                f"client {self.id!r}: max_uses above 1 needs binding = 'none'"
            )
        # Without this scope there is no ID token (OpenID Connect Core 1.0, 3.1.2.1).
        if self.binding is Binding.NONCE and "openid" not in self.scopes:
            raise Misconfigured(f"client {self.id!r}: scopes must hold 'openid'")


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
