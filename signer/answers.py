"""An HTTP answer, from a message, a text or nothing; and what Flask makes of it."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from types import MappingProxyType

import msgspec
from flask import Response
from gunicorn import SERVER
from msgspec import Struct

from ca.messages import Message

NO_STORE: Mapping[str, str] = MappingProxyType({"Cache-Control": "no-store"})
"""What keeps an answer out of caches."""


class Answer(Struct, frozen=True):
    """Status, headers and body, the same whoever sends them."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = NO_STORE
    """Besides those that say of what type the body is, and how long."""


def answer_of(message: Message, *, status: int = HTTPStatus.OK) -> Answer:
    """Return `message` as JSON that no cache keeps."""
    return Answer(status, "application/json", msgspec.json.encode(message))


def on_the_wire(answer: Answer, *, request_id: str, ends: bool) -> bytes:
    """Return the whole answer as HTTP/1.1, which says so where the connection `ends`.

    No value may have a line end in it: they are ours, and numbers.
    """
    lines = [
        f"HTTP/1.1 {answer.status:d} {HTTPStatus(answer.status).phrase}",
        f"Server: {SERVER}",
        f"Date: {http_date()}",
        *(["Connection: close"] if ends else []),
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        *[f"{name}: {value}" for name, value in answer.headers.items()],
        f"X-Request-Id: {request_id}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("ascii") + answer.body


def http_date() -> str:
    """Return the time as HTTP has it (RFC 9110 section 5.6.7)."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def through_flask(answer: Answer) -> Response:
    """Return the same as Flask's views do."""
    return Response(
        answer.body,
        status=answer.status,
        content_type=answer.content_type,
        headers=answer.headers,
    )


def json_answer(message: Message, *, status: int = HTTPStatus.OK) -> Response:
    """Return `message` as JSON that no cache keeps, through Flask."""
    return through_flask(answer_of(message, status=status))


def text_answer(text: str) -> Response:
    """Return a text that no cache keeps."""
    return Response(
        text,
        content_type="text/plain; charset=us-ascii",
        headers={**NO_STORE, "X-Content-Type-Options": "nosniff"},
    )


def empty_answer() -> Response:
    """Say that it is done, and nothing else."""
    return Response(status=HTTPStatus.NO_CONTENT, headers=NO_STORE)
