"""The figures of `make bench`, as ratios, so that machines can be compared.

    floor                  what no CA can do without: one RS256 verification and one
                           Ed25519 signature, by one thread, and nothing else
    issue_inprocess        `issue_user_certificate`, 32 at once, in crews as under the
                           signer, each with a fresh token
    issue_inprocess_c1     the same, one after the other: each pays for its own commit
    batch_gain_c32         32 at once over the same with each in a batch of its own
    growth_1e6             appending to 1,000,000 entries over appending to 1,000
    proof_ms_1e6           both proofs for an answer, in a ledger of 1,000,000 entries
    rss_mb_1e6             memory of a process that appends to such a ledger
    ca_login_proof_ms      all that `ca-login` checks of the ledger, ssh-keygen included
    krl_100k_bytes         a KRL of 100,000 serials, 1 in 100 of those issued
    krl_100k_ms            writing it
    trust_304_core_share   what 10,000 hosts that ask for news every 30 s take of a core
    krl_login_ratio        a login at a host that has it over one with an empty KRL
    deploy_…, ansible_…    a roll-out to 100 hosts; tests/bench_deploy.py says how
    http_…, pg_…           the whole path over HTTP; tests/bench_http.py says how
    check_…, login_…       what `ca-login` costs; tests/bench_login.py says how

The database is SQLite at `synchronous=FULL` on the disk that holds `build/`. Floor and
issue take turns in one process, so that what else the machine does hits both, and the
median of the rounds' ratios is what counts. Tokens are made beforehand.
"""

import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from itertools import repeat
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from ca.authority import Authority
from ca.bundle import parse_roots, split_signed
from ca.issue import Caller, issue_user_certificate
from ca.messages import SignRequest
from ca.store import Draft, Entry
from client import ledger
from client.messages import LedgerProof
from signer.crew import Crew
from tests import bench_krl, bench_ledger, bench_login
from tests.authority import ROOT, make_ca, opened, request_of, subject_key
from tests.bench_deploy import measure_deploy
from tests.bench_http import measure_databases, measure_http
from tests.bench_trust import measure_trust
from tests.fakes import FakeIdP
from tests.jose import rsa_key

ROUNDS = 7
AT_ONCE = 32
REQUESTS = 1024
REQUESTS_C1 = 128
FLOOR_CERTIFICATES = 4000
PROOFS = 21
TO_BE_SIGNED_BYTES = 400
"""About what a user certificate of ours has."""

CALLER = Caller(ip_address("127.0.0.1"), "benchmark")


def main() -> int:
    """Measure, print a table, write `build/bench.json`."""
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder, FakeIdP() as idp:
        config_file = make_ca(ROOT / folder / "ca", idp)
        with opened(config_file) as authority:
            figures = measure(authority, idp)
            figures["ca_login_proof_ms"] = measure_proof(authority, idp)
        floor = partial(per_second, make_floor(), FLOOR_CERTIFICATES)
        figures |= measure_http(ROOT / folder, idp, floor)
        figures |= measure_databases(ROOT / folder, idp, floor)
        figures |= bench_ledger.run(ROOT / folder)
        figures |= bench_login.run(ROOT / folder)
        figures |= measure_trust(ROOT / folder, idp)
        figures |= bench_krl.measure(ROOT / folder)
        figures |= measure_deploy(ROOT / folder, idp)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}}  {value:10,.3f}")
    (build / "bench.json").write_text(json.dumps(figures, indent=2) + "\n")
    return 0


def measure(authority: Authority, idp: FakeIdP) -> dict[str, float]:
    """Let floor and issue take turns; return the medians."""
    floor = make_floor()
    names = ("floor", "issue", "issue_alone", "issue_c1")
    rates: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(ROUNDS + 1):
        requests = fresh_requests(idp, REQUESTS)
        requests_alone = fresh_requests(idp, REQUESTS_C1)
        requests_c1 = fresh_requests(idp, REQUESTS_C1)
        measured = {
            "floor": per_second(floor, FLOOR_CERTIFICATES),
            "issue": per_second(partial(issue, authority, requests), REQUESTS),
            "issue_alone": per_second(
                partial(issue_alone, authority, requests_alone), REQUESTS_C1
            ),
            "issue_c1": per_second(
                partial(issue, authority, requests_c1, at_once=1), REQUESTS_C1
            ),
        }
        # The first round fetches keys, compiles statements and fills caches.
        if round_:
            for name, rate in measured.items():
                rates[name].append(rate)
    return {
        "floor_certs_per_s": round(statistics.median(rates["floor"]), 1),
        "issue_inprocess_certs_per_s": round(statistics.median(rates["issue"]), 1),
        "issue_inprocess_ratio": median_ratio(rates["issue"], rates["floor"]),
        "batch_gain_c32": median_ratio(rates["issue"], rates["issue_alone"]),
        "issue_inprocess_c1_certs_per_s": round(
            statistics.median(rates["issue_c1"]), 1
        ),
        "issue_inprocess_c1_ratio": median_ratio(rates["issue_c1"], rates["floor"]),
    }


def measure_proof(authority: Authority, idp: FakeIdP) -> float:
    """Return the median of what `ca-login` takes, as long as the ledger is by now."""
    document, _ = split_signed(authority.config.roots_file.read_bytes())
    roots = parse_roots(document)
    seen: ledger.Seen | None = None
    milliseconds = []
    for _ in range(PROOFS):
        note = None if seen is None else seen.note
        request = request_of(idp, checkpoint=note)
        answer = issue_user_certificate(
            authority, request, CALLER, now=datetime.now(UTC)
        )
        sent = answer.ledger
        proof = LedgerProof(
            sent.leaf, sent.proof, sent.checkpoint_signature, sent.consistency
        )
        began = time.perf_counter()
        proved = ledger.verify(proof, answer.certificate, roots=roots, before=seen)
        milliseconds.append((time.perf_counter() - began) * 1000)
        seen = proved.seen
    return round(statistics.median(milliseconds), 2)


def make_floor() -> Callable[[], None]:
    """Return what verifies and signs `FLOOR_CERTIFICATES` times."""
    issuer_key, ca_key = rsa_key(), Ed25519PrivateKey.generate()
    token, to_be_signed = b"t" * 700, b"c" * TO_BE_SIGNED_BYTES
    public, padding, sha256 = issuer_key.public_key(), PKCS1v15(), SHA256()
    signature = issuer_key.sign(token, padding, sha256)

    def run() -> None:
        for _ in repeat(None, FLOOR_CERTIFICATES):
            public.verify(signature, token, padding, sha256)
            ca_key.sign(to_be_signed)

    return run


def fresh_requests(idp: FakeIdP, count: int) -> list[SignRequest]:
    """Return requests with a token each; keys are few, since nobody compares them."""
    return [request_of(idp, key=subject_key(n % 16)) for n in range(count)]


def issue(
    authority: Authority, requests: Sequence[SignRequest], *, at_once: int = AT_ONCE
) -> None:
    """Issue a certificate for each request, in crews as under the signer."""

    def work(request: SignRequest) -> None:
        issue_user_certificate(authority, request, CALLER, now=datetime.now(UTC))

    calls = [partial(work, request) for request in requests]
    with ThreadPoolExecutor() as others:
        for first in range(0, len(calls), at_once):
            crew = Crew(others)
            crew.work(calls[first : first + at_once])
            crew.wait()


class _Alone:
    """In place of a ledger's batches: one draft, one commit."""

    def __init__(self, authority: Authority) -> None:
        self._ledger = authority.ledger
        self._turn = threading.Lock()

    def append(self, draft: Draft) -> tuple[Entry, Any]:
        with self._turn:
            (outcome,), growth = self._ledger._commit([draft])  # noqa: SLF001
            shared = self._ledger._sign_growth(growth)  # noqa: SLF001
        assert isinstance(outcome, Entry)
        return outcome, shared


def issue_alone(authority: Authority, requests: Sequence[SignRequest]) -> None:
    """Issue as many at once, but commit each alone."""
    before = authority.ledger._batches  # noqa: SLF001
    authority.ledger._batches = _Alone(authority)  # type: ignore[assignment] # noqa: SLF001
    try:
        issue(authority, requests)
    finally:
        authority.ledger._batches = before  # noqa: SLF001


def per_second(run: Callable[[], None], count: int) -> float:
    """Return how many of the `count` things that `run` does are done in a second."""
    began = time.perf_counter()
    run()
    return count / (time.perf_counter() - began)


def median_ratio(rates: Sequence[float], floors: Sequence[float]) -> float:
    """Return the median of what each round made of its own floor."""
    return round(
        statistics.median(r / f for r, f in zip(rates, floors, strict=True)), 4
    )


if __name__ == "__main__":
    sys.exit(main())
