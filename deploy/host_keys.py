"""Host keys that nobody knows yet: shown to the operator, and written down on a yes.

Only hosts of which known_hosts says nothing. One that shows another key than it should
is never offered: somebody has to find out why.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import asyncssh

from client.api import Misuse
from deploy.connection import Connections
from deploy.inventory import Endpoint, Host, Resolver
from deploy.output import Output

_SSH_PORT = 22
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Offer:
    """A key that a host shows, and that nobody has vouched for yet."""

    endpoint: Endpoint
    key: asyncssh.SSHKey

    @property
    def line(self) -> str:
        """It as a line of known_hosts."""
        name = self.endpoint.alias or self.endpoint.address
        if self.endpoint.port != _SSH_PORT and self.endpoint.alias is None:
            name = f"[{name}]:{self.endpoint.port}"
        words = self.key.export_public_key().decode().split()[:2]
        return f"{name} {' '.join(words)}"


async def find_unknown(resolver: Resolver, hosts: Sequence[Host]) -> tuple[Offer, ...]:
    """Return the keys of those hosts of which known_hosts says nothing."""
    turns = asyncio.Semaphore(_AT_ONCE)
    async with Connections(resolver) as connections:

        async def one(host: Host) -> Offer | None:
            async with turns:
                return await _offer(connections, resolver, host)

        found = await asyncio.gather(*map(one, hosts))
    return tuple(offer for offer in found if offer is not None)


def accept(
    offers: Sequence[Offer], output: Output, confirm: Callable[[str], bool]
) -> None:
    """Ask once about all of them, and add them to known_hosts on a yes."""
    if not offers:
        return
    for offer in offers:
        output.note(f"{offer.endpoint.name}: {offer.key.get_fingerprint()}")
    output.note("compare them with what the hosts' consoles or your provider show")
    if not confirm(f"type yes to trust these {len(offers)} keys from now on: "):
        raise Misuse("no host key was added")
    for offer in offers:
        path = offer.endpoint.known_hosts[0]
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with path.open("a+b") as file:
            file.seek(0)
            whole = file.read()
            # A last line without an end must not swallow ours.
            start = b"\n" if whole and not whole.endswith(b"\n") else b""
            file.write(start + f"{offer.line}\n".encode())


async def _offer(
    connections: Connections, resolver: Resolver, host: Host
) -> Offer | None:
    endpoint = await resolver.resolve(host.name, host.options)
    if not endpoint.known_hosts or connections.knows(endpoint):
        return None
    key = await connections.show_key(endpoint)
    return None if key is None else Offer(endpoint, key)
