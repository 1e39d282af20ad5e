"""Requests for certificates, spelled as nearly all are: read and answered in one go.

    POST /v1/user-certificates, JSON of the declared length  ──▶  ca.issue

The server's parser, Flask and its answer cost as much as the certificate does. This
reads the one request that has to be fast, and only where there is one way to read it:
headers spelled plainly, none twice, none that has a say in what the body is or where it
ends. Whatever is spelled otherwise goes the ordinary way, to the same answer: both ways
make the same call into `ca`, with the same frame around it (`signer.frame`).
"""

import re
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from msgspec import Struct

from ca.authority import Authority
from ca.issue import Caller
from ca.messages import SignRequest, decode
from ca.waiting import in_step
from signer.answers import answer_of, on_the_wire
from signer.bodies import LARGEST_BODY
from signer.certificates import PATH, issue
from signer.exchange import CURRENT, Exchange
from signer.frame import Frame

_REQUEST = re.compile(
    b"POST " + re.escape(PATH.encode()) + rb" HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}: [!-~](?:[ -~]{0,1022}[!-~])?\r\n){1,20})\r\n"
)
"""Its head is shorter than `signer.whole.LARGEST_HEAD`, whatever stands in it."""

_LENGTH = re.compile(r"[0-9]{1,6}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}", re.ASCII)

SPECIAL = frozenset(
    {
        "authorization",  # a signed request, which has more to wait for
        "content-encoding",
        "expect",
        "http2-settings",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""What changes how a message is read, or what is done with it."""

_CONNECTION = frozenset({"close", "keep-alive"})
"""What clients say of whether it is to stay; what says nothing may (RFC 9112 9.3)."""


class Plain(Struct, frozen=True):
    """A plain request: what of it has a say in the answer."""

    body: bytes
    forwarded_for: str
    """The header of that name, or empty."""
    may_stay: bool
    """Whether the connection may stay for another request."""


class Reply(Struct, frozen=True):
    """An answer as it is sent."""

    data: bytes
    ends: bool
    """Whether the connection ends with it, as it says itself."""


def parse(received: bytes | bytearray) -> Plain | None:
    """Return what has arrived as a plain request, or None if it is none."""
    request = _REQUEST.match(received)
    if request is None:
        return None
    lines = request[1].decode("ascii").split("\r\n")[:-1]
    headers = dict([_field(line) for line in lines])
    body = bytes(received[request.end() :])
    connection = headers.get("connection", "keep-alive")
    length = headers.get("content-length", "")
    if (
        len(headers) != len(lines)
        or not SPECIAL.isdisjoint(headers)
        or headers.get("content-type") != "application/json"
        or connection not in _CONNECTION
        or _HOST.fullmatch(headers.get("host", "")) is None
        or _LENGTH.fullmatch(length) is None
        or not int(length) == len(body) <= LARGEST_BODY
    ):
        return None
    return Plain(
        body,
        forwarded_for=headers.get("x-forwarded-for", ""),
        may_stay=connection != "close",
    )


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(": ")
    return name.lower(), value


class PlainWay:
    """Answers plain requests. Thread-safe."""

    def __init__(
        self, authority: Authority, clock: Callable[[], datetime], frame: Frame
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._frame = frame

    def answer(self, plain: Plain, *, remote: str, ends: bool) -> Reply:
        """Return the whole answer.

        `remote` is the address at the other end of the connection, which is to end with
        the answer where `ends`. It does after every refusal.
        """
        exchange = Exchange(method="POST", route=PATH, remote=remote)
        CURRENT.set(exchange)
        try:
            caller, wanted = in_step(self._open, exchange, plain)
            issued = issue(self._authority, wanted, caller, now=self._clock())
            answer = answer_of(issued)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is answered)
            answer = self._frame.refuse(exchange, error)
        self._frame.end(exchange, answer.status)
        ends = ends or answer.status != HTTPStatus.OK
        data = on_the_wire(answer, request_id=exchange.request_id, ends=ends)
        return Reply(data, ends)

    def _open(self, exchange: Exchange, plain: Plain) -> tuple[Caller, SignRequest]:
        caller = self._frame.admit(exchange, forwarded_for=plain.forwarded_for)
        return caller, decode(plain.body, SignRequest)
