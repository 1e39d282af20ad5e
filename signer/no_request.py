"""The answer to what has arrived and is no request, without a word of what it was.

Gunicorn would put the request line or the header into its log, and both may hold a
token.
"""

import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)

from signer.answers import NO_STORE, Answer, on_the_wire
from signer.exchange import new_request_id
from signer.problems import http_code, render_problem
from signer.request_log import log_refusal

_STATUS: Mapping[type[BaseException], HTTPStatus] = {
    LimitRequestLine: HTTPStatus.REQUEST_URI_TOO_LONG,
    LimitRequestHeaders: HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ExpectationFailed: HTTPStatus.EXPECTATION_FAILED,
    UnsupportedTransferCoding: HTTPStatus.NOT_IMPLEMENTED,
}

_log = logging.getLogger(__name__)


def refuse_for(error: BaseException, sock: socket.socket, client: Any) -> None:
    """Answer what the parser could not read, or a fault of ours."""
    ours = not isinstance(error, ParseException) or isinstance(
        error, (InvalidResponseHeader, InvalidResponseHeaderName)
    )
    if ours:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        _log.error("a fault of ours", exc_info=error)
    else:
        status = _STATUS.get(type(error), HTTPStatus.BAD_REQUEST)
    refuse(sock, client, status, type(error).__name__)


def refuse(sock: socket.socket, client: Any, status: HTTPStatus, why: str) -> None:
    """Answer with a problem document, if the client takes it at once; log the refusal.

    `client` is the address at the other end. `why` is a word of ours or the name of a
    class, never what was sent.
    """
    request_id = new_request_id()
    code = http_code(status)
    body = render_problem(
        status,
        code=code,
        detail=f"not a request that HTTP/1.1 and our limits allow ({why})",
        request_id=request_id,
    )
    answer = Answer(status, "application/problem+json", body, NO_STORE)
    sock.settimeout(0)
    with suppress(OSError):
        sock.sendall(on_the_wire(answer, request_id=request_id, ends=True))
    log_refusal(request_id, status=status, code=code, why=why, address=client[0])
