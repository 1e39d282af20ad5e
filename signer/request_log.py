"""Request ids, and one JSON line in the log for each request.

Never in it: tokens, keys, bodies, query strings. The ledger, not this log, is the
record of what was signed.
"""

import json
import logging
import secrets
import sys
import time
from datetime import UTC, datetime
from http import HTTPMethod
from typing import Any

from flask import Flask, Response, g, has_request_context, request

_log = logging.getLogger("daypass.request")
_METHODS = frozenset(HTTPMethod)
_encode = json.JSONEncoder(default=str).encode
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JSONFormatter(logging.Formatter):
    """One JSON object a line; a newline in any value is escaped by JSON itself."""

    def format(self, record: logging.LogRecord) -> str:
        """Render a record with its extra fields, request id and traceback."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context():
            line["request_id"] = g.get("request_id")
        line.update(
            {key: value for key, value in vars(record).items() if key not in _STANDARD}
        )
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)


def log_as_json() -> None:
    """Send all logging of this process to standard error, as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def install(app: Flask) -> None:
    """Give each request an id of ours, and log it when it is answered."""
    app.before_request(_begin)
    app.after_request(_end)


def new_request_id() -> str:
    """Return an id for a request; the same in answer, log and record."""
    return secrets.token_hex(8)


def log_refusal(
    request_id: str, *, status: int, code: str, why: str, address: str
) -> None:
    """Log what was refused before it was a request: there is no route, no method."""
    _log.info(
        "request",
        extra={
            "request_id": request_id,
            "method": "unknown",
            "path": "unknown",
            "status": int(status),
            "code": code,
            "why": why,
            "address": address,
        },
    )


def _begin() -> None:
    # The caller's own id, if any, is not taken: it would let one caller's requests
    # pass for another's in log and ledger.
    g.request_id = new_request_id()
    g.began = time.monotonic()
    g.log = {}


def _end(answer: Response) -> Response:
    answer.headers["X-Request-Id"] = g.request_id
    _log.info(
        "request",
        extra={
            # One of HTTP's own: anything may be written in its place, too.
            "method": request.method if request.method in _METHODS else "unknown",
            # The route, never the path as sent: a token may be pasted there, too.
            "path": str(request.url_rule or "unknown"),
            "status": answer.status_code,
            "milliseconds": round((time.monotonic() - g.began) * 1000, 1),
            "address": request.remote_addr,
            **g.log,
        },
    )
    return answer
