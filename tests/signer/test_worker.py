"""The processes of a signer, as the system sees them."""

import signal
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from select import EPOLLEXCLUSIVE

from tests.authority import Signer, children, make_ca, wait_until
from tests.fakes import FakeIdP


def exclusive_watches(process):
    """Return how many files a process watches in a way that wakes it alone."""
    lines: list[str] = []
    for fdinfo in Path(f"/proc/{process}/fdinfo").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            lines += fdinfo.read_text().splitlines()
    watches = [line.split() for line in lines if line.startswith("tfd:")]
    return sum(bool(int(words[3], 16) & EPOLLEXCLUSIVE) for words in watches)


def test_one_connection_wakes_one_process(tmp_path):
    with FakeIdP() as idp, Signer(make_ca(tmp_path / "ca", idp), processes=2) as signer:
        workers = children(signer.process_id)

        assert len(workers) == 2
        wait_until(lambda: all(exclusive_watches(worker) == 1 for worker in workers))


def told_at(process):
    """Return when a process last told its parent that it lives."""
    for file in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            if "wgunicorn-" in str(file.readlink()):
                return file.stat().st_mtime
    raise LookupError("the process has no file for it")


def test_a_process_tells_again_and_again_that_it_lives(tmp_path):
    with FakeIdP() as idp, Signer(make_ca(tmp_path / "ca", idp), processes=1) as signer:
        (worker,) = children(signer.process_id)
        first = told_at(worker)

        assert signer.get("/livez").status == HTTPStatus.OK
        wait_until(lambda: told_at(worker) > first)


def test_a_process_does_not_outlive_its_parent(tmp_path):
    with FakeIdP() as idp, Signer(make_ca(tmp_path / "ca", idp), processes=1) as signer:
        (worker,) = children(signer.process_id)

        signer.signal(signal.SIGKILL)

        wait_until(lambda: not Path(f"/proc/{worker}/cwd").exists())
