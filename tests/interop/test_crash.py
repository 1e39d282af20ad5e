"""kill -9 at each step of a request: never a certificate without a record.

Whoever holds a certificate can be found by its serial, no serial is given twice, and
the same token with the same request, sent again, gets what the ledger promised before
the process died. This does not show what survives a power cut: `test_durability` does.
"""

import sqlite3
import time
from collections import Counter
from http.client import RemoteDisconnected
from itertools import cycle, islice
from pathlib import Path

import pytest
from msgspec.structs import replace

from ca.messages import SignRequest, SignResponse
from ca.store import Store
from tests.authority import (
    PATIENCE_SECONDS,
    SERVE,
    Signer,
    make_ca,
    request_of,
    subject_key,
    to_be_signed_in,
)
from tests.crashing_signer import DURABLE_FROM, POINTS
from tests.fakes import FakeIdP

CRASHING = (SERVE[0], "-m", "tests.crashing_signer")


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(idp, tmp_path):
    return make_ca(tmp_path / "ca", idp)


def recorded(config_file: Path) -> dict[int, bytes]:
    """Return what is on record to be signed, by serial."""
    with sqlite3.connect(config_file.with_name("daypass.db")) as connection:
        rows = connection.execute("SELECT serial, to_be_signed FROM entries").fetchall()
    entries = {int(serial): to_be_signed for serial, to_be_signed in rows}
    assert len(entries) == len(rows)
    return entries


def crash(signer: Signer, request: SignRequest, point: str) -> None:
    """Send a request that kills the process which works on it."""
    fuse = signer.config_file.with_name("crash")
    fuse.write_text(point)
    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        signer.sign(request)
    assert not fuse.exists()


def test_no_certificate_is_without_a_record_wherever_the_signer_is_killed(
    idp, config_file, rounds
):
    held: list[tuple[SignRequest, SignResponse]] = []
    slowest = 0.0

    with Signer(config_file, command=CRASHING) as signer:
        for point in islice(cycle(POINTS), rounds(20)):
            request = request_of(idp, key=subject_key(1))
            before = recorded(config_file)

            crash(signer, request, point)

            promised = recorded(config_file).items() - before.items()
            assert len(promised) == (POINTS.index(point) >= DURABLE_FROM)
            began = time.monotonic()
            answer = signer.sign(request).certificate
            slowest = max(slowest, time.monotonic() - began)
            held.append((request, answer))
            if promised:
                assert dict(promised) == {int(answer.serial): to_be_signed_in(answer)}
    assert slowest < PATIENCE_SECONDS / 2

    entries = recorded(config_file)
    serials = Counter(int(answer.serial) for _, answer in held)
    assert set(serials.values()) == {1}
    assert sorted(entries) == list(range(1, len(entries) + 1))
    for _, answer in held:
        assert entries[int(answer.serial)] == to_be_signed_in(answer)

    with Signer(config_file) as restarted:
        for request, answer in held:
            again = restarted.sign(request).certificate
            # Only the proof is another one: the ledger has grown since.
            assert replace(again, ledger=answer.ledger) == answer
    assert recorded(config_file) == entries


def test_a_killed_signer_leaves_a_database_that_needs_no_repair(idp, config_file):
    with Signer(config_file, command=CRASHING) as signer:
        for point in POINTS:
            crash(signer, request_of(idp), point)

        assert signer.get("/readyz").status == 200
    store = Store.open(f"sqlite:///{config_file.with_name('daypass.db')}")
    store.close()
    with sqlite3.connect(config_file.with_name("daypass.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
