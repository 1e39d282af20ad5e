"""Join tokens: for machines that nobody can reach yet, and that begin by cloud-init.

A token registers one host, once, until it ends. It is a secret of 256 bits, and stored
as its hash alone; what it is for is on the ledger.
"""

import hashlib
import secrets
from datetime import datetime, timedelta

from ca.authority import Authority
from ca.binding import encode_base64url
from ca.errors import BadRequest, JoinTokenRefused, Malformed
from ca.host_documents import HOST_ID, parse_join
from ca.hosts.proof import open_document, refuse_elsewhere, verify
from ca.hosts.registry import By, NewHost, register_host
from ca.ledger import EntryKind
from ca.policy.rules import HOST_NAME
from ca.public_key import parse_public_key
from ca.store import JoinToken, StoredHost
from ca.store.hosts import join_token

LONGEST_TOKEN = timedelta(days=30)
"""It lies in user-data, which every process of the instance may read."""

_TOKEN_BYTES = 32


def make_join_token(
    authority: Authority,
    *,
    host: str | None,
    names: tuple[str, ...],
    life: timedelta,
    by: By,
    now: datetime,
) -> str:
    """Return a new token, for this id or for any, and for these names.

    Raises `BadRequest`, and `Unavailable`.
    """
    if host is not None and HOST_ID.fullmatch(host) is None:
        raise BadRequest(f"{host[:80]!r} is not a host's id")
    for name in names:
        if HOST_NAME.fullmatch(name) is None:
            raise BadRequest(f"{name[:80]!r} is not a host name")
    secret = encode_base64url(secrets.token_bytes(_TOKEN_BYTES))
    hashed, time = _hash(secret), int(now.timestamp())
    token = JoinToken(host, names, expires=time + int(life.total_seconds()))
    authority.ledger.change(
        join_token(hashed, token, now=time),
        kind=EntryKind.ADMINISTRATION,
        record={
            "v": 1,
            "act": "make-join-token",
            "join_token_sha256": hashed.hex(),
            "host": host,
            "names": names,
            "expires": token.expires,
            **by,
        },
        now=now,
    )
    return secret


def join_host(
    authority: Authority, document: bytes, by: By, *, now: datetime
) -> StoredHost:
    """Register a machine that brings a join token, and has signed with its own key.

    The same machine with the same token again is no change, for an answer may be lost.
    Raises `BadRequest`, `UnacceptableKey`, a kind of `Unauthenticated`, `Conflict` or
    `Unavailable`.
    """
    unproved = open_document(document, parse_join)
    says = unproved.says
    refuse_elsewhere(unproved, origin=authority.config.origin, now=now)
    # The token before the keys: judging a large number takes long, and who has no token
    # is nobody.
    hashed = _hash(says.token)
    token = authority.store.hosts.join_token(hashed)
    names = _names(token, says.names, host=says.host, now=now)
    keys = [
        parse_public_key(line, least_rsa_bits=authority.config.least_rsa_bits)
        for line in says.keys
    ]
    if unproved.signature.public_key not in keys:
        raise Malformed("none of the keys that it names has signed this")
    verify(unproved, unproved.signature.public_key)
    known = authority.store.hosts.find(says.host)
    if (
        token is not None
        and token.spent_by == says.host
        and known is not None
        and set(known.keys) == set(keys)
    ):
        return known
    new = NewHost(id=says.host, names=names, keys=says.keys, pulls=says.pulls)
    record = {"identity": None, "join_token_sha256": hashed.hex(), **by}
    return register_host(authority, new, record, token_sha256=hashed, now=now)


def _names(
    token: JoinToken | None, asked: tuple[str, ...], *, host: str, now: datetime
) -> tuple[str, ...]:
    """Return the names that the token gives: those asked for, or all of its own."""
    if token is None or now.timestamp() >= token.expires:
        raise JoinTokenRefused(
            "this join token is none of this CA's, or has ended",
            hint="make another one: ca-admin hosts join-token",
        )
    if token.host not in {None, host}:
        raise JoinTokenRefused("this join token is for another host's id")
    if not set(asked) <= set(token.names):
        raise JoinTokenRefused(
            "this join token does not give all of these names",
            hint="make one with them: ca-admin hosts join-token --name NAME",
        )
    return asked or token.names


def _hash(token: str) -> bytes:
    return hashlib.sha256(f"daypass-join-v1\0{token}".encode()).digest()
