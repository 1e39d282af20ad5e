"""Requests for certificates, spelled as nearly all are: read and answered in one go.

    POST /v1/user-certificates, a body of the declared length  ──▶  the application

Gunicorn's parser and its answer cost as much as the certificate does. This reads the
one request that has to be fast, and only where there is one way to read it: headers
spelled plainly, none twice, none that has a say in where the body ends. Whatever is
spelled otherwise goes the ordinary way, to the same answer.

What is asked for is the same as everywhere else, and Flask answers it: only where the
request begins and ends is found here.
"""

import io
import re
import sys
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from wsgiref.types import WSGIApplication, WSGIEnvironment

from gunicorn import SERVER

_REQUEST = re.compile(
    rb"POST (/v1/user-certificates) HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]{1,64}: [!-~](?:[ -~]{0,1022}[!-~])?\r\n){1,20})\r\n"
)
"""Its head is shorter than `signer.whole.LARGEST_HEAD`, whatever stands in it."""

_LENGTH = re.compile(r"[0-9]{1,6}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}", re.ASCII)

SPECIAL = frozenset(
    {
        "AUTHORIZATION",  # a signed request, which has more to wait for
        "EXPECT",
        "HTTP2_SETTINGS",
        "TE",
        "TRAILER",
        "TRANSFER_ENCODING",
        "UPGRADE",
    }
)
"""What changes how a message is read, or what is done with it."""

_CONNECTION = frozenset({"close", "keep-alive"})
"""What proxies and browsers say, and changes nothing: it ends with the answer."""


def environ_of(
    received: bytes, *, client: tuple[Any, ...], server: tuple[Any, ...], tls: bool
) -> WSGIEnvironment | None:
    """Return the request as WSGI has it (PEP 3333), or None if it is not plain."""
    request = _REQUEST.match(received)
    if request is None:
        return None
    lines = request[2].decode("ascii").split("\r\n")[:-1]
    pairs = (line.split(": ", 1) for line in lines)
    headers = {name.upper().replace("-", "_"): value for name, value in pairs}
    length = headers.pop("CONTENT_LENGTH", "")
    if (
        len(headers) + 1 != len(lines)
        or not SPECIAL.isdisjoint(headers)
        or headers.get("CONNECTION", "close") not in _CONNECTION
        or _HOST.fullmatch(headers.get("HOST", "")) is None
        or _LENGTH.fullmatch(length) is None
        or int(length) != len(received) - request.end()
    ):
        return None
    path = request[1].decode("ascii")
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "RAW_URI": path,
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1]),
        "REMOTE_ADDR": client[0],
        "REMOTE_PORT": str(client[1]),
        "CONTENT_TYPE": headers.pop("CONTENT_TYPE", ""),
        "CONTENT_LENGTH": length,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if tls else "http",
        "wsgi.input": io.BytesIO(received[request.end() :]),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    environ.update((f"HTTP_{name}", value) for name, value in headers.items())
    return environ


def answer(application: WSGIApplication, environ: WSGIEnvironment) -> bytes:
    """Return the whole answer of the application, after which the connection ends."""
    head: list[str] = []
    body: list[bytes] = []

    def start(
        status: str, headers: list[tuple[str, str]], _fault: Any = None, /
    ) -> Callable[[bytes], object]:
        head[:] = [
            f"HTTP/1.1 {status}",
            f"Server: {SERVER}",
            f"Date: {formatdate(usegmt=True)}",
            "Connection: close",
        ]
        # No value has a line end in it: Werkzeug refuses to set one.
        head.extend(f"{name}: {value}" for name, value in headers)
        return body.append

    parts = application(environ, start)
    try:
        body.extend(parts)
    finally:
        parts.close()  # type: ignore[attr-defined]  # Werkzeug's has one
    return "\r\n".join([*head, "", ""]).encode("latin-1") + b"".join(body)
