"""Plain requests are read as gunicorn's parser would, or left to it."""

import io
import json
from typing import Any

import msgspec
import pytest
from gunicorn.config import Config
from gunicorn.http import RequestParser
from gunicorn.http.wsgi import create
from hypothesis import assume, given
from hypothesis import strategies as st

from ca.authorization import LONGEST
from signer import plain
from signer.whole import LARGEST_HEAD
from tests.authority import Signer, make_ca, request_of
from tests.fakes import FakeIdP
from tests.raw_http import ask, head, post

CLIENT, SERVER = ("192.0.2.1", 4711), ("192.0.2.2", 8440)
BODY = b'{"some": "thing"}'
PLAIN = post(BODY, "User-Agent: curl/7.88.1", "Accept: */*", connection=None)


def read_by_gunicorn(received) -> Any:
    config = Config()
    settings = {
        "forwarded_allow_ips": "",
        "limit_request_line": 2048,
        "limit_request_fields": 32,
        "limit_request_field_size": LONGEST,
    }
    for name, value in settings.items():
        config.set(name, value)
    request = next(RequestParser(config, [received], CLIENT))
    _, environ = create(request, io.BytesIO(), CLIENT, SERVER, config)
    return environ


def assert_alike(received):
    ours, theirs = plain.parse(received), read_by_gunicorn(received)
    assert ours is not None
    assert (theirs["REQUEST_METHOD"], theirs["RAW_URI"]) == (
        "POST",
        "/v1/user-certificates",
    )
    assert theirs["CONTENT_TYPE"] == "application/json"
    assert int(theirs["CONTENT_LENGTH"]) == len(ours.body)
    assert theirs["wsgi.input"].read() == ours.body
    assert theirs.get("HTTP_X_FORWARDED_FOR", "") == ours.forwarded_for
    assert "HTTP_AUTHORIZATION" not in theirs
    assert "HTTP_CONTENT_ENCODING" not in theirs


def test_a_plain_request_is_read_as_gunicorn_reads_it():
    assert_alike(PLAIN)
    assert_alike(post(BODY, "X-Forwarded-For: 192.0.2.9, 192.0.2.8", "X: a: b"))


NAMES = st.from_regex(r"[A-Za-z0-9-]{1,12}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,12}[!-~])?", fullmatch=True)


@given(st.dictionaries(NAMES.map(str.lower), VALUES, max_size=6), st.binary(max_size=9))
def test_what_is_spelled_plainly_is_read_as_gunicorn_reads_it(headers, body):
    for name in ("host", "content-type", "content-length", "connection"):
        headers.pop(name, None)
    assume(plain.SPECIAL.isdisjoint(headers))
    received = post(body, *(f"{name}: {value}" for name, value in headers.items()))

    assert_alike(received)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["X", "x-a", "Host", "Cookie", "Content-Length", "X_A"]),
            st.sampled_from([":", ": ", " : ", ":\t"]),
            st.sampled_from(
                ["0", "17", "x y", "chunked", "", " ", "\t", "\x7f", "\xe9"]
            ),
            st.sampled_from(["\r\n", "\n", "\r\n ", "\r"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_what_is_read_at_all_is_read_as_gunicorn_reads_it(headers):
    lines = "".join(map("".join, headers))
    received = PLAIN.replace(b"\r\n", b"\r\n" + lines.encode("latin-1"), 1)

    if plain.parse(received) is not None:
        assert_alike(received)


@pytest.mark.parametrize(
    ("said", "stays"), [("close", False), ("keep-alive", True), (None, True)]
)
def test_a_connection_may_stay_unless_the_client_says_otherwise(said, stays):
    message = post(BODY, connection=said)
    request = plain.parse(message)

    assert_alike(message)
    assert request is not None
    assert request.may_stay is stays


def test_no_head_is_longer_than_the_ordinary_way_allows():
    fields = [b"X-%02d: " % n + b"y" * 1024 for n in range(40)]
    heads = [
        PLAIN.replace(b"Accept: */*", b"\r\n".join(fields[:n])) for n in range(1, 40)
    ]
    taken = [head for head in heads if plain.parse(head) is not None]

    assert taken
    assert all(head.index(b"\r\n\r\n") <= LARGEST_HEAD for head in taken)
    assert plain.parse(heads[-1]) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"POST", b"GET"),
        (b"POST", b"post"),
        (b"/v1/user", b"/v1//user"),
        (b"certificates", b"certificates?x=y"),
        (b"certificates", b"certificates/"),
        (b"user", b"%75ser"),
        (b"POST /", b"POST http://ca.example.com/"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"\r\n", b"\n"),
        (b"Accept: */*", b"Accept:*/*"),
        (b"Accept: */*", b"Accept : */*"),
        (b"Accept: */*", b"Accept: */* "),
        (b"Accept: */*", b"Accept: */*\r\n and: more"),
        (b"Accept: */*", b"X_Accept: */*"),
        (b"Accept: */*", b"Accept: caf\xc3\xa9"),
        (b"Accept: */*", b"Accept: " + b"x" * 1025),
        (b"Accept: */*", b"\r\n".join(b"X-%d: y" % n for n in range(30))),
        (b"Accept: */*", b"user-agent: twice"),
        (b"Accept: */*", b"Authorization: Daypass x"),
        (b"Accept: */*", b"Content-Encoding: gzip"),
        (b"Accept: */*", b"Connection: upgrade"),
        (b"Accept: */*", b"Connection: close, te"),
        (b"Accept: */*", b"Expect: 100-continue"),
        (b"Accept: */*", b"TE: trailers"),
        (b"Accept: */*", b"Trailer: x"),
        (b"Accept: */*", b"transfer-encoding: chunked"),
        (b"Accept: */*", b"Upgrade: h2c"),
        (b"Accept: */*", b"Content-Length: 17"),
        (b"Content-Length: 17", b"Content-Length: +17"),
        (b"Content-Length: 17", b"Content-Length: 16"),
        (b"Content-Length: 17", b"Content-Length: 18"),
        (b"Content-Length: 17", b"X: y"),
        (b"application/json", b"application/json; charset=utf-8"),
        (b"application/json", b"text/plain"),
        (b"Content-Type", b"X-Content-Type"),
        (b"Host: ca.example.com", b"X: y"),
        (b"Host: ca.example.com", b"Host: a b"),
        (b"thing", b"thing more"),
    ],
)
def test_all_else_goes_the_ordinary_way(old, new):
    changed = PLAIN.replace(old, new, 1)

    assert changed != PLAIN
    assert plain.parse(changed) is None


def test_an_answer_is_the_same_either_way(tmp_path):
    with FakeIdP() as idp, Signer(make_ca(tmp_path / "ca", idp)) as signer:
        bought = msgspec.json.encode(request_of(idp))
        statuses = []
        for body in (bought, b"{}", b"no JSON", bought.replace(b"ssh-", b"ssj-")):
            plainly = post(body)
            otherwise = plainly.replace(b"Host: ", b"host:  ")
            assert plain.parse(plainly) is not None
            assert plain.parse(otherwise) is None

            first, second = ask(signer, plainly), ask(signer, otherwise)

            assert seen_in(first) == seen_in(second)
            statuses.append(first.status)
        assert statuses == [200, 400, 400, 400]
        refused = ask(
            signer, head("POST", "/v1/user-certificates", "Content-Length: 0")
        )
        assert refused.problem.code == "bad_request"
        log = [json.loads(line) for line in signer.log.read_text().splitlines()]
    lines = [line for line in log if line.get("method") == "POST"]
    paired = [named_in(line) for line in lines[:8]]
    assert paired[::2] == paired[1::2]
    assert [line.get("code") for line in lines[:8:2]] == [
        None,
        "bad_request",
        "bad_request",
        "malformed",
    ]


def seen_in(answer) -> Any:
    """Return an answer without what differs from one to the next."""
    id_ = answer.headers["X-Request-Id"]
    headers = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"Date", "X-Request-Id"}
    }
    return answer.status, headers, answer.body.replace(id_.encode(), b"")


def named_in(line) -> Any:
    """Return a line of the log likewise."""
    once = {"time", "request_id", "milliseconds"}
    return {name: value for name, value in line.items() if name not in once}
