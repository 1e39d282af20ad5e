"""Fetch the files of a log from a web server, whoever it is."""

import contextlib
import http.client
import zlib
from http import HTTPStatus
from urllib.parse import quote

from ca.admin.command import Unreachable
from ca.issuers import refuse_insecure_url, split_url

SECONDS = 30.0
"""For connecting, and for each piece of an answer."""

LONGEST = 1 << 25
"""In bytes; a full bundle of the longest entries that there can be is half of it."""


class Web:
    """The files below one URL, over one connection that is opened again when lost."""

    def __init__(self, url: str) -> None:
        """Raises `Misconfigured` for what is neither https nor on loopback."""
        refuse_insecure_url(url, what="the URL")
        self.url = url.rstrip("/")
        self._parts = split_url(self.url)
        self._connection: http.client.HTTPConnection | None = None

    def fetch(self, path: str) -> bytes | None:
        """Return what is at a path, None where nothing is; raise `Unreachable`."""
        try:
            with contextlib.suppress(OSError, http.client.HTTPException):
                # A connection that was kept may have been closed by now.
                if self._connection is not None:
                    return self._ask(self._connection, path)
            self.close()
            self._connection = self._connect()
            return self._ask(self._connection, path)
        except (OSError, http.client.HTTPException, zlib.error) as error:
            self.close()
            raise Unreachable(
                f"{self.url}/{path} cannot be read: {str(error)[:256] or 'no answer'}",
                hint="try again later",
            ) from error

    def close(self) -> None:
        """Close the connection, if there is one; `fetch` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        kind = (
            http.client.HTTPConnection
            if self._parts.scheme == "http"
            else http.client.HTTPSConnection
        )
        return kind(self._parts.hostname or "", self._parts.port, timeout=SECONDS)

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> bytes | None:
        target = f"{self._parts.path}/{quote(path)}"
        headers = {"Accept-Encoding": "gzip, identity", "User-Agent": "daypass-monitor"}
        connection.request("GET", target, headers=headers)
        response = connection.getresponse()
        body = response.read(LONGEST + 1)
        if len(body) > LONGEST:
            raise http.client.HTTPException("the answer is too long")
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        if response.status != HTTPStatus.OK:
            raise http.client.HTTPException(f"HTTP status {response.status}")
        if response.headers.get("Content-Encoding") == "gzip":
            return _inflate(body)
        return body


def _inflate(body: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    content = inflater.decompress(body, LONGEST)
    if not inflater.eof:
        raise http.client.HTTPException("the answer is too long, or cut")
    return content
