"""What hosts say to the CA: short texts that a POSIX shell can write, both ways.

    report     which trust bundle the host has applied
    renewal    certify this key of mine again
    join       a new machine introduces itself, with a join token

Each is sent as its text followed by the armoured SSHSIG over exactly that text, by a
key of the host, under `NAMESPACE`. Words are separated by one space, lines end in LF
and come in one order, and what is not known is an error, as in the trust bundle.
"""

import re
from dataclasses import dataclass
from typing import TypeVar, assert_never

from ca import certificate
from ca.certificate import MOST_PRINCIPALS
from ca.errors import Malformed

NAMESPACE = "daypass-host"
"""Of the SSHSIG below each of them."""

MOST_KEYS = 16
"""Of one host: sshd makes three, and uses no more than a handful."""

HOST_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
"""What a host may be called in the registry: it stands in paths and shell scripts."""

JOIN_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
"""32 bytes in unpadded base64url."""

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_ORIGIN = re.compile(r"https?://[!-~]{1,255}", re.ASCII)
_NAME = re.compile(r"[!-~]{1,255}", re.ASCII)
_KEY = re.compile(r"[!-~]+ [!-~]+", re.ASCII)
_YES_OR_NO = re.compile(r"yes|no", re.ASCII)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Report:
    """`POST /v1/host-reports`: what this host has applied."""

    host: str
    origin: str
    """The CA's, so that a report cannot be shown to another CA."""
    roots_version: int
    current_version: int
    current_sha256: str
    """Hex; of the whole *current* document, its signature included."""
    time: int
    """Unix seconds, by the host's clock."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """`POST /v1/host-certificates/renew`: certify this key."""

    host: str
    origin: str
    key: str
    """`<type> <base64>`; one of those that the host is registered with."""
    time: int


@dataclass(frozen=True, slots=True)
class Join:
    """`POST /v1/hosts`, as text: a machine that nobody can reach yet."""

    origin: str
    host: str
    names: tuple[str, ...]
    keys: tuple[str, ...]
    """`<type> <base64>`, one of which signs this."""
    pulls: bool
    """Whether the host fetches the trust bundle by itself."""
    token: str
    time: int


Document = Report | Renewal | Join


def render(document: Document) -> bytes:
    """Return the text of a document, to be signed by a key of the host."""
    lines = [*_lines_of(document), f"time {document.time}"]
    return "".join(f"{line}\n" for line in lines).encode()


def _lines_of(document: Document) -> list[str]:
    match document:
        case Report():
            return [
                "daypass-host-report-v1",
                f"host {document.host}",
                f"origin {document.origin}",
                f"roots-version {document.roots_version}",
                f"current-version {document.current_version}",
                f"current-sha256 {document.current_sha256}",
            ]
        case Renewal():
            return [
                "daypass-host-renewal-v1",
                f"host {document.host}",
                f"origin {document.origin}",
                f"key {document.key}",
            ]
        case Join():
            return [
                "daypass-host-join-v1",
                f"origin {document.origin}",
                f"host {document.host}",
                *(f"name {name}" for name in document.names),
                *(f"key {key}" for key in document.keys),
                f"pulls {'yes' if document.pulls else 'no'}",
                f"token {document.token}",
            ]
        case _:
            assert_never(document)


def parse_report(text: bytes) -> Report:
    """Parse the text of a report; raise `Malformed`. No signature is verified."""
    lines = _Lines(text, "daypass-host-report-v1")
    return lines.finish(
        Report(
            host=lines.one("host", HOST_ID),
            origin=lines.one("origin", _ORIGIN),
            roots_version=int(lines.one("roots-version", _NUMBER)),
            current_version=int(lines.one("current-version", _NUMBER)),
            current_sha256=lines.one("current-sha256", _SHA256),
            time=int(lines.one("time", _NUMBER)),
        )
    )


def parse_renewal(text: bytes) -> Renewal:
    """Parse the text of a renewal, as `parse_report` does."""
    lines = _Lines(text, "daypass-host-renewal-v1")
    return lines.finish(
        Renewal(
            host=lines.one("host", HOST_ID),
            origin=lines.one("origin", _ORIGIN),
            key=_key(lines.one("key", _KEY)),
            time=int(lines.one("time", _NUMBER)),
        )
    )


def parse_join(text: bytes) -> Join:
    """Parse the text of a join, as `parse_report` does."""
    lines = _Lines(text, "daypass-host-join-v1")
    return lines.finish(
        Join(
            origin=lines.one("origin", _ORIGIN),
            host=lines.one("host", HOST_ID),
            names=tuple(lines.run("name", _NAME, most=MOST_PRINCIPALS)),
            keys=tuple(map(_key, lines.run("key", _KEY, least=1, most=MOST_KEYS))),
            pulls=lines.one("pulls", _YES_OR_NO) == "yes",
            token=lines.one("token", JOIN_TOKEN),
            time=int(lines.one("time", _NUMBER)),
        )
    )


class _Lines:
    """The lines of a text, taken off one by one."""

    def __init__(self, text: bytes, header: str) -> None:
        try:
            lines = text.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise Malformed("the text of a host is not ASCII") from error
        if lines.pop() or not lines or lines[0] != header:
            raise Malformed(f"not a text that begins with {header}, in lines")
        self._lines = lines[:0:-1]

    def one(self, name: str, pattern: re.Pattern[str]) -> str:
        """Take the one line that must begin with `name`; return what follows."""
        return self.run(name, pattern, least=1, most=1)[0]

    def run(
        self, name: str, pattern: re.Pattern[str], *, most: int, least: int = 0
    ) -> list[str]:
        """Take all lines that begin with `name` off the front; return what follows."""
        taken = []
        while self._lines and self._lines[-1].partition(" ")[0] == name:
            value = self._lines.pop().partition(" ")[2]
            if pattern.fullmatch(value) is None:
                raise Malformed(f"the line {name!r} does not say what it should")
            taken.append(value)
        if not least <= len(taken) <= most or len(set(taken)) != len(taken):
            raise Malformed(f"too few or too many lines {name!r} here, or one twice")
        return taken

    def finish(self, document: T) -> T:
        """Return the document, if no line is left."""
        if self._lines:
            raise Malformed("an unknown line, or one out of its order")
        return document


def _key(line: str) -> str:
    certificate.split_key(certificate.parse_line(line))
    return line
