"""A real ssh-agent for tests, and one that lies."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from ca import wire
from tests.authority import wait_until


class SshAgent:
    """OpenSSH's ssh-agent on a socket of our own, while the `with` block runs."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "agent"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait for its socket."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it, by its process id."""
        self.stop()

    def start(self) -> None:
        """Start an agent without keys."""
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", self.socket], stdout=subprocess.DEVNULL
        )
        wait_until(self.socket.is_socket)

    def stop(self) -> None:
        """End it, and the keys in it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        self.socket.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def add(self, *arguments: str | Path, answer: str = "") -> None:
        """Run ssh-add; `answer` is what it would ask a person for."""
        asking = self.socket.with_name("askpass")
        asking.write_text(f"#!/bin/sh\necho '{answer}'\n")
        asking.chmod(0o700)
        environment = os.environ | {
            "SSH_AUTH_SOCK": str(self.socket),
            "SSH_ASKPASS": str(asking),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        subprocess.run(
            ["ssh-add", "-q", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
        )


@contextmanager
def lying_agent(path: Path, answer: Callable[[bytes], bytes]) -> Iterator[None]:
    """Listen at `path`, and send what `answer` makes of each message, raw."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    length = int.from_bytes(connection.recv(4, socket.MSG_WAITALL))
                    request = connection.recv(length, socket.MSG_WAITALL)
                    connection.sendall(answer(request))

    server = threading.Thread(target=serve)
    server.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join()
        path.unlink()


def identities(*keys: bytes) -> bytes:
    """Return the message in which an agent says which keys it holds."""
    held = b"".join(wire.string(key) + wire.text("a comment") for key in keys)
    return wire.string(b"\x0c" + wire.u32(len(keys)) + held)


def answering(*, keys: Sequence[bytes], signature: bytes) -> Callable[[bytes], bytes]:
    """Return an agent that says it holds `keys` and signs everything the same way."""

    def answer(request: bytes) -> bytes:
        if request == b"\x0b":
            return identities(*keys)
        return wire.string(b"\x0e" + wire.string(signature))

    return answer
