"""Which way to sign in is chosen: as told, else what suits where we are."""

import json
from typing import Any

import pytest

from client import flows
from client.failure import Misuse, SignInFailed
from client.messages import Client, Discovery, Issuer

BROWSER, DEVICE, CI = flows.FLOWS
SCREEN = {"BROWSER": "firefox"}
GITHUB = {
    "ACTIONS_ID_TOKEN_REQUEST_URL": "https://token.example.com/?v=2",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
}


def discovery(*offered: str, issuers: tuple[str, ...] = ("corp",)) -> Discovery:
    clients = tuple(
        Client(f"id-{flow}", flow, "nonce", ("openid",)) for flow in offered
    )
    named = tuple(Issuer(n, f"https://{n}.example.com", clients) for n in issuers)
    return Discovery("https://ca.example.com", named, (), 0)


def choose(*offered: str, told: str | None = None, **others: Any) -> str:
    flow, offers = flows.choose(
        discovery(*offered, **others), told=told, issuer=others.get("issuer")
    )
    assert {offer.client.flow for offer in offers} == {flow}
    return flow


@pytest.mark.parametrize(
    ("environment", "offered", "flow"),
    [
        (SCREEN, (BROWSER, DEVICE, CI), BROWSER),
        (SCREEN, (DEVICE, BROWSER), BROWSER),
        (SCREEN, (DEVICE,), DEVICE),
        ({}, (BROWSER, DEVICE), DEVICE),
        ({}, (BROWSER,), BROWSER),
        ({}, ("of-a-later-version", DEVICE), DEVICE),
        ({"DISPLAY": ":0", "SSH_CONNECTION": "x"}, (BROWSER, DEVICE), DEVICE),
        ({"BROWSER": "lynx"}, (BROWSER, DEVICE), DEVICE),
        (SCREEN | {"CA_LOGIN_ID_TOKEN": "t"}, (BROWSER, DEVICE, CI), CI),
        (SCREEN | {"CA_LOGIN_TOKEN_FILE": "f"}, (BROWSER, DEVICE, CI), CI),
        (SCREEN | GITHUB, (BROWSER, DEVICE, CI), CI),
        ({"CI": "true"} | GITHUB, (BROWSER, DEVICE, CI), CI),
    ],
)
def test_what_suits_is_chosen(monkeypatch, environment, offered, flow):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert choose(*offered) == flow


@pytest.mark.parametrize("offered", [(), (CI,), ("of-a-later-version",)])
def test_where_people_cannot_sign_in_a_token_is_asked_for(offered):
    with pytest.raises(SignInFailed, match="no sign-in for people") as caught:
        choose(*offered)
    assert "--token-file" in str(caught.value.hint)


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_a_job_without_a_token_never_waits_for_a_person(monkeypatch, value):
    monkeypatch.setenv("CI", value)

    with pytest.raises(SignInFailed, match="no platform has an ID token"):
        choose(BROWSER, DEVICE, CI)


def test_a_workflow_that_may_not_ask_is_told_what_lacks(monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")

    with pytest.raises(SignInFailed) as caught:
        choose(BROWSER, DEVICE, CI)
    assert caught.value.hint == "in the workflow: permissions: { id-token: write }"


def test_who_is_told_a_flow_takes_that_and_no_other(monkeypatch):
    monkeypatch.setenv("BROWSER", "firefox")

    assert choose(BROWSER, DEVICE, told=DEVICE) == DEVICE
    with pytest.raises(SignInFailed, match="no sign-in of the kind 'device'"):
        choose(BROWSER, told=DEVICE)


def test_the_command_line_outdoes_the_environment_and_that_the_profile(monkeypatch):
    assert flows.told(asked=None, kept=None) is None
    assert flows.told(asked=None, kept=DEVICE) == DEVICE
    monkeypatch.setenv("CA_LOGIN_FLOW", CI)
    assert flows.told(asked=None, kept=DEVICE) == CI
    assert flows.told(asked=BROWSER, kept=DEVICE) == BROWSER


def test_a_flow_that_there_is_not_is_misuse(monkeypatch):
    monkeypatch.setenv("CA_LOGIN_FLOW", "carrier-pigeon")

    with pytest.raises(Misuse, match="CA_LOGIN_FLOW names") as caught:
        flows.told(asked=None, kept=None)
    assert caught.value.hint == "the flows are browser, device, ci"

    monkeypatch.delenv("CA_LOGIN_FLOW")
    with pytest.raises(Misuse, match="the profile names"):
        flows.told(asked=None, kept="x")


def test_an_issuer_is_chosen_by_its_name_or_is_the_first():
    both = discovery(DEVICE, issuers=("corp", "partner"))

    _, first = flows.choose(both, told=None, issuer=None)
    _, named = flows.choose(both, told=None, issuer="partner")

    assert first[0].issuer.name == "corp"
    assert [offer.issuer.name for offer in named] == ["partner"]


def test_an_issuer_that_there_is_not_is_misuse():
    with pytest.raises(Misuse, match="no issuer 'crop'") as caught:
        flows.choose(discovery(DEVICE), told=None, issuer="crop")
    assert caught.value.hint == "its issuers are corp"
    with pytest.raises(Misuse) as caught:
        flows.choose(discovery(issuers=()), told=None, issuer="crop")
    assert caught.value.hint == "its issuers are none"


# --- As commands -------------------------------------------------------------------


def test_a_profile_can_say_how_to_sign_in(run, ca, idp, browser, home):
    browser("honest")
    path = home / ".config/daypass/default.json"

    assert run("setup", ca.url, "--pin", ca.pin, "--flow", "device").status == 0

    assert json.loads(path.read_text())["flow"] == "device"
    said = run()
    assert said.status == 4
    assert "no sign-in of the kind 'device'" in said.err
    assert run("--browser").status == 0


def test_setting_up_again_keeps_the_flow_and_changes_none(run, ca):
    again = ("setup", ca.url, "--pin", ca.pin)
    run(*again, "--flow", "device")

    assert run(*again).status == 0
    assert run(*again, "--flow", "device").status == 0
    said = run(*again, "--flow", "browser")

    assert said.status == 2
    assert "with another flow" in said.err
    assert "hint: change the keys flow and agent in " in said.err


@pytest.mark.parametrize("flow", [1, ["device"], "telepathy"])
def test_a_profile_with_a_flow_that_there_is_not_is_refused(run, ca, idp, home, flow):
    run("setup", ca.url, "--pin", ca.pin)
    path = home / ".config/daypass/default.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"flow": flow}))

    said = run()

    assert said.status in {1, 2}
    assert "profile" in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--browser", "--device"),
        ("--device", "--token-file", "x"),
        ("--browser", "--token-file", "x"),
    ],
)
def test_two_ways_at_once_are_misuse(run, arguments):
    assert run(*arguments).status == 2


def test_people_of_another_issuer_sign_in_there(run, ca, idp, browser):
    ca.issuers.insert(0, {"name": "first", "url": "https://x.example", "clients": []})
    ca.issuers[0]["clients"] = ca.issuers[1]["clients"]
    browser("honest")
    run("setup", ca.url, "--pin", ca.pin)

    assert run("--issuer", "corp").status == 0


WRONG_CLIENTS = [
    {"flow": None},
    {"redirect_host": "evil.example.com"},
    {"redirect_host": ["127.0.0.1"]},
    {"redirect_ports": ["8765"]},
    {"redirect_ports": [True]},
    {"redirect_ports": [70000]},
    {"redirect_ports": 1},
    {"public_secret": 1},
    {"parameters": []},
    {"parameters": {"prompt": 1}},
]


@pytest.mark.parametrize("wrong", WRONG_CLIENTS, ids=json.dumps)
def test_a_client_that_makes_no_sense_is_a_clean_error(run, ca, idp, wrong):
    run("setup", ca.url, "--pin", ca.pin)
    ca.issuers[0]["clients"][0].update(wrong)

    said = run()

    assert said.status == 1
    assert "the answer has no field" in said.err
