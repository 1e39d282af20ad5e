"""The person's ssh-agent (RFC 9987): what it holds, and our certificate in it.

    request identities ──▶ identities         which keys are there, with comments
    add, constrained   ──▶ success, failure   a key, gone by itself after a while
    remove             ──▶ success, failure

A connection for each message, as ssh-add has it. On Windows the agent is behind a named
pipe. What it holds of ours is known by its comment, `daypass:PROFILE`.
"""

import os
import socket
import sys

from ca import wire
from ca.errors import Malformed
from ca.values import dataclass, field
from client.failure import Unable

_SECONDS = 10.0
"""An agent may ask a person first; one that hangs must not hang a sign-in."""

_LARGEST = 256 * 1024
"""OpenSSH's agent sends and takes no longer message (`AGENT_MAX_LEN`)."""

_FAILURE, _SUCCESS = 5, 6
_REQUEST_IDENTITIES, _IDENTITIES = 11, 12
_ADD, _REMOVE, _ADD_CONSTRAINED = 17, 18, 25
_LIFETIME = b"\x01"

_WINDOWS_PIPE = r"\\.\pipe\openssh-ssh-agent"

_ED25519 = b"ssh-ed25519"

VARIABLE = "SSH_AUTH_SOCK"

PREFIX = "daypass:"
"""How the comment of what is ours begins; the name of its files follows."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One key or certificate that an agent holds."""

    blob: bytes
    comment: str


@dataclass(frozen=True, slots=True)
class Secret:
    """An Ed25519 key pair of ours, on its way into an agent."""

    seed: bytes = field(repr=False)
    public: bytes
    """32 bytes, as they are in the blob."""

    @property
    def both(self) -> bytes:
        """The private key as SSH has it: the seed, then the public key."""
        return self.seed + self.public


class Agent:
    """An agent at one address; whatever fails raises `Unable`."""

    def __init__(self, path: str, *, seconds: float = _SECONDS) -> None:
        self.path = path
        self._seconds = seconds

    def identities(self) -> list[Identity]:
        """Return what it holds; nothing while it is locked."""
        kind, rest = self._ask(bytes([_REQUEST_IDENTITIES]))
        if kind != _IDENTITIES:
            raise self._nonsense(f"message {kind}")
        try:
            reader = wire.Reader(rest)
            found = [(reader.string(), reader.string()) for _ in range(reader.u32())]
            reader.finish()
        except Malformed as error:
            raise self._nonsense(error.detail) from error
        return [
            Identity(blob, comment.decode(errors="replace")) for blob, comment in found
        ]

    def add(self, certificate: bytes, secret: Secret, *, name: str, life: int) -> bool:
        """Add a certificate with its key; return whether it goes by itself.

        `life` is in seconds. Raises `Unable` where the agent takes no certificate.
        """
        algorithm = wire.Reader(certificate).string()
        body = b"".join(
            map(
                wire.string,
                (algorithm, certificate, secret.public, secret.both, name.encode()),
            )
        )
        return self._add(body, certificate, life)

    def add_key(self, secret: Secret, *, name: str, life: int) -> bool:
        """Add a key without a certificate; return whether it goes by itself."""
        body = b"".join(
            map(wire.string, (_ED25519, secret.public, secret.both, name.encode()))
        )
        blob = wire.string(_ED25519) + wire.string(secret.public)
        return self._add(body, blob, life)

    def remove(self, blob: bytes) -> None:
        """Remove one key or certificate; one that is not there is no error."""
        self._ask(bytes([_REMOVE]) + wire.string(blob))

    def _add(self, body: bytes, blob: bytes, life: int) -> bool:
        lifetime = _LIFETIME + wire.u32(life)
        kind, _ = self._ask(bytes([_ADD_CONSTRAINED]) + body + lifetime)
        limited = kind == _SUCCESS
        if not limited:
            # Windows' agent knows no lifetime, and some others lack the message.
            kind, _ = self._ask(bytes([_ADD]) + body)
        # Some say yes, and keep the key without its certificate.
        if kind != _SUCCESS or blob not in {one.blob for one in self.identities()}:
            raise Unable(
                f"{self} takes no certificates",
                hint="sign in without it: ca-login --agent never",
            )
        return limited

    def __str__(self) -> str:
        return f"the ssh-agent at {self.path}"

    def _ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a message; return the kind of the answer, and what follows."""
        try:
            answer = self._exchange(wire.string(message))
        except OSError as error:
            raise Unable(
                f"{self} does not answer: {error.strerror or error}",
                hint=f"start one (ssh-agent), or unset {VARIABLE}",
            ) from error
        return answer[0], answer[1:]

    def _exchange(self, message: bytes) -> bytes:
        if _is_pipe(self.path):
            with open(self.path, "r+b", buffering=0) as pipe:  # noqa: PTH123 a pipe
                pipe.write(message)
                return self._receive(pipe.read)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(self._seconds)
            connection.connect(self.path)
            connection.sendall(message)
            return self._receive(connection.recv)

    def _receive(self, more: "Callable[[int], bytes | None]") -> bytes:
        length = int.from_bytes(_take(more, 4))
        if not 0 < length <= _LARGEST:
            raise self._nonsense(f"a message of {length} bytes")
        return _take(more, length)

    def _nonsense(self, what: str) -> Unable:
        return Unable(
            f"{self} does not speak its protocol: {what}",
            hint=f"unset {VARIABLE}, or start another agent",
        )


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def find(*, seconds: float = _SECONDS) -> Agent | None:
    """Return the person's agent; None where there is none."""
    path = os.environ.get(VARIABLE, "")
    if not path and sys.platform == "win32":
        path = _WINDOWS_PIPE
    return Agent(path, seconds=seconds) if path else None


def _is_pipe(path: str) -> bool:
    r"""Say whether this is no socket but a Windows pipe, also spelled `//./pipe/`."""
    return path.replace("/", "\\").startswith("\\\\.\\pipe\\")


def _take(more: "Callable[[int], bytes | None]", length: int) -> bytes:
    """Return the next `length` bytes; raise `OSError` where they end before."""
    taken = b""
    while len(taken) < length:
        part = more(length - len(taken))
        if not part:
            raise ConnectionError("it closed the connection")
        taken += part
    return taken
