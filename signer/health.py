"""`GET /livez` and `/readyz`: is the process alive, and can it serve."""

from http import HTTPStatus

from flask import Blueprint, Response

from ca.authority import Authority
from ca.messages import Readiness
from signer.answers import json_answer
from signer.openapi import describe


def blueprint(authority: Authority) -> Blueprint:
    """Return the routes for load balancers and monitoring."""
    routes = Blueprint("health", __name__)

    @routes.get("/livez")
    @describe(gives="text/plain")
    def live() -> Response:
        """Tell that the process answers."""
        return Response("ok\n", content_type="text/plain")

    @routes.get("/readyz")
    @describe(gives=Readiness, also=(HTTPStatus.SERVICE_UNAVAILABLE,))
    def ready() -> Response:
        """Tell whether this process can serve, or what keeps it from that."""
        problems = tuple(authority.problems())
        return json_answer(
            Readiness(ready=not problems, problems=problems),
            status=503 if problems else 200,
        )

    return routes
