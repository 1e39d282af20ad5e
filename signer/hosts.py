"""`POST /v1/host-certificates`: a certificate for a host's key."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response, g

from ca.authority import Authority
from ca.errors import (
    BadRequest,
    Denied,
    NotFound,
    RequestReplayed,
    UnacceptableKey,
    Unauthenticated,
    Unavailable,
)
from ca.messages import HostCertificateRequest, SignResponse
from ca.provision import certify_host
from signer.answers import json_answer
from signer.bodies import json_body
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes about hosts."""
    routes = Blueprint("hosts", __name__)

    @routes.post("/v1/host-certificates")
    @describe(
        takes=HostCertificateRequest,
        gives=SignResponse,
        refuses=(
            BadRequest,
            UnacceptableKey,
            Unauthenticated,
            Denied,
            NotFound,
            RequestReplayed,
            Unavailable,
        ),
        signed="must",
    )
    def certify() -> Response:
        """Certify a host's key, for a provisioner."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        wanted = json_body(HostCertificateRequest)
        answer = certify_host(authority, wanted, signed_by, caller, now=now)
        g.log["serial"], g.log["key_id"] = answer.serial, answer.key_id
        return json_answer(answer)

    return routes
