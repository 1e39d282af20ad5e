"""Read a command's arguments: argparse, with our own words for help and errors."""

import argparse
from typing import IO

from client.failure import Misuse
from client.terminal import Terminal


class HelpAsked(Exception):
    """Someone asked for help; the text is in it."""


class Parser(argparse.ArgumentParser):
    """A parser whose help is written by hand and whose errors are `Misuse`."""

    def __init__(self, command: str, help_text: str) -> None:
        super().__init__(prog=command, allow_abbrev=False)
        self._help = help_text
        self.add_argument("--profile")
        self.add_argument("--json", action="store_true")
        self.add_argument("-v", "--verbose", action="store_true")

    def print_help(self, file: IO[str] | None = None) -> None:  # type: ignore[override]  # argparse takes any object that writes
        """Hand the text to whoever prints."""
        del file
        raise HelpAsked(self._help)

    def error(self, message: str) -> None:  # type: ignore[override]  # never returns, as there
        """Say what is wrong with the arguments, and where the right ones are."""
        raise Misuse(message, hint=f"{self.prog} --help")

    def read(self, argv: list[str], terminal: Terminal) -> argparse.Namespace:
        """Parse, and tell the terminal how it is wanted."""
        # Before parsing, so that a complaint about the rest is in JSON as well.
        terminal.json = "--json" in argv
        terminal.step("understand the command line")
        values = self.parse_args(argv)
        terminal.verbose = values.verbose
        return values
