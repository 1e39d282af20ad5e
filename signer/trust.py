"""`GET /v1/trust/…`: the trust bundle, for anyone; it proves itself."""

import time
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from flask import Blueprint, Response, request

from ca.authority import Authority
from ca.errors import NotFound, Unavailable
from signer.openapi import describe
from signer.unchanged import Unchanged


def blueprint(
    authority: Authority, clock: Callable[[], datetime], unchanged: Unchanged
) -> Blueprint:
    """Return the routes of the trust bundle."""
    routes = Blueprint("trust", __name__)

    @routes.get("/v1/trust/current")
    @describe(
        gives="text/plain", also=(HTTPStatus.NOT_MODIFIED,), refuses=(Unavailable,)
    )
    def current() -> Response:
        """Say which roots and which KRL hold now, signed by an online key."""
        since = time.monotonic()
        answer = _document(authority.trust.current(now=clock()), "no-cache")
        unchanged.remember(answer.headers["ETag"], since=since)
        return answer

    @routes.get("/v1/trust/blob/<sha256>")
    @describe(
        gives="text/plain",
        also=(HTTPStatus.NOT_MODIFIED,),
        refuses=(NotFound, Unavailable),
    )
    def blob(sha256: str) -> Response:
        """Give an immutable part of the trust bundle by its hash."""
        content = authority.trust.blob(sha256)
        return _document(content, "public, max-age=31536000, immutable")

    return routes


def _document(content: bytes, cache_control: str) -> Response:
    answer = Response(
        content,
        content_type="text/plain; charset=us-ascii",
        headers={"Cache-Control": cache_control, "X-Content-Type-Options": "nosniff"},
    )
    answer.add_etag()
    answer.make_conditional(request)
    return answer
