"""`/openapi.json` says what is so: every route is in it, with every refusal.

A view says what it does with `signer.openapi.describe`; these tests fail for one that
does not, or that refuses with something else than it announced.
"""

import inspect
import re
from typing import Any

import msgspec
import pytest
from flask import Flask, Response
from werkzeug.routing import Rule

from ca import errors
from ca.errors import BadRequest, CAError, Denied, NotFound, Unavailable
from ca.messages import Problem, Readiness, SignRequest, SignResponse
from signer import openapi
from signer.app import create_app
from signer.openapi import describe, operation_of, refusals_of
from tests.authority import make_ca, opened, request_of
from tests.fakes import NOW, FakeIdP

AUTOMATIC = {"HEAD", "OPTIONS"}


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    with opened(config_file) as authority:
        yield authority


@pytest.fixture
def app(authority):
    return create_app(authority, clock=lambda: NOW)


def undescribed(app: Flask) -> list[str]:
    """Return the routes whose view has no `@describe` below them, or no docstring."""
    return [
        f"{rule.rule}: put @describe(…) of signer.openapi below its route"
        for rule in app.url_map.iter_rules()
        if operation_of(app, rule) is None
        or not app.view_functions[rule.endpoint].__doc__
    ]


def served(app: Flask) -> Any:
    return app.test_client().get("/openapi.json").json


def described_at(app: Flask, path: str, method: str = "get"):
    return served(app)["paths"][path][method]


def announced(app: Flask, rule: Rule) -> set[tuple[int, str]]:
    operation = operation_of(app, rule)
    assert operation is not None
    refusals = refusals_of(operation)
    return {(status, code) for status, codes in refusals.items() for code in codes}


# --- Nothing is missing -------------------------------------------------------------


def test_every_route_is_described(app):
    assert undescribed(app) == []


def test_a_route_that_says_nothing_would_be_noticed(app):
    app.add_url_rule("/v1/forgotten", view_func=Response)

    (words,) = undescribed(app)
    assert words.startswith("/v1/forgotten: put @describe")


def test_the_document_has_each_route_with_each_of_its_methods(app):
    paths = served(app)["paths"]

    assert {
        (path, method.upper())
        for path, operations in paths.items()
        for method in operations
    } == {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - AUTOMATIC
    }


def test_every_error_code_is_announced_by_some_route(app):
    codes = {
        class_.code
        for _, class_ in inspect.getmembers(errors, inspect.isclass)
        if issubclass(class_, CAError) and class_ is not CAError
    }

    every = set().union(*(announced(app, rule) for rule in app.url_map.iter_rules()))
    assert codes <= {code for _, code in every}


@pytest.mark.parametrize(
    "wish",
    [
        {"principals": ("root",)},
        {"principals": ("*",)},
        {"key": "ssh-dss AAAAB3NzaC1kc3M="},
        {"claims": {"exp": 1}},
    ],
    ids=str,
)
def test_what_is_refused_was_announced(wish, app, idp):
    body = msgspec.json.encode(request_of(idp, **wish))
    refused(app, "/v1/user-certificates", data=body, content_type="application/json")


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (b"{}", "application/json"),
        (b"{}", "text/plain"),
        (b"x" * 40_000, "application/json"),
    ],
    ids=["form", "type", "length"],
)
def test_what_the_http_layer_refuses_was_announced(body, type_, app):
    refused(app, "/v1/user-certificates", data=body, content_type=type_)


def refused(app: Flask, path: str, **request: object) -> None:
    answer = app.test_client().post(path, **request)
    (rule,) = (rule for rule in app.url_map.iter_rules() if rule.rule == path)
    problem = msgspec.json.decode(answer.data, type=Problem)
    assert (answer.status_code, problem.code) in announced(app, rule)


def test_a_spent_token_and_a_database_that_is_gone_were_announced(app):
    rules = {rule.rule: rule for rule in app.url_map.iter_rules()}

    signing = announced(app, rules["/v1/user-certificates"])
    assert {(409, "token_spent"), (503, "store_unavailable")} <= signing
    assert (503, "store_unavailable") in announced(app, rules["/v1/trust/current"])


# --- What it says -------------------------------------------------------------------


def test_the_document_is_openapi_for_anyone(app):
    answer = app.test_client().get("/openapi.json")

    assert answer.content_type == "application/json"
    assert answer.json["openapi"] == "3.1.0"
    assert {"SignRequest", "SignResponse", "Discovery", "Problem"} <= set(
        answer.json["components"]["schemas"]
    )


def test_every_reference_leads_somewhere_and_no_schema_is_left_over(app):
    text = app.test_client().get("/openapi.json").text
    document = msgspec.json.decode(text)

    referred = set(text.split('"#/components/schemas/')[1:])
    referred = {rest.partition('"')[0] for rest in referred}
    assert referred == set(document["components"]["schemas"])


def test_a_body_is_described_by_its_message(app):
    described = described_at(app, "/v1/user-certificates", "post")

    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {
        "oneOf": [
            {"$ref": "#/components/schemas/SignRequest"},
            {"$ref": "#/components/schemas/NarrowerRequest"},
        ]
    }
    assert described["security"] == [{"signed_request": []}, {}]
    assert described["responses"]["200"]["content"] == {
        "application/json": {"schema": {"$ref": "#/components/schemas/SignResponse"}}
    }
    assert {"411", "413"} <= set(described["responses"])


def test_a_refusal_is_a_problem_document_with_one_of_its_codes(app):
    refusal = described_at(app, "/v1/trust/blob/{sha256}")["responses"]["404"]

    assert refusal["content"] == {
        "application/problem+json": {
            "schema": {
                "allOf": [
                    {"$ref": "#/components/schemas/Problem"},
                    {"properties": {"code": {"enum": ["not_found"]}}},
                ]
            }
        }
    }


def test_what_stands_in_the_path_is_a_parameter(app):
    (parameter,) = described_at(app, "/v1/trust/blob/{sha256}")["parameters"]

    assert (parameter["name"], parameter["in"]) == ("sha256", "path")


def test_an_answer_without_content_has_none(app):
    responses = described_at(app, "/v1/trust/current")["responses"]

    assert "content" not in responses["304"]
    assert set(responses["200"]["content"]) == {"text/plain"}


def other_app() -> Flask:
    """Return an application with what our own has no example of yet."""
    app = Flask("other")

    @app.post("/either/<path:which>")
    @describe(
        takes=(SignRequest, SignResponse),
        gives=Readiness,
        refuses=(Denied, NotFound, Unavailable),
        signed="may",
    )
    def either(which: str) -> Response:
        """Take one thing or another."""
        return Response(which)

    @app.delete("/it")
    @describe(gives=Readiness, signed="must")
    def it() -> Response:
        """Take nothing."""
        return Response()

    return app


def test_a_body_may_be_one_of_several_and_a_signature_may_be_asked_for():
    paths = openapi.document(other_app())["paths"]

    either, it = paths["/either/{which}"]["post"], paths["/it"]["delete"]
    assert either["requestBody"]["content"]["application/json"]["schema"] == {
        "oneOf": [
            {"$ref": "#/components/schemas/SignRequest"},
            {"$ref": "#/components/schemas/SignResponse"},
        ]
    }
    assert either["security"] == [{"signed_request": []}, {}]
    assert it["security"] == [{"signed_request": []}]
    assert either["summary"] == "Take one thing or another."


def test_an_error_stands_for_all_below_it():
    app = other_app()
    rules = {rule.rule: rule for rule in app.url_map.iter_rules()}

    codes = announced(app, rules["/either/<path:which>"])
    assert {(503, kind.code) for kind in Unavailable.__subclasses__()} <= codes
    # A body can always be wrong.
    assert (400, BadRequest.code) in codes
    assert announced(app, rules["/it"]) == {(500, "internal_error")}
