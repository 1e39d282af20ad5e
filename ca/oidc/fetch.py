"""Get one JSON document from an issuer, and trust the way as little as possible.

Only URLs that configuration or the issuer's own discovery name are fetched. No
redirects are followed, since they would let whoever answers choose the next address;
no proxies from the environment; bodies and time are limited, also for a server that
sends one byte a second. There is no filter on private addresses: identity providers
on the premises live there.
"""

import contextlib
import http.client
import io
import socket
import ssl
import time
from typing import Any
from urllib.parse import SplitResult

from ca.errors import IssuerUnavailable, Malformed
from ca.issuers import is_loopback, split_url
from ca.oidc.strict_json import parse_object

SECONDS = 3.0
"""For connecting, TLS, question and answer together. Resolving the name comes on top,
for which the system's resolver has limits of its own."""

CONNECT_SECONDS = 1.0
"""For each address of the name, so that one dead address leaves time for the next."""

LONGEST_BODY = 64 * 1024
"""In bytes; large providers' key sets take about 20 KiB."""


def fetch_object(url: str, *, seconds: float = SECONDS) -> dict[str, object]:
    """Return the JSON object at `url`; raise `IssuerUnavailable` for all else."""
    try:
        return parse_object(_get(_split(url), deadline=time.monotonic() + seconds))
    except TimeoutError as error:
        raise _unavailable(url, f"does not answer within {seconds:g} s") from error
    # ValueError: a host or a path that cannot be written into a request.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unavailable(url, f"does not answer well: {error}") from error
    except Malformed as error:
        raise _unavailable(url, f"answers what is {error.detail}") from error


def _unavailable(url: str, why: str) -> IssuerUnavailable:
    # Cut, since http.client quotes odd answers in full.
    return IssuerUnavailable(f"{url[:256]} {why[:256]}")


def _split(url: str) -> SplitResult:
    parts = split_url(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("plain http is only for loopback")
    return parts


def _get(url: SplitResult, *, deadline: float) -> bytes:
    host = url.hostname or ""
    with contextlib.closing(_connect(url, host, deadline)) as sock:
        connection = http.client.HTTPConnection(host)
        connection.sock = _PatientSocket(sock, deadline)
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        headers = {"Host": url.netloc, "Accept": "application/json"}
        connection.request("GET", target, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise http.client.HTTPException(f"HTTP status {response.status}")
        body = response.read(LONGEST_BODY + 1)
    if len(body) > LONGEST_BODY:
        raise http.client.HTTPException(f"more than {LONGEST_BODY} bytes")
    return body


def _connect(url: SplitResult, host: str, deadline: float) -> socket.socket:
    sock = _connect_to_any(
        host, url.port or (443 if url.scheme == "https" else 80), deadline
    )
    if url.scheme == "http":
        return sock
    # Read afresh each time, so that a change of the system's trusted roots is seen.
    context = ssl.create_default_context()
    with contextlib.closing(sock):
        # The handshake as a whole keeps to the timeout; when it has begun, `sock`
        # is detached, and closing it does nothing.
        sock.settimeout(_seconds_left(deadline))
        return context.wrap_socket(sock, server_hostname=host)


def _connect_to_any(host: str, port: int, deadline: float) -> socket.socket:
    problem = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(min(CONNECT_SECONDS, _seconds_left(deadline)))
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem


def _seconds_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("too slow")
    return left


class _PatientSocket:
    """What `http.client` needs of a socket, with one deadline for everything."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send a request; `sendall` as a whole keeps to the timeout."""
        self._sock.settimeout(_seconds_left(self._deadline))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what the answer is read from."""
        return io.BufferedReader(_PatientReader(self._sock, self._deadline))

    def close(self) -> None:
        """Leave the socket open: `http.client` closes it before the body is read."""


class _PatientReader(io.RawIOBase):
    """The bytes that come before a deadline, however slowly they drip.

    A socket's own timeout starts anew with each byte.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        """Say that this can be read, as `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Read what is there, waiting no longer than the deadline."""
        self._sock.settimeout(_seconds_left(self._deadline))
        return self._sock.recv_into(buffer)
