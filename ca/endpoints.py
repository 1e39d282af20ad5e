"""Judge where a signer keeps its state and where it listens.

An address is refused where secrets would cross a network in the clear, and where the
address itself is one: an error that quotes a URL must never quote a password.
"""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from ca.errors import Misconfigured

_SQLITE = "sqlite:///"
_POSTGRESQL = "postgresql+psycopg"
_SECRET = frozenset({"password", "sslpassword"})
_OURS = frozenset({"options"})
"""What our own connections say, such as `synchronous_commit`."""


def database_url(url: str, folder: Path) -> str:
    """Return the URL with its path made absolute; raise `Misconfigured`."""
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        return f"{_SQLITE}{folder / url.removeprefix(_SQLITE)}"
    try:
        parts = urlsplit(url)
        if parts.scheme == _POSTGRESQL and parts.path.strip("/"):
            _refuse_exposed(parts.query, host=parts.hostname, password=parts.password)
            return url
    except ValueError:
        # What it says may quote the password.
        pass
    raise Misconfigured(
        "database.url: not a database we know",
        hint="write sqlite:///FILE, with FILE relative to the configuration, or"
        " postgresql+psycopg://USER@HOST/NAME",
    )


def _refuse_exposed(query: str, *, host: str | None, password: str | None) -> None:
    asked = parse_qs(query, keep_blank_values=True)
    if password is not None or _SECRET & asked.keys():
        raise Misconfigured(
            "database.url: no secret belongs into the configuration",
            hint="put the password into a file, and name it in database.password_file",
        )
    if _OURS & asked.keys():
        raise Misconfigured(
            f"database.url: {', '.join(sorted(_OURS))} is not for you to set",
            hint="set it for the role or the database, on the server",
        )
    hosts = [unquote(one) for one in ([host] if host else asked.get("host", []))]
    if "sslmode" not in asked and not all(map(_is_local, hosts)):
        raise Misconfigured(
            "database.url: it does not say how the way to the server is protected",
            hint="add ?sslmode=verify-full&sslrootcert=FILE",
        )


def _is_local(host: str) -> bool:
    # libpq takes a host with a slash in front for the folder of a Unix socket.
    without_port = host.rpartition(":")[0].strip("[]")
    return host.startswith("/") or is_loopback(host) or is_loopback(without_port)


def is_loopback(host: str) -> bool:
    """Say whether nobody else's machine can be reached by this name."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """What the signer proves itself with, as absolute paths."""

    certificate: Path
    key: Path

    @classmethod
    def named(
        cls, certificate: str | None, key: str | None, *, folder: Path
    ) -> Self | None:
        """Return both files, or None where neither is named."""
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise Misconfigured("server: tls_certificate and tls_key go together")
        return cls(folder / certificate, folder / key)


def open_tls(files: TLSFiles) -> ssl.SSLContext:
    """Return what a TLS server speaks with, or raise `Misconfigured`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # RFC 8996 has done away with what came before.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(
            files.certificate, files.key, password=_refuse_passphrase
        )
    except OSError as error:  # ssl.SSLError is one
        raise Misconfigured(
            f"cannot serve TLS with {files.certificate} and {files.key}:"
            f" {error.strerror}",
            hint="PEM files: the certificate with its chain, and its key unencrypted",
        ) from error
    return context


def _refuse_passphrase() -> str:
    # Without this, OpenSSL asks for one on the terminal.
    return ""


def refuse_exposed_listener(
    listen: str, *, encrypted: bool, proxies: Sequence[object]
) -> None:
    """Raise `Misconfigured` where tokens would be sent in the clear."""
    host, _port = _address_and_port(listen, "server.listen")
    if encrypted or proxies or is_loopback(host.strip("[]")):
        return
    raise Misconfigured(
        f"server.listen: {listen} can be reached from other machines, and would be"
        " sent ID tokens in the clear",
        hint="set server.tls_certificate and server.tls_key, or name the proxy that"
        " ends TLS in server.trusted_proxies",
    )


def refuse_shared_listener(metrics: str, listen: str) -> None:
    """Raise `Misconfigured` where the metrics have no port of their own.

    By its port a process knows what a request may ask for.
    """
    _, port = _address_and_port(metrics, "server.metrics_listen")
    if port == listen.rpartition(":")[2]:
        raise Misconfigured(
            "server.metrics_listen: it needs another port than server.listen"
        )


def _address_and_port(listen: str, what: str) -> tuple[str, str]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal():
        raise Misconfigured(
            f"{what}: not an address and a port",
            hint='write "127.0.0.1:8440", or "[::1]:8440"',
        )
    return host, port
