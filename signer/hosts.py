"""`POST /v1/host-certificates…` and canaries: what provisioning has certified."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response

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
from ca.messages import (
    CanaryRequest,
    CanaryResponse,
    HostCertificateRequest,
    SignResponse,
)
from ca.provision import certify_canaries, certify_host
from ca.renew_host import renew_host_certificate
from signer.answers import json_answer, text_answer
from signer.bodies import TEXT, json_body, text_body
from signer.exchange import note
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes that certify hosts, and what proves a change of them."""
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
        note(serial=answer.serial, key_id=answer.key_id)
        return json_answer(answer)

    @routes.post("/v1/host-certificates/renew")
    @describe(
        takes=TEXT,
        gives=TEXT,
        refuses=(
            BadRequest,
            UnacceptableKey,
            Unauthenticated,
            Denied,
            NotFound,
            RequestReplayed,
            Unavailable,
        ),
    )
    def renew() -> Response:
        """Certify a key of the registered host whose key signed this text."""
        caller, now = caller_of(authority), clock()
        answer = renew_host_certificate(authority, text_body(), caller, now=now)
        note(serial=answer.serial, key_id=answer.key_id)
        return text_answer(f"{answer.certificate}\n")

    @routes.post("/v1/canary-certificates")
    @describe(
        takes=CanaryRequest,
        gives=CanaryResponse,
        refuses=(
            BadRequest,
            UnacceptableKey,
            Unauthenticated,
            Denied,
            RequestReplayed,
            Unavailable,
        ),
        signed="must",
    )
    def canaries() -> Response:
        """Certify a key for logins that print a nonce, for a provisioner."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        wanted = json_body(CanaryRequest)
        answer = certify_canaries(authority, wanted, signed_by, caller, now=now)
        note(serial=answer.certificates[0].serial)
        return json_answer(answer)

    return routes
