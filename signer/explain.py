"""`POST /v1/explain`: why may or may not I have that."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response

from ca.authority import Authority
from ca.errors import BadRequest, Denied, RequestReplayed, Unauthenticated, Unavailable
from ca.explain import explain_request
from ca.messages import ExplainRequest
from ca.policy import Explanation
from signer.answers import json_answer
from signer.bodies import json_body
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the route that explains policy."""
    routes = Blueprint("explain", __name__)

    @routes.post("/v1/explain")
    @describe(
        takes=ExplainRequest,
        gives=Explanation,
        refuses=(BadRequest, Unauthenticated, Denied, RequestReplayed, Unavailable),
        signed="must",
    )
    def explain() -> Response:
        """Say what each rule makes of a request, and why."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        asked = json_body(ExplainRequest)
        return json_answer(
            explain_request(authority, asked, signed_by, caller, now=now)
        )

    return routes
