"""Hosts that have the newest bundle are answered at once, and never for long."""

import time
from datetime import UTC, datetime

import pytest

from ca.trust import REFRESH
from signer.unchanged import MOMENT_SECONDS, Unchanged
from tests.authority import Signer, make_ca, opened
from tests.bench_trust import request_for
from tests.fakes import FakeIdP
from tests.raw_http import ask, exchange, one_answer

ETAG = f'"{"ab" * 20}"'
REQUEST = request_for(8440, ETAG)


@pytest.fixture
def unchanged():
    unchanged = Unchanged()
    unchanged.remember(ETAG, since=time.monotonic() + 3600)
    return unchanged


def test_a_host_that_has_the_newest_is_told_so(unchanged):
    head, _, body = unchanged.answer(REQUEST).decode().partition("\r\n\r\n")

    status, *headers = head.split("\r\n")
    assert status.startswith("HTTP/1.1 304 ")
    assert f"ETag: {ETAG}" in headers
    assert "Connection: close" in headers
    assert body == ""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"ab", b"cd"),
        (ETAG.encode(), f"W/{ETAG}".encode()),
        (ETAG.encode(), b"*"),
        (b"current", b"blob/x"),
        (b"current", b"current?x=y"),
        (b"GET", b"POST"),
        (b"HTTP/1.1", b"HTTP/1.0"),
        (b"\r\n\r\n", b"\r\n"),
        (b"\r\n\r\n", b"\r\n\r\nmore"),
        (b"\r\n\r\n", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
        (b"Accept: */*", b"Content-Length: 4"),
        (b"Accept: */*", b"transfer-encoding: chunked"),
        (b"Accept: */*", b"Expect: 100-continue"),
        (b"Accept: */*", f"If-None-Match: {ETAG}".encode()),
        (b"Accept: */*", b"folded\r\n line: x"),
        (b"Accept: */*", b"X-" + b"y" * 70 + b": x"),
        (b"Accept: */*", b"\r\n".join(b"X-%d: y" % n for n in range(16))),
        (b"Accept: */*", b"X: caf\xc3\xa9"),
        (b"\r\n", b"\n"),
    ],
)
def test_all_else_goes_the_ordinary_way(unchanged, old, new):
    request = REQUEST.replace(old, new)
    assert request != REQUEST

    assert unchanged.answer(request) is None


def test_who_asks_again_is_answered_by_what_is_known_now(unchanged):
    first = unchanged.answer(REQUEST)
    assert unchanged.answer(bytearray(REQUEST)) == first

    newer = f'"{"cd" * 20}"'
    unchanged.remember(newer, since=time.monotonic() + 3600)

    assert unchanged.answer(REQUEST) is None
    assert f"ETag: {newer}".encode() in unchanged.answer(request_for(8440, newer))
    unchanged.remember(ETAG, since=time.monotonic() - MOMENT_SECONDS)
    assert unchanged.answer(REQUEST) is None


def test_what_was_known_a_moment_ago_is_not_known_now():
    unchanged = Unchanged()
    assert unchanged.answer(REQUEST) is None

    unchanged.remember(ETAG, since=time.monotonic() - MOMENT_SECONDS)

    assert unchanged.answer(REQUEST) is None


# --- By a real signer -------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    with FakeIdP() as idp:
        yield make_ca(tmp_path_factory.mktemp("unchanged") / "ca", idp)


@pytest.fixture(scope="module")
def signer(ca):
    with Signer(ca) as signer:
        yield signer


def asked(signer):
    """How many questions for the newest bundle the log has."""
    return sum(line.get("path") == "/v1/trust/current" for line in signer.said())


def test_both_ways_give_the_same_answer(signer):
    request = request_for(signer.port, signer.get("/v1/trust/current").headers["ETag"])
    by_the_loop = ask(signer, request)
    time.sleep(MOMENT_SECONDS)
    ordinary = ask(signer, request)

    assert (by_the_loop.status, by_the_loop.body) == (304, b"")
    assert (ordinary.status, ordinary.body) == (304, b"")
    for name in ("Connection", "Cache-Control", "ETag", "X-Content-Type-Options"):
        assert by_the_loop.headers[name] == ordinary.headers[name]
    assert "X-Request-Id" in ordinary.headers
    assert "X-Request-Id" not in by_the_loop.headers


def test_a_request_that_comes_in_pieces_is_answered_all_the_same(signer):
    request = request_for(signer.port, signer.get("/v1/trust/current").headers["ETag"])

    answer = one_answer(exchange(signer, request[:30], request[30:]))

    assert answer.status == 304


def test_hosts_that_have_the_newest_fill_no_log(signer):
    request = request_for(signer.port, signer.get("/v1/trust/current").headers["ETag"])
    before = asked(signer)

    answers = [ask(signer, request) for _ in range(50)]

    assert {answer.status for answer in answers} == {304}
    # As many as moments may have passed, on a machine as busy as this.
    assert asked(signer) - before < 25


def test_a_host_learns_within_a_moment_what_another_signer_published(ca, signer):
    request = request_for(signer.port, signer.get("/v1/trust/current").headers["ETag"])
    assert ask(signer, request).status == 304

    with opened(ca) as another:
        another.trust.current(now=datetime.now(UTC) + REFRESH)
    time.sleep(MOMENT_SECONDS)

    assert ask(signer, request).status == 200
