"""`GET /livez` and `/readyz`: is the process alive, and can it serve."""

import msgspec
from flask import Blueprint, Response

from ca.authority import Authority


def blueprint(authority: Authority) -> Blueprint:
    """Return the routes for load balancers and monitoring."""
    routes = Blueprint("health", __name__)

    @routes.get("/livez")
    def live() -> Response:
        return Response("ok\n", content_type="text/plain")

    @routes.get("/readyz")
    def ready() -> Response:
        problems = authority.problems()
        return Response(
            msgspec.json.encode({"ready": not problems, "problems": problems}),
            status=503 if problems else 200,
            content_type="application/json",
        )

    return routes
