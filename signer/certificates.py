"""`POST /v1/user-certificates`: a certificate for an ID token."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, g, request

from ca.authority import Authority
from ca.errors import (
    BadRequest,
    Conflict,
    Denied,
    UnacceptableKey,
    Unauthenticated,
    Unavailable,
)
from ca.issue import Caller, issue_user_certificate
from ca.messages import SignRequest, SignResponse
from signer.answers import json_answer
from signer.bodies import json_body
from signer.openapi import describe
from signer.peer import peer_address


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes about certificates."""
    routes = Blueprint("certificates", __name__)

    @routes.post("/v1/user-certificates")
    @describe(
        takes=SignRequest,
        gives=SignResponse,
        refuses=(
            BadRequest,
            UnacceptableKey,
            Unauthenticated,
            Denied,
            Conflict,
            Unavailable,
        ),
    )
    def sign() -> Response:
        """Certify a key for whoever an ID token proves."""
        caller = Caller(
            address=peer_address(request, authority.config.trusted_proxies),
            request_id=g.request_id,
        )
        sign_request = json_body(SignRequest)
        answer = issue_user_certificate(authority, sign_request, caller, now=clock())
        g.log["serial"], g.log["key_id"] = answer.serial, answer.key_id
        return json_answer(answer)

    return routes
