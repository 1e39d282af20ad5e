"""The browser's sign-in: bound to the key, and deaf to all but one answer."""

import json
import os
import socket
import struct
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from ca.binding import decode_base64url, nonce_for
from ca.certificate import parse_line
from client import browser as subject
from client import session
from client.failure import SignInFailed, Unable
from tests.fakes import Answer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sign_in(run, ca, idp):
    assert run("setup", ca.url, "--pin", ca.pin).status == 0
    return run


def claims(token: str) -> dict[str, object]:
    payload: dict[str, object] = json.loads(decode_base64url(token.split(".")[1]))
    return payload


def url_in(err: str) -> str:
    return next(word for word in err.split() if "/authorize?" in word)


def test_one_tab_and_one_line(sign_in, browser, keys):
    seen = browser("honest")

    said = sign_in()

    assert said.status == 0
    assert said.out == ""
    assert "signed in as corp:ada@example.com" in said.err
    assert keys.held().key_matches
    (page,) = seen()
    assert page["status"] == 200
    assert "You have signed in" in page["page"]


def test_the_token_is_bound_to_the_key(sign_in, browser, ca):
    browser("honest")

    sign_in()

    (asked,) = ca.requests
    nonce = nonce_for(parse_line(asked["public_key"]), decode_base64url(asked["salt"]))
    assert claims(asked["id_token"])["nonce"] == nonce


def test_the_request_is_what_the_standards_say(sign_in, browser):
    browser("honest")

    first, second = (parse_qs(urlsplit(url_in(sign_in().err)).query) for _ in range(2))

    assert first["response_type"] == ["code"]
    assert first["code_challenge_method"] == ["S256"]
    assert first["scope"] == ["openid email"]
    for name in ("state", "nonce", "code_challenge", "redirect_uri"):
        assert first[name] != second[name]
    assert urlsplit(first["redirect_uri"][0]).hostname == "127.0.0.1"


def test_the_page_tells_nothing_and_loads_nothing(sign_in, browser):
    seen = browser("honest")

    sign_in()

    (page,) = seen()
    headers = page["headers"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    assert "src=" not in page["page"]


def test_an_answer_with_another_state_changes_nothing(sign_in, browser, ca):
    seen = browser("wrong-state")

    said = sign_in()

    assert said.status == 0
    *evil, good = seen()
    assert [page["status"] for page in evil] == [400] * 5
    assert all("You have signed in" not in page["page"] for page in evil)
    assert good["status"] == 200


def test_other_requests_change_nothing(sign_in, browser):
    seen = browser("other-requests")

    said = sign_in()

    assert said.status == 0
    statuses = [page["status"] for page in seen()]
    assert statuses == [405] * 4 + [404] * 6 + [200]


def test_only_the_first_answer_counts(sign_in, browser, idp):
    seen = browser("twice")

    said = sign_in()

    assert said.status == 0
    assert idp.hits["/token"] == 1
    first, *second = seen()
    assert first["status"] == 200
    assert all(page["status"] == 409 for page in second)


def test_a_refusal_is_told_in_both_places_and_runs_in_neither(sign_in, browser, idp):
    seen = browser("refused")

    said = sign_in()

    assert said.status == 4
    assert (
        "the identity provider says: <script>alert(1)</script>\\x1b[31mno" in said.err
    )
    assert said.err.endswith("hint: ca-login\n")
    assert idp.hits["/token"] == 0
    page = seen()[0]
    assert page["status"] == 400
    assert "<script>" not in page["page"]
    assert "&lt;script&gt;" in page["page"]


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("refused-plainly", "says: access_denied"),
        ("other-issuer", "not from the issuer that was asked"),
        ("no-issuer", "not from the issuer that was asked"),
        ("no-code", "holds no code"),
    ],
)
def test_an_answer_with_our_state_that_is_wrong_ends_it(
    sign_in, browser, idp, ca, mode, why
):
    browser(mode)

    said = sign_in()

    assert said.status == 4
    assert why in said.err
    assert idp.hits["/token"] == 0
    assert ca.requests == []


def discovery(idp, **changes):
    document = json.loads(idp.discovery({}).body) | changes
    idp.answers["/.well-known/openid-configuration"] = Answer(
        body=json.dumps(document).encode(),
        headers={"Content-Type": "application/json"},
    )


def test_an_issuer_that_does_not_name_itself_need_not(sign_in, browser, idp):
    browser("no-issuer")
    discovery(idp, authorization_response_iss_parameter_supported=False)
    idp.answers["/token"] = Answer(400, b'{"error":"invalid_grant"}', JSON)

    said = sign_in()

    assert said.status == 4
    assert f"{idp.url} refused: invalid_grant" in said.err
    assert idp.hits["/token"] == 1


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": None},
        {"authorization_endpoint": "http://evil.example.com/"},
        {"authorization_endpoint": "file:///etc/passwd"},
        {"token_endpoint": None},
    ],
)
def test_an_issuer_that_lies_about_itself_gets_no_browser(sign_in, idp, changes):
    discovery(idp, **changes)

    said = sign_in()

    assert said.status == 1
    assert f"could not sign in at {idp.url}" in said.err
    assert idp.hits["/authorize"] == 0


def test_a_token_endpoint_that_is_not_safe_gets_no_code(sign_in, browser, idp):
    browser("honest")
    discovery(idp, token_endpoint="http://evil.example.com/")  # noqa: S106 a URL

    said = sign_in()

    assert said.status == 1
    assert "the issuer names a bad URL" in said.err


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        (Answer(500, b"", {"Content-Type": "text/html"}), 1, "instead of JSON"),
        (Answer(302, b"", {"Location": "/"}), 1, "send us elsewhere"),
        (Answer(200, b"{}", JSON), 1, "no field 'id_token'"),
        (Answer(200, b'{"id_token": "x"}', JSON), 1, "is no ID token"),
        (Answer(200, b'{"id_token": "\xed\xa0\x80"}', JSON), 1, "broken JSON"),
        (Answer(200, b'{"id_token": "\\ud800"}', JSON), 1, "is no ID token"),
        (
            Answer(400, b'{"error": "a", "error_description": "b"}', JSON),
            4,
            "refused: b",
        ),
    ],
)
def test_a_bad_answer_for_the_code_is_a_clean_error(
    sign_in, browser, idp, answer, status, why
):
    browser("honest")
    idp.answers["/token"] = answer

    said = sign_in()

    assert said.status == status
    assert why in said.err


def test_an_issuer_that_redirects_is_refused(sign_in, idp):
    path = "/.well-known/openid-configuration"
    idp.answers[path] = Answer(301, headers={"Location": "https://evil.example.com"})

    said = sign_in()

    assert said.status == 1
    assert "send us elsewhere" in said.err


def test_a_ca_without_a_browser_sign_in_says_what_to_do(run, ca):
    ca.trust_issuer("https://ci.example.com", flow="ci", binding="none")
    run("setup", ca.url, "--pin", ca.pin)

    said = run()

    assert said.status == 4
    assert "hint: give a token: ca-login --token-file FILE" in said.err


def test_the_first_client_for_people_is_taken(run, ca, idp, browser):
    ca.issuers.insert(0, {"name": "ci", "url": "https://ci.example.com", "clients": []})
    ca.issuers[1]["clients"].insert(
        0, {"id": "ci", "flow": "ci", "binding": "none", "scopes": ["openid"]}
    )
    browser("honest")
    run("setup", ca.url, "--pin", ca.pin)

    assert run().status == 0
    assert claims(ca.requests[0]["id_token"])["aud"] == "ca-login"


def visit(url: str) -> int:
    """Follow redirects from a URL; return the last status."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 loopback
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def visit_when_printed(process: "subprocess.Popen[str]") -> str:
    """Go where a person would go who reads the terminal."""
    assert process.stderr is not None
    line = process.stderr.readline()
    visit(url_in(line))
    return line


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"BROWSER": "/nowhere/a-browser:'unbalanced"},
        {"DISPLAY": ":7", "PATH": os.environ["PATH"]},
        {"DISPLAY": ":7", "SSH_CONNECTION": "192.0.2.1 1 192.0.2.2 22"},
    ],
)
def test_without_a_browser_the_url_is_there_to_open(sign_in, tmp_path, environment):
    process = subprocess.Popen(
        [sys.executable, "-m", "client"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    line = visit_when_printed(process)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 0
    assert line.startswith("ca-login: open http://")
    assert "signed in as" in err


def test_no_open_opens_nothing(sign_in, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER", f"touch {tmp_path / 'opened'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "client", "--no-open"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    visit_when_printed(process)
    process.communicate(timeout=20)

    assert process.returncode == 0
    assert not (tmp_path / "opened").exists()


def test_a_browser_gets_the_url_last_and_our_output_never(sign_in, capfd, monkeypatch):
    monkeypatch.setenv("BROWSER", "echo:echo %s")

    assert session.open_browser("https://example.com/")

    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("environment", "commands"),
    [
        ({}, []),
        ({"DISPLAY": ":0"}, ["xdg-open", "x-www-browser"]),
        ({"WAYLAND_DISPLAY": "wayland-0"}, ["xdg-open", "x-www-browser"]),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, []),
        ({"DISPLAY": ":0", "SSH_TTY": "/dev/pts/1"}, []),
        ({"DISPLAY": ":0", "container": "podman"}, []),
        ({"BROWSER": "firefox:chromium %s: "}, ["firefox", "chromium %s"]),
        ({"BROWSER": "/usr/bin/w3m %s:lynx:open", "SSH_CONNECTION": "x"}, ["open"]),
        ({"BROWSER": "www-browser", "DISPLAY": ":0"}, []),
    ],
)
def test_which_browsers_are_tried(monkeypatch, tmp_path, environment, commands):
    monkeypatch.delenv("container", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert session.browsers(root=tmp_path) == commands


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_has_no_screen_of_its_own(monkeypatch, tmp_path, mark):
    monkeypatch.delenv("container", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    (tmp_path / "run").mkdir()
    assert session.browsers(root=tmp_path) != []

    (tmp_path / mark).touch()

    assert session.browsers(root=tmp_path) == []


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port


def redirect_of(err: str) -> str:
    return parse_qs(urlsplit(url_in(err)).query)["redirect_uri"][0]


def test_a_provider_that_wants_a_port_it_knows_gets_that_one_each_time(
    sign_in, browser, ca
):
    browser("honest")
    port = free_port()
    ca.issuers[0]["clients"][0]["redirect_ports"] = [port]

    for _ in range(3):
        said = sign_in()
        assert said.status == 0, said.err
        assert redirect_of(said.err) == f"http://127.0.0.1:{port}/callback"


def test_of_several_known_ports_the_first_free_one_is_taken(sign_in, browser, ca):
    browser("honest")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = [taken.getsockname()[1], free_port()]
        ca.issuers[0]["clients"][0]["redirect_ports"] = ports

        said = sign_in()

    assert redirect_of(said.err) == f"http://127.0.0.1:{ports[1]}/callback"
    assert said.status == 0


def test_when_all_known_ports_are_taken_they_are_named(sign_in, ca, idp):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ca.issuers[0]["clients"][0]["redirect_ports"] = [port]

        said = sign_in()

    assert said.status == 1
    assert f"cannot listen on port {port} of 127.0.0.1" in said.err
    assert "hint: see what else listens there: ss -ltnp" in said.err
    assert idp.hits["/authorize"] == 0


def test_a_provider_that_wants_the_name_localhost_gets_it(sign_in, browser, ca):
    browser("honest")
    ca.issuers[0]["clients"][0]["redirect_host"] = "localhost"

    said = sign_in()

    assert said.status == 0
    assert redirect_of(said.err).startswith("http://localhost:")


def has_ipv6() -> bool:
    """Say whether `::1` is an address here, as in not every container."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_whoever_calls_it_localhost_is_heard_at_each_of_its_addresses():
    with subject.Listener("localhost") as listener:
        port = int(listener.host.partition(":")[2])
        for address in ("127.0.0.1", "::1") if has_ipv6() else ("127.0.0.1",):
            with socket.create_connection((address, port)) as browser:
                browser.sendall(b"GET /callback HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 404 " in browser.recv(4096)


def test_nobody_else_listens_at_the_other_address_of_localhost():
    if not has_ipv6():
        return  # then nobody can
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(Unable, match=f"port {port} of localhost"):
            subject.Listener("localhost", [port])


def test_more_parameters_are_said_and_none_of_ours_is_replaced(sign_in, browser, ca):
    browser("honest")
    parameters = {"prompt": "login", "hd": "a b&c", "state": "evil", "nonce": "evil"}
    ca.issuers[0]["clients"][0]["parameters"] = parameters

    said = sign_in()

    query = parse_qs(urlsplit(url_in(said.err)).query)
    assert said.status == 0
    assert (query["prompt"], query["hd"]) == (["login"], ["a b&c"])
    assert "evil" not in url_in(said.err)


def test_a_public_secret_is_said_with_the_code_alone(sign_in, browser, ca, idp):
    browser("honest")
    ca.issuers[0]["clients"][0]["public_secret"] = "not-one"  # noqa: S105 as it says

    said = sign_in()

    assert said.status == 0
    assert idp.forms[0]["client_secret"] == "not-one"  # noqa: S105 as it says
    assert "not-one" not in said.err


def test_nobody_signs_in_for_ever():
    with subject.Listener() as listener, pytest.raises(SignInFailed, match="nobody"):
        listener.wait(0.05)


def test_nothing_is_believed_before_it_is_expected():
    with subject.Listener() as listener:
        verdict = listener.judge("/callback?state=&code=x", listener.host)

    assert verdict.status == 400
    assert verdict.outcome is None


@pytest.fixture
def listener():
    with subject.Listener() as listener:
        listener.expect(subject.Expected("s", "https://i", names_issuer=False))
        yield listener


def test_a_second_answer_is_told_that_it_is_late(listener):
    url = f"{listener.redirect_uri}?state=s&code="

    statuses = [visit(f"{url}first"), visit(f"{url}second")]

    assert statuses == [200, 409]
    assert listener.wait(5) == "first"


def test_connections_that_come_to_nothing_stop_nobody(listener):
    host, port = listener.host.split(":")
    address = (host, int(port))

    with socket.create_connection(address):  # as browsers do ahead of time
        with socket.create_connection(address) as gone:
            gone.sendall(b"GET / HTTP/1.1\r\n")
        with socket.create_connection(address) as garbage:
            garbage.sendall(b"\x16\x03\x01\r\n\r\n")
            assert b"Not here" in garbage.recv(4096)
        with socket.create_connection(address) as reset:
            reset.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            reset.sendall(b"GET / HT")
        url = f"{listener.redirect_uri}?state=s&code=c"
        assert visit(url) == 200

        assert listener.wait(5) == "c"
