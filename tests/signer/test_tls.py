"""The signer serves TLS itself, to who trusts its certificate and to nobody else."""

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import time
from http.client import HTTPSConnection

import msgspec
import pytest

from ca.authority import open_authority
from ca.certificate import parse_line
from ca.config import load_config
from ca.errors import Misconfigured
from ca.wire import fingerprint
from tests.authority import (
    LOOPBACK,
    ROOT,
    Signer,
    make_ca,
    request_of,
    rewrite,
    write_whole,
)
from tests.fakes import FakeIdP
from tests.tls import make_certificate

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def signer(idp, certificate, tmp_path_factory):
    with socket.socket() as holder:
        holder.bind((LOOPBACK, 0))
        port = holder.getsockname()[1]
    folder = tmp_path_factory.mktemp("signer") / "ca"
    config_file = make_ca(folder, idp, origin=f"https://{LOOPBACK}:{port}")
    use(config_file, certificate, certificate)
    with Signer(config_file, port=port, trust=certificate) as signer:
        yield signer


def use(config_file, certificate, key):
    rewrite(
        config_file,
        {
            "# tls_certificate =": f'tls_certificate = "{certificate}"\n#',
            "# tls_key =": f'tls_key = "{key}"\n#',
        },
    )


def test_a_certificate_is_issued_over_tls(idp, signer):
    assert signer.sign(request_of(idp)).certificate.principals == ("ada",)


def test_a_connection_stays_over_tls_too(idp, signer, certificate):
    context = ssl.create_default_context(cafile=certificate)
    connection = HTTPSConnection(LOOPBACK, signer.port, context=context)
    with contextlib.closing(connection):
        connection.connect()
        greeted = connection.sock
        for _ in range(3):
            body = msgspec.json.encode(request_of(idp))
            connection.request("POST", "/v1/user-certificates", body, JSON)
            answer = connection.getresponse()
            answer.read()

            assert answer.status == 200
            assert connection.sock is greeted


def run_setup(signer, **environment):
    """Run `ca-login setup` as a laptop with this environment would."""
    root_key = signer.config_file.with_name("root") / "root.pub"
    pin = fingerprint(parse_line(root_key.read_text()))
    return subprocess.run(
        [sys.executable, "-m", "client", "setup", signer.url, "--pin", pin],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ca_login_believes_a_certificate_that_the_system_trusts(signer, certificate):
    done = run_setup(signer, SSL_CERT_FILE=str(certificate))

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", [None, "another"])
def test_ca_login_refuses_a_certificate_that_nobody_vouches_for(signer, tmp_path, name):
    trusted = {}
    if name is not None:
        trusted["SSL_CERT_FILE"] = str(make_certificate(tmp_path, name=name))

    done = run_setup(signer, **trusted)

    assert done.returncode == 7
    assert "self-signed certificate" in done.stderr
    assert "Traceback" not in done.stderr


def shake_hands(signer, certificate, version):
    context = ssl.create_default_context(cafile=certificate)
    if version < ssl.TLSVersion.TLSv1_2:
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = version
    with (
        socket.create_connection((LOOPBACK, signer.port)) as connection,
        context.wrap_socket(connection, server_hostname=LOOPBACK) as wrapped,
    ):
        return wrapped.version()


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_tls_from_1_2_is_spoken(signer, certificate, version):
    spoken = shake_hands(signer, certificate, ssl.TLSVersion[version])

    assert spoken == version.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
def test_tls_before_1_2_is_refused(signer, certificate, version):
    with pytest.raises(ssl.SSLError, match="protocol version"):
        shake_hands(signer, certificate, ssl.TLSVersion[version])


def test_who_speaks_http_to_a_tls_port_gets_nothing(signer):
    with socket.create_connection((LOOPBACK, signer.port)) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = connection.recv(1000)

    assert b"HTTP" not in said
    assert signer.get("/livez").status == 200


@contextlib.contextmanager
def greeting(signer, certificate):
    """Connect, and complete the handshake."""
    context = ssl.create_default_context(cafile=certificate)
    with (
        socket.create_connection((LOOPBACK, signer.port)) as connection,
        context.wrap_socket(
            connection, server_hostname=LOOPBACK, suppress_ragged_eofs=False
        ) as wrapped,
    ):
        yield wrapped


def rest_of(connection):
    said = b""
    while data := connection.recv(1000):
        said += data
    return said


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_request_may_come_in_pieces_and_its_answer_has_an_end(
    signer, certificate, size
):
    body = b"{" + b" " * 30_000
    message = (
        b"POST /v1/user-certificates HTTP/1.1\r\nHost: a\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (len(body), body)
    with greeting(signer, certificate) as connection:
        for start in range(0, 200, size):
            connection.sendall(message[start : min(start + size, 200)])
        connection.sendall(message[200:])

        # An end that TLS itself has not announced would raise here.
        assert rest_of(connection).startswith(b"HTTP/1.1 400 ")


def test_clients_that_never_finish_greeting_stop_nobody(signer):
    with contextlib.ExitStack() as stack:
        for number in range(60):
            silent = socket.create_connection((LOOPBACK, signer.port))
            stack.enter_context(silent)
            # The beginning of a TLS record with a greeting in it, or nothing at all.
            silent.sendall(b"\x16\x03\x01\x02\x00\x01"[: 6 * (number % 2)])

        began = time.monotonic()
        assert signer.get("/livez").status == 200
        assert time.monotonic() - began < 5


def test_a_renewal_that_is_half_done_keeps_the_certificate_before(signer, certificate):
    before = certificate.read_text()
    try:
        write_whole(certificate, before[: len(before) // 2])
        during = ssl.get_server_certificate((LOOPBACK, signer.port))
        certificate.unlink()
        without = ssl.get_server_certificate((LOOPBACK, signer.port))
    finally:
        write_whole(certificate, before)

    assert during in before
    assert without in before
    assert signer.get("/livez").status == 200
    assert "TLS certificate not renewed" in signer.log.read_text()


def test_a_renewed_certificate_is_served_without_a_restart(
    signer, certificate, tmp_path
):
    before = certificate.read_text()
    renewed = make_certificate(tmp_path, name="renewed")
    try:
        renewed.replace(certificate)

        served = ssl.get_server_certificate((LOOPBACK, signer.port))
        assert served not in before
        assert served in certificate.read_text()
    finally:
        write_whole(certificate, before)


@pytest.mark.parametrize("broken", ["missing", "not PEM", "another's key", "encrypted"])
def test_files_that_do_not_serve_are_said_in_words(idp, tmp_path, certificate, broken):
    key = tmp_path / "key.pem"
    if broken == "not PEM":
        key.write_text("no key")
    elif broken == "another's key":
        make_certificate(tmp_path, name="other").replace(key)
    elif broken == "encrypted":
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "secret", "-f", key],
            check=True,
        )
    config_file = make_ca(tmp_path / "ca", idp)
    use(config_file, certificate, key)

    with pytest.raises(Misconfigured, match="cannot serve TLS"):
        open_authority(load_config(config_file))


def test_clients_that_leave_before_they_are_met_stop_nobody(signer):
    reset_at_once = struct.pack("ii", 1, 0)
    for _ in range(50):
        with socket.create_connection((LOOPBACK, signer.port)) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_at_once)
            connection.sendall(b"GET / HTTP/1.1")

    assert signer.get("/livez").status == 200
    assert "Traceback" not in signer.log.read_text()


def test_a_host_that_has_the_newest_bundle_is_told_so_over_tls(signer):
    etag = signer.get("/v1/trust/current").headers["ETag"]

    def ask():
        known = {"If-None-Match": etag}
        return signer.ask("GET", "/v1/trust/current", headers=known)

    answers = [ask() for _ in range(8)]

    assert {(answer.status, answer.body) for answer in answers} == {(304, b"")}
    # Most of them by the event loop, which gives no ids.
    assert not all("X-Request-Id" in answer.headers for answer in answers)
