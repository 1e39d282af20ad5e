"""Connections to hosts, by asyncssh: strict about host keys, shared through jump hosts.

A host key must be in known_hosts, or have a certificate of a host CA that is there;
nothing is taken on first sight.
"""

import asyncio
import os
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncssh

from deploy.failure import (
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
)
from deploy.inventory import Endpoint, Resolver

if TYPE_CHECKING:
    from pathlib import Path

_CONNECT_SECONDS = 15
_LOGIN_SECONDS = 30
_KEEPALIVE_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Credential:
    """What to log in with."""

    keys: tuple[object, ...] = field(repr=False)
    """As asyncssh takes them: pairs of a key and its certificate, or key pairs."""
    agent: str | None = None


class Connections:
    """Opens connections; those to jump hosts are kept, for all behind them."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._jumps: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}
        self._known: dict[tuple[Path, ...], asyncssh.SSHKnownHosts] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections to jump hosts."""
        for jump in self._jumps.values():
            if jump.done() and not jump.cancelled() and jump.exception() is None:
                jump.result().close()
            jump.cancel()

    async def open(
        self,
        endpoint: Endpoint,
        *,
        user: str | None = None,
        with_: Credential | None = None,
        known: asyncssh.SSHKnownHosts | None = None,
    ) -> asyncssh.SSHClientConnection:
        """Open a new connection, never a shared one; raises one of `deploy.failure`.

        `with_` is offered alone; without it, the operator's own keys and agent. `known`
        takes the place of the operator's known_hosts.
        """
        credential = with_ or own_credential(endpoint)
        tunnel = await self._tunnel(endpoint.jump)
        try:
            return await asyncssh.connect(
                endpoint.address,
                endpoint.port,
                tunnel=tunnel,
                proxy_command=endpoint.proxy_command or (),
                username=user or endpoint.user,
                client_keys=list(credential.keys) or None,
                agent_path=credential.agent,
                known_hosts=self._known_hosts(endpoint) if known is None else known,
                host_key_alias=endpoint.alias,
                config=None,
                password=None,
                gss_host=None,
                preferred_auth=("publickey",),
                connect_timeout=_CONNECT_SECONDS,
                login_timeout=_LOGIN_SECONDS,
                keepalive_interval=_KEEPALIVE_SECONDS,
            )
        except asyncssh.HostKeyNotVerifiable as error:
            raise HostKeyUnknown(
                f"the host key of {endpoint.name} is not known, or not the known one",
                hint="compare it with the host's console, then add it to known_hosts: "
                "--accept-new shows the keys and asks",
            ) from error
        except asyncssh.PermissionDenied as error:
            raise LoginRefused(
                f"{endpoint.name} refuses {user or endpoint.user}"
            ) from error
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise HostUnreachable(
                f"cannot connect to {endpoint.name} "
                f"({endpoint.address}, port {endpoint.port}): {reason(error)}"
            ) from error

    def knows(self, endpoint: Endpoint) -> bool:
        """Say whether known_hosts says anything of a host, if only that it is bad."""
        name = endpoint.alias or endpoint.address
        found = self._known_hosts(endpoint).match(name, "", endpoint.port)
        return any(found[:3])

    async def show_key(self, endpoint: Endpoint) -> asyncssh.SSHKey | None:
        """Return the key that a host shows; nothing is proved by it."""
        try:
            return await asyncssh.get_server_host_key(
                endpoint.address,
                endpoint.port,
                tunnel=await self._tunnel(endpoint.jump),
                proxy_command=endpoint.proxy_command or (),
                config=None,
            )
        except (asyncssh.Error, OSError, TimeoutError):
            return None

    async def _tunnel(self, jump: str | None) -> asyncssh.SSHClientConnection | None:
        """Return the one connection to a jump host; several are taken in turn."""
        if jump is None:
            return None
        if jump not in self._jumps:
            self._jumps[jump] = asyncio.create_task(self._open_jump(jump))
        return await asyncio.shield(self._jumps[jump])

    async def _open_jump(self, jump: str) -> asyncssh.SSHClientConnection:
        before, _, last = jump.rpartition(",")
        name = last.removeprefix("ssh://")
        options = [f"ProxyJump={before}"] if before else []
        host, colon, port = name.rpartition(":")
        if colon and port.isdigit() and not host.endswith(":"):
            name, options = host.strip("[]"), [*options, f"Port={port}"]
        endpoint = await self._resolver.resolve(name, options)
        return await self.open(endpoint)

    def _known_hosts(self, endpoint: Endpoint) -> asyncssh.SSHKnownHosts:
        # NOTE: never None, which would mean to asyncssh to take any key at all.
        if endpoint.known_hosts not in self._known:
            text = "".join(
                path.read_text(errors="replace") + "\n"
                for path in endpoint.known_hosts
                if path.is_file()
            )
            self._known[endpoint.known_hosts] = asyncssh.import_known_hosts(text)
        return self._known[endpoint.known_hosts]


def own_credential(endpoint: Endpoint) -> Credential:
    """Return the operator's own keys, certificates and agent for a host."""
    pairs: list[object] = []
    for path in endpoint.identities:
        certificates = [str(c) for c in endpoint.certificates if c.is_file()]
        if path.is_file():
            try:
                pairs += asyncssh.load_keypairs(
                    [str(path)], certlist=certificates, ignore_encrypted=True
                )
            except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError):
                continue
    agent = endpoint.agent
    if agent == "SSH_AUTH_SOCK":
        agent = os.environ.get("SSH_AUTH_SOCK")
    return Credential(tuple(pairs), agent)


def reason(error: BaseException) -> str:
    """Return an error's own words, or at least its name."""
    return str(error) or type(error).__name__
