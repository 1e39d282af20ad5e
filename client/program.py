"""Run a program to its end, and have what it said.

Its streams are files, so nobody has to read two of them at once; and `subprocess`,
which takes as long to load as a third of a sign-in, is only for where `posix_spawn` is
not.
"""

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from client import files


class Done:
    """How it ended."""

    def __init__(self, status: int, out: bytes, err: bytes) -> None:
        self.status = status
        """Its exit code; below 0 for what ended it."""
        self.out = out
        self.err = err


class TakesTooLong(Exception):
    """It did not end, and was ended."""


def run(
    words: Sequence[str],
    message: bytes = b"",
    *,
    seconds: float,
    talks: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Done:
    """Run a program that reads `message`; one that `talks` does so on our own stderr.

    Raises `OSError` where it cannot be run, and `TakesTooLong`.
    """
    with files.scratch() as folder:
        streams = [folder / name for name in ("in", "out", "err")]
        files.create(streams[0], message, durable=False)
        status = _run(words, streams, seconds, talks, dict(environment or os.environ))
        out = streams[1].read_bytes()
        return Done(status, out, b"" if talks else streams[2].read_bytes())


def _run(
    words: Sequence[str],
    streams: Sequence[Path],
    seconds: float,
    talks: bool,  # noqa: FBT001 passed on
    environment: dict[str, str],
) -> int:
    if not hasattr(os, "posix_spawnp"):
        return _run_there(words, streams, seconds, talks, environment)
    new = os.O_WRONLY | os.O_CREAT
    opened = [
        (os.POSIX_SPAWN_OPEN, number, str(path), new if number else os.O_RDONLY, 0o600)
        for number, path in enumerate(streams)
    ]
    process = os.posix_spawnp(
        words[0], list(words), environment, file_actions=opened[: 2 if talks else 3]
    )
    late = threading.Event()

    def end() -> None:
        late.set()
        os.kill(process, 9)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        _, status = os.waitpid(process, 0)
    except BaseException:
        os.kill(process, 9)
        os.waitpid(process, 0)
        raise
    finally:
        timer.cancel()
    if late.is_set():
        raise TakesTooLong
    return os.waitstatus_to_exitcode(status)


def _run_there(
    words: Sequence[str],
    streams: Sequence[Path],
    seconds: float,
    talks: bool,  # noqa: FBT001 passed on
    environment: dict[str, str],
) -> int:
    """Do the same on Windows."""
    import subprocess  # noqa: PLC0415 see above

    modes = ("rb", "wb", "wb")
    with contextlib.ExitStack() as stack:
        in_, out, err = (
            stack.enter_context(path.open(mode))
            for path, mode in zip(streams, modes, strict=True)
        )
        try:
            done = subprocess.run(  # noqa: S603 no shell; words of our own
                list(words),
                env=environment,
                stdin=in_,
                stdout=out,
                stderr=None if talks else err,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            raise TakesTooLong from error
    return done.returncode
