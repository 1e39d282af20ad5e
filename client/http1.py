"""One connection that speaks HTTP/1.1, as strictly as RFC 9112 lets us.

`http.client` takes half as long to load as a whole sign-in takes, most of it for mail.
What is here is what a sign-in needs: one request after another, a body of a stated
length, in chunks or up to the end. What could be read in two ways is refused.
"""

import os
import re
import socket
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import BinaryIO

_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_MOST_INFORMATIONAL = 10
"""Answers such as 103 that may come before the one that counts."""

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\r\n]*)?")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?")


_FRAMING = frozenset({"content-length", "transfer-encoding"})


class NotHTTP(Exception):
    """What came is no answer in HTTP/1.1."""


class Closed(Exception):
    """The other side closed the connection before its answer was whole."""


class TooLong(Exception):
    """The body is longer than what anybody should send."""


class Response:
    """A status, headers by their names in lower case, and the whole body."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


class Connection:
    """A connection to one host, through a proxy where `HTTPS_PROXY` says so."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        seconds: float,
        context: "ssl.SSLContext | None" = None,
    ) -> None:
        self._name = f"[{host}]" if ":" in host else host
        default = 443 if context else 80
        self._host_header = self._name + ("" if port == default else f":{port}")
        proxy = _proxy_for(host) if context else None
        # As bytes: a text would have the rules for international names loaded.
        to = (host.encode("ascii"), port) if proxy is None else proxy
        self.sock: socket.socket = socket.create_connection(to, seconds)  # type: ignore[arg-type]  # it takes bytes
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if proxy is not None:
                self._tunnel(port)
            if context is not None:
                self.sock = context.wrap_socket(self.sock, server_hostname=host)
            self._stream: BinaryIO = self.sock.makefile("rb")
        except BaseException:
            self.sock.close()
            raise
        self.is_open = True
        """Whether another request may follow."""

    def close(self) -> None:
        """Close it; what was read stays read."""
        self.is_open = False
        self._stream.close()
        self.sock.close()

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        longest: int,
    ) -> Response:
        """Send a request and return its answer, with a body of at most `longest`.

        Raises `NotHTTP`, `Closed`, `TooLong` and what sockets raise.
        """
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host_header}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header would end its line")
        head = "\r\n".join((*lines, "", "")).encode("latin-1")
        # Open for more only once the answer is whole and says so.
        self.is_open = False
        self.sock.sendall(head + (body or b""))
        return self._read(longest)

    def _tunnel(self, port: int) -> None:
        """Have the proxy lead to the host (RFC 9110 section 9.3.6)."""
        to = f"{self._name}:{port}"
        self.sock.sendall(f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode())
        # Not a byte more than is the proxy's: what follows is for TLS.
        with self.sock.makefile("rb", buffering=0) as self._stream:  # type: ignore[assignment]  # raw, and reads lines all the same
            status, _, _ = self._read_head()
        if status != 200:  # noqa: PLR2004 OK
            raise OSError(f"the proxy answered with status {status}")

    def _read(self, longest: int) -> Response:
        for _ in range(_MOST_INFORMATIONAL):
            status, headers, is_new = self._read_head()
            if status >= 200:  # noqa: PLR2004 the one that counts
                body, has_end = self._read_body(status, headers, longest)
                said = headers.get("connection", "").lower()
                self.is_open = has_end and is_new and "close" not in said
                if not self.is_open:
                    self.close()
                return Response(status, headers, body)
        raise NotHTTP

    def _read_head(self) -> tuple[int, dict[str, str], bool]:
        """Return status, headers, and whether it is HTTP/1.1."""
        begins = self._line(begins=True)
        found = _STATUS_LINE.fullmatch(begins)
        if found is None:
            raise NotHTTP
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self._line()
            if not line:
                return int(found[2]), headers, found[1] == b"1"
            header = _HEADER.fullmatch(line)
            if header is None:
                raise NotHTTP
            name, value = header[1].decode().lower(), header[2].decode("latin-1")
            # Of how long it is there can be one opinion; of others the last will do.
            if name in _FRAMING and headers.get(name, value) != value:
                raise NotHTTP
            headers[name] = value
        raise NotHTTP

    def _read_body(
        self, status: int, headers: Mapping[str, str], longest: int
    ) -> tuple[bytes, bool]:
        """Return the body, and whether its end was marked."""
        coding = headers.get("transfer-encoding")
        length = headers.get("content-length")
        if status in {204, 304}:
            return b"", True
        if coding is not None:
            # RFC 9112 section 6.1: with a length beside it, it may be an attack.
            if coding.lower() != "chunked" or length is not None:
                raise NotHTTP
            return self._read_chunks(longest), True
        if length is None:
            body = self._stream.read(longest + 1)
            if len(body) > longest:
                raise TooLong(longest)
            return body, False
        if _LENGTH.fullmatch(length.encode("latin-1")) is None:
            raise NotHTTP
        return self._exactly(int(length), longest), True

    def _read_chunks(self, longest: int) -> bytes:
        body = b""
        while True:
            found = _CHUNK.fullmatch(self._line())
            if found is None:
                raise NotHTTP
            size = int(found[1], 16)
            if not size:
                break
            body += self._exactly(size, longest - len(body))
            if self._line():
                raise NotHTTP
        for _ in range(_MOST_HEADERS):
            if not self._line():
                return body
        raise NotHTTP

    def _exactly(self, count: int, longest: int) -> bytes:
        if count > longest:
            raise TooLong(longest)
        content = self._stream.read(count)
        if len(content) < count:
            raise Closed
        return content

    def _line(self, *, begins: bool = False) -> bytes:
        """Return a line without its end."""
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            if len(line) == _LONGEST_LINE or (begins and line[:5] not in b"HTTP/"):
                raise NotHTTP
            raise Closed
        return line[:-1].removesuffix(b"\r")


def _proxy_for(host: str) -> tuple[bytes, int] | None:
    """Return host and port of the proxy for a host, as curl reads the environment."""
    url = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
    never = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    for name in (word.strip().lstrip(".") for word in never.split(",")):
        if name == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return None
    if not url:
        return None
    found = re.fullmatch(
        r"(?:http://)?(\[[0-9a-fA-F:]+\]|[A-Za-z0-9._-]+):([0-9]+)/?", url
    )
    if found is None:
        raise OSError("HTTPS_PROXY is not http://HOST:PORT")
    return found[1].strip("[]").encode(), int(found[2])
