"""A way to a PostgreSQL server on which things get lost, as on a real network.

    with LossyWay(server.folder, tmp_path) as way:
        way.lose(Loss.ANSWER)       # the next commit happens, and nobody is told

It listens on a Unix socket in a folder of its own; a database's URL with that folder as
its `host` leads through it. Each loss happens once.
"""

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self

_SOCKET = ".s.PGSQL.5432"
_COMMIT = b"COMMIT\0"  # and not "READ COMMITTED"


class Loss(Enum):
    """What gets lost."""

    COMMIT = auto()
    """The connection breaks before a commit reaches the server."""
    ANSWER = auto()
    """The connection breaks before the client hears that a commit succeeded."""
    SILENCE = auto()
    """A commit is delivered, and then nothing more, though the connection stands."""


class LossyWay:
    """Passes bytes on, both ways, until something is to be lost."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = str(server / _SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / _SOCKET))
        self._ends: list[socket.socket] = [self._listener]
        self._threads: list[threading.Thread] = []
        self._next: Loss | None = None
        self.losses: list[Loss] = []
        """What was lost until now."""

    def lose(self, loss: Loss) -> None:
        """Let this happen at the next commit."""
        self._next = loss

    def __enter__(self) -> Self:
        """Begin to accept connections."""
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Break all connections, and accept no more."""
        for end in self._ends:
            _break(end)
        for thread in self._threads:
            thread.join()
        for end in self._ends:
            end.close()

    def _start(self, target: Callable[..., None], *ends: socket.socket) -> None:
        thread = threading.Thread(target=target, args=ends)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                self._ends += [client, server]
                server.connect(self._server)
                self._start(self._pass_on, client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                for end in select.select([client, server], [], [])[0]:
                    self._pass_some(end, client, server)
        _break(client)
        _break(server)

    def _pass_some(
        self, end: socket.socket, client: socket.socket, server: socket.socket
    ) -> None:
        data = end.recv(1 << 16)
        if not data:
            raise ConnectionResetError
        if end is server:
            client.sendall(data)
            return
        loss = self._loss_of(data)
        if loss is not Loss.COMMIT:
            server.sendall(data)
        if loss in {Loss.ANSWER, Loss.SILENCE}:
            server.recv(1 << 16)
        if loss is Loss.SILENCE:
            client.recv(1 << 16)
        if loss is not None:
            raise ConnectionResetError

    def _loss_of(self, data: bytes) -> Loss | None:
        if self._next is None or _COMMIT not in data:
            return None
        loss, self._next = self._next, None
        self.losses.append(loss)
        return loss


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
