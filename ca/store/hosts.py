"""The registry of hosts: who they are, what they last reported, who may join.

Registering, forgetting and making a join token are entries of the ledger: their rows
are written by a `Write`, in the entry's own transaction (`Store.change`).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ca.errors import Conflict, JoinTokenRefused, NotFound
from ca.store import tables
from ca.store.batch import Entry
from ca.store.change import Write
from ca.store.transactions import Database

_HOSTS = tables.hosts
_KEYS = tables.host_keys
_TOKENS = tables.join_tokens

# What each report executes, made once: making a statement costs more than running it.
_OWNER = (
    sa.select(_HOSTS)
    .join(_KEYS, _KEYS.c.host == _HOSTS.c.id)
    .where(_KEYS.c.key_sha256 == sa.bindparam("hashed"))
)
_REPORT = (
    sa.update(_HOSTS)
    .where(
        _HOSTS.c.id == sa.bindparam("of"),
        _HOSTS.c.forgotten.is_(None),
        _HOSTS.c.roots_version <= sa.bindparam("roots"),
        _HOSTS.c.current_version <= sa.bindparam("current"),
    )
    .values(
        roots_version=sa.bindparam("roots"),
        current_version=sa.bindparam("current"),
        seen=sa.bindparam("at"),
        alarm=sa.bindparam("why"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHost:
    """A host as the registry has it."""

    id: str
    names: tuple[str, ...]
    pulls: bool
    registered: int
    entry_index: int
    """Where the registration is on record."""
    seen: int
    """When it last proved itself, in Unix seconds."""
    forgotten: int | None = None
    roots_version: int = 0
    current_version: int = 0
    alarm: str | None = None
    keys: tuple[bytes, ...] = ()
    """Blobs; none once it is forgotten."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a join token is for."""

    host: str | None
    """The id of the one host that may use it; None for any new one."""
    names: tuple[str, ...]
    """The names that the host may have."""
    expires: int
    spent_by: str | None = None


@dataclass(frozen=True, slots=True)
class Reported:
    """What is kept of a host's report."""

    roots_version: int
    current_version: int
    seen: int
    alarm: str | None = None


class HostRows:
    """The registry's tables. Thread-safe; one method, one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, id_: str) -> StoredHost | None:
        """Return a host, also a forgotten one, or None."""
        found = self._database.read(lambda c: _read(c, _HOSTS.c.id == id_))
        return found[0] if found else None

    def owner(self, key: bytes) -> StoredHost | None:
        """Return the host whose key this is, with no other key of it; or None."""
        wanted = {"hashed": _sha256(key)}
        row = self._database.read(lambda c: c.execute(_OWNER, wanted).one_or_none())
        return None if row is None else _host(row, [key])

    def every(self, *, forgotten: bool = False) -> list[StoredHost]:
        """Return all hosts by their ids, those that are forgotten only if asked."""
        which = sa.true() if forgotten else _HOSTS.c.forgotten.is_(None)
        return self._database.read(lambda c: _read(c, which))

    def awaited(self, version: int, *, since: int) -> bool:
        """Say whether a host that pulls, seen since then, has not got this version."""
        awaited = sa.exists().where(
            _HOSTS.c.forgotten.is_(None),
            _HOSTS.c.pulls,
            _HOSTS.c.seen >= since,
            _HOSTS.c.current_version < version,
        )
        return self._database.read(lambda c: bool(c.scalar(sa.select(awaited))))

    def silent(self, *, before: int) -> list[str]:
        """Return the ids of those that pull and were last seen before that."""
        silent = sa.select(_HOSTS.c.id).where(
            _HOSTS.c.forgotten.is_(None), _HOSTS.c.pulls, _HOSTS.c.seen < before
        )
        ordered = silent.order_by(_HOSTS.c.id)
        return list(self._database.read(lambda c: c.scalars(ordered).all()))

    def report(self, id_: str, reported: Reported) -> None:
        """Keep what a host reports, unless it has reported more meanwhile."""
        values = {
            "of": id_,
            "roots": reported.roots_version,
            "current": reported.current_version,
            "at": reported.seen,
            "why": reported.alarm,
        }
        self._database.write_apart(lambda c: c.execute(_REPORT, values))

    def join_token(self, token_sha256: bytes) -> JoinToken | None:
        """Return what a join token is for, or None."""
        wanted = sa.select(
            _TOKENS.c.host, _TOKENS.c.names, _TOKENS.c.expires, _TOKENS.c.spent_by
        ).where(_TOKENS.c.token_sha256 == token_sha256)
        row = self._database.read(lambda c: c.execute(wanted).one_or_none())
        if row is None:
            return None
        return JoinToken(row.host, _names(row.names), row.expires, row.spent_by)


def registration(
    host: StoredHost, *, time: int, token_sha256: bytes | None = None
) -> Write:
    """Return what puts a host into the registry, and spends the token if there is one.

    Raises `Conflict` where id or keys are another's, and `JoinTokenRefused` for a token
    that was spent.
    """

    def write(connection: sa.Connection, entry: Entry) -> None:
        if token_sha256 is not None:
            _spend(connection, token_sha256, host.id)
        _refuse_another(connection, host)
        connection.execute(sa.delete(_KEYS).where(_KEYS.c.host == host.id))
        values: dict[str, object] = {
            "names": json.dumps(host.names),
            "pulls": host.pulls,
            "registered": time,
            "entry_index": entry.index,
            "seen": time,
            "forgotten": None,
        }
        never = {"roots_version": 0, "current_version": 0, "alarm": None}
        if token_sha256 is not None:
            # A machine that joins is a new one, even if it has the old one's keys.
            values |= never
        same = sa.update(_HOSTS).where(_HOSTS.c.id == host.id)
        if connection.execute(same.values(values)).rowcount == 0:
            values |= never
            connection.execute(sa.insert(_HOSTS).values(id=host.id, **values))
        connection.execute(
            sa.insert(_KEYS),
            [
                {"key_sha256": _sha256(blob), "host": host.id, "blob": blob}
                for blob in host.keys
            ],
        )

    return write


def forgetting(ids: Sequence[str], *, time: int) -> Write:
    """Return what forgets hosts; raises `NotFound` unless it forgets them all."""

    def write(connection: sa.Connection, _entry: Entry) -> None:
        active = sa.and_(_HOSTS.c.id.in_(ids), _HOSTS.c.forgotten.is_(None))
        done = connection.execute(
            sa.update(_HOSTS)
            .where(active)
            .values(forgotten=time, roots_version=0, current_version=0, alarm=None)
        )
        if done.rowcount != len(ids):
            raise NotFound("there is no such host, or no longer")
        connection.execute(sa.delete(_KEYS).where(_KEYS.c.host.in_(ids)))

    return write


def join_token(token_sha256: bytes, token: JoinToken, *, now: int) -> Write:
    """Return what lets a host join, and lets go of tokens that nobody can use."""

    def write(connection: sa.Connection, _entry: Entry) -> None:
        connection.execute(sa.delete(_TOKENS).where(_TOKENS.c.expires < now))
        connection.execute(
            sa.insert(_TOKENS).values(
                token_sha256=token_sha256,
                host=token.host,
                names=json.dumps(token.names),
                expires=token.expires,
            )
        )

    return write


def end_join_tokens(connection: sa.Connection, *, now: int) -> None:
    """Let no token register a host any more: which were spent since, nobody knows."""
    unspent = sa.and_(_TOKENS.c.spent_by.is_(None), _TOKENS.c.expires > now)
    connection.execute(sa.update(_TOKENS).where(unspent).values(expires=now))


def _spend(connection: sa.Connection, token_sha256: bytes, id_: str) -> None:
    # Under the head's lock, and in one statement: of two at once one wins.
    done = connection.execute(
        sa.update(_TOKENS)
        .where(_TOKENS.c.token_sha256 == token_sha256, _TOKENS.c.spent_by.is_(None))
        .values(spent_by=id_)
    )
    if done.rowcount == 0:
        raise JoinTokenRefused(
            "this join token has registered a host already",
            hint="make another one: ca-admin hosts join-token",
        )


def _refuse_another(connection: sa.Connection, host: StoredHost) -> None:
    found = _read(
        connection, sa.and_(_HOSTS.c.id == host.id, _HOSTS.c.forgotten.is_(None))
    )
    if found and set(found[0].keys) != set(host.keys):
        raise Conflict(
            f"the host {host.id} is registered with other keys",
            hint=f"if it has new ones: ca-admin hosts forget {host.id}, and again",
        )
    hashes = list(map(_sha256, host.keys))
    others = sa.select(_KEYS.c.host).where(
        _KEYS.c.key_sha256.in_(hashes), _KEYS.c.host != host.id
    )
    if connection.execute(others).first() is not None:
        raise Conflict(
            "one of these keys is registered for another host",
            hint="machines copied from one image share their keys: make new ones with"
            " ssh-keygen -A",
        )


def _read(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[StoredHost]:
    rows = connection.execute(sa.select(_HOSTS).where(which).order_by(_HOSTS.c.id))
    wanted = sa.select(_KEYS).where(
        _KEYS.c.host.in_(sa.select(_HOSTS.c.id).where(which))
    )
    keys: dict[str, list[bytes]] = {}
    for key in connection.execute(wanted.order_by(_KEYS.c.key_sha256)):
        keys.setdefault(key.host, []).append(key.blob)
    return [_host(row, keys.get(row.id, ())) for row in rows]


def _host(row: sa.Row[Any], keys: Iterable[bytes]) -> StoredHost:
    read = {**row._mapping, "names": _names(row.names), "keys": tuple(keys)}  # noqa: SLF001 (public, despite its name)
    return StoredHost(**read)


def _names(encoded: str) -> tuple[str, ...]:
    return tuple(json.loads(encoded))


def _sha256(blob: bytes) -> bytes:
    return hashlib.sha256(blob).digest()
