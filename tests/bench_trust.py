"""What hosts that ask for news cost: a part of `make bench`.

    trust_304_core_share    what 10,000 hosts that ask every 30 seconds, and nearly all
                            learn that nothing has changed, take of one core

A real signer as `ca-admin init` sets it up, over HTTP, with a connection for each
question, as many a second as there would be. What counts is the processor time of its
processes in that time: what hosts do themselves is not in it.
"""

import socket
import time
from contextlib import suppress
from pathlib import Path

from tests.authority import LOOPBACK, Signer, make_ca
from tests.fakes import FakeIdP

PROCESSES = 2
HOSTS = 10_000
EVERY_SECONDS = 30
WARM_UP = 50
QUESTIONS = 1000
ROUNDS = 3
PAUSE = EVERY_SECONDS / HOSTS

_PARENT = 1
"""Which word of `/proc/PID/stat` it is, behind the name (proc(5))."""


def measure_trust(folder: Path, idp: FakeIdP) -> dict[str, float]:
    """Ask a signer for news that there are not; return what that takes of a core."""
    with Signer(make_ca(folder / "trust", idp), processes=PROCESSES) as signer:
        etag = signer.get("/v1/trust/current").headers["ETag"]
        request = request_for(signer.port, etag)
        ask(signer, request, times=WARM_UP)
        spent = []
        for _ in range(ROUNDS):
            before = processor_seconds(signer.process_id)
            ask(signer, request, times=QUESTIONS)
            spent.append(processor_seconds(signer.process_id) - before)
    # What else the machine does makes it more, never less.
    return {"trust_304_core_share": round(min(spent) / (QUESTIONS * PAUSE), 3)}


def request_for(port: int, etag: str) -> bytes:
    """Return the request of a host that has what `etag` names, as curl sends it."""
    return (
        f"GET /v1/trust/current HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\n"
        f"User-Agent: curl/7.88.1\r\nAccept: */*\r\nIf-None-Match: {etag}\r\n\r\n"
    ).encode()


def ask(signer: Signer, request: bytes, *, times: int) -> None:
    """Send a request so often; each must be answered with 304."""
    due = time.monotonic()
    for _ in range(times):
        due += PAUSE
        time.sleep(max(0, due - time.monotonic()))
        with socket.create_connection((LOOPBACK, signer.port)) as connection:
            connection.sendall(request)
            answer = connection.recv(65536)
        if not answer.startswith(b"HTTP/1.1 304 "):
            raise RuntimeError(answer.decode())


def processor_seconds(parent: int) -> float:
    """Return what a process and its children have run for so far.

    By the scheduler's own clock (sched_getdelays(1), proc(5)): what a process does
    between two ticks would else be counted as a whole tick, or not at all.
    """
    nanoseconds = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if parent in (int(stat.parent.name), int(words[_PARENT])):
                for task in (stat.parent / "task").glob("*/schedstat"):
                    nanoseconds += int(task.read_text().split()[0])
    return nanoseconds / 1e9
