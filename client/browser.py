"""The person's browser: open it at a URL, and wait on loopback for it to come back.

The listener (RFC 8252 section 7.3) is on loopback only, at a random port unless the
provider wants one that it knows, for one answer. It believes a request only when path,
method and `Host` are exact and the state is the one we sent, compared in constant time
*before* any page says success; anything else is told so and changes nothing, so that no
other page can end a sign-in. An answer with our state that is wrong otherwise ends it.
"""

import errno
import hmac
import html
import http.server
import os
import queue
import socket
import socketserver
import threading
from collections.abc import Mapping, Sequence
from typing import Self
from urllib.parse import parse_qsl

from ca.values import dataclass
from client.failure import SignInFailed, Unable

PATH = "/callback"

_ADDRESS = "127.0.0.1"
_TRIES = 5
"""Random ports to try: one may be free at one address and taken at the other."""

_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

LIMIT = 300.0
"""Seconds that a person has to sign in."""

_MOST_FIELDS = 16
"""Four are ours; an issuer may add some."""

_HEADERS: Mapping[str, str] = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}

_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>ca-login</title>
<h1>{title}</h1>
<p>{text}</p>
</html>
"""


@dataclass(frozen=True, slots=True)
class Expected:
    """What an answer must carry to be the one that is awaited."""

    state: str
    issuer: str
    names_issuer: bool
    """Whether `iss` must be there (RFC 9207 section 2.4)."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What to show for a request, and what it means for the sign-in."""

    status: int
    title: str
    text: str
    outcome: str | SignInFailed | None = None
    """A code, the end, or nothing at all."""


class Listener:
    """Waits on loopback for one answer; open between `with` and its end."""

    def __init__(self, host: str = _ADDRESS, ports: Sequence[int] = ()) -> None:
        """Listen for what is sent to `host`, at the first free one of `ports`."""
        self._expected: Expected | None = None
        self._outcomes: queue.Queue[str | SignInFailed] = queue.Queue(maxsize=1)
        self._claim = threading.Lock()
        self._servers = _open(self, host, ports)
        self.host = f"{host}:{self._servers[0].server_address[1]}"
        self.redirect_uri = f"http://{self.host}{PATH}"

    def __enter__(self) -> Self:
        for server in self._servers:
            # Polled often: this is how long `shutdown` takes.
            threading.Thread(
                target=server.serve_forever, args=(0.02,), daemon=True
            ).start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def expect(self, expected: Expected) -> None:
        """Say what the answer will carry; nothing is believed before that."""
        self._expected = expected

    def wait(self, seconds: float = LIMIT) -> str:
        """Return the authorization code; raise `SignInFailed`."""
        try:
            outcome = self._outcomes.get(timeout=seconds)
        except queue.Empty as error:
            raise SignInFailed(
                f"nobody signed in within {seconds / 60:.0f} minutes"
            ) from error
        if isinstance(outcome, SignInFailed):
            raise outcome
        return outcome

    def judge(self, target: str, host: str | None) -> _Verdict:
        """Say what a GET of `target` is worth."""
        path, _, query = target.partition("?")
        # Another name for 127.0.0.1 is another site's page at work (DNS rebinding).
        if path != PATH or host != self.host:
            return _Verdict(404, "Not here", "This address only takes a sign-in.")
        fields = _read_query(query)
        if self._expected is None or not _same(fields, self._expected.state):
            return _Verdict(
                400,
                "Not your sign-in",
                "This answer does not belong to the sign-in that is under way."
                " Nothing was changed.",
            )
        # Taken and never given back: only the first answer counts.
        if not self._claim.acquire(blocking=False):
            return _Verdict(409, "Already over", "This sign-in has had its answer.")
        return _judge_answer(fields, self._expected)

    def settle(self, verdict: _Verdict) -> None:
        """Let what a request meant come to pass, once its page was shown."""
        if verdict.outcome is not None:
            self._outcomes.put(verdict.outcome)


def _read_query(query: str) -> dict[str, str]:
    """Return the fields of a query; nothing when one is there twice."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        return {}
    fields = dict(pairs)
    return fields if len(fields) == len(pairs) else {}


def _same(fields: Mapping[str, str], state: str) -> bool:
    given = fields.get("state", "").encode(errors="replace")
    return hmac.compare_digest(given, state.encode())


def _judge_answer(fields: Mapping[str, str], expected: Expected) -> _Verdict:
    issuer = fields.get("iss")
    # Another issuer's answer here is the mix-up that RFC 9207 is about.
    if issuer != expected.issuer and (issuer is not None or expected.names_issuer):
        return _failed("the answer is not from the issuer that was asked")
    if "error" in fields:
        return _failed(fields.get("error_description") or fields["error"])
    if not fields.get("code"):
        return _failed("the answer holds no code")
    return _Verdict(
        200,
        "You have signed in",
        "Go back to your terminal; this tab can be closed.",
        outcome=fields["code"],
    )


def _failed(why: str) -> _Verdict:
    failed = SignInFailed(f"the identity provider says: {why}")
    return _Verdict(400, "The sign-in failed", why, outcome=failed)


class _Server(socketserver.ThreadingTCPServer):
    """The socket of a listener. `HTTPServer` would look its own name up in the DNS."""

    daemon_threads = True
    # A port that is known is wanted again within the minute for which it is kept after
    # a connection. Elsewhere than here this would share it with whoever listens there.
    allow_reuse_address = os.name == "posix"

    def __init__(self, listener: Listener, address: str, port: int) -> None:
        self.listener = listener
        if ":" in address:
            self.address_family = socket.AF_INET6
        super().__init__((address, port), _Handler)

    def handle_error(self, *_: object) -> None:
        """Say nothing: a browser may hang up whenever it likes."""


class _Handler(http.server.BaseHTTPRequestHandler):
    """One connection to the listener."""

    server: _Server
    timeout = 10
    """Seconds: browsers open connections that they may never use."""

    def do_GET(self) -> None:
        listener = self.server.listener
        verdict = listener.judge(self.path, self.headers.get("Host"))
        try:
            self._answer(verdict)
        finally:
            listener.settle(verdict)

    def send_error(
        self, code: int, message: str | None = None, explain: str | None = None
    ) -> None:
        """Answer what is no GET, or no HTTP, in our own words."""
        del message, explain
        status = 405 if code == http.HTTPStatus.NOT_IMPLEMENTED else code
        self.close_connection = True
        self._answer(_Verdict(status, "Not here", "This address only takes a sign-in."))

    def _answer(self, verdict: _Verdict) -> None:
        page = _PAGE.format(
            title=html.escape(verdict.title), text=html.escape(verdict.text)
        ).encode(errors="replace")
        self.send_response_only(verdict.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Say nothing: a request line holds a code."""


def _open(listener: Listener, host: str, ports: Sequence[int]) -> list[_Server]:
    """Listen at the first port that is free everywhere the host name may lead."""
    problem = OSError()
    for port in ports or (0,) * _TRIES:
        try:
            return _open_port(listener, host, port)
        except OSError as error:
            problem = error
    where = f"port {' or '.join(map(str, ports))}" if ports else "any port"
    raise Unable(
        f"cannot listen on {where} of {host}: {problem.strerror}",
        hint="see what else listens there: ss -ltnp" if ports else None,
    ) from problem


def _open_port(listener: Listener, host: str, port: int) -> list[_Server]:
    server = _Server(listener, _ADDRESS, port)
    if host == _ADDRESS:
        return [server]
    # A browser may try `::1` first for a name: whoever listened there would get the
    # answer.
    try:
        port = int(server.server_address[1])
        return [server, _Server(listener, "::1", port)]
    except OSError as error:
        if error.errno in _NO_IPV6:
            return [server]
        server.server_close()
        raise
