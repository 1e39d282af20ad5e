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
from client.failure import SignInFailed
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
    ca.trust_issuer("https://ci.example.com", binding="none")
    run("setup", ca.url, "--pin", ca.pin)

    said = run()

    assert said.status == 4
    assert "hint: give a token: ca-login --token-file FILE" in said.err


def test_the_first_client_for_people_is_taken(run, ca, idp, browser):
    ca.issuers.insert(0, {"name": "ci", "url": "https://ci.example.com", "clients": []})
    ca.issuers[1]["clients"].insert(
        0, {"id": "ci", "binding": "none", "scopes": ["openid"]}
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

    assert subject.open_browser("https://example.com/")

    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("environment", "commands"),
    [
        ({}, []),
        ({"DISPLAY": ":0"}, ["xdg-open", "x-www-browser"]),
        ({"WAYLAND_DISPLAY": "wayland-0"}, ["xdg-open", "x-www-browser"]),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, []),
        ({"BROWSER": "firefox:w3m %s: "}, ["firefox", "w3m %s"]),
    ],
)
def test_which_browsers_are_tried(monkeypatch, environment, commands):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert subject.browsers() == commands


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
