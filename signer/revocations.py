"""`/v1/revocations`, `/v1/blocks`, `/v1/certificates`: what admins do and see."""

from collections.abc import Callable
from datetime import datetime

from flask import Blueprint, Response

from ca import administration
from ca.administration import (
    BlockRequest,
    Blocks,
    Certificates,
    CertificateSummary,
    LiftRequest,
    RevocationRequest,
    RevocationResponse,
)
from ca.authority import Authority
from ca.errors import (
    BadRequest,
    Denied,
    NotFound,
    RequestReplayed,
    Unauthenticated,
    Unavailable,
)
from ca.records import list_certificates, show_certificate
from ca.revoke import block_for, blocks_for, lift_for, revoke_for
from signer.answers import json_answer
from signer.bodies import json_body
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer

_REFUSES = (Unauthenticated, Denied, RequestReplayed, Unavailable)


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes by which access ends, and is looked at."""
    routes = Blueprint("revocations", __name__)

    @routes.post("/v1/revocations")
    @describe(
        takes=RevocationRequest,
        gives=RevocationResponse,
        refuses=(BadRequest, NotFound, *_REFUSES),
        signed="must",
    )
    def revoke() -> Response:
        """Revoke certificates, and block whom or what that means; for an admin."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        wanted = json_body(RevocationRequest)
        return json_answer(revoke_for(authority, wanted, signed_by, caller, now=now))

    @routes.get("/v1/blocks")
    @describe(gives=Blocks, refuses=_REFUSES, signed="must")
    def blocks() -> Response:
        """List who and what is blocked, for an admin."""
        return json_answer(blocks_for(authority, prove_signer(authority, now=clock())))

    @routes.post("/v1/blocks")
    @describe(
        takes=BlockRequest,
        gives=administration.Recorded,
        refuses=(BadRequest, *_REFUSES),
        signed="must",
    )
    def block() -> Response:
        """Keep a person or a key out, for an admin."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        wanted = json_body(BlockRequest)
        return json_answer(block_for(authority, wanted, signed_by, caller, now=now))

    @routes.delete("/v1/blocks/<int:id>")
    @describe(
        takes=LiftRequest,
        gives=administration.Recorded,
        refuses=(BadRequest, NotFound, *_REFUSES),
        signed="must",
    )
    def lift(id: int) -> Response:  # noqa: A002 (the name that the path documents)
        """Lift a block, for an admin."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        wanted = json_body(LiftRequest)
        return json_answer(lift_for(authority, id, wanted, signed_by, caller, now=now))

    @routes.get("/v1/certificates")
    @describe(gives=Certificates, refuses=_REFUSES, signed="must")
    def certificates() -> Response:
        """List the certificates that are good now, newest first, for an admin."""
        now = clock()
        signed_by = prove_signer(authority, now=now)
        return json_answer(list_certificates(authority, signed_by, now=now))

    @routes.get("/v1/certificates/<int:serial>")
    @describe(gives=CertificateSummary, refuses=(NotFound, *_REFUSES), signed="must")
    def certificate(serial: int) -> Response:
        """Show a certificate with its record, for an admin."""
        now = clock()
        signed_by = prove_signer(authority, now=now)
        return json_answer(show_certificate(authority, serial, signed_by, now=now))

    return routes
