"""Whose address a request came from."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from flask import Request, g, request

from ca.authority import Authority
from ca.config import Network
from ca.errors import BadRequest
from ca.issue import Caller

_UNIX_SOCKET = "0.0.0.0"  # noqa: S104 (an address to record, not to bind)


def caller_of(authority: Authority) -> Caller:
    """Return where the request that is being answered came from."""
    address = g.get("peer") or peer_address(request, authority.config.trusted_proxies)
    return Caller(address=address, request_id=g.request_id)


def peer_address(
    sent: Request, trusted_proxies: Sequence[Network]
) -> IPv4Address | IPv6Address:
    """Return the caller's address; only trusted proxies may say it is another's.

    From the right, `X-Forwarded-For` is followed for as long as the address before
    was a trusted proxy's: everything further left, anybody could have written.
    """
    address = _parse(sent.remote_addr or _UNIX_SOCKET)
    hops = sent.headers.get("X-Forwarded-For", "").split(",")
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
