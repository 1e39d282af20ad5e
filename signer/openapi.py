"""`GET /openapi.json`: the HTTP interface, described by the routes themselves.

Each view says below its route what it takes, what it answers and what it refuses with:

    @routes.post("/v1/user-certificates")
    @describe(takes=SignRequest, gives=SignResponse, refuses=(BadRequest, Denied))
    def sign() -> Response:
        "Certify a key for whoever an ID token proves."

An error stands for all below it in the tree of `ca.errors`, so that a new one is
described without a change here. Tests walk the routes of the application and fail for
a view that says nothing, and for an answer that it did not announce.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, ParamSpec
from weakref import WeakKeyDictionary

import msgspec
from flask import Blueprint, Flask, Response
from msgspec import Struct
from werkzeug.routing import Rule

from ca.errors import BadRequest, CAError, RateLimited
from ca.messages import Problem
from signer.problems import INTERNAL_ERROR, http_code, status_of

Document = dict[str, Any]
Arguments = ParamSpec("Arguments")
View = Callable[Arguments, Response]

_AUTOMATIC = {"HEAD", "OPTIONS"}
"""Methods that Flask answers for every route."""

_SIGNATURE = "signed_request"
_REF = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a view takes, answers and refuses with."""

    takes: tuple[type[Struct] | str, ...]
    """What the JSON body may be, or the media type of one that is not JSON; nothing
    where there is none."""
    gives: type[Struct] | str | None
    """The JSON that is answered, or the media type of what is not ours to describe;
    None for 204 and nothing."""
    refuses: tuple[type[CAError], ...]
    also: tuple[HTTPStatus, ...]
    """Statuses besides 200 that come with the same answer."""
    signed: Literal["never", "may", "must"]
    """Whether the request carries the signature of a certificate's key."""


_OPERATIONS: WeakKeyDictionary[Callable[..., object], Operation] = WeakKeyDictionary()


def describe(
    *,
    takes: type[Struct] | str | tuple[type[Struct] | str, ...] = (),
    gives: type[Struct] | str | None,
    refuses: tuple[type[CAError], ...] = (),
    also: tuple[HTTPStatus, ...] = (),
    signed: Literal["never", "may", "must"] = "never",
) -> Callable[[View[Arguments]], View[Arguments]]:
    """Say what the view below does, for `/openapi.json`; its docstring says it too."""
    operation = Operation(
        takes=takes if isinstance(takes, tuple) else (takes,),
        gives=gives,
        refuses=refuses,
        also=also,
        signed=signed,
    )

    def remember(view: View[Arguments]) -> View[Arguments]:
        _OPERATIONS[view] = operation
        return view

    return remember


def operation_of(app: Flask, rule: Rule) -> Operation | None:
    """Return what the view behind a route says of itself; None if it says nothing."""
    return _OPERATIONS.get(app.view_functions[rule.endpoint])


def refusals_of(operation: Operation) -> Mapping[HTTPStatus, set[str]]:
    """Return the codes that a route may refuse with, by status."""
    codes: dict[HTTPStatus, set[str]] = {
        HTTPStatus.INTERNAL_SERVER_ERROR: {INTERNAL_ERROR}
    }
    body = (BadRequest, RateLimited) if operation.takes else ()
    for kind in _with_kinds((*operation.refuses, *body)):
        codes.setdefault(status_of(kind("")), set()).add(kind.code)
    if operation.takes:
        for status in (HTTPStatus.LENGTH_REQUIRED, HTTPStatus(413)):
            codes.setdefault(status, set()).add(http_code(status))
    return codes


def install(app: Flask) -> None:
    """Serve the description of all routes that `app` has by now."""
    routes = Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    @describe(gives="application/json")
    def openapi() -> Response:
        """Describe this interface."""
        return Response(described, content_type="application/json")

    app.register_blueprint(routes)
    described = msgspec.json.encode(document(app))


def document(app: Flask) -> Document:
    """Return the OpenAPI 3.1 document of all described routes."""
    structs: dict[str, type[Struct]] = {"Problem": Problem}
    paths: Document = {}
    for rule, operation in _described(app):
        for struct in (*operation.takes, operation.gives):
            if struct is not None and not isinstance(struct, str):
                structs[struct.__name__] = struct
        path = re.sub(r"<(?:[^<>:]+:)?(\w+)>", r"{\1}", rule.rule)
        view = app.view_functions[rule.endpoint]
        for method in sorted((rule.methods or set()) - _AUTOMATIC):
            paths.setdefault(path, {})[method.lower()] = {
                "operationId": rule.endpoint,
                "summary": (view.__doc__ or "").partition("\n")[0],
                **_operation(rule, operation),
            }
    _, components = msgspec.json.schema_components(structs.values(), ref_template=_REF)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Daypass", "version": "1", "license": _LICENSE},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {_SIGNATURE: _SCHEME},
        },
    }


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SCHEME = {
    "type": "http",
    "scheme": "Daypass-SSHSIG",
    "description": "an SSHSIG over the request, by the key of a live certificate",
}


def _described(app: Flask) -> Iterator[tuple[Rule, Operation]]:
    for rule in app.url_map.iter_rules():
        operation = operation_of(app, rule)
        if operation is not None:
            yield rule, operation


def _operation(rule: Rule, operation: Operation) -> Document:
    described: Document = {"responses": _responses(operation)}
    if rule.arguments:
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in sorted(rule.arguments)
        ]
    if operation.takes:
        content = dict(_body(operation.takes))
        described["requestBody"] = {"required": True, "content": content}
    if operation.signed != "never":
        unsigned: list[Document] = [{}] if operation.signed == "may" else []
        described["security"] = [{_SIGNATURE: []}, *unsigned]
    return described


def _body(takes: tuple[type[Struct] | str, ...]) -> Iterator[tuple[str, Document]]:
    schemas = [_schema(struct) for struct in takes if not isinstance(struct, str)]
    if schemas:
        schema = schemas[0] if len(schemas) == 1 else {"oneOf": schemas}
        yield "application/json", {"schema": schema}
    for media_type in takes:
        if isinstance(media_type, str):
            yield media_type, {"schema": {"type": "string"}}


def _responses(operation: Operation) -> Document:
    gives = operation.gives
    if gives is None:
        nothing = {"204": {"description": HTTPStatus.NO_CONTENT.phrase}}
        return dict(sorted({**_refusals(operation), **nothing}.items()))
    content: Document = (
        {gives: {}}
        if isinstance(gives, str)
        else {"application/json": {"schema": _schema(gives)}}
    )
    answers = {
        str(int(status)): {"description": status.phrase, "content": content}
        for status in (HTTPStatus.OK, *operation.also)
    }
    if HTTPStatus.NOT_MODIFIED in operation.also:
        del answers["304"]["content"]
    return dict(sorted({**_refusals(operation), **answers}.items()))


def _refusals(operation: Operation) -> Document:
    return {
        str(int(status)): _refusal(status, codes)
        for status, codes in refusals_of(operation).items()
    }


def _refusal(status: HTTPStatus, codes: Iterable[str]) -> Document:
    code = {"properties": {"code": {"enum": sorted(codes)}}}
    schema = {"allOf": [_schema(Problem), code]}
    return {
        "description": status.phrase,
        "content": {"application/problem+json": {"schema": schema}},
    }


def _schema(struct: type[Struct]) -> Document:
    return {"$ref": _REF.format(name=struct.__name__)}


def _with_kinds(errors: Iterable[type[CAError]]) -> Iterator[type[CAError]]:
    """Yield each error and all below it that `ca.errors` defines."""
    for error in errors:
        yield error
        below = (kind for kind in error.__subclasses__() if kind.__module__ == _TREE)
        yield from _with_kinds(below)


_TREE = CAError.__module__
