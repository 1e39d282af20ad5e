"""What the commands of `ca-admin` share: their arguments, and where they speak.

A command is a module with `HELP`, written by hand; `add_arguments`; and `run`, which
answers through an `Output` and returns the exit code. `ca.admin.__main__` lists them.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Never, Protocol

from ca.errors import CAError, Misconfigured
from ca.policy.shape import printable

DONE = 0
FAILED = 1
MISUSE = 2
DENIED = 5
UNREACHABLE = 7
DRIFT = 9
INTERRUPTED = 130

Options = argparse.Namespace


class Misuse(CAError):
    """The command was typed wrong."""

    code = "misuse"


class Unreachable(CAError):
    """A server elsewhere does not answer, or not in time."""

    code = "unreachable"


class Drift(CAError):
    """What was checked is not what it must be."""

    code = "drift"


class HelpAsked(Exception):
    """Someone asked for help; the text is in it."""


class Parser(argparse.ArgumentParser):
    """A parser whose help is written by hand and whose errors are `Misuse`."""

    help_text = ""

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]  # argparse takes any object that writes
        """Hand the text to whoever prints."""
        del file
        raise HelpAsked(self.help_text)

    def error(self, message: str) -> Never:
        """Say what is wrong with the arguments, and where the right ones are."""
        name, command, *_ = [*self.prog.split(), ""]
        raise Misuse(message, hint=" ".join(f"{name} {command} --help".split()))


class Output:
    """Where a command speaks: results to standard output, the rest to standard error.

    With `--json` each result is one line with one JSON object, and so is a failure.
    What others wrote is shown with its control characters escaped: a terminal obeys
    them.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self._as_json = as_json

    def result(self, document: Mapping[str, object], text: str) -> None:
        """Answer: with the document for a program, with the text for a person."""
        if self._as_json:
            sys.stdout.write(json.dumps({"v": 1, **document}) + "\n")
        else:
            sys.stdout.write("".join(f"{printable(line)}\n" for line in _lines(text)))

    def note(self, text: str) -> None:
        """Tell a person something beside the result."""
        sys.stderr.write("".join(f"{printable(line)}\n" for line in _lines(text)))

    def fail(self, error: CAError, status: int) -> int:
        """Say what failed and what to type next; return the exit code."""
        self.note(f"ca-admin: error: {error.detail}")
        if error.hint:
            self.note(f"ca-admin: hint: {error.hint}")
        if self._as_json:
            failure = {"code": error.code, "why": error.detail, "hint": error.hint}
            self.result({"error": {**failure, "exit_code": status}}, "")
        return status


class Action(Protocol):
    """What a module is that holds one of the things that a command does."""

    def add_arguments(self, parser: Parser) -> None:
        """Say what may be typed behind the command's name."""

    def run(self, options: Options, output: Output) -> int:
        """Do it; return the exit code. Raises `CAError`."""


class Command(Action, Protocol):
    """What a module is that holds a command."""

    HELP: str


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes that reads the configuration."""
    parser.add_argument("--config")
    parser.add_argument("--json", action="store_true")


def config_file(options: Options) -> Path:
    """Return the configuration's path, from `--config` or the environment."""
    name = options.config or os.environ.get("DAYPASS_CONFIG")
    if not name:
        raise Misconfigured(
            "no configuration is named",
            hint=f"ca-admin {options.command} --config FILE",
        )
    return Path(name)


def agreed(question: str) -> bool:
    """Ask a person yes or no; raise `Misuse` where there is none."""
    if not sys.stdin.isatty():
        raise Misuse(
            "there is nobody to ask", hint="read what is shown, then add --yes"
        )
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def listed(names: Iterable[str]) -> str:
    """Return names as people list them."""
    return ", ".join(names) or "nothing"


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []
