"""A terminal of a test's own: what a command does where there is somebody to ask.

    said = on_a_terminal(["ca-login", "ensure"])
    said.status, said.text

The command's streams and its `/dev/tty` are a new pseudo-terminal.
"""

import os
import pty
import select
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SECONDS = 60


@dataclass(frozen=True)
class Shown:
    """What a command ended with, and what was to be seen."""

    status: int
    text: str
    """With the terminal's line ends made plain."""


def on_a_terminal(
    command: Sequence[str],
    *,
    typed: str = "",
    typed_at: str = "",
    interrupt_at: str | None = None,
    cwd: Path = ROOT,
) -> Shown:
    """Run a command and type, once `typed_at` is to be seen, if that is given.

    With `interrupt_at`, Ctrl-C once that is.
    """
    process, terminal = pty.fork()
    if not process:
        # Whoever runs us may have it ignored, as a shell does after `&`.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.chdir(cwd)
        os.execvp(command[0], list(command))  # noqa: S606 a test's own command
    shown, ends = b"", time.monotonic() + _SECONDS
    while True:
        if typed and typed_at.encode() in shown:
            os.write(terminal, typed.encode())
            typed = ""
        ready, _, _ = select.select([terminal], [], [], 1)
        try:
            if ready and not (more := os.read(terminal, 4096)):
                break
            shown += more if ready else b""
        except OSError:  # all of its other ends are closed
            break
        if interrupt_at is not None and interrupt_at.encode() in shown:
            os.write(terminal, b"\x03")
            interrupt_at = None
        if time.monotonic() > ends:
            os.kill(process, signal.SIGKILL)
            break
    _, status = os.waitpid(process, 0)
    os.close(terminal)
    text = shown.decode(errors="replace").replace("\r\n", "\n")
    return Shown(os.waitstatus_to_exitcode(status), text)
