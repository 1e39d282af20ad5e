"""An ID token that somebody hands us: of the right form, or refused without a quote."""

import re
import sys
from pathlib import Path

from client import files
from client.failure import Misuse

_TOKEN = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_LONGEST = 16_384
"""Bytes; the CA takes no longer one."""


def is_token(text: bytes) -> bool:
    """Say whether this has the form of an ID token: whose it is, the CA finds out."""
    return len(text) <= _LONGEST and _TOKEN.fullmatch(text) is not None


def read(source: str) -> str:
    """Return the ID token in a file, or on standard input for `-`; raise `Misuse`.

    No error ever quotes what was read.
    """
    token = _read(source).strip()
    if not is_token(token):
        raise Misuse(
            f"{'standard input' if source == '-' else source} holds no ID token",
            hint="give the file that holds the token and nothing else",
        )
    return token.decode()


def _read(source: str) -> bytes:
    # More than fits, to know that it does not.
    if source == "-":
        # Closed (`<&-`), standard input is None.
        return sys.stdin.buffer.read(_LONGEST + 1024) if sys.stdin else b""
    content = files.read(Path(source), limit=_LONGEST + 1024)
    if content is None:
        raise Misuse(f"there is no file {source}", hint="ca-login --help")
    return content
