"""How a host is: active, stale or forgotten; and what an operator should look at."""

from datetime import datetime, timedelta
from enum import StrEnum

from ca import wire
from ca.config import Silence
from ca.messages import HostStatus
from ca.store import PublishedCurrent, StoredHost

BEHIND_AFTER = timedelta(minutes=10)
"""How long a host may go on without a bundle that was published: many times the
interval at which hosts ask."""


class HostState(StrEnum):
    """Where a host is in its life."""

    ACTIVE = "active"
    STALE = "stale"
    """It pulls, and has not reported for longer than it should."""
    FORGOTTEN = "forgotten"


def state_of(host: StoredHost, silence: Silence, *, now: datetime) -> HostState:
    """Return the state of a host. One that does not pull is never stale."""
    if host.forgotten is not None:
        return HostState.FORGOTTEN
    silent = now.timestamp() - host.seen
    if host.pulls and silent > silence.stale_after.total_seconds():
        return HostState.STALE
    return HostState.ACTIVE


def alarms_of(
    host: StoredHost,
    silence: Silence,
    newest: PublishedCurrent | None,
    *,
    now: datetime,
) -> tuple[str, ...]:
    """Say what is wrong with a host, for an operator."""
    state = state_of(host, silence, now=now)
    if state is HostState.FORGOTTEN:
        return ()
    found = [] if host.alarm is None else [host.alarm]
    if state is HostState.STALE:
        found.append("has not reported for too long")
    elif host.pulls and newest is not None and _is_behind(host, newest, now=now):
        found.append("does not take the newest trust bundle")
    return tuple(found)


def _is_behind(host: StoredHost, newest: PublishedCurrent, *, now: datetime) -> bool:
    published = datetime.fromtimestamp(newest.published, now.tzinfo)
    return host.current_version < newest.version and now - published > BEHIND_AFTER


def status_of(
    host: StoredHost,
    silence: Silence,
    newest: PublishedCurrent | None,
    *,
    now: datetime,
) -> HostStatus:
    """Return what is told of a host; `newest` is what it should have applied."""
    return HostStatus(
        id=host.id,
        names=host.names,
        keys=tuple(map(wire.fingerprint, host.keys)),
        pulls=host.pulls,
        state=state_of(host, silence, now=now),
        registered=host.registered,
        entry=host.entry_index,
        seen=host.seen,
        roots_version=host.roots_version,
        current_version=host.current_version,
        alarms=alarms_of(host, silence, newest, now=now),
    )
