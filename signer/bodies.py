"""Read a request's body: JSON or text of a declared, bounded length."""

from flask import request
from werkzeug.exceptions import LengthRequired

from ca.errors import BadRequest
from ca.messages import M, decode


def json_body(as_type: type[M]) -> M:
    """Return the body of the request as a message; raise `BadRequest`."""
    return decode(raw_body(), as_type)


def raw_body() -> bytes:
    """Return the bytes of a JSON body, which Flask bounds by its declared length."""
    return _body("application/json", called="JSON")


def text_body() -> bytes:
    """Return the bytes of a text, as a host sends one, bounded likewise."""
    return _body(TEXT, called="text")


TEXT = "text/plain"

LARGEST_BODY = 32 * 1024
"""In bytes; a sign request with the largest token allowed fits twice."""


def _body(media_type: str, *, called: str) -> bytes:
    if request.mimetype != media_type:
        raise BadRequest(
            f"the request body must be {called}",
            hint=f"send Content-Type: {media_type}",
        )
    # Never unpacked: a kilobyte can unpack to a gigabyte.
    if "Content-Encoding" in request.headers:
        raise BadRequest(
            "the request body must not be compressed",
            hint="send it without Content-Encoding",
        )
    # Werkzeug cuts a body of undeclared length at the limit and says nothing.
    if request.content_length is None:
        raise LengthRequired("say how long the body is: send Content-Length")
    return request.get_data()
