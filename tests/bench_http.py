"""The figures of the whole path, over HTTP: a part of `make bench`.

    http_issue_ratio_c1, _c32, _c128    certificates a second over 1, 32 and 128
                                        connections, as a ratio to the floor
    http_issue_p99_over_p50_c32         how much longer than usual the slowest 1 % take

A signer as `ca-admin init` sets it up, on loopback, asked by wrk with tokens of a
client that binds none, each used once. Load generator and signer share the machine, so
wrk's work counts against us. Floor and loads take turns. The median of the loads is
what counts, and the best of the floors: on a busy machine a signer of many threads
loses less than a floor of one, which must not flatter us.
"""

import json
import secrets
import sqlite3
import statistics
import subprocess
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import msgspec

from ca.messages import SignRequest
from tests.authority import (
    ROOT,
    SERVE,
    UNBOUND,
    Signer,
    make_ca,
    rewrite,
    subject_key,
)
from tests.fakes import FakeIdP

ROUNDS = 5
PROCESSES = 2
SECONDS = 2
WARM_UP_SECONDS = 1
WARM_UP_TOKENS = 8000
MOST = {1: 0.05, 32: 0.25, 128: 0.25}
"""By connections: what ratio to the floor there are tokens for."""

_SCRIPT = ROOT / "tests" / "wrk.lua"


def measure_http(
    folder: Path, idp: FakeIdP, floor_per_second: Callable[[], float]
) -> dict[str, float]:
    """Let floor and loads take turns; return what came out."""
    bench = Bench(folder, idp)
    floors: list[float] = []
    loads: dict[int, list[Load]] = {connections: [] for connections in MOST}
    with bench.signer() as signer:
        bench.load(signer, 32, seconds=WARM_UP_SECONDS, tokens=WARM_UP_TOKENS)
        for _ in range(ROUNDS):
            for connections, most in MOST.items():
                floors.append(floor_per_second())
                tokens = int(max(floors) * most * SECONDS)
                load = bench.load(signer, connections, seconds=SECONDS, tokens=tokens)
                loads[connections].append(load)
    floor = max(floors)
    tail = statistics.median(load.p99_over_p50 for load in loads[32])
    return {
        f"http_issue_ratio_c{connections}": round(_median_rate(found) / floor, 4)
        for connections, found in loads.items()
    } | {"http_issue_p99_over_p50_c32": round(tail, 2)}


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw."""

    certificates_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float

    @property
    def p99_over_p50(self) -> float:
        """How much longer than usual the slowest took."""
        return self.p99_milliseconds / self.p50_milliseconds


def _median_rate(loads: Sequence[Load]) -> float:
    return statistics.median(load.certificates_per_second for load in loads)


class Bench:
    """A CA that is asked for certificates over HTTP."""

    def __init__(self, folder: Path, idp: FakeIdP) -> None:
        self._idp = idp
        self._bodies = folder / "bodies"
        self.config_file = make_ca(folder / "http", idp)
        rewrite(self.config_file, UNBOUND)

    def signer(self, *, command: tuple[str, ...] = SERVE) -> Signer:
        """Return the signer, still to be started."""
        return Signer(self.config_file, processes=PROCESSES, command=command)

    def load(
        self, signer: Signer, connections: int, *, seconds: int, tokens: int
    ) -> Load:
        """Ask for as long over as many connections, with no more than these tokens."""
        self._write_bodies(tokens)
        before = self._ledger_size()
        said = self._run_wrk(signer, connections, seconds)
        run = json.loads(said)
        recorded = self._ledger_size() - before
        if run["failed"] or run["answers"] + connections >= tokens:
            raise RuntimeError(f"refused, or too few tokens ({tokens}): {said}")
        # Some may be under way when wrk hangs up; none may be an earlier one's again.
        if not run["answers"] <= recorded <= run["answers"] + connections:
            raise RuntimeError(f"{recorded} certificates on record: {said}")
        return Load(
            run["answers"] / run["microseconds"] * 1e6,
            run["p50"] / 1000,
            run["p99"] / 1000,
        )

    def _write_bodies(self, count: int) -> None:
        keys = [subject_key(n) for n in range(16)]
        with self._bodies.open("wb") as file:
            for key in islice(cycle(keys), count):
                claims = {"jti": secrets.token_hex(8)} | self._idp.people["ada"]
                body = SignRequest(public_key=key, id_token=self._idp.token(**claims))
                file.write(msgspec.json.encode(body) + b"\n")

    def _run_wrk(self, signer: Signer, connections: int, seconds: int) -> str:
        options = (f"-c{connections}", f"-d{seconds}s", "-s", str(_SCRIPT))
        url = f"{signer.url}/v1/user-certificates"
        done = subprocess.run(
            ["wrk", "-t1", *options, url, "--", str(self._bodies)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1]

    def _ledger_size(self) -> int:
        with closing(sqlite3.connect(self.config_file.with_name("daypass.db"))) as db:
            return int(db.execute("SELECT size FROM ledger_head").fetchone()[0])
