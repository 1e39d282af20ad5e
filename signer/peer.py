"""Whose address a request came from."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import request

from ca.authority import Authority
from ca.config import Network
from ca.errors import BadRequest
from ca.issue import Caller
from signer.exchange import current

_UNIX_SOCKET = "0.0.0.0"  # noqa: S104 (an address to record, not to bind)


def caller_of(authority: Authority) -> Caller:
    """Return where the request that Flask answers came from."""
    exchange = current()
    peer = exchange.peer or peer_address(
        exchange.remote, forwarded_for(), authority.config.trusted_proxies
    )
    return Caller(address=peer, request_id=exchange.request_id)


def forwarded_for() -> str:
    """Return the header of that name in the request that Flask answers, or empty."""
    return request.headers.get("X-Forwarded-For", "")


def peer_address(
    remote: str, forwarded_for: str, trusted_proxies: Sequence[Network]
) -> IPv4Address | IPv6Address:
    """Return the caller's address; only trusted proxies may say it is another's.

    From the right, `X-Forwarded-For` is followed for as long as the address before
    was a trusted proxy's: everything further left, anybody could have written.
    `remote` is empty for a Unix socket.
    """
    address = _parse(remote or _UNIX_SOCKET)
    hops = forwarded_for.split(",")
    while hops and hops[-1].strip() and _is_in(address, trusted_proxies):
        address = _parse(hops.pop().strip())
    return address


def _is_in(address: IPv4Address | IPv6Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _parse(text: str) -> IPv4Address | IPv6Address:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise BadRequest(
            "X-Forwarded-For holds something else than addresses"
        ) from error
    # A dual-stack listener shows IPv4 peers as ::ffff:192.0.2.1; policy and
    # source-address mean 192.0.2.1.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
