"""Writers to SQLite take turns: who waits comes before who was just served."""

import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest

from ca.errors import StoreUnavailable
from ca.store import Store
from ca.store.sqlite import Turns
from tests.authority import ROOT, wait_until
from tests.databases import make_sqlite


@pytest.fixture
def turns(tmp_path):
    return Turns(tmp_path / "daypass.db", seconds=10)


def test_who_waits_comes_before_who_was_just_served(turns, tmp_path):
    served = []

    def wait():
        with turns.take():
            served.append("who waited")

    for _ in range(20):
        served.clear()
        with turns.take():
            thread = threading.Thread(target=wait)
            thread.start()
            wait_until(lambda: is_locked(tmp_path / "daypass.db-next"))
        with turns.take():
            served.append("who was just served")
        thread.join()

        assert served == ["who waited", "who was just served"]


def is_locked(file):
    said = subprocess.run(["flock", "--nonblock", file, "true"], check=False)
    return said.returncode != 0


def test_turns_are_for_the_databases_owner_alone(turns, tmp_path):
    with turns.take():
        modes = {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}

    assert modes == {0o600}


HOLDER = """
import sys, time
from pathlib import Path
from ca.store.sqlite import Turns
with Turns(Path(sys.argv[1]), seconds=1).take():
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holding(file):
    """Let another process hold the turn."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, file], cwd=ROOT, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_who_waits_too_long_is_refused(tmp_path):
    with (
        holding(tmp_path / "daypass.db") as process,
        pytest.raises(StoreUnavailable, match="for too long"),
        Turns(tmp_path / "daypass.db", seconds=0.2).take(),
    ):
        process.send_signal(signal.SIGSTOP)


def test_who_holds_a_turn_for_too_long_is_named(turns, tmp_path):
    assert turns.problem() is None
    with holding(tmp_path / "daypass.db") as process:
        process.send_signal(signal.SIGSTOP)
        assert turns.problem() is None
        wait_until(turns.problem)

        assert turns.problem().startswith(f"process {process.pid} has held")

        process.send_signal(signal.SIGCONT)


def test_a_turn_ends_with_its_process(turns, tmp_path):
    with holding(tmp_path / "daypass.db") as process:
        process.kill()

        with turns.take():
            pass


def test_a_folder_without_room_for_locks_is_said_in_words(tmp_path):
    made = make_sqlite(tmp_path)
    store = Store.open(made.url)
    (tmp_path / "daypass.db-turn").mkdir()

    with pytest.raises(StoreUnavailable, match="cannot lock"):
        store.add_blob("aa", b"content")
    store.close()
