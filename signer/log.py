"""`GET /v1/log/…`: the ledger, as C2SP tlog-tiles, for anyone; it proves itself."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from flask import Blueprint, Response, request

from ca.authority import Authority
from ca.errors import (
    NotFound,
    RequestReplayed,
    Unauthenticated,
    Unavailable,
)
from ca.ledger import SignedCheckpoint
from ca.ledger.served import parse_tile, tile_content
from ca.messages import RecordResponse
from ca.records import read_record
from signer.answers import json_answer
from signer.openapi import describe
from signer.signed import prove_signer

_IMMUTABLE = "public, max-age=31536000, immutable"


def blueprint(authority: Authority, clock: Callable[[], datetime]) -> Blueprint:
    """Return the routes of the log."""
    routes = Blueprint("log", __name__)

    @routes.get("/v1/log/checkpoint")
    @describe(
        gives="text/plain", also=(HTTPStatus.NOT_MODIFIED,), refuses=(Unavailable,)
    )
    def checkpoint() -> Response:
        """Give the ledger's newest checkpoint, a signed note."""
        signed = authority.ledger.checkpoint()
        return _newest(signed, signed.rendered)

    @routes.get("/v1/log/checkpoint-signature")
    @describe(
        gives="text/plain", also=(HTTPStatus.NOT_MODIFIED,), refuses=(Unavailable,)
    )
    def checkpoint_signature() -> Response:
        """Give the SSHSIG over the text of the checkpoint with the same ETag."""
        signed = authority.ledger.checkpoint()
        return _newest(signed, signed.armour.encode())

    @routes.get("/v1/log/tile/<path:path>")
    @describe(
        gives="application/octet-stream",
        also=(HTTPStatus.NOT_MODIFIED,),
        refuses=(NotFound, Unavailable),
    )
    def tile(path: str) -> Response:
        """Give hashes of the ledger's tree, or its entries' leaves."""
        wanted = parse_tile(f"tile/{path}")
        answer = Response(
            tile_content(authority.ledger, authority.store, wanted),
            content_type="application/octet-stream",
            headers={"Cache-Control": _IMMUTABLE, "X-Content-Type-Options": "nosniff"},
        )
        answer.add_etag()
        answer.make_conditional(request)
        return answer

    @routes.get("/v1/log/records/<int:index>")
    @describe(
        gives=RecordResponse,
        refuses=(Unauthenticated, NotFound, RequestReplayed, Unavailable),
        signed="must",
    )
    def record(index: int) -> Response:
        """Show a record to whom it names, to auditors and to administrators."""
        signed_by = prove_signer(authority, now=clock())
        return json_answer(read_record(authority, index, signed_by))

    return routes


def _newest(signed: SignedCheckpoint, content: bytes) -> Response:
    answer = Response(
        content,
        content_type="text/plain; charset=utf-8",
        headers={"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"},
    )
    said = signed.checkpoint
    answer.set_etag(f"{said.size}-{said.root.hex()}")
    answer.make_conditional(request)
    return answer
