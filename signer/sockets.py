"""What a process does with connections without ever waiting for a client."""

import os
import socket
import ssl
from contextlib import suppress
from functools import partial

from ca.waiting import apart

CHUNK = 64 * 1024
"""Bytes that are read at once, at most."""

WRITE_SECONDS = 10
"""Within which a client must have taken its answer."""


def read(descriptor: int) -> bytes | None:
    """Return what has arrived, nothing at the end or a fault, None if it is to come."""
    try:
        return os.read(descriptor, CHUNK)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def receive(sock: socket.socket) -> bytes | None:
    """Return what has arrived, nothing at the end or a fault, None if it is to come.

    Reading goes on with the handshake, too.
    """
    try:
        data = sock.recv(CHUNK)
        # What TLS has unpacked already, no poller tells of.
        while isinstance(sock, ssl.SSLSocket) and sock.pending():
            data += sock.recv(CHUNK)
    except (BlockingIOError, ssl.SSLWantReadError):
        return None
    except OSError:
        return b""
    return data


def _send(sock: socket.socket, data: bytes) -> int:
    """Return how much of it the system takes at once; raise `OSError`."""
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0


def end(sock: socket.socket) -> None:
    """End our half of a connection, and say so in TLS; raise `OSError`."""
    if isinstance(sock, ssl.SSLSocket):
        sock.settimeout(0)
        # It says the word and would wait for the other's, which need not come.
        with suppress(OSError):
            sock.unwrap()
    sock.shutdown(socket.SHUT_WR)


def send_together(sock: socket.socket, answer: bytes) -> None:
    """Send an answer on a socket that does not block; raise `OSError`.

    The system keeps what the client is slow to take. What is too much for that holds up
    nobody else of the crew; the socket blocks afterwards.
    """
    left = answer[_send(sock, answer) :]
    if left:
        apart(partial(_send_patiently, sock, left))


def _send_patiently(sock: socket.socket, left: bytes) -> None:
    sock.settimeout(WRITE_SECONDS)
    sock.sendall(left)
