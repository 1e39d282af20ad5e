"""What the operator logs in with: their own keys, certificates and agent, as ssh would.

A certificate is offered with its key, wherever that is: in a file, or in an agent, as
keys in hardware are.
"""

import asyncio
import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh

from deploy.inventory import Endpoint

_UNREADABLE = (
    asyncssh.KeyImportError,
    asyncssh.KeyEncryptionError,
    ValueError,
    OSError,
)


@dataclass(frozen=True, slots=True)
class Credential:
    """What to log in with, in the order in which it is offered."""

    keys: tuple[asyncssh.SSHKeyPair, ...] = field(repr=False)
    """Each with its certificate, where it has one."""


class Agents:
    """Connections to ssh-agents: one to each, for all the logins of a run."""

    def __init__(self) -> None:
        self._open: dict[str, asyncssh.SSHAgentClient] = {}
        self._turn = asyncio.Lock()

    async def keys(self, path: str) -> list[asyncssh.SSHKeyPair]:
        """Return what an agent holds; nothing where there is none."""
        async with self._turn:
            try:
                if path not in self._open:
                    self._open[path] = await asyncssh.connect_agent(path)
                return list(await self._open[path].get_keys())
            except (OSError, ValueError, asyncssh.Error):
                # One that was started anew meanwhile is asked anew.
                lost = self._open.pop(path, None)
                if lost is not None:
                    lost.close()
                return []

    def close(self) -> None:
        """Close them."""
        for agent in self._open.values():
            agent.close()


async def own(endpoint: Endpoint, agents: Agents) -> Credential:
    """Return the operator's own keys and certificates for a host.

    In ssh's order: what the configuration names comes first, and with IdentitiesOnly
    alone, since sshd hangs up after a few keys (MaxAuthTries).
    """
    certificates = _certificates(endpoint)
    held = await agents.keys(endpoint.agent) if endpoint.agent else []
    named = _public_keys(endpoint.identities) | {
        c.key.public_data for c in certificates
    }
    mine = [key for key in held if key.key_public_data in named]
    others = [key for key in held if key.key_public_data not in named]
    files = [pair for path in endpoint.identities for pair in _load(path, certificates)]
    return Credential(
        (
            *_certified(mine, certificates),
            *mine,
            *files,
            *(() if endpoint.identities_only else others),
        )
    )


def _certified(
    keys: Iterable[asyncssh.SSHKeyPair],
    certificates: Iterable[asyncssh.SSHCertificate],
) -> list[asyncssh.SSHKeyPair]:
    """Return an agent's keys once more, with the certificates that files hold."""
    found = []
    for key in keys:
        for certificate in certificates:
            if certificate.key.public_data == key.key_public_data:
                both = copy.copy(key)
                both.set_certificate(certificate)
                found.append(both)
    return found


def _certificates(endpoint: Endpoint) -> list[asyncssh.SSHCertificate]:
    beside = [path.with_name(f"{path.name}-cert.pub") for path in endpoint.identities]
    found: list[asyncssh.SSHCertificate] = []
    for path in dict.fromkeys((*endpoint.certificates, *beside)):
        try:
            found += asyncssh.load_certificates(str(path))
        except _UNREADABLE:
            continue
    return found


def _public_keys(identities: Iterable[Path]) -> set[bytes]:
    """Return the public keys of the identities, each in or beside its file."""
    found = set()
    for path in identities:
        for place in (path.with_name(f"{path.name}.pub"), path):
            try:
                found.add(asyncssh.read_public_key(str(place)).public_data)
                break
            except _UNREADABLE:
                continue
    return found


def _load(
    path: Path, certificates: list[asyncssh.SSHCertificate]
) -> list[asyncssh.SSHKeyPair]:
    """Return the key of a file, first with its certificate; nothing if encrypted."""
    try:
        return list(
            asyncssh.load_keypairs(
                [str(path)], certlist=certificates, ignore_encrypted=True
            )
        )
    except _UNREADABLE:
        return []
