"""`GET /metrics`, on a listener of its own: what monitoring asks a signer.

Whichever process is asked answers for all. What is in the database is read from there,
the same at every signer; what is counted is this signer's, since it was started, and so
are the connections that are open. There is nobody's name in it, and no address.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ca import errors
from ca.authority import Authority
from ca.errors import CAError
from ca.hosts.states import HostState, state_of
from signer.counters import Counters
from signer.exchange import Exchange
from signer.problems import INTERNAL_ERROR, http_code
from signer.share import CONNECTIONS

PATH = "/metrics"

_GATE = "gate_failed_at"
_CERTIFICATES = {
    "/v1/user-certificates": "user",
    "/v1/host-certificates": "host",
    "/v1/host-certificates/renew": "host",
    "/v1/canary-certificates": "canary",
}
"""What an answer of success on each path has."""

_CODES = sorted(
    {
        kind.code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, CAError)
    }
    | {http_code(status) for status in HTTPStatus if status >= HTTPStatus.BAD_REQUEST}
    | {INTERNAL_ERROR}
)

WSGI = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def new_counters(*, processes: int = 1) -> Counters:
    """Return the counters of a signer, all at 0."""
    kinds = sorted(set(_CERTIFICATES.values()))
    # Twice as many rows: a process may be there before the one it replaces is gone.
    return Counters([*_CODES, *kinds, _GATE, CONNECTIONS], rows=2 * processes)


def count(counters: Counters, exchange: Exchange, status: int) -> None:
    """Count an answer: by its code, or by what kind of certificate it has."""
    code = exchange.notes.get("code")
    if code is not None:
        counters.count(str(code))
    elif status < HTTPStatus.MULTIPLE_CHOICES:
        counters.count(_CERTIFICATES.get(exchange.route, ""))


def note_gate(counters: Counters, authority: Authority) -> None:
    """Note when a bundle last failed the gate, if one did."""
    failed = authority.trust.failed_at
    if failed is not None:
        counters.latest(_GATE, int(failed.timestamp()))


def application(
    authority: Authority, counters: Counters, clock: Callable[[], datetime]
) -> WSGI:
    """Return what answers on the metrics listener: one path, and nothing else."""
    registry = CollectorRegistry()
    registry.register(_Collector(authority, counters, clock))

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if asked != ("GET", PATH):
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"there is only /metrics here\n"]
        body = generate_latest(registry)
        start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
        return [body]

    return answer


class _Collector(Collector):
    """Reads everything when it is asked, and keeps nothing."""

    def __init__(
        self, authority: Authority, counters: Counters, clock: Callable[[], datetime]
    ) -> None:
        self._authority = authority
        self._counters = counters
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Say nothing before it is asked: that would read the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield what there is to say now."""
        yield from self._counted()
        try:
            stored = list(self._stored(self._clock()))
        except CAError:
            stored = []
        yield _gauge("database_up", "Whether the database answers.", bool(stored))
        yield from stored

    def _counted(self) -> Iterator[Metric]:
        issued = CounterMetricFamily(
            "daypass_certificates", "Answers with certificates.", labels=["kind"]
        )
        for kind in sorted(set(_CERTIFICATES.values())):
            issued.add_metric([kind], sum(self._counters.values(kind)))
        refused = CounterMetricFamily(
            "daypass_refusals", "Requests that were refused.", labels=["code"]
        )
        for code in _CODES:
            refused.add_metric([code], sum(self._counters.values(code)))
        yield from (issued, refused)
        yield _gauge(
            "gate_failed_timestamp_seconds",
            "When a bundle last did not pass the gate; 0 for never.",
            max(self._counters.values(_GATE)),
        )
        yield _gauge(
            "connections",
            "Connections that are open, those for metrics, too.",
            sum(self._counters.values(CONNECTIONS)),
        )

    def _stored(self, now: datetime) -> Iterator[Metric]:
        store = self._authority.store
        newest = store.newest_current()
        version, published = (newest.version, newest.published) if newest else (0, 0)
        yield _gauge("bundle_version", "Version of the trust bundle.", version)
        yield _gauge(
            "bundle_published_timestamp_seconds",
            "When the trust bundle was published; 0 for never.",
            published,
        )
        head = store.log_head()
        yield _gauge("ledger_size", "Entries on the ledger.", head.tree.size)
        stopped = head.stopped is not None
        yield _gauge("ledger_stopped", "Whether the ledger is stopped.", stopped)
        yield self._hosts(now)
        ready = not self._authority.problems()
        yield _gauge("ready", "Whether the process that answers is ready.", ready)

    def _hosts(self, now: datetime) -> Metric:
        silence = self._authority.config.hosts
        states = [
            state_of(host, silence, now=now)
            for host in self._authority.store.hosts.every()
        ]
        hosts = GaugeMetricFamily(
            "daypass_hosts", "Registered hosts by state.", labels=["state"]
        )
        for state in (HostState.ACTIVE, HostState.STALE):
            hosts.add_metric([state], states.count(state))
        return hosts


def _gauge(name: str, about: str, value: float) -> Metric:
    gauge = GaugeMetricFamily(f"daypass_{name}", about)
    gauge.add_metric([], float(value))
    return gauge
