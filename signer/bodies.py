"""Read a request's body: JSON of a declared, bounded length, and nothing else."""

from flask import request
from werkzeug.exceptions import LengthRequired

from ca.errors import BadRequest
from ca.messages import M, decode


def json_body(as_type: type[M]) -> M:
    """Return the body of the request as a message; raise `BadRequest`."""
    return decode(raw_body(), as_type)


def raw_body() -> bytes:
    """Return the bytes of a JSON body, which Flask bounds by its declared length."""
    if request.mimetype != "application/json":
        raise BadRequest(
            "the request body must be JSON",
            hint="send Content-Type: application/json",
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
