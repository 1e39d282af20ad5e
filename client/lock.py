"""One sign-in at a time: who comes while one is under way waits for what comes of it.

A file that is locked, never removed, and holds how many sign-ins have failed: whoever
waited learns that way that the one they waited for did, and does not open a browser in
their turn. The system gives the lock back however a process ends.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from client import files


@contextmanager
def held(path: Path, *, waiting: Callable[[], object] | None = None) -> Iterator[bool]:
    """Hold the lock; yield whether a sign-in failed while we waited for it.

    `waiting` is called before a wait; without it nobody waits, and who comes second
    goes on beside the first.
    """
    files.make_private(path.parent)
    with files.explained(f"open {path}"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        before = _failures(descriptor)
        if not _take(descriptor, wait=False) and waiting is not None:
            waiting()
            _take(descriptor, wait=True)
        try:
            yield _failures(descriptor) != before
        except BaseException:
            with files.explained(f"write {path}"):
                os.pwrite(descriptor, b"%d" % (_failures(descriptor) + 1), 0)
            raise
    finally:
        os.close(descriptor)


def _failures(descriptor: int) -> int:
    content = os.pread(descriptor, 16, 0)
    return int(content) if content.isdigit() else 0


def _take(descriptor: int, *, wait: bool) -> bool:
    """Take the lock; return whether nobody else has it."""
    # There is no such lock there, and no /dev/tty, so that `ensure` asks nobody.
    if sys.platform == "win32":
        return True
    import fcntl  # noqa: PLC0415 not on Windows

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: rather two tabs than none.
        return True
    return True
