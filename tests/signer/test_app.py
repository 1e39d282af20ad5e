"""HTTP in, HTTP out: each route, each refusal, and who the caller is taken for.

The application runs without a server around it; `test_serve` has the real one.
"""

import gzip
import inspect
import json
import logging
import sqlite3
from dataclasses import replace
from hashlib import sha256
from http import HTTPStatus
from io import BytesIO
from ipaddress import ip_network

import msgspec
import pytest
from flask import Flask

from ca import errors
from ca.bundle import parse_current, split_signed
from ca.errors import CAError
from ca.messages import Discovery, Problem, SignResponse
from signer import problems
from signer.app import create_app
from signer.bodies import LARGEST_BODY
from signer.request_log import JSONFormatter
from tests.authority import make_ca, opened, request_of, to_be_signed_in
from tests.fakes import NOW, FakeIdP

SIGN = "/v1/user-certificates"


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    with opened(config_file) as authority:
        yield authority


def client_of(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


@pytest.fixture
def client(authority):
    return client_of(authority)


def post(client, request, **more):
    return client.post(
        SIGN,
        data=msgspec.json.encode(request),
        content_type="application/json",
        **more,
    )


def problem_in(answer, status, code):
    """Return the problem document that a refusal must be."""
    assert answer.status_code == status
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    problem = msgspec.json.decode(answer.data, type=Problem)
    assert problem.status == status
    assert problem.title == HTTPStatus(status).phrase
    assert problem.code == code
    assert problem.detail
    assert problem.type == "about:blank"
    assert problem.request_id == answer.headers["X-Request-Id"]
    return problem


# --- The routes ---------------------------------------------------------------------


def test_a_certificate_is_answered_as_json_that_no_cache_keeps(client, authority, idp):
    answer = post(client, request_of(idp))

    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    signed = msgspec.json.decode(answer.data, type=SignResponse)
    entry = authority.store.entry_by_serial(int(signed.serial))
    assert entry.to_be_signed == to_be_signed_in(signed)
    record = json.loads(entry.record)
    assert record["request_id"] == answer.headers["X-Request-Id"]
    assert isinstance(answer.json["serial"], str)


def test_a_content_type_may_name_its_charset(client, idp):
    answer = client.post(
        SIGN,
        data=msgspec.json.encode(request_of(idp)),
        content_type="application/json; charset=utf-8",
    )

    assert answer.status_code == 200


def test_discovery_says_what_a_client_needs_to_begin(client, authority, idp):
    answer = client.get("/v1/discovery")

    assert answer.content_type == "application/json"
    discovery = msgspec.json.decode(answer.data, type=Discovery)
    assert discovery.origin == authority.config.origin
    assert discovery.server_time == int(NOW.timestamp())
    assert discovery.host_patterns == ("*.example.com",)
    (issuer,) = discovery.issuers
    assert (issuer.name, issuer.url) == ("corp", idp.issuer)
    (known,) = issuer.clients
    assert (known.id, known.binding) == ("ca-login", "nonce")


def test_the_trust_bundle_leads_from_current_to_the_roots(client, authority):
    current = client.get("/v1/trust/current")
    text, _ = split_signed(current.data)
    wanted = parse_current(text).roots_sha256

    blob = client.get(f"/v1/trust/blob/{wanted}")

    assert current.content_type == blob.content_type == "text/plain; charset=us-ascii"
    assert sha256(blob.data).hexdigest() == wanted
    assert blob.data == authority.config.roots_file.read_bytes()
    assert current.headers["Cache-Control"] == "no-cache"
    assert "immutable" in blob.headers["Cache-Control"]
    assert blob.headers["X-Content-Type-Options"] == "nosniff"


def test_a_trust_document_that_is_known_is_not_sent_again(client, authority):
    roots = sha256(authority.config.roots_file.read_bytes()).hexdigest()
    for path in ("/v1/trust/current", f"/v1/trust/blob/{roots}"):
        etag = client.get(path).headers["ETag"]

        known = client.get(path, headers={"If-None-Match": etag})
        other = client.get(path, headers={"If-None-Match": '"another"'})

        assert (known.status_code, known.data) == (304, b"")
        assert known.headers["ETag"] == etag
        assert other.status_code == 200


@pytest.mark.parametrize("name", ["0" * 64, "x", "..%2fdaypass.toml", "%00"])
def test_a_part_of_the_bundle_that_is_not_there_is_not_found(name, client):
    problem_in(client.get(f"/v1/trust/blob/{name}"), 404, "not_found")


def test_alive_is_who_answers_and_ready_who_can_serve(client):
    assert client.get("/livez").data == b"ok\n"
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json) == (200, {"ready": True, "problems": []})


def test_not_ready_says_why(authority, tmp_path):
    with FakeIdP(now=NOW.timestamp) as gone:
        config_file = make_ca(tmp_path / "ca", gone)
    with opened(config_file) as unready:
        answer = client_of(unready).get("/readyz")

    assert answer.status_code == 503
    (problem,) = answer.json["problems"]
    assert "corp" in problem


def test_a_database_of_another_schema_is_not_ready(idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    with opened(config_file) as authority:
        with sqlite3.connect(tmp_path / "ca" / "daypass.db") as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0000'")

        answer = client_of(authority).get("/readyz")

    assert answer.status_code == 503
    assert "has schema 0000" in answer.json["problems"][0]


# --- Refusals -----------------------------------------------------------------------


def classes():
    """Return every error there is, but for the root of the tree."""
    return [
        class_
        for _, class_ in inspect.getmembers(errors, inspect.isclass)
        if issubclass(class_, CAError) and class_ is not CAError
    ]


@pytest.mark.parametrize("class_", classes(), ids=lambda class_: class_.__name__)
def test_every_error_has_a_status_and_answers_a_problem_document(class_, authority):
    app = create_app(authority, clock=lambda: NOW)

    def fail():
        raise class_("what failed", hint="what to do")

    app.add_url_rule("/fail", view_func=fail)
    answer = app.test_client().get("/fail")

    problem = problem_in(answer, problems.status_of(class_("x")), class_.code)
    assert (problem.detail, problem.hint) == ("what failed", "what to do")


def test_every_code_is_used_once():
    codes = [class_.code for class_ in classes()]

    assert sorted(set(codes)) == sorted(codes)


def test_an_error_outside_the_table_has_no_status():
    with pytest.raises(LookupError):
        problems.status_of(CAError("x"))


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"principals": ("root",)}, 403, "denied"),
        ({"principals": ("*",)}, 400, "bad_request"),
        ({"key": "ssh-dss AAAAB3NzaC1kc3M="}, 422, "unacceptable_key"),
        ({"claims": {"exp": 1}}, 401, "token_expired"),
        ({"claims": {"aud": "other"}}, 401, "token_audience_wrong"),
    ],
    ids=["policy", "wish", "key", "time", "audience"],
)
def test_a_refused_request_says_why(wish, status, code, client, idp):
    problem_in(post(client, request_of(idp, **wish)), status, code)


def test_a_spent_token_is_a_conflict(client, idp):
    request = request_of(idp)
    post(client, request)

    answer = post(client, msgspec.structs.replace(request, reason="another"))

    assert problem_in(answer, 409, "token_spent").hint == "sign in again"


def test_an_unreachable_database_is_unavailable_and_the_cause_only_in_the_log(
    idp, tmp_path, caplog
):
    config_file = make_ca(tmp_path / "ca", idp)
    with opened(config_file) as authority:
        (tmp_path / "ca" / "daypass.db").write_bytes(b"no database " * 1000)

        answer = post(client_of(authority), request_of(idp))

    problem_in(answer, 503, "store_unavailable")
    assert b"daypass.db" not in answer.data
    assert b"INSERT" not in answer.data
    assert any(record.exc_info for record in caplog.records)


def test_a_fault_of_ours_has_fixed_words_and_its_trace_only_in_the_log(
    authority, idp, caplog
):
    broken = replace(authority, policy="a secret of ours")

    answer = post(client_of(broken), request_of(idp))

    problem = problem_in(answer, 500, "internal_error")
    assert problem.hint == "give the operator the request id"
    assert b"secret" not in answer.data
    assert b"Attribute" not in answer.data
    (fault,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert fault.exc_info
    assert fault.exc_info[0] is AttributeError


@pytest.mark.parametrize(
    "body",
    [
        b" ",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe{}",
        b"[" * 20_000,
        b'{"public_key":' * 2_000,
        b'{"public_key": "", "id_token": ""}trailing',
        b'{"public_key": 7, "id_token": ""}',
        b'{"public_key": "", "id_token": "", "principles": ["root"]}',
        b'{"public_key": "", "id_token": "", "validity_seconds": 0}',
        b'{"public_key": "", "id_token": "", "validity_seconds": 1.5}',
        b'{"public_key": "", "id_token": "", "salt": "short"}',
        b'{"public_key": "", "id_token": "", "principals": null}',
    ],
    ids=lambda body: body[:60].decode(errors="replace") + f" {len(body)}",
)
def test_a_body_that_is_not_a_request_is_refused_in_words(body, client):
    answer = client.post(SIGN, data=body, content_type="application/json")

    problem_in(answer, 400, "bad_request")


def test_an_unknown_field_is_named(client):
    body = b'{"public_key": "", "id_token": "", "principles": ["root"]}'

    answer = client.post(SIGN, data=body, content_type="application/json")

    assert "principles" in problem_in(answer, 400, "bad_request").detail


@pytest.mark.parametrize("type_", [None, "text/plain", "application/jsonp", ""])
def test_another_content_type_is_refused(type_, client, idp):
    body = msgspec.json.encode(request_of(idp))

    answer = client.post(SIGN, data=body, content_type=type_)

    assert problem_in(answer, 400, "bad_request").hint


@pytest.mark.parametrize("encoding", ["gzip", "identity", "x, deflate"])
def test_a_compressed_body_is_never_unpacked(encoding, client, idp):
    body = gzip.compress(msgspec.json.encode(request_of(idp)))

    answer = client.post(
        SIGN,
        data=body,
        content_type="application/json",
        headers={"Content-Encoding": encoding},
    )

    assert "compressed" in problem_in(answer, 400, "bad_request").detail


def test_a_body_that_is_too_long_is_refused_before_it_is_parsed(client):
    body = b"{" * (LARGEST_BODY + 1)

    answer = client.post(SIGN, data=body, content_type="application/json")

    problem_in(answer, 413, "body_too_large")


def test_a_body_of_undeclared_length_is_refused_before_it_is_read(client, idp):
    body = BytesIO(msgspec.json.encode(request_of(idp)))

    answer = client.post(
        SIGN,
        input_stream=body,
        content_type="application/json",
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )

    problem_in(answer, 411, "length_required")
    assert body.tell() == 0


def test_the_longest_body_is_parsed(client):
    body = b"{}".ljust(LARGEST_BODY)

    answer = client.post(SIGN, data=body, content_type="application/json")

    problem_in(answer, 400, "bad_request")


# --- Other paths and methods --------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/livez/", "/static/x", "/v1/user-certificates/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_path_is_a_problem_document(method, path, client):
    problem_in(client.open(path, method=method), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", SIGN, {"POST", "OPTIONS"}),
        ("PUT", SIGN, {"POST", "OPTIONS"}),
        ("TRACE", SIGN, {"POST", "OPTIONS"}),
        ("POST", "/v1/discovery", {"GET", "HEAD", "OPTIONS"}),
        ("DELETE", "/livez", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method_is_a_problem_document_and_says_the_right_ones(
    method, path, allowed, client
):
    answer = client.open(path, method=method)

    problem_in(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == allowed


def test_head_is_get_without_the_body(client):
    for path in ("/livez", "/readyz", "/v1/discovery", "/v1/trust/current"):
        got, head = client.get(path), client.head(path)

        assert head.status_code == got.status_code == 200
        assert head.headers["Content-Type"] == got.headers["Content-Type"]
        assert head.data == b""


def test_head_of_what_must_be_posted_is_refused_without_a_body(client):
    answer = client.head(SIGN)

    assert answer.status_code == 405
    assert answer.content_type == "application/problem+json"
    assert answer.data == b""


def test_options_says_what_is_allowed_and_allows_no_other_site(client):
    answer = client.options(SIGN, headers={"Origin": "https://evil.example.com"})

    assert answer.status_code == 200
    assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}
    assert not [n for n in answer.headers.keys() if n.startswith("Access-Control")]  # noqa: SIM118 (not a dict)


# --- Request ids --------------------------------------------------------------------


def test_a_request_id_is_ours_whatever_the_caller_says(client, authority, idp):
    mine = {"X-Request-Id": "mine", "Request-Id": "mine", "Traceparent": "mine"}

    answers = [post(client, request_of(idp), headers=mine) for _ in range(2)]

    ids = {answer.headers["X-Request-Id"] for answer in answers}
    assert len(ids) == 2
    assert "mine" not in ids
    for answer in answers:
        entry = authority.store.entry_by_serial(int(answer.json["serial"]))
        request_id = json.loads(entry.record)["request_id"]
        assert request_id == answer.headers["X-Request-Id"]


def test_each_request_is_one_line_in_the_log(client, idp, caplog):
    caplog.set_level(logging.INFO, "daypass.request")
    token = request_of(idp).id_token

    answers = [client.get("/livez"), client.get(f"/{token}?{token}")]

    records = [r for r in caplog.records if r.name == "daypass.request"]
    lines = [json.loads(JSONFormatter().format(record)) for record in records]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("GET", "/livez", 200),
        ("GET", "unknown", 404),
    ]
    assert "code" not in lines[0]
    assert lines[1]["code"] == "not_found"
    assert answers[1].status_code == 404
    assert token not in str(lines)


# --- Whose address ------------------------------------------------------------------

ONE_PROXY = ("10.0.0.0/8", "2001:db8:1::/48")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", None, "198.51.100.1"),
        ("198.51.100.1", "192.0.2.9", "198.51.100.1"),
        ("198.51.100.1", "garbage", "198.51.100.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "garbage, 192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "6.6.6.6,192.0.2.9,10.0.0.2", "192.0.2.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("::ffff:10.0.0.1", "192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "::ffff:192.0.2.9", "192.0.2.9"),
        ("::ffff:198.51.100.1", "192.0.2.9", "198.51.100.1"),
        ("2001:db8:1::1", "2001:db8:2::2", "2001:db8:2::2"),
        ("", None, "0.0.0.0"),  # noqa: S104 (a Unix socket has no address)
    ],
)
def test_only_a_trusted_proxy_may_say_whose_the_request_is(
    peer, forwarded, expected, authority, idp
):
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    client = client_of(behind(authority, ONE_PROXY))

    answer = post(
        client,
        request_of(idp),
        headers=headers,
        environ_overrides={"REMOTE_ADDR": peer},
    )

    assert answer.status_code == 200, answer.data
    entry = authority.store.entry_by_serial(int(answer.json["serial"]))
    assert json.loads(entry.record)["address"] == expected


@pytest.mark.parametrize("forwarded", ["garbage", "192.0.2.9:80", "6.6.6.6, unknown"])
def test_a_trusted_proxy_that_says_something_else_is_refused(forwarded, authority, idp):
    answer = post(
        client_of(behind(authority, ONE_PROXY)),
        request_of(idp),
        headers={"X-Forwarded-For": forwarded},
        environ_overrides={"REMOTE_ADDR": "10.0.0.1"},
    )

    problem_in(answer, 400, "bad_request")


def behind(authority, networks):
    proxies = tuple(map(ip_network, networks))
    return replace(authority, config=replace(authority.config, trusted_proxies=proxies))


def test_making_the_application_serves_no_files_and_knows_no_other_route(authority):
    app = create_app(authority)

    assert isinstance(app, Flask)
    assert {rule.rule for rule in app.url_map.iter_rules()} == {
        SIGN,
        "/v1/explain",
        "/v1/host-certificates",
        "/v1/host-certificates/renew",
        "/v1/canary-certificates",
        "/v1/hosts",
        "/v1/hosts/<id>",
        "/v1/host-reports",
        "/v1/revocations",
        "/v1/blocks",
        "/v1/blocks/<int:id>",
        "/v1/certificates",
        "/v1/certificates/<int:serial>",
        "/v1/discovery",
        "/v1/trust/current",
        "/v1/trust/blob/<sha256>",
        "/v1/log/checkpoint",
        "/v1/log/checkpoint-signature",
        "/v1/log/tile/<path:path>",
        "/v1/log/records/<int:index>",
        "/livez",
        "/readyz",
        "/openapi.json",
    }
