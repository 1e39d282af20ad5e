"""Where a command speaks: results to standard output, the rest to standard error.

What is for people is in lower case, with the command's name before it; what others
wrote is shown with its control characters escaped, because a terminal obeys them.
"""

import json
import sys
from collections.abc import Mapping

from ca.errors import CAError


class Output:
    """Where a command speaks; with `--json`, every result and event is one line."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    def result(self, document: Mapping[str, object], text: str) -> None:
        """Answer: with the document for a program, with the text for a person."""
        if self.as_json:
            sys.stdout.write(json.dumps({"v": 1, **document}) + "\n")
        else:
            sys.stdout.write(clean(text))
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """Tell a person something beside the result.

        More lines than one may be a host's, and must not look like ours.
        """
        said = clean(text).replace("\n", "\n  | ")
        sys.stderr.write(f"ca-deploy: {said}\n")

    def fail(self, error: CAError, status: int) -> int:
        """Say what failed and what to type next; return the exit code."""
        self.note(f"error: {error.detail}")
        if error.hint:
            self.note(f"hint: {error.hint}")
        if self.as_json:
            failure = {"code": error.code, "why": error.detail, "hint": error.hint}
            self.result({"error": {**failure, "exit_code": status}}, "")
        return status


def clean(text: str) -> str:
    """Return a text with what a terminal would obey made visible; lines stay lines."""
    return "".join(
        char if char.isprintable() or char == "\n" else f"\\x{ord(char):02x}"
        for char in text
    )
