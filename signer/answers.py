"""Render a message as an HTTP answer."""

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
