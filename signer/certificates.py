"""`POST /v1/user-certificates`: a certificate for an ID token, or for a certificate."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, g

from ca.authority import Authority
from ca.errors import (
    BadRequest,
    Conflict,
    Denied,
    UnacceptableKey,
    Unauthenticated,
    Unavailable,
)
from ca.issue import issue_user_certificate
from ca.issue_narrower import issue_narrower_certificate
from ca.messages import NarrowerRequest, SignRequest, SignResponse
from signer.answers import json_answer
from signer.bodies import json_body
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer, request_is_signed


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes about certificates."""
    routes = Blueprint("certificates", __name__)

    @routes.post("/v1/user-certificates")
    @describe(
        takes=(SignRequest, NarrowerRequest),
        gives=SignResponse,
        refuses=(
            BadRequest,
            UnacceptableKey,
            Unauthenticated,
            Denied,
            Conflict,
            Unavailable,
        ),
        signed="may",
    )
    def sign() -> Response:
        """Certify a key for whoever an ID token proves, or whoever signs for less."""
        caller, now = caller_of(authority), clock()
        if request_is_signed():
            signed_by = prove_signer(authority, now=now)
            wanted = json_body(NarrowerRequest)
            answer = issue_narrower_certificate(
                authority, wanted, signed_by, caller, now=now
            )
        else:
            first = json_body(SignRequest)
            answer = issue_user_certificate(authority, first, caller, now=now)
        g.log["serial"], g.log["key_id"] = answer.serial, answer.key_id
        return json_answer(answer)

    return routes
