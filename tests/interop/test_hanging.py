"""One of two signers stops in a critical place: the other says so, and both recover.

Two real programs share an SQLite database. One is stopped with the lock of the database
held, or with the high-water file's, as a debugger or a full swap would do it.
"""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ca.store.engine import SECONDS
from tests.authority import SERVE, Signer, make_ca, request_of, wait_until
from tests.fakes import FakeIdP

CRASHING = (SERVE[0], "-m", "tests.crashing_signer")
DEADLINE = 2 * SECONDS
"""Of a request: it waits for the batch before its own, and for its own."""


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(idp, tmp_path):
    return make_ca(tmp_path / "ca", idp)


def worker_of(signer: Signer) -> int:
    children = Path(f"/proc/{signer.process_id}/task/{signer.process_id}/children")
    (worker,) = children.read_text().split()
    return int(worker)


def is_stopped(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat").read_text()
    return stat.rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("point", ["before the commit", "in the high water"])
@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_who_hangs_with_a_lock_is_named_and_refuses_nobody_for_long(
    idp, config_file, point, end
):
    with (
        Signer(config_file, command=CRASHING) as hanging,
        Signer(config_file) as other,
        ThreadPoolExecutor() as pool,
    ):
        hanging.config_file.with_name("hang").write_text(point)
        process = worker_of(hanging)
        first = request_of(idp)
        asked = pool.submit(hanging.sign, first)
        wait_until(lambda: is_stopped(process))

        request = request_of(idp)
        began = time.monotonic()
        refused = other.sign(request)
        took = time.monotonic() - began
        ready = other.get("/readyz")

        os.kill(process, end)
        if end == signal.SIGCONT:
            assert asked.result().status == 200
        else:
            assert isinstance(asked.exception(), ConnectionError)
        assert refused.status == 503
        assert refused.json["code"] == "store_unavailable"
        assert took < DEADLINE + 5
        assert ready.status == 503
        assert f"process {process} has held" in ready.json["problems"][0]

        wait_until(lambda: other.get("/readyz").status == 200)
        wait_until(lambda: hanging.get("/readyz").status == 200)
        serials = {
            other.sign(request).certificate.serial,
            hanging.sign(first).certificate.serial,
            other.sign(request_of(idp)).certificate.serial,
        }
        assert serials == {"1", "2", "3"}
