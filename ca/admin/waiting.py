"""Wait until every host has applied what was published; name those that have not."""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ca.admin.command import DONE, FAILED, Output, listed
from ca.authority import Authority
from ca.config import Silence
from ca.hosts import HostState, forget_silent, state_of
from ca.store import StoredHost

_LOOK_EVERY_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Progress:
    """Which hosts have a version, and which have not, and why not."""

    applied: tuple[str, ...]
    waiting: tuple[str, ...]
    """They pull, and report; so they will."""
    stale: tuple[str, ...]
    """They pull, and have not reported for long: off, or cut off, or worse."""
    not_pulling: tuple[str, ...]
    """They never will."""

    @property
    def everywhere(self) -> bool:
        """Whether each host that is registered has it, and one is."""
        others = (*self.waiting, *self.stale, *self.not_pulling)
        return bool(self.applied) and not others


def wait_for_hosts(
    authority: Authority,
    version: int,
    *,
    ends: int | None = None,
    seconds: float,
    output: Output,
) -> int:
    """Return 0 once every host has reported this version of *current*, or a later one.

    Otherwise 1, after that many seconds, or once nobody is left who might: then it has
    named the hosts that have not, and `ends`, in Unix seconds, when access there is
    over by itself.
    """
    forget_silent(authority, now=datetime.now(UTC))
    deadline = time.monotonic() + seconds
    silence = authority.config.hosts
    while time.monotonic() < deadline and _is_awaited(authority, version):
        time.sleep(_LOOK_EVERY_SECONDS)
    hosts = authority.store.hosts.every()
    progress = _progress(hosts, version, silence, now=datetime.now(UTC))
    document = {
        "version": version,
        "everywhere": progress.everywhere,
        "applied": progress.applied,
        "waiting": progress.waiting,
        "stale": progress.stale,
        "not_pulling": progress.not_pulling,
        "ends": ends,
    }
    output.result(document, "\n".join(_lines(progress, version, ends)))
    return DONE if progress.everywhere else FAILED


def _is_awaited(authority: Authority, version: int) -> bool:
    """Say whether a host may still report it, without reading thousands of them."""
    since = datetime.now(UTC) - authority.config.hosts.stale_after
    return authority.store.hosts.awaited(version, since=math.ceil(since.timestamp()))


def _progress(
    hosts: Sequence[StoredHost], version: int, silence: Silence, *, now: datetime
) -> _Progress:
    found: dict[str, list[str]] = {
        name: [] for name in ("applied", "waiting", "stale", "not_pulling")
    }
    for host in hosts:
        if host.current_version >= version:
            found["applied"].append(host.id)
        elif not host.pulls:
            found["not_pulling"].append(host.id)
        elif state_of(host, silence, now=now) is HostState.STALE:
            found["stale"].append(host.id)
        else:
            found["waiting"].append(host.id)
    return _Progress(**{name: tuple(ids) for name, ids in found.items()})


def _lines(progress: _Progress, version: int, ends: int | None) -> Iterable[str]:
    count = len(progress.applied)
    if progress.everywhere:
        yield f"applied everywhere: {count} of {count} hosts report version {version}"
        return
    others = [*progress.waiting, *progress.stale, *progress.not_pulling]
    if not others:
        yield "no host is registered: nobody can tell where it is applied"
    else:
        total = count + len(others)
        yield f"not everywhere: {count} of {total} hosts report version {version}"
    for what, ids in (
        ("have not reported it", progress.waiting),
        ("are stale", progress.stale),
        ("do not pull", progress.not_pulling),
    ):
        if ids:
            yield f"{what}: {listed(ids)}"
    if ends is not None:
        moment = datetime.fromtimestamp(ends, UTC)
        yield f"access ends there by itself at {moment:%Y-%m-%dT%H:%M:%SZ}"
