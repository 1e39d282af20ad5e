"""HTTP as bytes: what no library would send, and what came back for it."""

import io
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import msgspec

from ca.messages import Problem
from tests.authority import LOOPBACK, PATIENCE_SECONDS, Signer


@dataclass(frozen=True)
class RawAnswer:
    """One answer off a connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> Problem:
        """The problem document that it must be."""
        assert self.headers["Content-Type"] == "application/problem+json", self
        assert self.headers["Cache-Control"] == "no-store"
        problem = msgspec.json.decode(self.body, type=Problem)
        assert problem.status == self.status
        assert problem.request_id == self.headers["X-Request-Id"]
        return problem


def connect(signer: Signer) -> socket.socket:
    """Open a connection to a signer."""
    return socket.create_connection((LOOPBACK, signer.port), PATIENCE_SECONDS)


@contextmanager
def connections(signer: Signer, count: int) -> Iterator[list[socket.socket]]:
    """Open many at once, and close them at the end."""
    with ExitStack() as stack:
        yield [stack.enter_context(connect(signer)) for _ in range(count)]


def clients_of(process: int, signer: Signer) -> set[str]:
    """Return the sockets that one process of a signer has its clients at, by inode."""
    established = {
        words[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()
        if (words := line.split())[1].endswith(f":{signer.port:04X}")
        and words[3] == "01"
    }
    links = []
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.append(str(file.readlink()))
    return established & {link.strip("socket:[]") for link in links}


def exchange(signer: Signer, *parts: bytes) -> bytes:
    """Send bytes on one connection; return all that comes back until its end."""
    with connect(signer) as sock:
        for part in parts:
            sock.sendall(part)
        return rest_of(sock)


def rest_of(sock: socket.socket) -> bytes:
    """Return what comes until the other side ends the connection."""
    received = b""
    while data := sock.recv(65536):
        received += data
    return received


def ask(signer: Signer, *parts: bytes) -> RawAnswer:
    """Send bytes; return the one answer, after which there must be nothing more."""
    return one_answer(exchange(signer, *parts))


def one_answer(received: bytes) -> RawAnswer:
    """Parse one answer, and fail for a second one behind it."""
    response = HTTPResponse(_Bytes(received))  # type: ignore[arg-type]  # has makefile
    response.begin()
    body = response.read()
    head = received.partition(b"\r\n\r\n")[0]
    assert len(received) == len(head) + 4 + len(body), received
    return RawAnswer(response.status, dict(response.headers), body)


class _Bytes:
    """What `HTTPResponse` needs of a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_arguments: Any) -> Any:
        return io.BytesIO(self._data)


def get(path: str, *headers: str) -> bytes:
    """Return a request for a path."""
    return head("GET", path, *headers)


def post(
    body: bytes,
    *headers: str,
    path: str = "/v1/user-certificates",
    connection: str | None = "close",
) -> bytes:
    """Return a request with a JSON body, after which `connection` is to end.

    None to say nothing of that: then it may stay.
    """
    json = ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    if connection is not None:
        json.append(f"Connection: {connection}")
    return head("POST", path, *json, *headers) + body


def head(method: str, path: str, *headers: str) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: ca.example.com", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")
