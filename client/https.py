"""HTTP as a login needs it: one site, TLS 1.2 or later, JSON, and an end to everything.

No redirects (a token must not follow one), no body above 1 MiB unless asked for, no
request longer than its deadline however slowly the bytes drip. Plain http only on
loopback.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from urllib.parse import SplitResult, urlsplit

from ca.values import dataclass
from client import http1
from client.failure import BadAnswer, Misuse, Unreachable

LARGEST_BODY = 1 << 20
"""In bytes; the largest thing a CA sends is a trust bundle of a few kilobytes."""

DEADLINE = 20.0
"""Seconds for one request, connecting and the whole answer included."""

_IDLE = 1.0
"""Seconds after which a kept connection is not used again: servers close theirs after
two or more, and a request on a connection closed under it cannot be told apart from
one that was lost."""

_URL = re.compile(r"[!-\[\]-~]+", re.ASCII)
"""Printable ASCII: a space or a newline would end up in a request line, and browsers
read a backslash as a slash."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_GATEWAY_FAILS = frozenset({502, 503, 504})
_JSON = frozenset({"application/json", "application/problem+json"})


def split_url(url: str) -> SplitResult:
    """Split a URL that we may talk to; raise `Misuse` for any other."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Misuse(f"{url!r} is not a URL") from error
    if not host or _URL.fullmatch(url) is None:
        raise Misuse(f"{url!r} is not a URL", hint="write https://ca.example.com")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Misuse(f"a URL of ours has no user, password or fragment: {host}")
    if parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK):
        return parts
    raise Misuse(
        f"{parts.scheme}://{host} would not protect a token",
        hint="use https; plain http is for loopback only",
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes
    content_type: str
    """Without parameters, in lower case."""
    site: str

    def document(self) -> Mapping[str, object]:
        """Return the JSON object that the body must be; raise `BadAnswer`.

        A gateway's own page for a server that is down is `Unreachable`.
        """
        if self.content_type not in _JSON:
            if self.status in _GATEWAY_FAILS:
                raise Unreachable(
                    f"{self.site} is behind a gateway that cannot reach it"
                    f" (status {self.status})"
                )
            raise BadAnswer(
                f"{self.site} answered with status {self.status} and"
                f" {self.content_type or 'no content type'} instead of JSON",
                hint="check that the URL is right",
            )
        try:
            document = json.loads(self.body.decode())
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"{self.site} answered with broken JSON") from error
        if not isinstance(document, dict):
            raise BadAnswer(f"{self.site} answered with JSON that is not an object")
        return document


class Site:
    """A server, and one connection to it that is kept for the next request."""

    def __init__(self, url: str, *, deadline: float = DEADLINE) -> None:
        parts = split_url(url)
        self.url = url.rstrip("/")
        """What every request's path is appended to."""
        own_port = ":443" if parts.scheme == "https" else ":80"
        self.name = f"{parts.scheme}://{parts.netloc.lower().removesuffix(own_port)}"
        """Scheme, host and port: its origin."""
        self._parts = parts
        self._deadline = deadline
        self._connection: http1.Connection | None = None
        self._used = 0.0

    def get(
        self,
        path: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        most: int = LARGEST_BODY,
    ) -> Answer:
        """Ask for what is at `path` below the site's URL, or at that URL itself.

        `most` is how many bytes the answer may have.
        """
        return self._request("GET", path, None, dict(headers or {}), most=most)

    def post(
        self,
        path: str,
        body: bytes,
        *,
        content_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send `body` to `path` below the site's URL, or to that URL itself."""
        kind = {"Content-Type": content_type}
        return self._request("POST", path, body, {**kind, **(headers or {})})

    def close(self) -> None:
        """Close the connection, if one is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        *,
        most: int = LARGEST_BODY,
    ) -> Answer:
        headers = {"Accept": "*/*", "User-Agent": "ca-login", **headers}
        with self._explained():
            connection = self._connect()
            with _deadline(connection.sock, self._deadline):
                response = connection.request(
                    method, self.target(path), body, headers, longest=most
                )
            answer = self._judge(response)
            self._used = time.monotonic()
        return answer

    def target(self, path: str) -> str:
        """Return what stands for `path` in the request line."""
        if path:
            return self._parts.path.rstrip("/") + path
        query = f"?{self._parts.query}" if self._parts.query else ""
        return (self._parts.path or "/") + query

    def _connect(self) -> http1.Connection:
        kept = self._connection
        if kept is not None and not (
            kept.is_open and time.monotonic() - self._used <= _IDLE
        ):
            self.close()
        if self._connection is None:
            self._connection = self._new_connection()
        return self._connection

    def _new_connection(self) -> http1.Connection:
        host = self._parts.hostname or ""
        if self._parts.scheme == "http":
            return http1.Connection(
                host, self._parts.port or 80, seconds=self._deadline
            )
        # Imported here because loading it takes as long as the rest of a sign-in on
        # loopback, where there is no TLS.
        import ssl  # noqa: PLC0415

        context = ssl.create_default_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return http1.Connection(
            host, self._parts.port or 443, seconds=self._deadline, context=context
        )

    def _judge(self, response: http1.Response) -> Answer:
        if response.status in _REDIRECTS:
            raise BadAnswer(
                f"{self.name} wants to send us elsewhere, which we never follow",
                hint="use the URL it really has",
            )
        content_type = response.headers.get("content-type", "").partition(";")[0]
        return Answer(
            response.status, response.body, content_type.strip().lower(), self.name
        )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as error:
            raise self._unreachable("it does not answer in time") from error
        except http1.Closed as error:
            raise self._unreachable("it closed the connection") from error
        except OSError as error:
            # `verify_message` is why TLS did not trust the server's certificate.
            reason = getattr(error, "verify_message", "") or error.strerror or error
            raise self._unreachable(str(reason)) from error
        except http1.TooLong as error:
            self.close()
            raise BadAnswer(
                f"{self.name} answered with more than {error} bytes"
            ) from error
        except (http1.NotHTTP, ValueError) as error:
            self.close()
            raise BadAnswer(f"{self.name} does not answer in HTTP") from error
        except BaseException:
            # The rest of an answer must not become the beginning of the next.
            self.close()
            raise

    def _unreachable(self, reason: str) -> Unreachable:
        self.close()
        return Unreachable(
            f"{self.name} cannot be reached: {reason}",
            hint=f"check the network, then: curl -v {self.name}",
        )


@contextmanager
def _deadline(sock: socket.socket, seconds: float) -> Iterator[None]:
    """Cut a connection off after `seconds`, whatever it is in the middle of.

    A socket's own timeout begins anew with every byte.
    """
    late = threading.Event()

    def cut() -> None:
        late.set()
        # It may be closed already: by its own timeout, or by the other side.
        with suppress(OSError):
            # Not `sock.shutdown`, which a TLS socket overrides to forget its state.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
    # What was cut off may look like the end of what was sent.
    if late.is_set():
        raise TimeoutError
