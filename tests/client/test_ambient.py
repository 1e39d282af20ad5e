"""A job signs in with its platform's token, made for its key where that can be."""

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from ca.binding import audience_for
from ca.certificate import parse_line
from tests.client.conftest import TOKEN
from tests.fakes import Answer
from tests.github import GitHub

JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.fixture
def github(monkeypatch) -> Iterator[GitHub]:
    with GitHub() as github:
        for name, value in github.environment.items():
            monkeypatch.setenv(name, value)
        yield github


@pytest.fixture
def job(run, ca):
    """Set a job up whose CA takes tokens that are bound by their audience."""
    ca.trust_issuer("https://ci.example.com", name="github", flow="ci")
    assert run("setup", ca.url, "--pin", ca.pin).status == 0
    return run


def test_github_is_asked_for_a_token_for_the_new_key(job, ca, github):
    said = job()

    assert said.status == 0
    (asked,) = ca.requests
    assert github.audiences == [audience_for(ca.url, parse_line(asked["public_key"]))]
    assert asked.keys() == {"public_key", "id_token"}
    assert asked["id_token"] == github.made[0]
    assert github.secret not in said.err


def test_the_query_of_the_address_is_kept(job, github):
    job()

    (target,) = github.targets
    assert parse_qs(urlsplit(target).query)["api-version"] == ["2.0"]


def test_an_address_without_a_query_gets_one(job, github, monkeypatch):
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{github.url}/token")

    assert job().status == 0


def test_where_tokens_are_not_bound_the_client_id_is_the_audience(job, ca, github):
    ca.issuers[0]["clients"][0] |= {"id": "daypass", "binding": "none"}

    assert job().status == 0

    assert github.audiences == ["daypass"]


def test_issuers_that_want_the_same_audience_need_no_name(job, ca, github):
    ca.trust_issuer("https://gitlab.example.com", name="gitlab", flow="ci")

    assert job().status == 0


def test_a_token_that_is_bound_is_asked_for_wherever_one_is_taken(job, ca, github):
    unbound = {"id": "daypass", "binding": "none"}
    ca.trust_issuer("https://g.example.com", name="gitlab", flow="ci", **unbound)

    assert job().status == 0

    assert github.audiences[0].startswith(f"{ca.url}#")
    assert job("--issuer", "gitlab").status == 0
    assert github.audiences[1] == "daypass"


def test_issuers_that_know_us_under_different_ids_need_a_name(job, ca, github):
    ca.issuers.clear()
    for name in ("github", "gitlab"):
        unbound = {"id": f"daypass-{name}", "binding": "none"}
        ca.trust_issuer(f"https://{name}.example", name=name, flow="ci", **unbound)

    said = job()

    assert said.status == 2
    assert "under several client ids, at github, gitlab" in said.err
    assert github.audiences == []
    assert job("--issuer", "github").status == 0
    assert github.audiences == ["daypass-github"]


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        (Answer(401, b'{"message": "no\\u001b[m"}', JSON), 4, "refused: no\\x1b[m"),
        (Answer(500, b"{}", JSON), 4, "refused: it does not say why"),
        (Answer(200, b"{}", JSON), 1, "no field 'value'"),
        (Answer(200, b'{"value": "x"}', JSON), 4, "is no ID token"),
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), 1, "instead of JSON"),
        (Answer(302, b"", {"Location": "/"}), 1, "send us elsewhere"),
    ],
)
def test_a_bad_answer_of_the_platform_is_a_clean_error(
    job, ca, github, answer, status, why
):
    github.answer = answer

    said = job()

    assert said.status == status
    assert why in said.err
    assert github.secret not in said.err
    assert ca.requests == []


def test_the_platform_is_asked_over_tls_or_on_this_machine(job, monkeypatch, github):
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://evil.example.com/")

    said = job()

    assert said.status == 2
    assert "would not protect a token" in said.err


def test_a_token_in_a_variable_is_sent_as_it_is(job, ca, monkeypatch):
    monkeypatch.setenv("CA_LOGIN_ID_TOKEN", f"{TOKEN}\n")

    assert job().status == 0
    assert ca.requests[0]["id_token"] == TOKEN


def test_a_token_in_a_projected_file_is_sent_as_it_is(job, ca, token_file, monkeypatch):
    monkeypatch.setenv("CA_LOGIN_TOKEN_FILE", token_file)

    assert job().status == 0
    assert ca.requests[0]["id_token"] == TOKEN


def test_a_token_that_was_given_is_taken_before_one_is_asked_for(
    job, ca, github, monkeypatch
):
    monkeypatch.setenv("CA_LOGIN_ID_TOKEN", TOKEN)

    assert job().status == 0
    assert github.audiences == []


@pytest.mark.parametrize("given", ["x", "a.b.c.d", "a.\N{SNOWMAN}.c", "a" * 17_000])
def test_what_is_no_token_is_not_sent_and_not_repeated(job, ca, monkeypatch, given):
    monkeypatch.setenv("CA_LOGIN_ID_TOKEN", given)

    said = job()

    assert said.status == 2
    assert "CA_LOGIN_ID_TOKEN holds no ID token" in said.err
    assert ca.requests == []


def test_a_file_that_is_not_there_is_named(job, monkeypatch):
    monkeypatch.setenv("CA_LOGIN_TOKEN_FILE", "/nowhere/token")

    said = job()

    assert said.status == 2
    assert "there is no file /nowhere/token" in said.err


def test_a_job_that_was_told_to_but_has_none_says_where_to_put_one(job, monkeypatch):
    monkeypatch.setenv("CA_LOGIN_FLOW", "ci")

    said = job()

    assert said.status == 4
    assert "hint: set CA_LOGIN_ID_TOKEN or CA_LOGIN_TOKEN_FILE" in said.err


# --- A key that was there before the token -----------------------------------------


def test_the_audience_for_a_key_is_there_to_be_asked_for(job, ca, home, own_key):
    said = job("--key", str(own_key), "--print-audience")

    blob = parse_line(" ".join(own_key.with_suffix(".pub").read_text().split()[:2]))
    assert said.status == 0
    assert said.out == f"{audience_for(ca.url, blob)}\n"
    assert ca.requests == []
    as_json = job("--key", str(own_key), "--print-audience", "--json").out
    assert json.loads(as_json) == {"v": 1, "audience": said.out.strip()}


def test_an_audience_is_for_one_key(job):
    said = job("--print-audience")

    assert said.status == 2
    assert "hint: add --key FILE" in said.err
