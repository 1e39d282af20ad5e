"""What can be typed behind `ca-deploy`."""

import argparse
from typing import IO, Never

from client.api import Misuse
from deploy import texts

Options = argparse.Namespace

_DEFAULT = "plan"
_CLOCK_SECONDS = 120
"""Long enough for slow logins to some accounts, short enough to sit out."""

_LEAST_CLOCK_SECONDS = 10


class HelpAsked(Exception):
    """Someone asked for help; the text is in it."""


class Parser(argparse.ArgumentParser):
    """A parser whose help is written by hand and whose errors are `Misuse`."""

    help_text = texts.MAIN

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]  # argparse takes any object that writes
        """Hand the text to whoever prints."""
        del file
        raise HelpAsked(self.help_text)

    def error(self, message: str) -> Never:
        """Say what is wrong with the arguments, and where the right ones are."""
        raise Misuse(message, hint=f"{self.prog} --help")


def parse(arguments: list[str]) -> Options:
    """Understand a command line; raise `Misuse`, or `HelpAsked`."""
    named = bool(arguments) and not arguments[0].startswith("-")
    asks_help = bool(arguments) and arguments[0] in {"-h", "--help"}
    return parser().parse_args(
        arguments if named or asks_help else [_DEFAULT, *arguments]
    )


def parser() -> Parser:
    """Return the parser of the whole command."""
    whole = Parser(prog="ca-deploy", allow_abbrev=False)
    commands = whole.add_subparsers(dest="command", required=True)
    for name, text in texts.OF_COMMAND.items():
        below = commands.add_parser(name, allow_abbrev=False)
        below.help_text = text
        if name == "render":
            _add_render(below)
            continue
        if name == "authorized-keys":
            below.add_argument("action", choices=("report", "retire", "restore"))
        _add_common(below)
        if name in {"apply", "rollback", "authorized-keys"}:
            below.add_argument("--plan")
            below.add_argument("--max-fail", type=_count, default=0)
            below.add_argument("--clock", type=_clock, default=_CLOCK_SECONDS)
        if name in {"apply", "verify", "authorized-keys"}:
            below.add_argument("--key", default="~/.ssh/daypass/default")
        if name == "plan":
            below.add_argument("--accept-new", action="store_true")
    return whole


def _add_render(below: argparse.ArgumentParser) -> None:
    below.add_argument("url", metavar="URL", nargs="?")
    below.add_argument("--pin")
    below.add_argument("--format", choices=("ca-keys", "sh", "cloud-init"))
    below.add_argument("--file", default="deploy.toml")
    below.add_argument("--group", action="append", default=[])
    below.add_argument("--id", default="")
    below.add_argument("--name", action="append", default=[])
    below.add_argument("--join-token", metavar="FILE")
    below.add_argument("--json", action="store_true")


def _add_common(below: argparse.ArgumentParser) -> None:
    below.add_argument("--file", default="deploy.toml")
    below.add_argument("--inventory", default="hosts")
    below.add_argument("--limit", action="append", default=[])
    below.add_argument("--ssh-config")
    below.add_argument("--become", choices=("sudo", "doas"))
    below.add_argument("--parallel", type=_positive, default=10)
    below.add_argument("--json", action="store_true")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("not a number")
    return int(text)


def _positive(text: str) -> int:
    if not 0 < _count(text) <= 1000:  # noqa: PLR2004 more than any ssh agent stands
        raise argparse.ArgumentTypeError("not a number from 1 to 1000")
    return int(text)


def _clock(text: str) -> int:
    if _count(text) < _LEAST_CLOCK_SECONDS:
        raise argparse.ArgumentTypeError(f"at least {_LEAST_CLOCK_SECONDS} seconds")
    return int(text)
