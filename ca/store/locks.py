"""Locked files: what one process at a time may do, and who is at it.

The kernel frees a lock when its process dies. One that hangs with a lock held cannot be
told from a slow one, so waiting ends, and an operator is told whom to look at.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ca.errors import StoreUnavailable

_POLL_SECONDS = 0.0005
_TOO_LONG_SECONDS = 2.0
"""From when on a holder is named to operators."""


class FileLock:
    """A lock between processes. Threads take turns, too: it belongs to the opening."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @contextmanager
    def hold(self, until: float) -> Iterator[None]:
        """Hold the lock; raise `StoreUnavailable` when `time.monotonic` is `until`."""
        with self._opened() as descriptor:
            _wait(descriptor, until)
            # The name of the holder is a service; a full disk must not keep us out.
            with suppress(OSError):
                os.pwrite(descriptor, b"%-20d %-20d\n" % (os.getpid(), _now()), 0)
            yield

    def problem(self) -> str | None:
        """Say who has held the lock for too long, or return None."""
        with self._opened() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                words = os.pread(descriptor, 64, 0).split()
            else:
                return None
        process, since = map(int, words) if len(words) == 2 else (0, 0)  # noqa: PLR2004
        seconds = _now() - since
        if seconds < _TOO_LONG_SECONDS:
            return None
        return f"process {process} has held {self._file} for {seconds} seconds"

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            descriptor = os.open(self._file, flags, 0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot lock {self._file} ({error.strerror})",
                hint="check its folder, its owner and its disk",
            ) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def _now() -> int:
    # Of the machine since it started, so that all processes mean the same.
    return int(time.monotonic())


def _wait(descriptor: int, until: float) -> None:
    # Not the kernel's own waiting, which nothing but a signal would end.
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise StoreUnavailable(
                    "another process has held the database for too long",
                    hint="try again; if it lasts, look for a process that hangs",
                ) from None
            time.sleep(_POLL_SECONDS)
        else:
            return
