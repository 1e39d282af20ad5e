"""Monitoring is told by any process what all of them did, on a listener of its own."""

import http.client
import os
import re
import signal
import socket

import pytest

from ca.config import load_config
from ca.errors import Misconfigured
from signer.counters import Counters
from tests.authority import (
    LOOPBACK,
    PATIENCE_SECONDS,
    Signer,
    children,
    make_ca,
    request_of,
    rewrite,
    wait_until,
)
from tests.bench_trust import request_for
from tests.fakes import FakeIdP
from tests.raw_http import connections, rest_of
from tests.sshd import free_port
from tests.tls import make_certificate

LISTEN = '# metrics_listen = "127.0.0.1:8441"'


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def place(tmp_path_factory, idp):
    """Return the configuration of a CA, and its port for metrics."""
    port = free_port()
    config_file = make_ca(tmp_path_factory.mktemp("metrics") / "ca", idp)
    rewrite(config_file, {LISTEN: f'metrics_listen = "{LOOPBACK}:{port}"'})
    return config_file, port


@pytest.fixture(scope="module")
def signer(place):
    with Signer(place[0], processes=2) as signer:
        yield signer


def ask(port, path="/metrics", method="GET"):
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def values(port):
    """Return what is told, by name and labels."""
    status, body = ask(port)
    assert status == 200
    lines = [line for line in body.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_no_host_is_told_there_that_it_has_the_newest_bundle(signer, place):
    _, port = place
    etag = signer.get("/v1/trust/current").headers["ETag"]

    assert exchange_at(signer.port, etag).startswith(b"HTTP/1.1 304 ")
    assert exchange_at(port, etag).startswith(b"HTTP/1.1 404 ")


def exchange_at(port, etag):
    """Ask as a host does."""
    with socket.create_connection((LOOPBACK, port), PATIENCE_SECONDS) as sock:
        sock.sendall(request_for(port, etag))
        return rest_of(sock)


def test_every_process_tells_what_all_have_counted(signer, place, idp):
    _, port = place
    before = values(port)

    for _ in range(6):
        assert signer.sign(request_of(idp)).status == 200
    for _ in range(6):
        assert signer.get("/v1/trust/blob/none").status == 404

    seen = [values(port) for _ in range(8)]
    for now in seen:
        issued = 'daypass_certificates_total{kind="user"}'
        refused = 'daypass_refusals_total{code="not_found"}'
        assert now[issued] == before[issued] + 6
        assert now[refused] == before[refused] + 6
        assert now["daypass_ledger_size"] == before["daypass_ledger_size"] + 6


def test_what_is_in_the_database_is_read_when_it_is_asked_for(signer, place):
    _, port = place
    signer.get("/v1/trust/current")

    now = values(port)

    assert now["daypass_database_up"] == 1
    assert now["daypass_ready"] == 1
    assert now["daypass_ledger_stopped"] == 0
    assert now["daypass_bundle_version"] > 1e12
    assert now["daypass_bundle_published_timestamp_seconds"] > 1e9
    assert now["daypass_gate_failed_timestamp_seconds"] == 0
    assert now['daypass_hosts{state="active"}'] == 0
    assert now['daypass_hosts{state="stale"}'] == 0


def test_metrics_are_there_and_nowhere_else(signer, place):
    _, port = place

    assert signer.get("/metrics").status == 404
    for path in ("/", "/livez", "/readyz", "/v1/trust/current", "/v1/discovery"):
        assert ask(port, path)[0] == 404
    assert ask(port, method="POST")[0] in (404, 411)
    assert ask(port, "/v1/user-certificates", method="POST")[0] == 404


def test_nobody_is_named(signer, place, idp):
    _, port = place
    signer.sign(request_of(idp))

    body = ask(port)[1]

    assert not re.search(r"ada|@|127\.0\.0\.1", body)


def test_what_a_process_counted_outlives_it(signer, place, idp):
    _, port = place
    before = values(port)
    workers = children(signer.process_id)

    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: len(set(children(signer.process_id)) - set(workers)) == 2)
    assert signer.sign(request_of(idp)).status == 200

    issued = 'daypass_certificates_total{kind="user"}'
    assert values(port)[issued] == before[issued] + 1


def test_the_listener_speaks_no_tls_where_the_other_does(tmp_path, idp):
    certificate, port = make_certificate(tmp_path), free_port()
    config_file = make_ca(tmp_path / "ca", idp)
    key = certificate
    rewrite(
        config_file,
        {
            LISTEN: f'metrics_listen = "{LOOPBACK}:{port}"',
            '# tls_certificate = "tls/certificate.pem"': f'tls_certificate = "{key}"',
            '# tls_key = "tls/key.pem"': f'tls_key = "{key}"',
        },
    )

    with Signer(config_file, trust=certificate):
        assert values(port)["daypass_ready"] == 1


@pytest.mark.parametrize("listen", ["8441", "127.0.0.1:x", "127.0.0.1:8440"])
def test_the_listener_has_an_address_of_its_own(tmp_path, idp, listen):
    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, {LISTEN: f'metrics_listen = "{listen}"'})

    with pytest.raises(Misconfigured, match=r"server\.metrics_listen"):
        load_config(config_file)


def test_connections_are_told_until_they_end_or_their_process_does(tmp_path, idp):
    config_file, port = make_ca(tmp_path / "ca", idp), free_port()
    rewrite(config_file, {LISTEN: f'metrics_listen = "{LOOPBACK}:{port}"'})

    def told():
        return values(port)["daypass_connections"]

    with Signer(config_file) as signer:
        with connections(signer, 3):
            wait_until(lambda: told() == 3 + 1)  # and the one that asks
        wait_until(lambda: told() == 1)
        with connections(signer, 3):
            wait_until(lambda: told() == 3 + 1)
            (worker,) = children(signer.process_id)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda: children(signer.process_id) not in ([], [worker]))
            wait_until(lambda: told() == 1)


# --- Counters ---------------------------------------------------------------------


def test_each_process_counts_in_a_row_of_its_own():
    counters = Counters(["a", "b"], rows=3)

    counters.count("a")
    counters.take_row(2)
    counters.count("a")
    counters.count("a")
    counters.count("c")  # nothing that is counted
    counters.latest("b", 7)

    assert counters.values("a") == [1, 0, 2]
    assert counters.values("b") == [0, 0, 7]


def test_a_row_is_given_to_one_process_at_a_time():
    counters = Counters(["a"], rows=3)

    assert counters.free_row([]) == 0
    assert counters.free_row([0, 2]) == 1
    # More processes than there can be share one rather than none.
    assert counters.free_row([0, 1, 2]) == 0
