"""Render a message, or a text, as an HTTP answer."""

import msgspec
from flask import Response

from ca.messages import Message


def json_answer(message: Message, *, status: int = 200) -> Response:
    """Return `message` as JSON that no cache keeps."""
    return Response(
        msgspec.json.encode(message),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def text_answer(text: str) -> Response:
    """Return a text that no cache keeps."""
    return Response(
        text,
        content_type="text/plain; charset=us-ascii",
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
    )


def empty_answer() -> Response:
    """Say that it is done, and nothing else."""
    return Response(status=204, headers={"Cache-Control": "no-store"})
