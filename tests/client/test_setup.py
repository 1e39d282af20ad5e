"""First contact: a CA is trusted under the pin that was given or confirmed, or not."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import Answer

ROOT = Path(__file__).parents[2]
OTHER_PIN = "SHA256:" + "A" * 43

ON_A_TERMINAL = """
import os, sys
os.open(sys.argv.pop(1), os.O_RDWR)  # a session leader's first terminal is its own
from client.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_with_the_right_pin_the_profile_is_written(run, ca, home):
    said = run("setup", f"{ca.url}/", "--pin", ca.pin)

    path = home / ".config/daypass/default.json"
    assert said.status == 0
    assert said.out == ""
    assert said.err == f"ca-login: set up {ca.url} in {path}; now: ca-login\n"
    assert json.loads(path.read_text()) == {"v": 1, "url": ca.url, "pin": ca.pin}


def test_modes_are_right_under_any_umask(run, ca, home):
    os.umask(0)

    run("setup", ca.url, "--pin", ca.pin)

    for path in (home / ".config", *(home / ".config").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600)


def test_json_says_what_was_set_up(run, ca, home):
    document = run("setup", ca.url, "--pin", ca.pin, "--json").document

    path = home / ".config/daypass/default.json"
    assert document == {
        "v": 1,
        "profile": "default",
        "url": ca.url,
        "pin": ca.pin,
        "path": str(path),
    }


def test_folders_are_where_xdg_says(run, ca, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative, and so ignored")

    run("setup", ca.url, "--pin", ca.pin)

    assert (tmp_path / "c/daypass/default.json").exists()
    assert (Path.home() / ".local/state/daypass/default.json").exists()


def test_another_root_key_is_refused_and_nothing_written(run, ca, home):
    said = run("setup", ca.url, "--pin", OTHER_PIN)

    assert said.status == 1
    assert f"the CA's root key is {ca.pin}, and {OTHER_PIN} is pinned" in said.err
    assert list(home.iterdir()) == []


def test_roots_that_the_root_key_did_not_sign_are_refused(run, ca, home):
    ca.roots_signed_by = "other"

    said = run("setup", ca.url, "--pin", ca.pin)

    assert said.status == 1
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"daypass-current-v1\n-----BEGIN SSH SIGNATURE-----\n\xff",
        b"daypass-current-v1\nversion 1\n-----BEGIN SSH SIGNATURE-----\n",
        b"daypass-current-v2\nversion 1\n-----BEGIN SSH SIGNATURE-----\n",
    ],
)
def test_what_is_no_bundle_is_a_clean_error(run, ca, body):
    ca.answers["/v1/trust/current"] = Answer(body=body)

    said = run("setup", ca.url, "--pin", ca.pin)

    assert said.status == 1
    assert "what came is no trust bundle" in said.err
    assert "check that the URL is the CA's" in said.err


def test_roots_that_make_no_sense_are_a_clean_error(run, ca):
    named = ca.current().split(b"roots ")[1][:64].decode()
    ca.answers[f"/v1/trust/blob/{named}"] = Answer(body=b"daypass-roots-v1\n")

    said = run("setup", ca.url, "--pin", ca.pin)

    assert said.status == 1
    assert "what came is no trust bundle" in said.err


@pytest.mark.parametrize(
    "url",
    [
        "ca.example.com",
        "http://ca.example.com",
        "http://127.0.0.1.example.com",
        "ftp://ca.example.com",
        "https://",
        "https://[::1",
        "https://ca.example.com:port",
        "https://ada:secret@ca.example.com",
        "https://ca.example.com/#x",
        "https://ca.example.com/?x",
        "https://ca.example.com/a b",
        "https://ca.example.com\\@evil.example.com",
        "https://c\N{LATIN SMALL LETTER E WITH ACUTE}.example.com",
        "",
    ],
)
def test_a_url_that_would_not_protect_a_token_is_misuse(run, home, url):
    said = run("setup", url, "--pin", OTHER_PIN)

    assert said.status == 2
    assert "secret" not in said.err.replace(url, "")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("pin", ["", "SHA256:", "SHA256:" + "A" * 42, "A" * 43])
def test_a_pin_is_a_fingerprint(run, ca, pin):
    said = run("setup", ca.url, "--pin", pin)

    assert said.status == 2
    assert "a pin is SHA256: and 43 characters" in said.err


def test_without_a_pin_and_a_terminal_it_asks_for_the_pin(ca, home):
    done = subprocess.run(
        [sys.executable, "-m", "client", "setup", ca.url],
        cwd=ROOT,
        start_new_session=True,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert "there is no terminal to ask on" in done.stderr
    assert f"hint: ca-login setup {ca.url} --pin SHA256:..." in done.stderr
    assert ca.pin not in done.stderr
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("answer", "status"), [(b"y\n", 0), (b"Yes\n", 0), (b"n\n", 1), (b"\n", 1)]
)
def test_without_a_pin_it_shows_the_fingerprint_and_asks(ca, home, answer, status):
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, os.ttyname(theirs), "setup", ca.url],
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    shown = b""
    while b"[y/N]" not in shown:
        shown += os.read(ours, 4096)
    os.write(ours, answer)

    assert process.wait(timeout=20) == status

    assert ca.pin.encode() in shown
    assert (home / ".config/daypass/default.json").exists() == (status == 0)
    os.close(theirs)
    os.close(ours)


def test_the_same_again_changes_nothing(run, ca, home):
    run("setup", ca.url, "--pin", ca.pin)
    path = home / ".config/daypass/default.json"
    path.write_text(path.read_text() + "\n")
    before = path.read_bytes()

    said = run("setup", ca.url)

    assert said.status == 0
    assert path.read_bytes() == before


def test_a_profile_never_changes_its_ca(run, ca, home):
    run("setup", ca.url, "--pin", ca.pin)

    other_pin = run("setup", ca.url, "--pin", OTHER_PIN)
    other_url = run("setup", "https://ca.example.com", "--pin", ca.pin)

    assert (other_pin.status, other_url.status) == (2, 2)
    assert "add --profile NAME for another CA, or first: rm " in other_url.err


@pytest.mark.parametrize("content", ["", "[]", '{"url": 1, "pin": ""}', "[" * 100_000])
def test_a_damaged_profile_is_named(run, home, content):
    path = home / ".config/daypass/default.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)

    said = run("status")

    assert said.status == 1
    assert f"{path} is not a profile" in said.err


def test_before_setup_everything_says_to_set_up(run):
    said = run()

    assert said.status == 2
    assert said.err.splitlines() == [
        "ca-login: error: could not find the profile",
        "ca-login: there is no profile 'default'",
        "ca-login: hint: ca-login setup URL",
    ]


def test_the_only_profile_needs_no_name_and_several_do(run, ca):
    run("setup", ca.url, "--pin", ca.pin, "--profile", "corp")
    alone = run("logout", "--json")
    run("setup", ca.url, "--pin", ca.pin, "--profile", "other")
    several = run("logout")

    assert alone.document["profile"] == "corp"
    assert several.status == 2
    assert "several profiles: corp, other" in several.err
    assert "hint: add --profile corp" in several.err


def test_a_folder_that_is_a_file_is_a_clean_error(run, ca, home):
    (home / ".config").write_text("in the way")

    said = run("setup", ca.url, "--pin", ca.pin)

    assert said.status == 1
    assert "Not a directory" in said.err
