"""What is done around every answer, through Flask or not.

admit    who asks too often is refused before anything is looked at
refuse   every exception becomes a problem document
end      it is counted, and has its line in the log
"""

from collections.abc import Callable
from datetime import datetime
from http import HTTPMethod, HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from ca.authority import Authority
from ca.errors import RateLimited
from ca.issue import Caller
from ca.waiting import in_step
from signer import metrics, problems, request_log
from signer.answers import Answer, through_flask
from signer.counters import Counters
from signer.exchange import CURRENT, UNKNOWN, Exchange, current
from signer.peer import forwarded_for, peer_address

_FIRST_OF_OURS = HTTPStatus.INTERNAL_SERVER_ERROR
_OF_AN_IDENTITY = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that are not the address's: others may share it. A token that is spent was
counted with the identity it proves."""

_METHODS = frozenset(HTTPMethod)
_LIMITED = frozenset({"POST", "DELETE"})
"""What wants something, and is therefore limited."""


class Frame:
    """Admits, refuses and ends. Thread-safe."""

    def __init__(
        self, authority: Authority, clock: Callable[[], datetime], counters: Counters
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._counters = counters

    def admit(self, exchange: Exchange, *, forwarded_for: str) -> Caller:
        """Return whose request it is; raise `RateLimited` or `BadRequest`.

        `forwarded_for` is the header of that name, or empty.
        """
        peer = peer_address(
            exchange.remote, forwarded_for, self._authority.config.trusted_proxies
        )
        exchange.peer = peer
        self._authority.limits.refuse_spent(peer, now=self._clock())
        return Caller(peer, exchange.request_id)

    def refuse(self, exchange: Exchange, error: Exception) -> Answer:
        """Return the problem document for an error, whatever it is."""
        if isinstance(error, RateLimited):
            self._authority.limits.remember(
                error.subject, seconds=error.retry_after, now=self._clock()
            )
        return problems.answer_to(error, exchange)

    def end(self, exchange: Exchange, status: int) -> None:
        """Count what is answered, and log it."""
        refused = HTTPStatus.BAD_REQUEST <= status < _FIRST_OF_OURS
        if refused and exchange.peer is not None:
            now = self._clock()
            if status not in _OF_AN_IDENTITY:
                self._authority.limits.count(exchange.peer, now=now)
            self._authority.limits.tell(now=now)
        in_step(self._note, exchange, status)

    def _note(self, exchange: Exchange, status: int) -> None:
        metrics.count(self._counters, exchange, status)
        metrics.note_gate(self._counters, self._authority)
        request_log.log_answer(exchange, status)

    def install(self, app: Flask, refuse_early: Callable[[], None]) -> None:
        """Put it around all that Flask answers.

        `refuse_early` may refuse a request that has its id, and nothing else yet.
        """

        def begin() -> None:
            exchange = _exchange()
            CURRENT.set(exchange)
            refuse_early()
            if exchange.method in _LIMITED:
                self.admit(exchange, forwarded_for=forwarded_for())

        def refuse(error: Exception) -> Response:
            return through_flask(self.refuse(current(), error))

        def end(answer: Response) -> Response:
            exchange = current()
            answer.headers["X-Request-Id"] = exchange.request_id
            self.end(exchange, answer.status_code)
            return answer

        def forget(_error: BaseException | None) -> None:
            # The thread may have more to say, of which this is not the request.
            CURRENT.set(None)

        app.before_request(begin)
        app.register_error_handler(HTTPException, problems.answer_http)
        app.register_error_handler(Exception, refuse)
        app.after_request(end)
        app.teardown_request(forget)


def _exchange() -> Exchange:
    """Return what Flask answers."""
    return Exchange(
        # One of HTTP's own: anything may be written in its place, too.
        method=request.method if request.method in _METHODS else UNKNOWN,
        route=UNKNOWN if request.url_rule is None else str(request.url_rule),
        remote=request.remote_addr or "",
    )
