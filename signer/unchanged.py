"""Answer hosts that have the newest bundle already, before anything else is done.

    GET /v1/trust/current, If-None-Match: what we serve  ──▶  304

is nearly all that ten thousand hosts ever ask. The event loop recognises it in the
bytes that arrived and answers at once: no thread, no parser, no line in the log. Only
for a moment after a thread has compared with the database what we serve; whatever is
spelled otherwise than curl and wget do goes the ordinary way, to the same answer.
"""

import re
import time

from signer.answers import http_date

MOMENT_SECONDS = 1.0
"""For how long an answer is good: so much later a host may learn what was revoked."""

_REQUEST = re.compile(
    rb"GET /v1/trust/current HTTP/1\.1\r\n"
    rb"(?:[A-Za-z0-9-]{1,64}: [!-~][ -~]{0,255}\r\n){1,16}\r\n"
)
_IF_NONE_MATCH = re.compile(
    rb'\nif-none-match: ("[0-9a-f]{40}")(?=\r\n)', re.IGNORECASE
)
_BODY = re.compile(rb"\n(?:content-length|transfer-encoding|expect):", re.IGNORECASE)


class Unchanged:
    """What we serve as *current*, and since when we know it. Thread-safe."""

    def __init__(self) -> None:
        self._known: tuple[bytes, float] = (b"", -MOMENT_SECONDS)
        self._asked = (b"", b"", "")
        """The last question: request, what we served then, and the date."""
        self._answer = b""
        """Of the last question: hosts of one kind spell it alike."""

    def remember(self, etag: str, *, since: float) -> None:
        """Remember what was served; `since` is by the monotonic clock.

        It is the time before the database was asked, since when more may be revoked.
        """
        self._known = (etag.encode(), since)

    def answer(self, received: bytes | bytearray) -> bytes | None:
        """Return the whole answer, if the request is one to be answered like this."""
        etag, since = self._known
        if time.monotonic() - since >= MOMENT_SECONDS:
            return None
        asked = request, _, date = bytes(received), etag, http_date()
        if asked != self._asked:
            if not _asks_for_news(request, known=etag):
                return None
            self._asked, self._answer = asked, _render(etag, date)
        return self._answer


def _asks_for_news(request: bytes, *, known: bytes) -> bool:
    """Tell whether a host that has what is known asks for more, spelled plainly."""
    return (
        _REQUEST.fullmatch(request) is not None
        and _IF_NONE_MATCH.findall(request) == [known]
        and _BODY.search(request) is None
    )


def _render(etag: bytes, date: str) -> bytes:
    return (
        b"HTTP/1.1 304 NOT MODIFIED\r\nConnection: close\r\n"
        b"Date: " + date.encode() + b"\r\n"
        b"Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
        b"ETag: " + etag + b"\r\n\r\n"
    )
