"""The three messages of the ssh-agent protocol that we need (RFC 9987).

    request identities ──▶ identities        which keys are there
    sign request       ──▶ signature, or failure

A connection for every question: it costs less than the signature, nothing has to be
opened again after the agent was restarted, and threads and forks share nothing.
"""

import socket
import time
from pathlib import Path

from ca import wire
from ca.errors import KeyUnavailable, Malformed

DEADLINE_SECONDS = 10.0
"""For a whole answer: hardware behind an agent signs one thing at a time."""

LONGEST_ANSWER = 256 * 1024
"""OpenSSH's agent sends and takes no longer message (`AGENT_MAX_LEN`)."""

RSA_SHA2_512 = 4
"""Flag of a sign request; without it an agent signs with SHA-1 (`ssh-rsa`)."""

_FAILURE = 5
_REQUEST_IDENTITIES = 11
_IDENTITIES = 12
_SIGN_REQUEST = 13
_SIGNATURE = 14

_HINT = "start it and ssh-add the key; the signer need not be restarted"


class Agent:
    """An ssh-agent behind a Unix socket. Thread-safe; whatever fails is told in words.

    Everything raises `KeyUnavailable`: the agent is part of where a key lives.
    """

    def __init__(self, path: Path, *, seconds: float = DEADLINE_SECONDS) -> None:
        self.path = path
        self._seconds = seconds

    def identities(self) -> tuple[bytes, ...]:
        """Return the public key blobs that the agent holds; none while it is locked."""
        reader = self._ask(bytes([_REQUEST_IDENTITIES]), answer=_IDENTITIES)
        if reader is None:
            raise KeyUnavailable(f"{self} does not say which keys it holds")
        try:
            found = [(reader.string(), reader.string()) for _ in range(reader.u32())]
            reader.finish()
        except Malformed as error:
            raise self._nonsense(error) from error
        return tuple(blob for blob, _comment in found)

    def sign(self, key: bytes, data: bytes, *, flags: int) -> bytes | None:
        """Return the signature blob over `data`, unverified; None where it refuses."""
        request = wire.string(key) + wire.string(data) + wire.u32(flags)
        reader = self._ask(bytes([_SIGN_REQUEST]) + request, answer=_SIGNATURE)
        if reader is None:
            return None
        try:
            signature = reader.string()
            reader.finish()
        except Malformed as error:
            raise self._nonsense(error) from error
        return signature

    def __str__(self) -> str:
        return f"the ssh-agent at {self.path}"

    def _ask(self, request: bytes, *, answer: int) -> wire.Reader | None:
        """Send a request; return what follows `answer`, or None where it failed."""
        try:
            message = self._exchange(request)
        except OSError as error:
            # A timeout, and a path that is too long, have no `strerror`.
            why = error.strerror or str(error)
            raise KeyUnavailable(f"{self} is gone: {why}", hint=_HINT) from error
        if message[0] == _FAILURE:
            return None
        if message[0] != answer:
            raise self._nonsense(f"message {message[0]}")
        return wire.Reader(message[1:])

    def _exchange(self, request: bytes) -> bytes:
        ends = time.monotonic() + self._seconds
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._seconds)
            connection.connect(str(self.path))
            connection.sendall(wire.string(request))
            length = int.from_bytes(receive(connection, 4, ends))
            if not 0 < length <= LONGEST_ANSWER:
                raise self._nonsense(f"a message of {length} bytes")
            return receive(connection, length, ends)

    def _nonsense(self, what: object) -> KeyUnavailable:
        return KeyUnavailable(f"{self} does not speak its protocol: {what}")


def receive(connection: socket.socket, length: int, ends: float) -> bytes:
    """Return the next `length` bytes; raise `OSError` when the clock is past `ends`."""
    received = bytearray()
    while len(received) < length:
        left = ends - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connection.settimeout(left)
        part = connection.recv(length - len(received))
        if not part:
            raise ConnectionError("it closed the connection")
        received += part
    return bytes(received)
