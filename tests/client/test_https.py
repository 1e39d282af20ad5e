"""The way to a server: proved by TLS, bounded in time and size, kept while it helps."""

import contextlib
import socket
import socketserver
import ssl
import threading
import time

import pytest

from client.api import CA
from client.failure import BadAnswer, Unreachable
from client.https import Site, _deadline
from tests.fake_ca import FakeCA
from tests.fakes import Answer, FakeIdP
from tests.tls import make_certificate

DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
def tls(tmp_path):
    """Return a server's context and the file with its certificate."""
    path = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


def test_a_server_that_tls_trusts_is_talked_to(tls, monkeypatch):
    context, path = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(path))

    with FakeIdP(tls=context) as idp:
        answer = Site(f"{idp.url}{DISCOVERY}").get()

    assert answer.document()["issuer"] == idp.url


def test_a_server_that_tls_does_not_trust_is_unreachable(tls):
    with (
        FakeIdP(tls=tls[0]) as idp,
        pytest.raises(Unreachable, match="self-signed certificate"),
    ):
        Site(idp.url).get(DISCOVERY)


def test_tls_before_1_2_is_refused(tls, monkeypatch):
    context, path = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.deprecated_call():
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.deprecated_call():
        context.maximum_version = ssl.TLSVersion.TLSv1_1

    with FakeIdP(tls=context) as idp, pytest.raises(Unreachable):
        Site(idp.url).get(DISCOVERY)


def test_one_connection_serves_a_sign_in(login, ca):
    before = ca.connections

    login()

    assert ca.connections == before + 1


def test_an_idle_connection_is_not_trusted_to_live(ca):
    with CA(ca.url) as subject:
        subject.discovery()
        time.sleep(1.1)
        subject.discovery()

    assert ca.connections == 2


def test_a_connection_that_the_server_closes_is_made_again(ca):
    ca.answers["/x"] = Answer(200, b"{}", {"Connection": "close"})
    site = Site(ca.url)

    statuses = [site.get("/x").status for _ in range(2)]

    assert statuses == [200, 200]
    site.close()


def test_a_server_that_says_nothing_is_given_up(ca):
    ca.delay_seconds = 5
    begun = time.monotonic()

    with CA(ca.url, deadline=0.3) as subject, pytest.raises(Unreachable, match="time"):
        subject.discovery()

    assert time.monotonic() - begun < 2


class _Drip(socketserver.StreamRequestHandler):
    """Sends a header that never ends, a byte at a time."""

    def handle(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(b"x")
                time.sleep(0.05)


@pytest.fixture
def dripping():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Drip) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_headers_that_drip_are_given_up(dripping):
    begun = time.monotonic()

    with (
        CA(dripping, deadline=0.3) as subject,
        pytest.raises(Unreachable, match="time"),
    ):
        subject.discovery()

    assert time.monotonic() - begun < 2


def test_what_is_closed_already_is_late_without_a_traceback():
    """A fault in the thread that watches the time would fail this test."""
    ours, theirs = socket.socketpair()
    ours.close()

    with theirs, pytest.raises(TimeoutError), _deadline(ours, 0.01):
        time.sleep(0.2)


def test_a_body_that_ends_early_is_no_body(ca):
    ca.raw["/v1/discovery"] = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"Content-Length: 9\r\n\r\n{}"
    )

    with CA(ca.url) as subject, pytest.raises(Unreachable, match="closed"):
        subject.discovery()


def test_a_body_that_drips_is_given_up(ca):
    ca.answers["/v1/discovery"] = Answer(body=b"x" * 100, drip_seconds=0.05)
    begun = time.monotonic()

    with CA(ca.url, deadline=0.3) as subject, pytest.raises(Unreachable, match="time"):
        subject.discovery()

    assert time.monotonic() - begun < 2


def test_a_port_where_something_else_listens_is_no_ca(ca):
    ca.raw["/v1/discovery"] = b"SSH-2.0-OpenSSH_9.2\r\n"

    with CA(ca.url) as subject, pytest.raises(BadAnswer, match="not answer in HTTP"):
        subject.discovery()


def test_a_name_that_does_not_resolve_is_unreachable():
    with CA("https://ca.invalid") as subject, pytest.raises(Unreachable):
        subject.discovery()


@pytest.mark.parametrize(
    ("url", "path", "target"),
    [
        ("", "/v1/x", "/v1/x"),
        ("/", "/v1/x", "/v1/x"),
        ("/ca/", "/v1/x", "/ca/v1/x"),
        ("/token/", "", "/token/"),
        ("/token?a=b", "", "/token?a=b"),
        ("", "", "/"),
    ],
)
def test_what_is_asked_of_which_url(ca, url, path, target):
    site = Site(f"{ca.url}{url}")

    site.get(path)

    assert list(ca.hits) == [target]
    site.close()


def test_a_ca_says_where_it_is():
    with FakeCA() as fake, CA(f"{fake.url}/") as subject:
        assert subject.url == fake.url


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://ca.example.com", "https://ca.example.com"),
        ("HTTPS://CA.Example.com:443/", "https://ca.example.com"),
        ("https://ca.example.com:8443", "https://ca.example.com:8443"),
        ("http://127.0.0.1:80", "http://127.0.0.1"),
        ("http://[::1]:8440/x", "http://[::1]:8440"),
    ],
)
def test_an_origin_has_one_spelling(url, origin):
    assert Site(url).name == origin
