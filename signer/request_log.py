"""One JSON line in the log for each request, and for whatever else there is to say.

Never in it: tokens, keys, bodies, query strings. The ledger, not this log, is the
record of what was signed.
"""

import json
import logging
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from signer.exchange import CURRENT, UNKNOWN, Exchange

_log = logging.getLogger("daypass.request")
_DELETE = "\x7f"
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
        exchange = CURRENT.get()
        if exchange is not None:
            line["request_id"] = exchange.request_id
        line.update(
            {key: value for key, value in vars(record).items() if key not in _STANDARD}
        )
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return _encode(line)


def _encode(line: dict[str, Any]) -> str:
    """Render as JSON without a character that a terminal could take for a command."""
    with suppress(TypeError, UnicodeError):
        text = msgspec.json.encode(line).decode("ascii")
        if _DELETE not in text:
            return text
    # Writes whatever there is, all of it in ASCII, and takes several times as long.
    return json.dumps(line, default=str, separators=(",", ":"))


def log_as_json() -> None:
    """Send all logging of this process to standard error, as JSON lines."""
    # None of them is in a line: a record need not look for them.
    logging._srcfile = None  # noqa: SLF001 (as the logging HOWTO has it)
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def log_refusal(
    request_id: str, *, status: int, code: str, why: str, address: str
) -> None:
    """Log what was refused before it was a request: there is no route, no method."""
    _log.info(
        "request",
        extra={
            "request_id": request_id,
            "method": UNKNOWN,
            "path": UNKNOWN,
            "status": int(status),
            "code": code,
            "why": why,
            "address": address,
        },
    )


def log_answer(exchange: Exchange, status: int) -> None:
    """Log that a request was answered, and how."""
    _log.info(
        "request",
        extra={
            "request_id": exchange.request_id,
            "method": exchange.method,
            "path": exchange.route,
            "status": status,
            "milliseconds": round((time.monotonic() - exchange.began) * 1000, 1),
            "address": exchange.remote,
            **exchange.notes,
        },
    )
