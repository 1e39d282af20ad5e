"""`GET /v1/trust/…`: the trust bundle, for anyone; it proves itself."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, request

from ca.authority import Authority


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes of the trust bundle."""
    routes = Blueprint("trust", __name__)

    @routes.get("/v1/trust/current")
    def current() -> Response:
        return _document(authority.trust.current(now=clock()), "no-cache")

    @routes.get("/v1/trust/blob/<sha256>")
    def blob(sha256: str) -> Response:
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
