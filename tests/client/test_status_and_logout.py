"""`status` tells what ssh would find; `logout` leaves nothing to find."""

import time

import pytest

from ca.certificate import parse_line
from client import ssh_keygen


@pytest.fixture
def installed(login, ca, keys):
    """Install a certificate of any validity, as a sign-in then would have."""

    def install(validity: str) -> None:
        ca.validity = validity
        with keys.attempt() as attempt:
            attempt.add_certificate(ca.certify(attempt.public_key()[0]))
            keys.install(attempt)

    return install


def test_a_usable_certificate_is_shown(run, login, ca, keys):
    login()

    said = run("status")

    assert said.status == 0
    assert said.err == ""
    assert said.out.startswith(f"ca           {ca.url}\n")
    assert "key ID       corp:ada@example.com\nprincipals   ada, deploy\n" in said.out
    assert "(10 h 0 min left)" in said.out
    assert said.out.endswith(f"certificate  {keys.certificate}\n")


def test_it_is_json_when_asked(run, login):
    login()

    document = run("status", "--json").document

    assert document["usable"] is True
    assert document["problem"] is None
    assert document["principals"] == ["ada", "deploy"]
    assert document["valid_before"] > time.time()


def test_no_certificate_is_exit_code_3(run, login):
    said = run("status")
    json = run("status", "--json")

    assert (said.status, json.status) == (3, 3)
    assert said.out == json.err == ""
    assert said.err == (
        "ca-login: error: could not find a usable certificate\n"
        "ca-login: there is no certificate\n"
        "ca-login: hint: ca-login\n"
    )
    assert json.document["usable"] is False
    assert json.document["problem"] == "there is no certificate"


@pytest.mark.parametrize(
    ("validity", "why"),
    [
        ("-2h:-30m", "the certificate ended 30 min ago"),
        ("+20m:+2h", "begins in 20 min; this machine's clock may be wrong"),
    ],
)
def test_a_certificate_at_the_wrong_time_is_exit_code_3(run, installed, validity, why):
    installed(validity)

    said = run("status")
    document = run("status", "--json").document

    assert said.status == 3
    assert why in said.err
    assert document["key_id"] == "corp:ada@example.com"


def test_another_key_beside_the_certificate_is_exit_code_3(run, installed, keys):
    installed("-1m:+1h")
    keys.private.resolve().unlink()
    ssh_keygen.generate(keys.private.resolve(), "another")

    said = run("status")

    assert said.status == 3
    assert "is not the one that it certifies" in said.err


@pytest.mark.parametrize("private", [b"", b"\xff", b"a\nAAAA\nb\n", b"a\n!\nb\n"])
def test_a_damaged_key_is_exit_code_3(run, installed, keys, private):
    installed("-1m:+1h")
    keys.private.write_bytes(private)

    assert run("status").status == 3


@pytest.mark.parametrize("line", [b"", b"\xff", b"ssh-ed25519 AAAA"])
def test_a_damaged_certificate_is_none_and_goes_at_the_next_sign_in(
    run, login, installed, keys, ca, line
):
    installed("-1m:+1h")
    keys.certificate.write_bytes(line)

    assert run("status").status == 3

    ca.validity = "-1m:+10h"
    assert login().status == 0
    assert keys.held().key_matches


def test_logout_removes_every_key_and_certificate(run, login, keys):
    login()

    said = run("logout")

    assert said.status == 0
    assert said.err == "ca-login: logged out\n"
    # Without what is revoked, ssh would refuse all hosts that our block is for.
    left = {path.name for path in keys.folder.iterdir()}
    assert left == {"default.known_hosts", "default.revoked_hosts"}
    assert run("status").status == 3


def test_logout_removes_what_a_killed_sign_in_left(run, login, keys):
    left = keys.folder / ".default.0123456789ab"
    left.mkdir(parents=True)
    (left / "key").write_text("secret")
    (keys.folder / ".default.ba9876543210").symlink_to("nowhere")

    assert run("logout").err == "ca-login: logged out\n"

    assert list(keys.folder.iterdir()) == []


def test_logout_touches_no_other_profile(run, ca, login, keys, token_file):
    login()
    run("setup", ca.url, "--pin", ca.pin, "--profile", "default-2")
    run("--profile", "default-2", "--token-file", token_file)

    run("logout", "--profile", "default-2")

    assert keys.held().key_matches


def test_logout_of_nobody_is_no_error(run, login):
    said = run("logout", "--json")

    assert said.status == 0
    assert said.document == {"v": 1, "profile": "default", "removed": False}
    assert said.err == "ca-login: nobody was signed in\n"


def test_a_sign_in_under_way_fails_when_someone_logs_out(run, login, keys):
    with keys.attempt() as attempt:
        assert parse_line(attempt.public_key()[0])
        run("logout")
        with pytest.raises(Exception, match="No such file"):
            attempt.add_certificate("x")


def test_without_a_home_it_says_so(run, monkeypatch):
    monkeypatch.setenv("HOME", "somewhere/relative")

    said = run("status")

    assert said.status == 1
    assert "cannot tell where the home folder is" in said.err
    assert "hint: set HOME" in said.err
