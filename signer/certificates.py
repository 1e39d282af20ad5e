"""`POST /v1/user-certificates`: a certificate for an ID token, or for a certificate."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response

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
from ca.issue_narrower import issue_narrower_certificate
from ca.messages import NarrowerRequest, SignRequest, SignResponse
from signer.answers import json_answer
from signer.bodies import json_body
from signer.exchange import note
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer, request_is_signed

PATH = "/v1/user-certificates"


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes about certificates."""
    routes = Blueprint("certificates", __name__)

    @routes.post(PATH)
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
            note(serial=answer.serial, key_id=answer.key_id)
        else:
            first = json_body(SignRequest)
            answer = issue(authority, first, caller, now=now)
        return json_answer(answer)

    return routes


def issue(
    authority: Authority, wanted: SignRequest, caller: Caller, *, now: datetime
) -> SignResponse:
    """Certify a key for whoever an ID token proves, and note it for the log."""
    answer = issue_user_certificate(authority, wanted, caller, now=now)
    note(serial=answer.serial, key_id=answer.key_id)
    return answer
