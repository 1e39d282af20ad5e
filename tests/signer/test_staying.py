"""A connection stays for another plain request, and for nothing else."""

import contextlib
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.client import HTTPConnection

import msgspec
import pytest

from ca.store.sqlite import Turns
from signer.crews import ASIDE_SECONDS
from signer.worker import MOST_STAY
from tests.authority import (
    LOOPBACK,
    PATIENCE_SECONDS,
    Signer,
    children,
    make_ca,
    opened,
    request_of,
    rewrite,
    wait_until,
)
from tests.debug_signer import READ_SECONDS
from tests.fakes import FakeIdP
from tests.raw_http import (
    clients_of,
    connect,
    connections,
    exchange,
    get,
    one_answer,
    post,
    rest_of,
)

PATH = "/v1/user-certificates"
JSON = {"Content-Type": "application/json"}
PROXY = {"trusted_proxies = []": 'trusted_proxies = ["127.0.0.1/32"]'}
DEBUG = (sys.executable, "-m", "tests.debug_signer")


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def signer(idp, tmp_path_factory):
    """Serve behind a proxy, and without patience."""
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    rewrite(config_file, PROXY)
    with Signer(config_file, command=DEBUG) as signer:
        yield signer


@contextlib.contextmanager
def proxy(signer):
    """Connect as a proxy that keeps its connections does."""
    connection = HTTPConnection(LOOPBACK, signer.port, timeout=PATIENCE_SECONDS)
    connection.connect()
    with contextlib.closing(connection):
        yield connection


def ask(connection, request, **headers):
    """Ask for a certificate; return the status and what the answer says."""
    body = msgspec.json.encode(request)
    connection.request("POST", PATH, body, {**JSON, **headers})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def stays(connection):
    """Tell whether the last answer left the connection open."""
    return connection.sock is not None


def test_the_next_request_has_an_answer_of_its_own(idp, signer):
    with proxy(signer) as connection:
        for user in ("ada", "grace", "ada"):
            status, said = ask(connection, request_of(idp, user))

            assert stays(connection)
            assert status == HTTPStatus.OK
            assert said["key_id"] == f"corp:{user}@example.com"


def test_each_request_is_that_of_whom_the_proxy_names(idp, signer):
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    with proxy(signer) as connection, opened(signer.config_file) as authority:
        for address in addresses:
            _, said = ask(connection, request_of(idp), **{"X-Forwarded-For": address})

            assert stays(connection)
            entry = authority.store.entry_by_serial(int(said["serial"]))
            assert entry is not None
            assert json.loads(entry.record or b"")["address"] == address


def test_it_ends_with_a_refusal(idp, signer):
    request = request_of(idp)
    with proxy(signer) as connection:
        ask(connection, request)
        wrong = msgspec.structs.replace(request, id_token="e30.e30.AA")  # noqa: S106

        status, _ = ask(connection, wrong)

        assert status == HTTPStatus.UNAUTHORIZED
        assert not stays(connection)


def test_it_ends_where_the_client_says_so(idp, signer):
    with proxy(signer) as connection:
        status, _ = ask(connection, request_of(idp), Connection="close")

        assert status == HTTPStatus.OK
        assert not stays(connection)


def test_it_ends_with_any_other_request(idp, signer):
    with proxy(signer) as connection:
        ask(connection, request_of(idp))
        assert stays(connection)
        connection.request("GET", "/livez")

        assert connection.getresponse().read() == b"ok\n"
        assert not stays(connection)


def test_what_comes_with_a_request_is_not_the_next_one(idp, signer):
    message = post(msgspec.json.encode(request_of(idp)), connection=None)

    assert one_answer(exchange(signer, message + message)).status == HTTPStatus.OK


def test_what_comes_before_the_answer_has_to_wait_for_it(idp, tmp_path):
    bodies = [msgspec.json.encode(request_of(idp, user)) for user in ("ada", "grace")]
    config_file = make_ca(tmp_path / "ca", idp)
    database = config_file.with_name("daypass.db")
    with Signer(config_file) as signer, connect(signer) as sock:
        with Turns(database, seconds=PATIENCE_SECONDS).take():
            sock.sendall(post(bodies[0], connection=None))
            time.sleep(0.2)
            sock.sendall(post(bodies[1]))
        first, second = rest_of(sock).split(b"HTTP/1.1 200 OK")[1:]

    assert b'"corp:ada@example.com"' in first
    assert b'"corp:grace@example.com"' in second


@pytest.mark.parametrize("ends", [b"\r\n", b"\r\n\r\n"])
def test_a_line_behind_a_body_begins_no_request(ends, idp, signer):
    with proxy(signer) as connection:
        ask(connection, request_of(idp))
        connection.sock.sendall(ends)
        time.sleep(0.1)

        status, _ = ask(connection, request_of(idp))
        assert status == HTTPStatus.OK
        connection.sock.sendall(ends)
        assert rest_of(connection.sock) == b""


def test_the_next_request_may_come_in_pieces(idp, signer):
    message = post(msgspec.json.encode(request_of(idp)))
    with proxy(signer) as connection:
        ask(connection, request_of(idp))
        for start in range(0, len(message), 97):
            connection.sock.sendall(message[start : start + 97])
            time.sleep(0.001)

        assert one_answer(rest_of(connection.sock)).status == HTTPStatus.OK


def test_who_says_nothing_more_is_left_without_a_word(idp, signer):
    with proxy(signer) as connection:
        ask(connection, request_of(idp))
        began = time.monotonic()

        assert rest_of(connection.sock) == b""
        assert READ_SECONDS - 1 < time.monotonic() - began < PATIENCE_SECONDS


def test_who_is_slow_with_the_next_request_is_told(idp, signer):
    with proxy(signer) as connection:
        ask(connection, request_of(idp))
        connection.sock.sendall(post(b"{}")[:50])

        assert one_answer(rest_of(connection.sock)).status == HTTPStatus.REQUEST_TIMEOUT


def test_who_leaves_is_forgotten(idp, signer):
    (worker,) = children(signer.process_id)
    before = len(clients_of(worker, signer))
    for _ in range(5):
        with proxy(signer) as connection:
            ask(connection, request_of(idp))
            assert stays(connection)

    wait_until(lambda: len(clients_of(worker, signer)) <= before)


def test_none_stays_where_many_are_open(idp, signer):
    with connections(signer, MOST_STAY) as others, proxy(signer) as connection:
        for sock in others:
            sock.sendall(get("/livez")[:10])
        status, _ = ask(connection, request_of(idp))

        assert status == HTTPStatus.OK
        assert not stays(connection)


def test_a_signer_that_is_told_to_stop_waits_for_nobody_to_ask_again(idp, tmp_path):
    with Signer(make_ca(tmp_path / "ca", idp)) as signer, proxy(signer) as connection:
        ask(connection, request_of(idp))
        assert stays(connection)
        began = time.monotonic()

        signer.stop()

        assert time.monotonic() - began < PATIENCE_SECONDS / 4
        assert rest_of(connection.sock) == b""


def test_what_has_come_when_a_process_is_to_stop_is_answered(idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    turns = Turns(config_file.with_name("daypass.db"), seconds=PATIENCE_SECONDS)
    with (
        Signer(config_file, command=DEBUG) as signer,
        proxy(signer) as connection,
        connect(signer) as busy,
    ):
        (worker,) = children(signer.process_id)
        ask(connection, request_of(idp))
        # Long enough that it would be late when there is nothing to wait for.
        time.sleep(READ_SECONDS / 2)
        with turns.take():
            busy.sendall(post(msgspec.json.encode(request_of(idp))))
            time.sleep(ASIDE_SECONDS / 5)
            # The loop stands aside for a crew that waits for us.
            body = msgspec.json.encode(request_of(idp, "grace"))
            connection.request("POST", PATH, body, JSON)
            os.kill(worker, signal.SIGTERM)
            time.sleep(2 * ASIDE_SECONDS)

        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        answer.read()
        assert not stays(connection)
        assert one_answer(rest_of(busy)).status == HTTPStatus.OK


def test_no_process_keeps_more_than_its_share(idp, tmp_path):
    count = 8
    with (
        Signer(make_ca(tmp_path / "ca", idp), processes=2) as signer,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(count) as threads,
    ):
        one, other = children(signer.process_id)
        os.kill(other, signal.SIGSTOP)
        try:
            proxies = [stack.enter_context(proxy(signer)) for _ in range(count)]
            wait_until(lambda: len(clients_of(one, signer)) == count)
        finally:
            os.kill(other, signal.SIGCONT)

        def shared():
            asked = threads.map(ask, proxies, [request_of(idp) for _ in proxies])
            assert {status for status, _ in asked} == {HTTPStatus.OK}
            # Who was sent away is not back before it asks again.
            most = max(len(clients_of(one, signer)), len(clients_of(other, signer)))
            return most <= count // 2 and all(map(stays, proxies))

        wait_until(shared)
