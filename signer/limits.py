"""Refuse who asks too often, before anything of the request is looked at."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from flask import Flask, Response, g, request

from ca.authority import Authority
from ca.errors import RateLimited
from signer.peer import peer_address
from signer.problems import answer_expected

_FIRST_OF_OURS = HTTPStatus.INTERNAL_SERVER_ERROR
_OF_AN_IDENTITY = frozenset({HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
"""Refusals that are not the address's: others may share it. A token that is spent was
counted with the identity it proves."""


def install(app: Flask, authority: Authority, clock: Callable[[], datetime]) -> None:
    """Look at each request that wants something, before and after it is answered."""
    limits = authority.limits

    def refuse_spent() -> None:
        if request.method in {"POST", "DELETE"}:
            g.peer = peer_address(request, authority.config.trusted_proxies)
            limits.refuse_spent(g.peer, now=clock())

    def count(answer: Response) -> Response:
        refused = HTTPStatus.BAD_REQUEST <= answer.status_code < _FIRST_OF_OURS
        if refused and "peer" in g:
            now = clock()
            if answer.status_code not in _OF_AN_IDENTITY:
                limits.count(g.peer, now=now)
            limits.tell(now=now)
        return answer

    def remember(error: RateLimited) -> Response:
        limits.remember(error.subject, seconds=error.retry_after, now=clock())
        answer = answer_expected(error)
        answer.headers["Retry-After"] = str(error.retry_after)
        return answer

    app.before_request(refuse_spent)
    app.after_request(count)
    app.register_error_handler(RateLimited, remember)
