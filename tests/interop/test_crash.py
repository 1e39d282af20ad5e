"""kill -9 at each step of a request: never a certificate without a record.

Whoever holds a certificate can be found by its serial, no serial is given twice, and
the same token with the same request, sent again, gets what the ledger promised before
the process died. This does not show what survives a power cut: `test_durability` does.
"""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
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
    wait_until,
)
from tests.crashing_signer import DURABLE_FROM, POINTS
from tests.databases import AnyDatabase, SQLiteDatabase, put_into
from tests.fakes import FakeIdP
from tests.postgres import Postgres

CRASHING = (SERVE[0], "-m", "tests.crashing_signer")


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(idp, tmp_path, database):
    config_file = make_ca(tmp_path / "ca", idp)
    put_into(config_file, database)
    return config_file


def recorded(database: AnyDatabase) -> dict[int, bytes]:
    """Return what is on record to be signed, by serial."""
    rows = database.ask("SELECT serial, to_be_signed FROM entries")
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
    idp, config_file, database, rounds
):
    held: list[tuple[SignRequest, SignResponse]] = []
    slowest = 0.0

    with Signer(config_file, command=CRASHING) as signer:
        for point in islice(cycle(POINTS), rounds(20)):
            request = request_of(idp, key=subject_key(1))
            before = recorded(database)

            crash(signer, request, point)

            promised = recorded(database).items() - before.items()
            assert len(promised) == (POINTS.index(point) >= DURABLE_FROM)
            began = time.monotonic()
            answer = signer.sign(request).certificate
            slowest = max(slowest, time.monotonic() - began)
            held.append((request, answer))
            if promised:
                assert dict(promised) == {int(answer.serial): to_be_signed_in(answer)}
    assert slowest < PATIENCE_SECONDS / 2

    entries = recorded(database)
    assert_each_is_on_record([answer for _, answer in held], entries)

    with Signer(config_file) as restarted:
        for request, answer in held:
            again = restarted.sign(request).certificate
            # Only the proof is another one: the ledger has grown since.
            assert replace(again, ledger=answer.ledger) == answer
    assert recorded(database) == entries


def assert_each_is_on_record(held: list[SignResponse], entries: dict[int, bytes]):
    serials = Counter(int(answer.serial) for answer in held)
    assert set(serials.values()) == {1}
    assert sorted(entries) == list(range(1, len(entries) + 1))
    for answer in held:
        assert entries[int(answer.serial)] == to_be_signed_in(answer)


def test_a_killed_signer_leaves_a_database_that_needs_no_repair(
    idp, config_file, database
):
    with Signer(config_file, command=CRASHING) as signer:
        for point in POINTS:
            crash(signer, request_of(idp), point)

        assert signer.get("/readyz").status == 200
    Store.open(database.url, password_file=database.password_file).close()
    if isinstance(database, SQLiteDatabase):
        assert database.ask("PRAGMA integrity_check") == [("ok",)]


def test_a_signer_that_hangs_with_the_head_locked_stops_nobody_for_long(
    idp, config_file, database
):
    hanging_request, other_request = request_of(idp), request_of(idp)
    with (
        Signer(config_file, command=CRASHING) as hanging,
        Signer(config_file) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        (worker,) = workers_of(hanging)
        config_file.with_name("hang").write_text("before the commit")
        hung = pool.submit(hanging.sign, hanging_request)
        wait_until(lambda: is_stopped(worker))

        try:
            began = time.monotonic()
            refused = other.sign(other_request)
            assert time.monotonic() - began < LONGEST_SECONDS
            assert refused.status in {200, 503}
            if isinstance(database, SQLiteDatabase):
                assert refused.status == 503
            else:
                # The server has ended the session that held the head by now.
                assert other.sign(other_request).status == 200
        finally:
            os.kill(worker, signal.SIGCONT)
        assert hung.result().status in {200, 503}

        held = [
            signer.sign(request).certificate
            for signer in (hanging, other)
            for request in (hanging_request, other_request)
        ]
    serials = [answer.serial for answer in held]
    assert serials[:2] == serials[2:]
    assert_each_is_on_record(held[:2], recorded(database))


LONGEST_SECONDS = 12.0
"""A transaction may take five, and a request waits for two."""


def workers_of(signer: Signer) -> list[int]:
    parent = signer.process_id
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
    return [int(child) for child in children.split()]


def is_stopped(process: int) -> bool:
    status = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2]
    return status.split()[0] == "T"


# --- The database's server dies -----------------------------------------------------


@pytest.fixture(scope="module")
def mortal_postgres():
    with Postgres() as server:
        yield server


class TestMortal:
    @pytest.fixture
    def database(self, mortal_postgres):
        return mortal_postgres.make_database()

    def test_while_the_server_is_gone_nobody_gets_a_certificate(
        self, idp, config_file, database, mortal_postgres
    ):
        request = request_of(idp)
        with Signer(config_file) as signer:
            first = signer.sign(request_of(idp)).certificate
            mortal_postgres.stop(signal.SIGQUIT)

            refused = signer.sign(request)

            assert refused.status == 503
            assert refused.json["code"] == "store_unavailable"
            assert signer.get("/readyz").status == 503
            assert signer.get("/livez").status == 200
            mortal_postgres.start()
            assert int(signer.sign(request).certificate.serial) > int(first.serial)
            assert signer.get("/readyz").status == 200
        for secret in (database.parameters["password"], request.id_token):
            assert secret not in signer.log.read_text()

    def test_a_server_that_dies_while_many_ask_forgets_no_certificate(
        self, idp, config_file, database, mortal_postgres, rounds
    ):
        held: list[tuple[SignRequest, SignResponse]] = []
        asked: list[SignRequest] = []
        done = threading.Event()

        def ask(signer: Signer) -> None:
            while not done.is_set():
                request = request_of(idp, key=subject_key(1))
                asked.append(request)
                answer = signer.sign(request)
                assert answer.status in {200, 503}, answer.body
                if answer.status == 200:
                    held.append((request, answer.certificate))

        with (
            Signer(config_file) as one,
            Signer(config_file) as other,
            ThreadPoolExecutor(8) as pool,
        ):
            asking = [pool.submit(ask, signer) for signer in (one, other) * 4]
            for _ in range(rounds(3)):
                before = len(held)
                wait_until(lambda: len(held) > before + 20)  # noqa: B023 (at once)
                mortal_postgres.stop(signal.SIGQUIT)
                mortal_postgres.start()
            done.set()
            for future in asking:
                future.result()

            assert len(held) < len(asked)
            for request, answer in held:
                again = other.sign(request).certificate
                assert again.certificate == answer.certificate
            all_held = [one.sign(request).certificate for request in asked]
        assert_each_is_on_record(all_held, recorded(database))
