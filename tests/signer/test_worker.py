"""The processes of a signer, as the system sees them."""

from pathlib import Path
from select import EPOLLEXCLUSIVE

from tests.authority import Signer, children, make_ca, wait_until
from tests.fakes import FakeIdP


def exclusive_watches(process):
    """Return how many files a process watches in a way that wakes it alone."""
    count = 0
    for fdinfo in Path(f"/proc/{process}/fdinfo").iterdir():
        for line in fdinfo.read_text().splitlines():
            if line.startswith("tfd:") and int(line.split()[3], 16) & EPOLLEXCLUSIVE:
                count += 1
    return count


def test_one_connection_wakes_one_process(tmp_path):
    with FakeIdP() as idp, Signer(make_ca(tmp_path / "ca", idp), processes=2) as signer:
        workers = children(signer.process_id)

        assert len(workers) == 2
        wait_until(lambda: all(exclusive_watches(worker) == 1 for worker in workers))
