"""The only translation from errors to HTTP: RFC 9457 problem documents."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from flask import Response
from werkzeug.exceptions import HTTPException

from ca import errors
from ca.messages import Problem
from signer.answers import NO_STORE, Answer, through_flask
from signer.exchange import Exchange, current

_log = logging.getLogger(__name__)

STATUS: Mapping[type[errors.CAError], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.UnacceptableKey: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unauthenticated: HTTPStatus.UNAUTHORIZED,
    errors.Denied: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.RateLimited: HTTPStatus.TOO_MANY_REQUESTS,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
"""By class; a subclass has its parent's status."""

_HTTP_CODES: Mapping[HTTPStatus, str] = {
    # Its name differs from one Python to the next; a code of ours must not.
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "body_too_large",
    HTTPStatus.REQUEST_URI_TOO_LONG: "path_too_long",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "headers_too_large",
}


INTERNAL_ERROR = "internal_error"
"""The code of a fault of ours, whatever it was."""


def status_of(error: errors.CAError) -> HTTPStatus:
    """Return the status of an error's nearest class in `STATUS`."""
    for class_ in type(error).__mro__:
        if class_ in STATUS:
            return STATUS[class_]
    raise LookupError(f"{type(error).__name__} has no HTTP status")


def http_code(status: HTTPStatus) -> str:
    """Return the code of a refusal by the HTTP layer itself."""
    return _HTTP_CODES.get(status, status.name.lower())


def render_problem(
    status: HTTPStatus,
    *,
    code: str,
    detail: str,
    request_id: str,
    hint: str | None = None,
) -> bytes:
    """Return the problem document, for the application and for the server below."""
    problem = Problem(
        title=status.phrase,
        status=status,
        code=code,
        detail=detail,
        hint=hint,
        request_id=request_id,
    )
    return msgspec.json.encode(problem)


def answer_to(error: Exception, exchange: Exchange) -> Answer:
    """Return the problem document for an error of ours, or for a fault."""
    if not isinstance(error, errors.CAError):
        # Whatever its words are, they may be sensitive: they go to the log alone.
        _log.error("a fault of ours", exc_info=error)
        return _problem(
            exchange,
            HTTPStatus.INTERNAL_SERVER_ERROR,
            code=INTERNAL_ERROR,
            detail="a fault of ours; what may have been signed is on record",
            hint="give the operator the request id",
            headers={},
        )
    status = status_of(error)
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        # What caused it is the operator's business: `__cause__` goes to the log alone.
        _log.error("unavailable: %s", error.detail, exc_info=error)
    headers: dict[str, str] = {}
    if isinstance(error, errors.RateLimited):
        headers["Retry-After"] = str(error.retry_after)
    return _problem(
        exchange,
        status,
        code=error.code,
        detail=error.detail,
        hint=error.hint,
        headers=headers,
    )


def answer_http(error: HTTPException) -> Response:
    """Answer what Flask refuses by itself."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    headers: dict[str, str] = {}
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = dict(error.get_headers()).get("Allow", "")
    return through_flask(
        _problem(
            current(),
            status,
            code=http_code(status),
            detail=error.description or status.description,
            headers=headers,
        )
    )


def _problem(
    exchange: Exchange,
    status: HTTPStatus,
    *,
    code: str,
    detail: str,
    hint: str | None = None,
    headers: Mapping[str, str],
) -> Answer:
    exchange.notes["code"] = code
    body = render_problem(
        status, code=code, detail=detail, hint=hint, request_id=exchange.request_id
    )
    return Answer(status, "application/problem+json", body, {**NO_STORE, **headers})
