"""Build the Flask application around an opened `Authority`.

One blueprint a subject. A view parses, makes one call into `ca` and renders; every
refusal is an exception, which becomes an answer in `signer.frame`.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Flask, request

from ca.authority import Authority
from ca.errors import NotFound
from signer import (
    certificates,
    discovery,
    explain,
    health,
    hosts,
    log,
    metrics,
    openapi,
    registry,
    revocations,
    trust,
)
from signer.bodies import LARGEST_BODY
from signer.counters import Counters
from signer.frame import Frame
from signer.plain import PlainWay
from signer.unchanged import Unchanged

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time by the machine's clock, aware."""
    return datetime.now(UTC)


def _refuse_disguised_path() -> None:
    """Refuse a path that is spelled otherwise than our routes are.

    The server decodes `%2e` and `%2f` before it looks for a route; a proxy that keeps
    `/readyz` inside does not know `/%72eadyz` (CVE-2026-3605 was of this kind).
    """
    raw = request.environ.get("RAW_URI", "")
    if _PATH.fullmatch(raw.partition("?")[0]) is None:
        raise NotFound(
            "there is no such path", hint="paths are plain, see /openapi.json"
        )


_PATH = re.compile(r"/|(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9._~-]+)+", re.ASCII)
"""Unreserved characters (RFC 3986 section 2.3), no empty segment, none of dots."""


_UNCHANGED = "daypass.unchanged"
_PLAIN = "daypass.plain"


def unchanged_of(app: Flask) -> Unchanged:
    """Return what the application's event loop may answer by itself."""
    unchanged: Unchanged = app.extensions[_UNCHANGED]
    return unchanged


def plain_way_of(app: Flask) -> PlainWay:
    """Return what answers plain requests, as the application would."""
    plain_way: PlainWay = app.extensions[_PLAIN]
    return plain_way


class _App(Flask):
    """The application, less what nothing of ours needs."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function as it is: none of ours is a coroutine's."""
        return func


def create_app(
    authority: Authority, *, clock: Clock = utc_now, counters: Counters | None = None
) -> Flask:
    """Return the application; nothing happens at import time."""
    app = _App(__name__, static_folder=None)
    # Refused by its declared length before anything is read.
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    # One path, one spelling: what stands before the signer may allow by path.
    app.url_map.merge_slashes = False
    app.extensions[_UNCHANGED] = Unchanged()
    frame = Frame(authority, clock, counters or metrics.new_counters())
    frame.install(app, _refuse_disguised_path)
    app.extensions[_PLAIN] = PlainWay(authority, clock, frame)
    for blueprint in (
        certificates.blueprint(authority, clock),
        explain.blueprint(authority, clock),
        hosts.blueprint(authority, clock),
        revocations.blueprint(authority, clock),
        registry.blueprint(authority, clock),
        discovery.blueprint(authority, clock),
        trust.blueprint(authority, clock, unchanged_of(app)),
        log.blueprint(authority, clock),
        health.blueprint(authority),
    ):
        app.register_blueprint(blueprint)
    openapi.install(app)
    return app
