"""The figures of the whole path, over HTTP: a part of `make bench`.

    http_issue_ratio_c1, _c8, …     certificates a second over 1, 8, 32 and 128
                                    connections, as a ratio to the floor
    http_issue_p99_over_p50_c32     how much longer than usual the slowest 1 % take
    pg_two_processes_ratio          PostgreSQL with two processes of the signer, over
                                    SQLite with one, at 32 connections

A signer as `ca-admin init` sets it up, on loopback, asked by wrk with tokens of a
client that binds none, each used once; it keeps its connections, which the signer lets
it. Load generator, signer and database share the machine, so wrk's work counts against
us. Floor and loads take turns, and each load is compared with the better of the floors
before and after it: a machine's speed drifts by a third within minutes, and where
something else disturbed one floor, that must not flatter us. The median of the rounds
is what counts.
"""

import json
import secrets
import statistics
import subprocess
from collections.abc import Callable
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
from tests.bench_plot import Point, draw
from tests.databases import AnyDatabase, SQLiteDatabase, put_into
from tests.fakes import FakeIdP
from tests.postgres import Postgres

ROUNDS = 5
PROCESSES = 2
AT_ONCE = 32
SECONDS = 2
WARM_UP_SECONDS = 1
WARM_UP_TOKENS = 8000
MOST = {1: 0.1, 8: 0.25, 32: 0.25, 128: 0.25}
"""By connections: what ratio to the floor there are tokens for."""
PICTURE = ROOT / "docs" / "throughput.svg"

_SCRIPT = ROOT / "tests" / "wrk.lua"


def measure_http(
    folder: Path, idp: FakeIdP, floor_per_second: Callable[[], float]
) -> dict[str, float]:
    """Let floor and loads take turns; draw and return what came out."""
    bench = Bench(folder / "http", idp)
    loads: dict[int, list[Load]] = {connections: [] for connections in MOST}
    ratios: dict[int, list[float]] = {connections: [] for connections in MOST}
    with bench.signer() as signer:
        bench.warm_up(signer)
        floors = [floor_per_second()]
        for _ in range(ROUNDS):
            for connections in MOST:
                load = bench.load(signer, connections, floor=max(floors))
                floors.append(floor_per_second())
                loads[connections].append(load)
                ratio = load.certificates_per_second / max(floors[-2:])
                ratios[connections].append(ratio)
    medians = [
        Point(
            connections,
            statistics.median(load.certificates_per_second for load in found),
            statistics.median(load.p99_milliseconds for load in found),
        )
        for connections, found in loads.items()
    ]
    PICTURE.write_text(draw(medians))
    tail = statistics.median(load.p99_over_p50 for load in loads[AT_ONCE])
    return {
        f"http_issue_ratio_c{connections}": round(statistics.median(found), 4)
        for connections, found in ratios.items()
    } | {"http_issue_p99_over_p50_c32": round(tail, 2)}


def measure_databases(
    folder: Path, idp: FakeIdP, floor_per_second: Callable[[], float]
) -> dict[str, float]:
    """Let a signer on PostgreSQL and one on SQLite take turns; compare them."""
    with Postgres() as server:
        sqlite = Bench(folder / "sqlite", idp)
        postgres = Bench(folder / "postgres", idp, database=server.make_database())
        with sqlite.signer(processes=1) as one, postgres.signer() as two:
            sqlite.warm_up(one)
            postgres.warm_up(two)
            floor = floor_per_second()
            ratios = [
                postgres.load(two, AT_ONCE, floor=floor).certificates_per_second
                / sqlite.load(one, AT_ONCE, floor=floor).certificates_per_second
                for _ in range(ROUNDS)
            ]
    return {"pg_two_processes_ratio": round(statistics.median(ratios), 3)}


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


class Bench:
    """A CA that is asked for certificates over HTTP."""

    def __init__(
        self, folder: Path, idp: FakeIdP, *, database: AnyDatabase | None = None
    ) -> None:
        """With the database that `ca-admin init` makes, or another."""
        self._idp = idp
        self.config_file = make_ca(folder, idp)
        rewrite(self.config_file, UNBOUND)
        self._database: AnyDatabase = SQLiteDatabase(folder / "daypass.db")
        if database is not None:
            put_into(self.config_file, database)
            self._database = database
        self._bodies = folder / "bodies"

    def signer(
        self, *, processes: int = PROCESSES, command: tuple[str, ...] = SERVE
    ) -> Signer:
        """Return the signer, still to be started."""
        return Signer(self.config_file, processes=processes, command=command)

    def warm_up(self, signer: Signer) -> None:
        """Let it fetch keys, compile statements and fill caches."""
        self._write_bodies(WARM_UP_TOKENS)
        self._run_wrk(signer, AT_ONCE, WARM_UP_SECONDS)

    def load(self, signer: Signer, connections: int, *, floor: float) -> Load:
        """Ask over so many connections, with tokens for what `floor` lets expect."""
        tokens = int(floor * MOST[connections] * SECONDS)
        self._write_bodies(tokens)
        before = self._ledger_size()
        said = self._run_wrk(signer, connections, SECONDS)
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
        ((size,),) = self._database.ask("SELECT size FROM ledger_head")
        return int(size)
