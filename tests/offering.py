"""An SSH client that offers any bytes as its certificate.

`ssh` checks a certificate before it offers it, and so hides what sshd would have
said. An attacker's client doesn't.
"""

import asyncio
import getpass
from collections.abc import Sequence
from pathlib import Path

import asyncssh

from ca import wire
from tests.sshd import LOOPBACK, Sshd

_ED25519 = b"ssh-ed25519"


class _AnyBytes(asyncssh.SSHKeyPair):
    """An Ed25519 private key that goes by any public bytes."""

    def __init__(self, key: asyncssh.SSHKey, offered: bytes) -> None:
        algorithm = wire.Reader(offered).string()
        super().__init__(algorithm, algorithm, (_ED25519,), (), offered, None)
        self._key = key

    def set_sig_algorithm(self, sig_algorithm: bytes) -> None:
        """Keep the algorithm that the offered bytes name."""

    def sign(self, data: bytes) -> bytes:
        """Sign the server's challenge with the private key that we have."""
        return self._key.sign(data, _ED25519)


def offer(sshd: Sshd, key: Path, certificate: bytes, *, command: str) -> str | None:
    """Log in with `certificate`; return what `command` said, None when refused."""
    pair = _AnyBytes(asyncssh.read_private_key(str(key)), certificate)
    with sshd.listening():
        return asyncio.run(_run(sshd, [pair], command))


async def _run(
    sshd: Sshd, pairs: Sequence[asyncssh.SSHKeyPair], command: str
) -> str | None:
    try:
        async with asyncssh.connect(
            LOOPBACK,
            sshd.port,
            username=getpass.getuser(),
            client_keys=pairs,
            known_hosts=str(sshd.known_hosts),
            config=None,
            agent_path=None,
            preferred_auth="publickey",
        ) as connection:
            answer = await connection.run(command)
            return str(answer.stdout)
    except asyncssh.PermissionDenied:
        return None
