"""Schemathesis looks for an answer that `/openapi.json` does not allow.

It makes requests that follow the schema, and others that break it in one place. No
answer may be a fault, have a status or a code that its route did not announce, or be of
another form than described. Two thirds of the requests have a good token or a good
signature, so that they get past the door.
"""

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import schemathesis
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core import NotSet
from werkzeug.test import TestResponse

from ca.authorization import Call
from ca.messages import SignResponse
from signer.app import create_app
from tests.authority import make_ca, opened, request_of, rewrite
from tests.fakes import NOW, FakeIdP
from tests.signing import Holder, holder

Case = Any
Wish = dict[str, list[str]]
APIOperation = Any
"""Generic over four types that say nothing here."""

load_all_checks()
FORM: Any = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "allow_header_conformance",
    ]
)
"""What holds for each answer, whatever was asked."""

SIGN = "/v1/user-certificates"
PROOFS = st.sampled_from(["none", "token", "signature"])
WISHES = st.sampled_from(
    [{}, *({"principals": [name]} for name in ("ada", "root", "nobody"))]
)
"""Random strings are hardly ever accounts. Nobody gets the last."""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def app(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    everything = 'principals = ["{email_local}", "root", "web"]'
    rewrite(
        config_file.with_name("policy.toml"),
        {
            'principals = ["{email_local}"]': everything,
            'gets     = ["ada"]': 'gets     = ["ada", "root", "web"]',
        },
    )
    with opened(config_file) as authority:
        yield create_app(authority, clock=lambda: NOW)


@pytest.fixture(scope="module")
def ada(app, idp):
    """Sign in, so that there is a certificate whose key signs requests."""
    key = holder()
    request = request_of(idp, key=key.line)
    answer = app.test_client().post(
        "/v1/user-certificates",
        data=msgspec.json.encode(request),
        content_type="application/json",
    )
    return key.with_certificate(msgspec.json.decode(answer.data, type=SignResponse))


def operations(app: Flask) -> list[APIOperation]:
    schema: Any = schemathesis.openapi.from_wsgi("/openapi.json", app)
    return [found.ok() for found in schema.get_all_operations()]


class Desk:
    """Sends cases, with or without a proof of who sends them."""

    def __init__(self, app: Flask, idp: FakeIdP, signer: Holder) -> None:
        self._app, self._idp, self._signer = app, idp, signer

    def send(self, case: Case, proof: str, wish: Wish) -> TestResponse:
        path, method = quote(case.formatted_path, safe="/%"), case.method
        if isinstance(case.body, NotSet):
            return self._app.test_client().open(path, method=method)
        proved = self._proved(case, proof, wish)
        # Bytes stand for a body that is no JSON at all.
        body = proved if isinstance(proved, bytes) else json.dumps(proved).encode()
        headers = {}
        if proof == "signature":
            call = Call(method, path, body)
            headers["Authorization"] = self._signer.sign(call, at=NOW)
        return self._app.test_client().open(
            path,
            method=method,
            data=body,
            headers=headers,
            content_type="application/json",
        )

    def _proved(self, case: Case, proof: str, wish: Wish) -> object:
        """Return the body with a good key, and a good token where that is the proof."""
        body = case.body
        if proof == "none" or not isinstance(body, dict):
            return body
        good = msgspec.to_builtins(request_of(self._idp))
        names = {"public_key"} & body.keys()
        if proof == "token" and case.path == SIGN:
            names = {"public_key", "id_token", "salt"}
            # With a wish of its own, random ones beside it would hide the answer to it.
            body = {} if wish else body
        return {**body, **{name: good[name] for name in names}, **wish}


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_no_answer_is_a_fault_or_of_a_form_that_was_not_announced(mode, app, idp, ada):
    desk = Desk(app, idp, ada)
    statuses: Counter[tuple[str, int]] = Counter()

    def check(operation: APIOperation) -> None:
        cases = operation.as_strategy(generation_mode=mode)

        @given(case=cases, proof=PROOFS, wish=WISHES)
        def keeps_its_word(case: Case, proof: str, wish: Wish) -> None:
            answer = desk.send(case, proof, wish)
            statuses[operation.label, answer.status_code] += 1
            case.validate_response(answer, checks=FORM)

        keeps_its_word()

    for operation in operations(app):
        # Without a body and parameters there is nothing to get wrong.
        if mode is GenerationMode.POSITIVE or operation.body:
            check(operation)

    labels = {label for label, _ in statuses}
    assert f"POST {SIGN}" in labels
    if mode is GenerationMode.POSITIVE:
        assert labels == {operation.label for operation in operations(app)}
        # Past the door, past the policy, and not.
        assert {status for label, status in statuses if SIGN in label} >= {
            200,
            400,
            403,
        }
