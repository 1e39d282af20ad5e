"""`check` and `ensure`: quick, quiet, and one sign-in however many ask."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.certificate import KEY_FIELDS, parse_certificate, parse_line
from client import usable
from tests.client.a_terminal import on_a_terminal
from tests.fake_ca import problem

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "client"]


@pytest.fixture
def certificate(home, ca):
    """Put a certificate of any validity where ssh would find it."""

    def put(validity: str = "-1m:+10h", profile: str = "default") -> Path:
        path: Path = home / f".ssh/daypass/{profile}-cert.pub"
        path.parent.mkdir(parents=True, exist_ok=True)
        ca.validity = validity
        path.write_text(ca.certify(ca.public("other")))
        ca.validity = "-1m:+10h"
        return path

    return put


@pytest.mark.parametrize(
    ("validity", "status"), [("-1m:+1h", 0), ("-2h:-1h", 3), ("+1h:+2h", 3)]
)
def test_the_exit_code_is_the_answer_and_nothing_is_said(
    run, certificate, validity, status
):
    certificate(validity)

    said = run("check")

    assert (said.status, said.out, said.err) == (status, "", "")


@pytest.mark.parametrize(
    ("validity", "why"),
    [
        ("-2h:-30m", "the certificate ended 30 min ago"),
        ("+20m:+2h", "begins in 20 min; this machine's clock may be wrong"),
        (None, "there is no certificate"),
    ],
)
def test_who_asks_why_is_told(run, certificate, validity, why):
    if validity:
        certificate(validity)

    said = run("check", "-v")

    assert said.status == 3
    assert why in said.err
    assert said.err.endswith("ca-login: hint: ca-login\n")


def test_who_asks_for_how_long_is_told(run, certificate):
    path = certificate()

    said = run("check", "-v")

    assert said.err.endswith(f"{path} is good for 10 h 0 min\n")


def test_it_is_json_when_asked(run, certificate):
    before = run("check", "--json")
    path = certificate()

    after = run("check", "--json")

    assert before.status == 3
    assert before.document["problem"] == "there is no certificate"
    assert after.document["usable"] is True
    assert after.document["certificate"] == str(path)


@pytest.mark.parametrize("content", [b"", b"x", b"ssh-ed25519 AAAA", b"\xff" * 99])
def test_what_is_no_certificate_is_none(run, certificate, content):
    certificate().write_bytes(content)

    assert run("check").status == 3


def test_a_host_certificate_is_none(run, certificate, ca):
    ca.host = True
    certificate()

    assert run("check").status == 3


def test_each_profile_has_its_own(run, certificate):
    certificate(profile="other")

    assert run("check", "--profile", "other").status == 0
    assert run("check", "--profile", "default").status == 3
    assert run("check").status == 3


@pytest.mark.parametrize("xdg", [False, True])
def test_the_only_profile_need_not_be_named(run, certificate, home, monkeypatch, xdg):
    certificate(profile="other")
    config = home / ("elsewhere" if xdg else ".config")
    (config / "daypass").mkdir(parents=True)
    (config / "daypass/other.json").touch()
    if xdg:
        monkeypatch.setenv("XDG_CONFIG_HOME", str(config))

    assert run("check").status == 0

    (config / "daypass/third.json").touch()
    assert run("check").status == 3


def test_a_name_that_leads_elsewhere_is_misuse(run, certificate, home):
    certificate()

    said = run("check", "--profile", "../daypass/default")

    assert said.status == 2


def test_every_type_of_key_is_known():
    names = {name.removesuffix("@openssh.com") for name in KEY_FIELDS}

    assert {name.decode() for name in usable._KEY_FIELDS} == names  # noqa: SLF001


@pytest.mark.parametrize("bits", [["-t", "rsa"], ["-t", "ecdsa"], ["-t", "ed25519"]])
def test_it_reads_what_the_real_parser_reads(ca, tmp_path, bits):
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", *bits, "-N", "", "-f", path], check=True)
    line = ca.certify(" ".join(Path(f"{path}.pub").read_text().split()[:2]))

    says, _ = parse_certificate(parse_line(line))

    assert usable.read_validity(line.encode()) == (says.valid_after, says.valid_before)


@given(line=st.binary(), cut=st.integers(0, 1000))
def test_any_bytes_are_a_certificate_or_a_value_error(line, cut):
    for some in (line, b"ssh-ed25519-cert-v01@openssh.com " + line, LINE[:cut]):
        try:
            usable.read_validity(some)
        except ValueError:
            continue


LINE = (
    b"ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1lZDI1NTE5LWNlcnQtdjAxQG9wZW5zc2gu"
    b"Y29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAAIAABAgMEBQYHCAkKCwwN"
    b"Dg8QERITFBUWFxgZGhscHR4fAAAAAAAAACoAAAABAAAAA2FkYQ=="
)


@pytest.mark.parametrize("command", ["check", "ensure"])
def test_it_loads_next_to_nothing(certificate, command):
    certificate()
    code = (
        "import sys; before = set(sys.modules)\n"
        "import client.__main__ as c\n"
        f"status = c.main([{command!r}])\n"
        "print(status, sorted(set(sys.modules) - before))"
    )

    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n{code}",
        ],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": os.environ["HOME"]},
    )

    loaded = {"client", "client.__main__", "client.usable", "binascii"}
    status, _, modules = done.stdout.partition(" ")
    assert status == "0"
    assert set(json.loads(modules.replace("'", '"'))) <= loaded


# --- ensure -----------------------------------------------------------------------


def test_a_good_certificate_is_enough(run, certificate, ca):
    run("setup", ca.url, "--pin", ca.pin)
    certificate()

    assert run("ensure").err == ""
    assert run("ensure", "--json").document["signed_in"] is False
    assert ca.requests == []


def test_without_a_terminal_nobody_is_asked(login, ca):
    done = subprocess.run(
        [*COMMAND, "ensure"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,  # which has no terminal
    )

    assert done.returncode == 4
    assert done.stderr.splitlines()[1:] == [
        "ca-login: there is no terminal to ask on",
        "ca-login: hint: ca-login",
    ]
    assert ca.requests == []


@pytest.mark.parametrize("command", [["ensure"], ["--token-file", "-"]])
def test_who_only_looks_signs_nobody_in(login, ca, monkeypatch, command):
    monkeypatch.setenv("CA_LOGIN_NEVER_ASK", "1")

    said = on_a_terminal([*COMMAND, *command])

    assert said.status == 4
    assert "CA_LOGIN_NEVER_ASK is set" in said.text
    assert ca.requests == []


def test_on_a_terminal_it_signs_in_and_says_so_there(login, ca, idp, browser, keys):
    browser("honest")

    # As ssh runs it, and with its standard error kept from the person as well.
    said = on_a_terminal(
        ["sh", "-c", f"{sys.executable} -m client ensure >/dev/null 2>&1"]
    )

    assert said.status == 0
    assert "signed in as corp:ada@example.com" in said.text
    assert keys.held().key_matches


@pytest.mark.parametrize("ends", ["+50s", "-1s"])
def test_a_certificate_that_is_about_to_end_is_not_enough(
    login, ca, idp, browser, certificate, ends
):
    certificate(f"-1h:{ends}")
    browser("honest")

    assert on_a_terminal([*COMMAND, "ensure"]).status == 0

    assert len(ca.requests) == 1


def many(count: int) -> list[int]:
    """Run `ensure` many times at once on one terminal; return the exit codes."""
    ensure = f"{sys.executable} -m client ensure"
    each = f"({ensure} >/dev/null 2>&1; echo status $?) &"
    said = on_a_terminal(["sh", "-c", f"{each * count} wait"])
    return [int(line.split()[1]) for line in said.text.splitlines() if "status" in line]


def test_fifty_at_once_sign_in_once(login, ca, idp, browser, keys):
    browser("honest")
    ca.delay_seconds = 0.5

    statuses = many(50)

    assert statuses == [0] * 50
    assert len(ca.requests) == 1
    assert keys.held().key_matches


def test_a_sign_in_that_fails_is_not_tried_by_each_who_waited(login, ca, idp, browser):
    browser("honest")
    ca.delay_seconds = 2
    ca.answers["/v1/user-certificates"] = problem(403, "denied", "not you")

    statuses = many(6)

    assert sorted(statuses) == [4] * 5 + [5]
    assert ca.hits["/v1/user-certificates"] == 1


def test_who_was_killed_in_the_middle_stops_nobody(login, ca, idp, browser):
    ca.delay_seconds = 3
    process = subprocess.Popen([*COMMAND], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not ca.hits["/v1/discovery"]:
        time.sleep(0.01)
    ca.delay_seconds = 0
    browser("honest")
    process.kill()
    process.wait()

    assert on_a_terminal([*COMMAND, "ensure"]).status == 0
