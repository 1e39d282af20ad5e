"""All that `ca-login` says. The only module that prints.

The rules:

- Results go to standard output and nothing else does; with `--json` they are one
  JSON object with a version, `"v": 1`, and so is a failure.
- Everything for people goes to standard error as `ca-login: …`, in lower case and
  without a full stop. A success says one line; `-v` shows each step.
- An error has three parts: `ca-login: error: ` what failed, then why, then
  `ca-login: hint: ` the next thing to type.
- What others wrote (a CA, an identity provider) is shown with its control characters
  escaped: a terminal obeys them.
- No colour and no spinner yet, so nothing depends on what the terminal can do.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping

from ca.errors import CAError
from client.failure import Misuse, exit_code

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TextIO

_PROGRAM = "ca-login"

_WORTH_A_RETRY = frozenset({3, 4, 7})
"""Exit codes after which the same command may well succeed."""

_LONGEST = 4000
"""Characters that one line may take: others may write a megabyte."""


class Terminal:
    """Where a command speaks: it knows the flags, and the step being taken."""

    def __init__(self) -> None:
        self.json = False
        """Whether results are for a program."""
        self.verbose = False
        """Whether each step is shown."""
        self.again = "ca-login"
        """What to type to try the same once more."""
        self._step = "do that"
        self._people: TextIO | None = None
        """Where people read, where that is not standard error."""

    def step(self, doing: str) -> None:
        """Note what is tried next, as an infinitive: an error says it could not."""
        self._step = doing
        self.detail(doing)

    def say(self, text: str) -> None:
        """Tell a person one thing."""
        print(f"{_PROGRAM}: {clean(text)}", file=self._people or sys.stderr, flush=True)

    def speak_to_the_person(self) -> None:
        """Speak on the terminal itself from now on, wherever standard error leads.

        Whoever runs ssh may keep what it says to themselves until it has ended.
        """
        with contextlib.suppress(OSError):
            self._people = open("/dev/tty", "w")  # noqa: PTH123, SIM115 a device

    def detail(self, text: str) -> None:
        """Tell a person who asked for details."""
        if self.verbose:
            self.say(text)

    def warn(self, text: str) -> None:
        """Tell a person what will need their attention."""
        self.say(f"warning: {text}")

    def result(self, document: Mapping[str, object], text: str = "") -> None:
        """Answer on standard output: the document for a program, else the text."""
        if self.json:
            print(json.dumps({"v": 1, **document}), flush=True)
        elif text:
            print(text, flush=True)

    def help(self, text: str) -> None:
        """Answer someone who asked how a command is used."""
        print(text, end="", flush=True)

    def fail(self, error: CAError) -> int:
        """Say what failed, why and what to type next; return the exit code."""
        status = exit_code(error)
        hint = error.hint or (self.again if status in _WORTH_A_RETRY else None)
        self.say(f"error: could not {self._step}")
        self.say(error.detail)
        if hint is not None:
            self.say(f"hint: {hint}")
        if self.json:
            self.result(
                {
                    "error": {
                        "code": error.code,
                        "what": f"could not {self._step}",
                        "why": error.detail,
                        "hint": hint,
                        "exit_code": status,
                    }
                }
            )
        return status


def clean(text: str) -> str:
    """Escape what would move a cursor, colour a line or turn its direction."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text[:_LONGEST]
    )


def is_there() -> bool:
    """Say whether there is a terminal, wherever the streams lead."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def ask(question: str, *, otherwise: str) -> bool:
    """Ask on the terminal itself, wherever the streams lead; only `y` means yes.

    Raises `Misuse` with the hint `otherwise` where there is no terminal to ask on.
    """
    try:
        terminal = open("/dev/tty", "r+b", buffering=0)  # noqa: PTH123, SIM115 a device
    except OSError as error:
        raise Misuse("there is no terminal to ask on", hint=otherwise) from error
    with terminal:
        terminal.write(f"{question} [y/N] ".encode())
        return terminal.readline().strip().lower() in {b"y", b"yes"}
