"""Connections to hosts, by asyncssh: strict about host keys, shared through jump hosts.

A host key must be in known_hosts, or have a certificate of a host CA that is there;
nothing is taken on first sight.
"""

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Self

import asyncssh

from ca.errors import CAError
from client.api import Misuse
from deploy import credentials
from deploy.credentials import Agents, Credential
from deploy.failure import HostKeyUnknown, HostUnreachable, LoginRefused, NotProved
from deploy.inventory import Endpoint, Resolver

if TYPE_CHECKING:
    from pathlib import Path

_CONNECT_SECONDS = 15
_LOGIN_SECONDS = 30
_KEEPALIVE_SECONDS = 15


class _Offering(asyncssh.SSHClient):
    """Hands out keys as sshd asks for them, and so knows whether it asked."""

    def __init__(self, credential: Credential) -> None:
        self._left = list(credential.keys)
        self.was_asked = False

    def public_key_auth_requested(self) -> list[asyncssh.SSHKeyPair] | None:
        """Offer the next key."""
        self.was_asked = True
        return [self._left.pop(0)] if self._left else None


class Connections:
    """Opens connections; those to jump hosts are kept, for all behind them."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._jumps: dict[str, asyncio.Task[asyncssh.SSHClientConnection]] = {}
        self._known: dict[tuple[Path, ...], asyncssh.SSHKnownHosts] = {}
        self._agents = Agents()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections to jump hosts, and to agents."""
        self._agents.close()
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
        credential = with_ or await credentials.own(endpoint, self._agents)
        offering = _Offering(credential)
        tunnel = await self._tunnel(endpoint.jump)
        who = user or endpoint.user
        try:
            connection, _ = await asyncssh.create_connection(
                lambda: offering,
                endpoint.address,
                endpoint.port,
                tunnel=tunnel,
                proxy_command=endpoint.proxy_command or (),
                username=who,
                client_keys=None,
                agent_path=None,
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
        except (asyncssh.Error, OSError, TimeoutError) as error:
            raise _failure(endpoint, who, error) from error
        if with_ is not None and not offering.was_asked:
            connection.abort()
            raise NotProved(
                f"{endpoint.name} lets everybody in as {who}, without any key",
                hint=f"give {who} a password, or '*' for none that fits",
            )
        return connection

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
        opened = self._jumps.get(jump)
        if opened is None or _is_lost(opened):
            opened = asyncio.create_task(self._open_jump(jump))
            self._jumps[jump] = opened
        return await asyncio.shield(opened)

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
            try:
                self._known[endpoint.known_hosts] = asyncssh.import_known_hosts(text)
            except ValueError as error:
                raise Misuse(
                    f"known_hosts for {endpoint.name}: {error}",
                    hint="mend that line, or remove it",
                ) from error
        return self._known[endpoint.known_hosts]


def _is_lost(opened: "asyncio.Task[asyncssh.SSHClientConnection]") -> bool:
    """Say whether a connection to a jump host was there, and is not any more.

    One that could not be opened is not tried again for every host behind it.
    """
    if not opened.done() or opened.cancelled() or opened.exception() is not None:
        return False
    return opened.result().is_closed()


def _failure(endpoint: Endpoint, who: str, error: Exception) -> CAError:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return HostKeyUnknown(
            f"the host key of {endpoint.name} is not known, or not the known one",
            hint="compare it with the host's console, then add it to known_hosts: "
            "ca-deploy plan --accept-new shows the keys and asks",
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return LoginRefused(f"{endpoint.name} refuses {who}")
    return HostUnreachable(
        f"cannot connect to {endpoint.name} "
        f"({endpoint.address}, port {endpoint.port}): {reason(error)}"
    )


def reason(error: BaseException) -> str:
    """Return an error's own words, or at least its name."""
    return str(error) or type(error).__name__
