"""Build the Flask application around an opened `Authority`.

One blueprint a subject. A view parses, makes one call into `ca` and renders; every
refusal is an exception that `signer.problems` turns into an answer.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from flask import Flask

from ca.authority import Authority
from signer import (
    certificates,
    discovery,
    explain,
    health,
    hosts,
    openapi,
    problems,
    request_log,
    trust,
)

LARGEST_BODY = 32 * 1024
"""In bytes; a sign request with the largest token allowed fits twice."""

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time by the machine's clock, aware."""
    return datetime.now(UTC)


def create_app(authority: Authority, *, clock: Clock = utc_now) -> Flask:
    """Return the application; nothing happens at import time."""
    app = Flask(__name__, static_folder=None)
    # Refused by its declared length before anything is read.
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    request_log.install(app)
    problems.install(app)
    for blueprint in (
        certificates.blueprint(authority, clock),
        explain.blueprint(authority, clock),
        hosts.blueprint(authority, clock),
        discovery.blueprint(authority, clock),
        trust.blueprint(authority, clock),
        health.blueprint(authority),
    ):
        app.register_blueprint(blueprint)
    openapi.install(app)
    return app
