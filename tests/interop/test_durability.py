"""A certificate leaves the signer after its record has reached the disk, not before.

What the kernel is asked to do is watched with strace: between the last write to the
database's log and the answer there must be a sync of that log that succeeded. And when
the disk takes nothing more, nothing is signed; when it does, nothing needs repair.
"""

import os
import re
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from ca.authority import open_authority
from ca.config import load_config
from ca.errors import CAError
from ca.store import Store
from tests.authority import Signer, make_ca, request_of, rewrite, wait_until
from tests.fakes import FakeIdP


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


# --- The sync before the answer -----------------------------------------------------

STRACE = ("strace", "-D", "-f", "-y", "-qq", "-o")
CALLS = "trace=fsync,fdatasync,write,writev,pwrite64,pwritev,sendto,sendmsg"

# Not its `main`, which lets no process of the same account watch.
SAFE = (
    "from pathlib import Path; from signer.__main__ import serve;"
    " serve(Path(sys.argv[1]))"
)
UNSAFE = (
    "import sqlalchemy as sa; sa.event.listen(sa.pool.Pool, 'checkout', lambda"
    f" dbapi, *_: dbapi.execute('PRAGMA synchronous=OFF')); {SAFE}"
)
"""The real signer, with durability switched off in every connection."""

LINE = re.compile(r"(?P<pid>\d+) +(?P<rest>.*)")
RESUMED = re.compile(r"<\.\.\. \w+ resumed>")
ANSWER = '"HTTP/1.1 200 OK'


def read_trace(text: str) -> list[tuple[str, str]]:
    """Return the calls as (`begins` or `ends`, call), in the order they happened.

    strace splits a call in two where another thread's comes between.
    """
    events: list[tuple[str, str]] = []
    under_way: dict[str, str] = {}
    for line in filter(None, map(LINE.match, text.splitlines())):
        pid, rest = line["pid"], line["rest"]
        if RESUMED.match(rest):
            events.append(("ends", under_way.pop(pid) + RESUMED.sub("", rest)))
            continue
        call = rest.removesuffix("<unfinished ...>")
        events.append(("begins", call))
        if call == rest:
            events.append(("ends", call))
        else:
            under_way[pid] = call
    return events


def unsynced_answers(trace: str) -> list[bool]:
    """Say for each answer that came after writes to the WAL if a sync is missing."""
    verdicts, wrote, dirty, clean_from = [], False, False, False
    for moment, call in read_trace(trace):
        if ANSWER in call and moment == "begins":
            if wrote:
                verdicts.append(dirty)
            wrote = False
        elif "daypass.db-wal>" not in call:
            continue
        elif not call.startswith(("fsync", "fdatasync")):
            wrote, dirty, clean_from = True, True, False
        elif moment == "begins":
            # Only what was written before a sync began is covered by it.
            clean_from = True
        elif clean_from and call.endswith("= 0"):
            dirty = False
    return verdicts


def trace_of(idp, config_file: Path, program: str, *, certificates: int) -> str:
    """Let a traced signer issue certificates; return the trace."""
    trace = config_file.with_name("trace")
    launch = (sys.executable, "-c", f"import sys; {program}")
    command = (*STRACE, str(trace), "-e", CALLS, *launch)
    with Signer(config_file, command=command) as signer:
        for _ in range(certificates):
            assert signer.sign(request_of(idp)).status == 200
        wait_until(lambda: trace.read_text().count(ANSWER) > certificates)
    return trace.read_text()


@pytest.fixture
def config_file(idp, tmp_path):
    return make_ca(tmp_path / "ca", idp)


@pytest.fixture
def strace():
    """Skip where processes cannot be watched."""
    if shutil.which("strace") is None:
        pytest.skip("there is no strace")
    tried = subprocess.run(
        ["strace", "-o", "/dev/null", "true"], capture_output=True, check=False
    )
    if tried.returncode:
        pytest.skip("strace may not trace")


@pytest.mark.usefixtures("strace")
def test_the_log_of_the_database_is_synced_before_each_answer(idp, config_file):
    trace = trace_of(idp, config_file, SAFE, certificates=5)

    assert unsynced_answers(trace)[-5:] == [False] * 5


@pytest.mark.usefixtures("strace")
def test_this_check_fails_where_nothing_is_synced(idp, config_file):
    trace = trace_of(idp, config_file, UNSAFE, certificates=5)

    assert unsynced_answers(trace)[-5:] == [True] * 5


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize("synchronous_commit", ["on", "off"])
def test_postgresql_syncs_its_log_before_it_says_what_is_committed(
    postgres, tmp_path, synchronous_commit
):
    place = postgres.make_database()
    store = Store.open(place.url, password_file=place.password_file)

    @sa.event.listens_for(store._database.engine, "checkout")  # noqa: SLF001
    def set_it(dbapi, *_):
        dbapi.execute(f"SET synchronous_commit = {synchronous_commit}")

    store.add_blob("before", b"so that there is a connection")
    ((session,),) = place.ask(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with traced(session, tmp_path / "trace"):
        for number in range(5):
            store.add_blob(str(number), b"content")
    store.close()

    *commits, _ = (tmp_path / "trace").read_text().split(SAYS_COMMITTED)
    synced = [re.search(r"fdatasync.*/pg_wal/.*= 0$", c, re.MULTILINE) for c in commits]
    assert len(commits) == 5
    if synchronous_commit == "on":
        assert all(synced)
    else:  # or else this would show nothing
        assert not all(synced)


SAYS_COMMITTED = r'"C\0\0\0\vCOMMIT\0'


@contextmanager
def traced(process: int, trace: Path):
    """Watch what a running process asks the kernel for."""
    command = ("strace", "-y", "-qq", "-o", trace, "-e", CALLS, "-p", str(process))
    status = Path(f"/proc/{process}/status")
    with subprocess.Popen(command) as tracer:
        wait_until(lambda: "TracerPid:\t0" not in status.read_text())
        yield
        tracer.terminate()


WAL = "daypass.db-wal>"


@pytest.mark.parametrize(
    ("calls", "verdict"),
    [
        ([f"pwrite64(9<{WAL}, 1) = 1", f"fdatasync(9<{WAL}) = 0"], False),
        ([f"fdatasync(9<{WAL}) = 0", f"pwrite64(9<{WAL}, 1) = 1"], True),
        ([f"pwrite64(9<{WAL}, 1) = 1", f"fdatasync(9<{WAL}) = -1 EIO"], True),
        ([f"pwrite64(9<{WAL}, 1) = 1", "fdatasync(8<daypass.db>) = 0"], True),
        ([f"pwrite64(9<{WAL}, 1) = 1", f"fsync(9<{WAL} <unfinished ...>"], True),
        (
            [
                f"pwrite64(9<{WAL}, 1) = 1",
                f"fsync(9<{WAL} <unfinished ...>",
                "<... fsync resumed>) = 0",
            ],
            False,
        ),
    ],
)
def test_a_trace_is_read_as_it_happened(calls, verdict):
    trace = "\n".join(f"7 {call}" for call in [*calls])

    assert unsynced_answers(f'{trace}\n8 sendto(3, {ANSWER}\\r"') == [verdict]


# --- A disk that takes nothing more -------------------------------------------------


class LimitedDisk:
    """A disk on which no file of the signer's may grow any further."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, signer: Signer) -> None:
        """Let the database grow no more."""
        size = (self.folder / "daypass.db-wal").stat().st_size
        self._limit(signer, size)

    def free(self, signer: Signer) -> None:
        """Let it grow again."""
        self._limit(signer, resource.RLIM_INFINITY)

    def _limit(self, signer: Signer, size: int) -> None:
        for process in workers_of(signer):
            _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
            resource.prlimit(process, resource.RLIMIT_FSIZE, (size, hard))


class SmallDisk:
    """A small file system of its own, full to the last block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, signer: Signer | None = None) -> None:
        """Write until nothing more fits."""
        descriptor = os.open(self.folder / "filler", os.O_WRONLY | os.O_CREAT)
        for size in (1 << 16, 1):
            try:
                while os.write(descriptor, b"0" * size):
                    pass
            except OSError:
                continue
        os.close(descriptor)

    def free(self, signer: Signer) -> None:
        """Make room."""
        (self.folder / "filler").unlink()


def workers_of(signer: Signer) -> list[int]:
    children = Path(f"/proc/{signer.process_id}/task/{signer.process_id}/children")
    return [int(child) for child in children.read_text().split()]


@contextmanager
def mounted(folder: Path):
    """Mount a small file system, where we may; yield whether we could."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "daypass-test", str(folder)]
    done = os.geteuid() == 0 and (
        subprocess.run(mount, capture_output=True, check=False).returncode == 0
    )
    try:
        yield done
    finally:
        if done:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(params=["limit", "full"])
def disk(request, tmp_path):
    """Fill a file system of our own where we may mount one, or else limit the files."""
    folder = tmp_path / "disk"
    if request.param == "limit":
        folder.mkdir()
        yield LimitedDisk(folder)
        return
    with mounted(folder) as done:
        yield SmallDisk(folder) if done else LimitedDisk(folder)


def put_database_on(folder: Path, config_file: Path) -> None:
    shutil.move(config_file.with_name("daypass.db"), folder / "daypass.db")
    url = f"sqlite:///{folder}/daypass.db"
    rewrite(config_file, {"sqlite:///daypass.db": url})


def test_a_full_disk_refuses_to_issue_and_needs_no_repair(idp, config_file, disk):
    put_database_on(disk.folder, config_file)
    with Signer(config_file) as signer:
        first = signer.sign(request_of(idp)).certificate
        current = signer.get("/v1/trust/current")
        roots = re.search(rb"roots ([0-9a-f]{64})", current.body)
        assert roots is not None
        request = request_of(idp)

        disk.fill(signer)

        for _ in range(3):
            refused = signer.sign(request)
            assert refused.status == 503
            assert refused.json["code"] == "store_unavailable"
            assert "certificate" not in refused.json
        assert signer.get("/readyz").status == 200
        assert signer.get(f"/v1/trust/blob/{roots[1].decode()}").status == 200
        assert signer.get("/v1/trust/current").body == current.body

        disk.free(signer)

        assert int(signer.sign(request).certificate.serial) > int(first.serial)
    with Signer(config_file) as restarted:
        again = restarted.sign(request).certificate
        assert int(again.serial) > int(first.serial)


def test_a_database_that_cannot_be_written_is_said_in_words(idp, config_file, tmp_path):
    with mounted(tmp_path / "disk") as done:
        put_database_on(tmp_path / "disk", config_file)
        make_read_only(tmp_path / "disk", mounted=done)

        with pytest.raises(CAError) as caught:
            open_authority(load_config(config_file))

        assert "database" in caught.value.detail


def make_read_only(folder: Path, *, mounted: bool) -> None:
    # Root may write whatever the modes say, but not on a read-only file system.
    if mounted:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    elif os.geteuid() == 0:
        pytest.skip("root, and may not mount: nothing here is read-only")
    else:
        for file in folder.iterdir():
            file.chmod(0o400)
        folder.chmod(0o500)


# --- The high-water file --------------------------------------------------------------


KILLED_BEFORE_THE_SYNC = """
import sys
from pathlib import Path
from ca.ledger import HighWater
from ca.merkle import CompactTree
from tests.ledgers import checkpoint_signer, seen_in
signer, file, tree = checkpoint_signer(), Path(sys.argv[1]), CompactTree()
high_water = HighWater(file, recognise=signer.recognise)
high_water.create(seen_in(signer.sign(tree)))
newest = seen_in(signer.sign(tree.extend([b"x" * 32])[0]))
with file.open("r+b") as other:
    other.write(newest.note.ljust(4096, bytes(1)))
for _ in range(2):
    high_water.raise_to(newest)
"""
"""Another process wrote the newest checkpoint, and died before it synced it."""


@pytest.mark.usefixtures("strace")
def test_a_checkpoint_that_another_process_wrote_is_synced_before_it_counts(tmp_path):
    trace, file = tmp_path / "trace", tmp_path / "high-water"
    watched = (*STRACE[:1], *STRACE[2:], str(trace), "-e", CALLS)

    subprocess.run(
        [*watched, sys.executable, "-c", KILLED_BEFORE_THE_SYNC, file], check=True
    )

    calls = [call for call in trace.read_text().splitlines() if f"<{file}>" in call]
    assert re.search(r"write\(", calls[-2])
    assert re.search(r"fdatasync\(.*= 0", calls[-1])


def put_high_water_on(folder: Path, config_file: Path) -> Path:
    file = folder / "high-water"
    rewrite(
        config_file,
        {'high_water_file = "high-water"': f'high_water_file = "{file}"'},
    )
    return file


def test_a_full_disk_has_room_for_the_next_checkpoint(idp, config_file, tmp_path):
    with mounted(tmp_path / "disk") as done:
        file = put_high_water_on(tmp_path / "disk", config_file)
        with Signer(config_file) as signer:
            signer.sign(request_of(idp))
            if done:
                SmallDisk(tmp_path / "disk").fill()
            before = file.read_bytes()

            assert signer.sign(request_of(idp)).status == 200

            assert len(file.read_bytes()) == len(before)
            assert file.read_bytes() != before


def test_without_room_for_a_high_water_file_no_signer_begins(
    idp, config_file, tmp_path
):
    with mounted(tmp_path / "disk") as done:
        file = put_high_water_on(tmp_path / "disk", config_file)
        if done:
            SmallDisk(tmp_path / "disk").fill()
        else:
            file.mkdir()  # or whatever else is in its place

        with pytest.raises(CAError) as caught:
            open_authority(load_config(config_file))

        assert "newest checkpoint" in caught.value.detail
        assert not file.is_file()


def test_nothing_is_answered_whose_checkpoint_cannot_be_kept(
    idp, config_file, tmp_path
):
    with mounted(tmp_path / "disk") as done:
        put_high_water_on(tmp_path / "disk", config_file)
        with Signer(config_file) as signer:
            first = signer.sign(request_of(idp)).certificate
            request = request_of(idp)
            make_read_only(tmp_path / "disk", mounted=done)

            for _ in range(2):
                refused = signer.sign(request)
                assert refused.status == 503
                assert refused.json["code"] == "store_unavailable"
                assert "certificate" not in refused.json
            assert signer.get("/readyz").status == 503
            assert signer.get("/v1/log/checkpoint").status == 503

            make_writable(tmp_path / "disk", mounted=done)

            # What was on record without an answer is what the request gets now.
            assert int(signer.sign(request).certificate.serial) == (
                int(first.serial) + 1
            )
            assert signer.get("/readyz").status == 200


def make_writable(folder: Path, *, mounted: bool) -> None:
    if mounted:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        return
    folder.chmod(0o700)
    for file in folder.iterdir():
        file.chmod(0o600)
