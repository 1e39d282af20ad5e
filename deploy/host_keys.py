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


@dataclass(frozen=True, slots=True)
class _Offer:
    endpoint: Endpoint
    key: asyncssh.SSHKey

    @property
    def line(self) -> str:
        name = self.endpoint.alias or self.endpoint.address
        if self.endpoint.port != _SSH_PORT and self.endpoint.alias is None:
            name = f"[{name}]:{self.endpoint.port}"
        words = self.key.export_public_key().decode().split()[:2]
        return f"{name} {' '.join(words)}"


async def accept(
    resolver: Resolver,
    hosts: Sequence[Host],
    output: Output,
    confirm: Callable[[str], bool],
) -> None:
    """Ask once about all unknown host keys, and add them to known_hosts on a yes."""
    async with Connections(resolver) as connections:
        found = await asyncio.gather(
            *(_offer(connections, resolver, host) for host in hosts)
        )
    offers = [offer for offer in found if offer is not None]
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
        with path.open("a") as file:
            file.write(f"{offer.line}\n")


async def _offer(
    connections: Connections, resolver: Resolver, host: Host
) -> _Offer | None:
    endpoint = await resolver.resolve(host.name, host.options)
    if not endpoint.known_hosts or connections.knows(endpoint):
        return None
    key = await connections.show_key(endpoint)
    return None if key is None else _Offer(endpoint, key)
