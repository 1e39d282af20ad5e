"""How the ledger does when it is long: what `tests.bench` asks of a process of its own.

    python -m tests.bench_ledger FOLDER

makes a ledger of a thousand entries and one of a million in FOLDER, and prints as JSON
how fast the long one grows compared with the short one, in batches that take turns;
what the proofs for an answer take in the long one; how much memory the process has.
"""

import hashlib
import json
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from ca.leaf import Leaf, render_leaf
from ca.ledger import EntryKind, Ledger, canonical_json
from ca.ledger.entry import Place
from ca.ledger.recovery import adopt_head
from ca.merkle import plan_consistency, plan_inclusion
from ca.store import Draft, Entry, Store, TokenUse
from ca.store.append import write_entries
from ca.store.transactions import Head
from ca.store.tree import grow
from tests.authority import ROOT
from tests.ledgers import NOW, new_store, unopened_ledger

SHORT, LONG = 1_000, 1_000_000
AT_ONCE = 32
BATCHES = 100
PROOFS = 201
_CHUNK = 10_000
_MEGABYTE = 1024
"""In the kilobytes that Linux counts in."""


def run(folder: Path) -> dict[str, float]:
    """Measure in a process of its own, so that nobody else's memory counts."""
    command = [sys.executable, "-m", __name__, str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(folder: Path) -> dict[str, float]:
    """Make the ledgers, and measure."""
    with ExitStack() as stack:
        short, _ = stack.enter_context(long_ledger(folder / "short", SHORT))
        long, store = stack.enter_context(long_ledger(folder / "long", LONG))
        ratios = [append_rate(long) / append_rate(short) for _ in range(BATCHES)]
        milliseconds = [proof_time(store) * 1000 for _ in range(PROOFS)]
        return {
            "growth_1e6": round(statistics.median(ratios), 3),
            "proof_ms_1e6": round(statistics.median(milliseconds), 3),
            "rss_mb_1e6": round(resident() / _MEGABYTE, 1),
        }


@contextmanager
def long_ledger(folder: Path, size: int) -> Iterator[tuple[Ledger, Store]]:
    """Make a ledger of this size."""
    folder.mkdir()
    store = new_store(folder)
    try:
        fill(store, size)
        ledger = unopened_ledger(store, folder / "high-water")
        adopt_head(ledger, store)
        yield ledger, store
    finally:
        store.close()


def fill(store: Store, size: int) -> None:
    """Append entries whose records were erased, in large steps."""
    entries = (_erased(index) for index in range(size))
    while chunk := list(islice(entries, _CHUNK)):

        def work(c: sa.Connection, head: Head, new: list[Entry] = chunk) -> None:
            growth = grow(c, head.size, leaves=[entry.leaf for entry in new])
            write_entries(c, new, growth)

        store._database.write(work)  # noqa: SLF001 (nothing else writes so much)


def _erased(index: int) -> Entry:
    kind, time_ = EntryKind.USER_CERTIFICATE, int(NOW.timestamp())
    digest = hashlib.sha256(b"%d" % index).hexdigest()
    leaf = render_leaf(Leaf(kind, time_, index + 1, digest, digest))
    return Entry(index, time_, kind, index + 1, leaf, None, None)


def append_rate(ledger: Ledger) -> float:
    """Return how many entries a second one batch appends."""
    drafts = [_draft() for _ in range(AT_ONCE)]
    began = time.perf_counter()
    _outcomes, growth = ledger._commit(drafts)  # noqa: SLF001 (without threads)
    ledger._sign_growth(growth)  # noqa: SLF001
    return AT_ONCE / (time.perf_counter() - began)


def _draft() -> Draft:
    to_be_signed = secrets.token_bytes(400)
    place = Place(
        kind=EntryKind.USER_CERTIFICATE,
        time=int(NOW.timestamp()),
        record=canonical_json({"v": 1, "filler": secrets.token_bytes(350).hex()}),
        build=lambda _serial: to_be_signed,
    )
    return Draft(
        place, TokenUse(secrets.token_bytes(32), secrets.token_bytes(32), 1, 1)
    )


def proof_time(store: Store) -> float:
    """Return what the proof of an old entry and that of an old checkpoint take."""
    size = store.log_head().tree.size
    index = secrets.randbelow(size)
    began = time.perf_counter()
    store.hashes(plan_inclusion(index, size))
    store.hashes(plan_consistency(index, size))
    return time.perf_counter() - began


def resident() -> int:
    """Return how much memory this process has, in kilobytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("the kernel does not say")


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
