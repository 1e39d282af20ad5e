"""`/v1/hosts` and `POST /v1/host-reports`: the registry of hosts."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from flask import Blueprint, Response, request

from ca.authority import Authority
from ca.errors import (
    BadRequest,
    Conflict,
    Denied,
    NotFound,
    RequestReplayed,
    UnacceptableKey,
    Unauthenticated,
    Unavailable,
)
from ca.hosts import join_host, status_of, take_report
from ca.messages import HostList, HostRegistration, HostStatus
from ca.provision import forget, list_hosts, register
from signer.answers import empty_answer, json_answer
from signer.bodies import TEXT, json_body, text_body
from signer.exchange import note
from signer.openapi import describe
from signer.peer import caller_of
from signer.signed import prove_signer


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes of the registry."""
    routes = Blueprint("registry", __name__)

    @routes.post("/v1/hosts")
    @describe(
        takes=(HostRegistration, TEXT),
        gives=HostStatus,
        also=(HTTPStatus.CREATED,),
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
    def enter() -> Response:
        """Register a host: signed by a provisioner, or its own text with a token."""
        caller, now = caller_of(authority), clock()
        if request.mimetype == TEXT:
            by = {"address": str(caller.address), "request_id": caller.request_id}
            host = join_host(authority, text_body(), by, now=now)
            answer = status_of(host, authority.config.hosts, None, now=now)
        else:
            signed_by = prove_signer(authority, now=now)
            wanted = json_body(HostRegistration)
            answer = register(authority, wanted, signed_by, caller, now=now)
        note(host=answer.id)
        return json_answer(answer, status=HTTPStatus.CREATED)

    @routes.get("/v1/hosts")
    @describe(
        gives=HostList,
        refuses=(Unauthenticated, Denied, RequestReplayed, Unavailable),
        signed="must",
    )
    def every() -> Response:
        """List the hosts, with their states, versions and alarms."""
        now = clock()
        signed_by = prove_signer(authority, now=now)
        return json_answer(list_hosts(authority, signed_by, now=now))

    @routes.delete("/v1/hosts/<id>")
    @describe(
        gives=None,
        refuses=(Unauthenticated, Denied, NotFound, RequestReplayed, Unavailable),
        signed="must",
    )
    def leave(id: str) -> Response:  # noqa: A002 (the name that the path documents)
        """Forget a host, for a provisioner."""
        caller, now = caller_of(authority), clock()
        signed_by = prove_signer(authority, now=now)
        forget(authority, id, signed_by, caller, now=now)
        note(host=id)
        return empty_answer()

    @routes.post("/v1/host-reports")
    @describe(
        takes=TEXT,
        gives=None,
        refuses=(BadRequest, Unauthenticated, Conflict, Unavailable),
    )
    def report() -> Response:
        """Take a host's word for which trust bundle it has applied."""
        host = take_report(authority, text_body(), now=clock())
        note(host=host.id)
        return empty_answer()

    return routes
