"""When a request is whole: before the parser sees it, and never later than it needs."""

from itertools import pairwise

import pytest
from gunicorn.config import Config
from gunicorn.http import RequestParser
from hypothesis import given
from hypothesis import strategies as st

from signer.bodies import LARGEST_BODY
from signer.whole import LARGEST_HEAD, is_whole
from tests.raw_http import get, head, post


@given(body=st.binary(max_size=200), at=st.integers(0, 2))
def test_a_request_is_whole_at_its_last_byte_and_no_sooner(body, at):
    message = (post(body), get("/livez"), head("POST", "/", "Content-length:\t0"))[at]

    cuts = range(len(message))
    assert not any(is_whole(message[:cut]) for cut in cuts)
    assert is_whole(message)


@given(body=st.binary(max_size=200))
def test_the_parser_finds_in_a_whole_request_all_that_it_wants(body):
    parsed = next(RequestParser(Config(), [post(body)], ("192.0.2.1", 1)))

    assert parsed.body.read() == body


@pytest.mark.parametrize(
    "refused",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nX: y\nZ: w\r\n",
        head("POST", "/", "Content-Length: 5", "Content-Length: 5"),
        head("POST", "/", "Content-Length: five"),
        head("POST", "/", "Content-Length: 9999999999"),
        head("POST", "/", f"Content-Length: {LARGEST_BODY + 1}"),
        head("POST", "/", "Transfer-Encoding: chunked"),
        b"x" * (LARGEST_HEAD + 1),
        get("/", "X: " + "y" * LARGEST_HEAD),
    ],
    ids=lambda refused: f"{refused[-40:]!r}",
)
def test_what_will_be_refused_is_not_waited_for(refused):
    assert is_whole(refused)


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b":", b"1", b"GET /"])))
def test_what_is_whole_stays_whole(parts):
    seen = [b"".join(parts[:count]) for count in range(len(parts) + 1)]

    for before, after in pairwise(map(is_whole, seen)):
        assert after or not before
