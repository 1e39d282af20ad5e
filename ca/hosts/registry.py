"""Hosts come into the registry, and are forgotten: each time an entry of the ledger.

What a certificate is renewed for is read from that entry, not from the registry's rows:
a leaf commits to it, and nobody changes it unseen.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from ca import wire
from ca.authority import Authority
from ca.errors import BadRequest, HostUnknown, Malformed
from ca.host_documents import HOST_ID, MOST_KEYS
from ca.identity import Identity, identity_from_record
from ca.ledger import EntryKind
from ca.policy.rules import HOST_NAME
from ca.public_key import parse_public_key
from ca.store import StoredHost
from ca.store.hosts import forgetting, registration

_FORGOTTEN_AT_ONCE = 100
"""In one entry: the record of one must not grow with the fleet."""

By = Mapping[str, object]
"""Who does something to the registry, as members of a record: `identity` and where the
request came from, or `by`, the account that typed a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHost:
    """A host that is to be registered."""

    id: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    """Lines of its `ssh_host_*_key.pub`."""
    pulls: bool


@dataclass(frozen=True, slots=True)
class Vouched:
    """Who vouched for a host, and for what of it."""

    identity: Identity | None
    """The provisioner who registered it; None where a join token did."""
    names: tuple[str, ...]
    keys: tuple[str, ...]
    """Fingerprints."""


def register_host(
    authority: Authority,
    new: NewHost,
    by: By,
    *,
    token_sha256: bytes | None = None,
    now: datetime,
) -> StoredHost:
    """Put a host into the registry and on record; again, as it is, is no change.

    Raises `BadRequest`, `UnacceptableKey`, `Conflict` where its id or one of its keys
    is another's, `JoinTokenRefused` or `Unavailable`.
    """
    keys = _judged(new, least_rsa_bits=authority.config.least_rsa_bits)
    known = authority.store.hosts.find(new.id)
    if token_sha256 is None and known is not None and _is_same(known, new, keys):
        return known
    time = int(now.timestamp())
    host = StoredHost(
        id=new.id,
        names=new.names,
        pulls=new.pulls,
        registered=time,
        entry_index=0,
        seen=time,
        keys=keys,
    )
    authority.ledger.change(
        registration(host, time=time, token_sha256=token_sha256),
        kind=EntryKind.ADMINISTRATION,
        record={
            "v": 1,
            "act": "register-host",
            "host": {
                "id": new.id,
                "names": new.names,
                "keys": [wire.fingerprint(key) for key in keys],
                "pulls": new.pulls,
            },
            **by,
        },
        now=now,
    )
    return require_host(authority, new.id)


def require_host(authority: Authority, id_: str) -> StoredHost:
    """Return a host, also a forgotten one; raise `HostUnknown`."""
    host = authority.store.hosts.find(id_)
    if host is None:
        raise HostUnknown(f"no host {id_[:80]!r} is registered")
    return host


def forget_hosts(
    authority: Authority, ids: Sequence[str], by: By, *, now: datetime
) -> None:
    """Take hosts out of the registry; raise `NotFound` if one is not in it."""
    authority.ledger.change(
        forgetting(ids, time=int(now.timestamp())),
        kind=EntryKind.ADMINISTRATION,
        record={"v": 1, "act": "forget-hosts", "hosts": list(ids), **by},
        now=now,
    )


def forget_silent(authority: Authority, *, now: datetime) -> list[str]:
    """Forget the hosts that have not reported for as long as configured."""
    before = int((now - authority.config.hosts.forget_after).timestamp())
    silent = authority.store.hosts.silent(before=before)
    for first in range(0, len(silent), _FORGOTTEN_AT_ONCE):
        ids = silent[first : first + _FORGOTTEN_AT_ONCE]
        by = {"identity": None, "silent_since_before": before}
        forget_hosts(authority, ids, by, now=now)
    return silent


def vouched(authority: Authority, host: StoredHost) -> Vouched:
    """Return what the ledger has on the registration of a host.

    Raises `HostUnknown` where that was erased or lost, or does not fit its leaf.
    """
    entry = authority.store.entry_at(host.entry_index)
    if entry is None:
        raise _unrecorded()
    try:
        record, leaf = entry.record or b"", json.loads(entry.leaf)
        said = msgspec.json.decode(record, type=_Registered)
        identity = None
        if said.identity is not None:
            identity = identity_from_record(said.identity)
    except (msgspec.DecodeError, Malformed) as error:
        raise _unrecorded() from error
    if (
        leaf["record_sha256"] != hashlib.sha256(record).hexdigest()
        or said.host.id != host.id
    ):
        raise _unrecorded()
    return Vouched(identity, said.host.names, said.host.keys)


class _RegisteredHost(Struct, frozen=True):
    id: str
    names: tuple[str, ...]
    keys: tuple[str, ...]


class _Registered(Struct, frozen=True):
    """What has to be in the record of a registration."""

    act: Literal["register-host"]
    host: _RegisteredHost
    identity: dict[str, object] | None


def _unrecorded() -> HostUnknown:
    return HostUnknown(
        "there is no record, or no longer, of how this host was registered",
        hint="register it again",
    )


def _judged(new: NewHost, *, least_rsa_bits: int) -> tuple[bytes, ...]:
    """Return the blobs of the keys, if all of what is new may be registered."""
    if HOST_ID.fullmatch(new.id) is None:
        raise BadRequest(
            f"{new.id[:80]!r} is not a host's id",
            hint="1 to 63 of a-z 0-9 . _ - and no sign first",
        )
    for name in new.names:
        if HOST_NAME.fullmatch(name) is None:
            raise BadRequest(
                f"{name[:80]!r} is not a host name",
                hint="write it in lower-case ASCII, at most 64 characters",
            )
    keys = tuple(
        parse_public_key(line, least_rsa_bits=least_rsa_bits) for line in new.keys
    )
    if not 0 < len(set(keys)) <= MOST_KEYS or len(set(keys)) != len(keys):
        raise BadRequest(f"a host has 1 to {MOST_KEYS} keys, each given once")
    if len(set(new.names)) != len(new.names):
        raise BadRequest("a host name is given twice")
    return keys


def _is_same(known: StoredHost, new: NewHost, keys: tuple[bytes, ...]) -> bool:
    return (
        known.forgotten is None
        and (known.names, known.pulls) == (new.names, new.pulls)
        and set(known.keys) == set(keys)
    )
