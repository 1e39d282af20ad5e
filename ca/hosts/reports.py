"""A host says which trust bundle it has applied: when that changes, and hourly."""

import logging
from datetime import datetime

from ca.authority import Authority
from ca.errors import BundleUnknown, ReportOutdated
from ca.host_documents import Report, parse_report
from ca.hosts.proof import Proved, prove_host
from ca.store import Reported, StoredHost
from ca.trust.history import Publication

_log = logging.getLogger(__name__)

_KEPT_SECONDS = 60
"""A report that says nothing new is written down once in so long."""

UNKNOWN_BUNDLE = "reported a trust bundle that this CA never published"


def take_report(authority: Authority, document: bytes, *, now: datetime) -> StoredHost:
    """Keep what a host has applied; raise for what cannot be.

    Raises `Malformed`, a kind of `Unauthenticated`, `ReportOutdated`, `BundleUnknown`,
    or `StoreUnavailable`.
    """
    origin = authority.config.origin
    proved = prove_host(authority.store, document, parse_report, origin=origin, now=now)
    says, host = proved.says, proved.host
    if (
        says.roots_version < host.roots_version
        or says.current_version < host.current_version
    ):
        raise ReportOutdated(
            "this host has reported a newer version before",
            hint="have it pull: it must never go back",
        )
    _refuse_unknown(authority, proved)
    # By the host's clock, unless that is ahead: shown again, a report proves nothing
    # that it did not prove the first time.
    seen = max(host.seen, min(says.time, int(now.timestamp())))
    if _is_news(host, says, seen):
        reported = Reported(says.roots_version, says.current_version, seen)
        authority.store.hosts.report(host.id, reported)
    return host


def _is_news(host: StoredHost, says: Report, seen: int) -> bool:
    return (
        seen >= host.seen + _KEPT_SECONDS
        or host.alarm is not None
        or (host.roots_version, host.current_version)
        != (says.roots_version, says.current_version)
    )


def _refuse_unknown(authority: Authority, proved: Proved[Report]) -> None:
    """Raise `BundleUnknown` unless we published exactly what was applied.

    Whoever has a stolen online key may give hosts a bundle of his own, in which nobody
    is revoked: this is where it shows.
    """
    says, host = proved.says, proved.host
    applied = Publication(says.current_sha256, says.roots_version)
    if authority.trust.history.find(says.current_version) == applied:
        return
    _log.error(
        "host %s has applied a trust bundle that was never published here: version"
        " %s, SHA-256 %s",
        host.id,
        says.current_version,
        says.current_sha256,
    )
    if host.alarm != UNKNOWN_BUNDLE:
        alarmed = Reported(
            host.roots_version, host.current_version, host.seen, UNKNOWN_BUNDLE
        )
        authority.store.hosts.report(host.id, alarmed)
    raise BundleUnknown(
        "this CA has not published the trust bundle that was reported",
        hint="have the host pull again; operator: if it lasts, somebody else has an"
        " online key",
    )
