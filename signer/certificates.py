"""`POST /v1/user-certificates`: a certificate for an ID token."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, g, request
from werkzeug.exceptions import LengthRequired

from ca.authority import Authority
from ca.errors import BadRequest
from ca.issue import Caller, issue_user_certificate
from ca.messages import SignRequest, decode
from signer.answers import json_answer
from signer.peer import peer_address


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes about certificates."""
    routes = Blueprint("certificates", __name__)

    @routes.post("/v1/user-certificates")
    def sign() -> Response:
        if request.mimetype != "application/json":
            raise BadRequest(
                "the request body must be JSON",
                hint="send Content-Type: application/json",
            )
        # Werkzeug cuts a body of undeclared length at the limit and says nothing.
        if request.content_length is None:
            raise LengthRequired("say how long the body is: send Content-Length")
        caller = Caller(
            address=peer_address(request, authority.config.trusted_proxies),
            request_id=g.request_id,
        )
        sign_request = decode(request.get_data(), SignRequest)
        answer = issue_user_certificate(authority, sign_request, caller, now=clock())
        g.log["serial"], g.log["key_id"] = answer.serial, answer.key_id
        return json_answer(answer)

    return routes
