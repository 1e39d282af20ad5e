"""HTTP as attackers speak it, against a real `ca-signer serve`.

Each section names what it is about; CVEs are of other products that met it. What the
application itself answers is in `tests/signer/test_app.py`.
"""

import gzip
import json
import re
import secrets
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from signer.bodies import LARGEST_BODY
from signer.whole import LARGEST_HEAD
from tests.authority import Signer, make_ca, request_of, rewrite, wait_until
from tests.debug_signer import LINGER_SECONDS, READ_SECONDS, WRITE_SECONDS
from tests.fakes import FakeIdP
from tests.raw_http import (
    RawAnswer,
    ask,
    connect,
    connections,
    exchange,
    get,
    head,
    one_answer,
    post,
    rest_of,
)

THREADS = 4
MANY = 40
"""Far more than there are threads."""

PROMPT_SECONDS = 2.0
"""On a busy machine; what waits for a thread or a time-out waits longer."""

SIGN = "/v1/user-certificates"
JSON = "Content-Type: application/json"
DEBUG = (sys.executable, "-m", "tests.debug_signer")


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def signer(idp, tmp_path_factory):
    """Serve with everything in the log that any level shows."""
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    rewrite(config_file, {"threads = 16": f"threads = {THREADS}"})
    with Signer(config_file, command=DEBUG) as signer:
        yield signer


@pytest.fixture(autouse=True)
def _still_serves(signer):
    """Look after each test that others would be served at once."""
    yield
    served_promptly(signer)


def served_promptly(signer: Signer) -> None:
    began = time.monotonic()
    assert ask(signer, get("/livez")).body == b"ok\n"
    assert time.monotonic() - began < PROMPT_SECONDS


def body_of(request) -> bytes:
    return msgspec.json.encode(request)


def refused(answer: RawAnswer, status: int, code: str) -> None:
    assert (answer.status, answer.problem.code) == (status, code)
    assert b"-cert-v01" not in answer.body


# --- Bodies: deep, long, packed, endless (CVE-2025-6203, CVE-2025-59043) ------------


@pytest.mark.parametrize(
    "body",
    [
        b"[" * LARGEST_BODY,
        b'{"a":' * (LARGEST_BODY // 5),
        b'{"public_key":' + b"[" * 20_000 + b"]" * 10_000,
        b'{"public_key":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    ],
    ids=["lists", "objects", "open", "closed"],
)
def test_deep_json_is_refused_at_once(body, signer):
    began = time.monotonic()

    refused(ask(signer, post(body)), 400, "bad_request")

    assert time.monotonic() - began < PROMPT_SECONDS


@pytest.mark.parametrize("size", [LARGEST_BODY + 1, 1_000_000, 20_000_000])
def test_a_long_body_is_refused_by_its_declared_length(size, signer):
    start = head("POST", SIGN, JSON, f"Content-Length: {size}")

    # Who is still sending gets the answer all the same, and no reset.
    answer = ask(signer, start, b"[" * size)

    refused(answer, 413, "body_too_large")


def test_a_length_that_no_number_holds_is_refused(signer):
    for digits, status, code in (
        (19, 413, "body_too_large"),
        (4000, 413, "body_too_large"),
        (4500, 400, "bad_request"),
        (9000, 431, "headers_too_large"),
    ):
        message = head("POST", SIGN, JSON, f"Content-Length: {'9' * digits}")
        refused(ask(signer, message), status, code)


def test_a_packed_body_is_not_unpacked(signer):
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < LARGEST_BODY

    refused(ask(signer, post(bomb, "Content-Encoding: gzip")), 400, "bad_request")


def test_chunks_without_an_end_are_refused_before_the_first(signer):
    start = head("POST", SIGN, "Transfer-Encoding: chunked", JSON)
    chunk = b"1000\r\n" + b"[" * 0x1000 + b"\r\n"

    refused(ask(signer, start, *[chunk] * 100), 411, "length_required")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"public_key": "\xed\xa0\x80", "id_token": ""}',
        b'{"public_key": "\\ud800", "id_token": ""}',
        b'{"public_key": "\xc3\x28", "id_token": ""}',
        b'{"public_key": NaN, "id_token": ""}',
        b'{"public_key": "", "id_token": "", "validity_seconds": NaN}',
        b'{"public_key": "", "id_token": "", "validity_seconds": Infinity}',
        b'{"public_key": "", "id_token": "", "validity_seconds": 1e400}',
        b'{"public_key": "", "id_token": "", "validity_seconds": -1}',
        b'{"public_key": "", "id_token": "", "validity_seconds": 36000.0}',
        b'{"public_key": "", "id_token": "", "validity_seconds": ' + b"9" * 9000 + b"}",
        b"{" + b",".join(b'"k%d": 1' % i for i in range(3000)) + b"}",
    ],
    ids=lambda body: f"{body[-60:]!r}",
)
def test_a_body_with_no_clear_reading_is_refused(body, signer):
    refused(ask(signer, post(body)), 400, "bad_request")


@pytest.mark.parametrize("name", ["principals", "id_token", "public_key", "reason"])
def test_a_member_that_is_named_twice_is_refused_and_spends_nothing(name, signer, idp):
    request = request_of(idp, principals=("ada",), reason="because")
    once = json.loads(body_of(request))
    twice = json.dumps(once)[:-1] + f", {json.dumps(name)}: {json.dumps(once[name])}}}"

    refused(ask(signer, post(twice.encode())), 400, "bad_request")

    assert ask(signer, post(body_of(request))).status == 200


def test_numbers_beyond_what_a_length_of_time_holds_are_refused_or_capped(signer, idp):
    for seconds, status in ((36_001, 403), (2**63, 403), (2**64 - 1, 403), (1, 200)):
        answer = ask(signer, post(body_of(request_of(idp, validity_seconds=seconds))))
        assert answer.status == status


ODD: list[object] = [
    None,
    1.5,
    [],
    ["x"] * 3000,
    {},
    {"a": [{}]},
    "",
    "\n",
    "\u202e",
    "x" * 9000,
]


@pytest.mark.parametrize("claim", ["aud", "email", "groups", "amr", "exp", "iat"])
def test_claims_of_odd_types_are_refused_and_never_a_fault(claim, signer, idp):
    for value in ODD:
        request = request_of(idp, claims={claim: value})
        answer = ask(signer, post(body_of(request)))

        assert answer.status in {200, 400, 401, 403}, (value, answer)
        assert (answer.status == 200) == (b"-cert-v01" in answer.body)


# --- Slow clients -------------------------------------------------------------------


def ended_within(socks, seconds: float) -> list[bytes]:
    """Return what each connection was told before the other side ended it."""
    deadline = time.monotonic() + seconds
    told = []
    for sock in socks:
        sock.settimeout(max(0.1, deadline - time.monotonic()))
        told.append(rest_of(sock))
    return told


SLOW_STARTS = {
    "head": b"POST /v1/user-certificates HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": head("POST", SIGN, JSON, "Content-Length: 30000"),
}


@pytest.mark.parametrize("part", SLOW_STARTS)
def test_many_slow_requests_keep_nobody_waiting_and_end_in_time(part, signer):
    began = time.monotonic()
    with connections(signer, MANY) as socks:
        for sock in socks:
            sock.sendall(SLOW_STARTS[part])
        while time.monotonic() - began < READ_SECONDS / 2:
            for sock in socks:
                sock.sendall(b" ")
            served_promptly(signer)
            time.sleep(0.1)
        told = ended_within(socks, READ_SECONDS)

    assert time.monotonic() - began < READ_SECONDS + 2 * PROMPT_SECONDS
    for one in told:
        refused(one_answer(one), 408, "request_timeout")


def test_connections_that_say_nothing_keep_nobody_waiting_and_end_in_time(signer):
    with connections(signer, MANY) as socks:
        served_promptly(signer)
        told = ended_within(socks, READ_SECONDS + 2 * PROMPT_SECONDS)

    assert set(told) == {b""}


def test_clients_that_stay_after_their_answer_keep_nobody_waiting(signer):
    with connections(signer, MANY) as socks:
        for sock in socks:
            sock.sendall(get("/livez"))
        began = time.monotonic()
        for sock in socks:
            assert one_answer(rest_of(sock)).status == 200
        served_promptly(signer)
        assert time.monotonic() - began < PROMPT_SECONDS
        time.sleep(LINGER_SECONDS + PROMPT_SECONDS)
        for sock in socks:
            assert is_gone(sock)


def is_gone(sock) -> bool:
    """Tell whether the other side has forgotten the connection."""
    try:
        sock.sendall(b"x")
        time.sleep(0.01)
        sock.sendall(b"x")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


def test_clients_that_take_no_answer_give_their_threads_back(signer):
    with connections(signer, THREADS) as socks:
        for sock in socks:
            sock.sendall(get("/large"))
        began = time.monotonic()

        assert ask(signer, get("/livez")).status == 200

        assert time.monotonic() - began < WRITE_SECONDS + PROMPT_SECONDS


def test_a_client_that_goes_away_half_way_is_forgotten(signer):
    for part in SLOW_STARTS.values():
        with connections(signer, MANY) as socks:
            for sock in socks:
                sock.sendall(part)
    served_promptly(signer)


# --- Two readings of one message (request smuggling) --------------------------------

TWO = b'{"public_key": "", "id_token": ""}'
SMUGGLED = get("/livez")


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: 34", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 34"),
        ("Content-Length: 34", "Content-Length: 34"),
        ("Content-Length: 34", "Content-Length: 0"),
        ("Content-Length: 34, 34",),
        ("Content-Length: +34",),
        ("Content-Length: -1",),
        ("Content-Length: 0x22",),
        ("Content-Length: 3 4",),
        ("Content-Length : 34",),
        ("Content-Length:\x0b34",),
        ("Content-Length: \xb2",),
        ("Content-Length:",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: gzip",),
        ("Transfer-Encoding: \x0bchunked",),
        (" Transfer-Encoding: chunked", "Content-Length: 34"),
        ("X: y\r\n Content-Length: 34",),
        ("X: y\r\n\tfolded",),
        ("X: y\nContent-Length: 34",),
        ("X: y\rContent-Length: 34",),
        ("X: \x00",),
        ("X",),
        (": x",),
        ("X Y: z",),
        ("Host: another.example.com",),
        ("Content-Type: text/plain", "Content-Type: application/json"),
    ],
    ids=lambda headers: " ".join(headers).encode("unicode_escape").decode()[:60],
)
def test_a_message_with_two_readings_is_refused_once(headers, signer):
    answer = ask(signer, head("POST", SIGN, *headers), TWO, SMUGGLED)

    refused(answer, 400, "bad_request")
    assert answer.headers["Connection"] == "close"


def test_an_unknown_transfer_coding_is_not_implemented(signer):
    answer = ask(signer, head("POST", SIGN, "Transfer-Encoding: xchunked"), SMUGGLED)

    refused(answer, 501, "not_implemented")


@pytest.mark.parametrize(
    "version", ["HTTP/0.9", "HTTP/2.0", "HTTP/1.1.1", "HTTP/1", ""]
)
def test_another_version_of_http_is_refused(version, signer):
    refused(ask(signer, f"GET /livez {version}\r\n\r\n".encode()), 400, "bad_request")


@pytest.mark.parametrize(
    "line",
    [
        "get /livez HTTP/1.1",
        "GET  /livez HTTP/1.1",
        "GET /livez  HTTP/1.1",
        "GET /livez\tHTTP/1.1",
        "GET livez HTTP/1.1",
        "GET /livez\xff HTTP/1.1",
        "G\x00T /livez HTTP/1.1",
        "PRI * HTTP/2.0",
        "\x16\x03\x01\x02\x00\x01",
    ],
    ids=lambda line: line.encode("unicode_escape").decode(),
)
def test_a_line_that_begins_no_request_is_refused(line, signer):
    message = f"{line}\r\nHost: x\r\n\r\n".encode("latin-1")

    refused(ask(signer, message), 400, "bad_request")


def test_a_second_request_on_a_connection_is_never_read(signer):
    answer = ask(signer, get("/livez") + get("/readyz"), get("/openapi.json"))

    assert answer.body == b"ok\n"
    assert answer.headers["Connection"] == "close"


def test_what_stands_behind_the_declared_length_is_not_read(signer, idp):
    body = body_of(request_of(idp))

    answer = ask(signer, post(body) + SMUGGLED)

    assert answer.status == 200
    assert json.loads(answer.body)["key_id"] == "corp:ada@example.com"


def test_a_request_may_come_in_pieces(signer, idp):
    message = post(body_of(request_of(idp)))
    with connect(signer) as sock:
        for at in range(0, len(message), 97):
            sock.sendall(message[at : at + 97])
            time.sleep(0.001)
        assert one_answer(rest_of(sock)).status == 200


def test_who_waits_to_be_told_to_go_on_is_served(signer, idp):
    message = post(body_of(request_of(idp)), "Expect: 100-continue")

    received = exchange(signer, message)

    interim, _, rest = received.partition(b"\r\n\r\n")
    assert interim == b"HTTP/1.1 100 Continue"
    assert one_answer(rest).status == 200


def test_who_expects_anything_else_is_not(signer):
    refused(ask(signer, get("/livez", "Expect: gold")), 417, "expectation_failed")


# --- Headers and lines without measure ----------------------------------------------


def test_too_many_headers_are_refused(signer):
    headers = [f"X-{n}: y" for n in range(40)]

    refused(ask(signer, get("/livez", *headers)), 431, "headers_too_large")


@pytest.mark.parametrize("size", [9_000, 30_000])
def test_a_long_header_is_refused(size, signer):
    refused(ask(signer, get("/livez", "X: " + "y" * size)), 431, "headers_too_large")


@pytest.mark.parametrize(
    "line", [b"X: y\r\n", b"X" * 1000, b"X: " + b"y" * 3000 + b"\r\n"]
)
def test_headers_without_an_end_are_refused_before_they_fill_the_memory(line, signer):
    start = b"GET /livez HTTP/1.1\r\n"
    with connect(signer) as sock:
        sent = 0
        while sent <= LARGEST_HEAD + 65536:
            try:
                sent += sock.send(start + line * (1 + 8192 // len(line)))
            except (BrokenPipeError, ConnectionResetError):
                break
            start = b""
        refused(one_answer(rest_of(sock)), 431, "headers_too_large")


@pytest.mark.parametrize("size", [2_100, 10_000])
def test_a_long_path_is_refused(size, signer):
    refused(ask(signer, get("/" + "x" * size)), 414, "path_too_long")


def test_headers_that_only_look_like_ours_are_not_taken_for_them(signer, idp):
    headers = ("X_Forwarded_For: 192.0.2.1", "Script_Name: /v1", "Content_Length: 0")

    assert ask(signer, post(body_of(request_of(idp)), *headers)).status == 200


# --- Paths in disguise (CVE-2026-3605) and methods ----------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "//v1/discovery",
        "/v1//discovery",
        "/v1/discovery/",
        "/v1/./discovery",
        "/v1/../v1/discovery",
        "/x/../v1/discovery",
        "/..",
        "/v1%2fdiscovery",
        "/v1%2Fdiscovery",
        "/%761/discovery",
        "/v1/%2e%2e/v1/discovery",
        "/v1/discovery%00",
        "/v1/discovery%0a",
        "/v1/discovery%20",
        "/v1/discovery;x=y",
        "/v1\\discovery",
        "/v1/discovery%3f",
        "/V1/discovery",
        "http://ca.example.com/v1/discovery",
        "http://ca.example.com:1/readyz",
        "/v1/trust/blob/..%2f..%2fdaypass.toml",
        "/v1/trust/blob/../../daypass.toml",
        "/v1/trust/blob/%252e%252e",
        "/static/../daypass.toml",
        "/daypass.toml",
        "/~root",
    ],
)
def test_a_path_has_one_spelling(path, signer):
    refused(ask(signer, get(path)), 404, "not_found")


@pytest.mark.parametrize(
    "header",
    [
        "X-HTTP-Method-Override: POST",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: PUT",
        "X-Original-URL: /readyz",
        "X-Rewrite-URL: /readyz",
    ],
)
def test_no_header_changes_what_is_asked(header, signer):
    assert ask(signer, get("/livez", header)).body == b"ok\n"


def test_a_method_in_the_query_is_no_method(signer):
    refused(ask(signer, get(f"{SIGN}?_method=POST")), 405, "method_not_allowed")


@pytest.mark.parametrize("method", ["TRACE", "PUT", "PATCH", "CONNECT", "PROPFIND"])
def test_a_method_that_is_not_ours_is_refused_and_echoes_nothing(method, signer):
    secret = "planted-9f86d081"  # noqa: S105 (it is not one)

    answer = ask(signer, head(method, "/livez", f"X-Secret: {secret}"))

    refused(answer, 405, "method_not_allowed")
    assert secret.encode() not in answer.body


def test_head_and_options_say_nothing_that_get_does_not(signer):
    received = exchange(signer, head("HEAD", "/v1/discovery"))
    options = ask(signer, head("OPTIONS", SIGN, "Origin: https://evil.example.com"))

    assert received.endswith(b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (options.status, options.body) == (200, b"")
    assert not [name for name in options.headers if name.startswith("Access-Control")]
    refused(ask(signer, head("OPTIONS", "*")), 404, "not_found")


# --- Request ids --------------------------------------------------------------------


def test_nobody_chooses_the_id_of_a_request(signer):
    mine = ("X-Request-Id: mine", f"Traceparent: 00-{'a' * 32}-{'b' * 16}-01")

    ids = {ask(signer, get("/livez", *mine)).headers["X-Request-Id"] for _ in range(3)}

    assert len(ids) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", one) for one in ids)
    assert "mine" not in signer.log.read_text()
    assert "a" * 32 not in signer.log.read_text()


# --- The log: one line a request, and no secret at any level (CVE-2025-62513) --------


def requests_in(log: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in log.splitlines()]
    return [line for line in lines if line["message"] == "request"]


NASTY = 'x\n{"message": "request", "status": 200}\r\n\x00\x1b[2J\u2028\x85"'


def test_no_field_can_forge_a_line_of_the_log(signer, idp):
    quoted = "%0a%7b%22message%22%3a%22request%22%7d"
    messages = [
        post(body_of(request_of(idp, reason=NASTY))),
        post(body_of(request_of(idp, claims={"email": NASTY}))),
        post(body_of(request_of(idp, claims={"groups": [NASTY]}))),
        post(body_of(request_of(idp, principals=(NASTY,)))),
        post(body_of(request_of(idp, extensions=(NASTY,)))),
        post(json.dumps({NASTY: NASTY}).encode()),
        post(b"{}", "X-Request-Id: x\x85y", "User-Agent: \x85"),
        get(f"/{quoted}?{quoted}"),
        get("/livez", f"X-Forwarded-For: {quoted}", f"Referer: {quoted}"),
        b"GET /" + quoted.encode() + b"\nX: y HTTP/1.1\r\n\r\n",
        head("GET", "/livez", 'X: y\nZ: {"message": "request"}'),
        head("A" * 19, "/livez"),
    ]
    before = len(signer.log.read_text())

    answers = [ask(signer, message) for message in messages]

    ids = [answer.headers["X-Request-Id"] for answer in answers]
    wait_until(lambda: ids[-1] in signer.log.read_text())
    lines = requests_in(signer.log.read_text()[before:])
    assert [line["request_id"] for line in lines] == ids
    assert [line["status"] for line in lines] == [answer.status for answer in answers]
    for line, answer in zip(lines, answers, strict=True):
        assert ("code" in line) == (answer.status != 200)


def test_a_reason_with_delimiters_is_on_record_as_it_was_given(signer, idp):
    request = request_of(idp, principals=("ada",), reason="a=b&c=d%20\nä;\u2028\x7f")

    answer = ask(signer, post(body_of(request)))

    assert answer.status == 200
    # The record is what an operator reads: `ca-admin certificates show`.
    record = record_of(signer, json.loads(answer.body)["serial"])
    assert record["asked"]["reason"] == request.reason


def record_of(signer: Signer, serial: str):
    from ca.store import Store  # noqa: PLC0415

    store = Store.open(f"sqlite:///{signer.config_file.with_name('daypass.db')}")
    entry = store.entry_by_serial(int(serial))
    store.close()
    assert entry is not None
    assert entry.record is not None
    return json.loads(entry.record)


def test_no_secret_is_in_the_log_at_any_level_nor_in_a_refusal(signer, idp):
    secret = f"planted-{secrets.token_hex(8)}"
    good, wrong = request_of(idp), request_of(idp, principals=("root",))
    broken = good.id_token + secret
    parts = {*good.id_token.split("."), *wrong.id_token.split("."), good.salt, secret}
    messages = [
        post(body_of(good), f"Cookie: {secret}", f"Authorization: Bearer {secret}"),
        post(body_of(wrong)),
        post(body_of(msgspec.structs.replace(good, id_token=broken))),
        post(body_of(msgspec.structs.replace(good, public_key=secret))),
        post(body_of(msgspec.structs.replace(good, salt=secret))),
        post(body_of(request_of(idp, principals=("x" * 80 + secret,)))),
        post(body_of(request_of(idp, extensions=("x" * 80 + secret,)))),
        post(json.dumps({secret * 3: secret}).encode()),
        post(json.dumps({"id_token": secret}).encode()[:-1]),
        post(f'{{"id_token": "{good.id_token}", "id_token": "{secret}"}}'.encode()),
        get(f"/{secret}?token={secret}"),
        get(f"/livez?token={good.id_token}"),
        get("/livez", f"Authorization : {secret}"),
        get("/livez", f"Authorization: {secret}\x00"),
        get("/livez", secret),
        get("/livez", f"Cookie: a\n{secret}"),
        f"GET /livez?{secret} HTTP/9.9\r\n\r\n".encode(),
        f"{secret} /livez HTTP/1.1\r\n\r\n".encode(),
        head(secret.upper()[:19], "/livez"),
        head("POST", SIGN, f"Transfer-Encoding: {secret}"),
        head("POST", SIGN, f"Content-Length: {secret}"),
        get("/livez", f"Expect: {secret}"),
        get(f"http://{secret}/livez"),
        get("/livez", f"Host: {secret}"),
        get("/" + secret * 100),
    ]

    answers = [ask(signer, message) for message in messages]

    last = answers[-1].headers["X-Request-Id"]
    wait_until(lambda: last in signer.log.read_text())
    log = signer.log.read_text()
    assert [part for part in parts if part in log] == []
    assert secret.upper()[:19] not in log
    for answer in answers:
        assert secret.encode() not in answer.body
        if answer.status != 200:
            assert b"-cert-v01" not in answer.body
    assert "debug" in {json.loads(line)["level"] for line in log.splitlines()}


# --- Memory -------------------------------------------------------------------------


def memory_of(signer: Signer) -> int:
    """Return the resident memory of the one worker, in bytes."""
    parent = signer.process_id
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (worker,) = children
    status = Path(f"/proc/{worker}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024


def test_bad_requests_leave_nothing_behind(signer, rounds):
    bad = [
        post(b"[" * LARGEST_BODY),
        post(b'{"a":' * 6000),
        post(b'{"public_key": "' + b"x" * 30_000 + b'"}'),
        head("POST", SIGN, "Content-Length: 1000000") + b"x" * 100_000,
        head("POST", SIGN, "Transfer-Encoding: chunked") + b"1\r\n",
        get("/livez", *[f"X-{n}: {'y' * 300}" for n in range(40)]),
        get("/" + secrets.token_hex(500)),
        b"\x00" * 1000 + b"\r\n\r\n",
        SLOW_STARTS["body"],
    ]

    def send(count: int) -> None:
        for at in range(count):
            with connect(signer) as sock:
                sock.sendall(bad[at % len(bad)])
                if bad[at % len(bad)] is not SLOW_STARTS["body"]:
                    rest_of(sock)

    send(300)
    before = memory_of(signer)
    send(rounds(1000))

    assert memory_of(signer) - before < 4 * 1024 * 1024


def test_a_crowd_of_bad_requests_and_good_ones_at_once(signer, idp):
    stop = threading.Event()

    def attack() -> None:
        while not stop.is_set():
            exchange(signer, post(b"[" * LARGEST_BODY))

    attackers = [threading.Thread(target=attack) for _ in range(8)]
    for attacker in attackers:
        attacker.start()
    try:
        for _ in range(10):
            assert ask(signer, post(body_of(request_of(idp)))).status == 200
    finally:
        stop.set()
        for attacker in attackers:
            attacker.join()
