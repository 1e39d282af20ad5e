"""The demo does what it says, notices when it does not, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.authority import ROOT
from tests.fakes import CLIENT
from tests.toy_provider import ToyProvider

openssh = pytest.mark.openssh

COMMAND = (sys.executable, "-m", "tests.demo")
SECONDS = 120

SIGN_IN = {
    "response_type": "code",
    "client_id": CLIENT,
    "redirect_uri": "http://127.0.0.1:1234/callback",
    "scope": "openid email",
    "state": "state",
    "nonce": "nonce",
    "code_challenge": "challenge",
    "code_challenge_method": "S256",
}


def started(folder: Path, **variables: str) -> subprocess.Popen[str]:
    """Start the demo, with its temporary folder in `folder`."""
    return subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    with started(folder, **variables) as demo:
        output, errors = demo.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(COMMAND, demo.returncode, output, errors)


def wait_for(demo: subprocess.Popen[str], words: str) -> str:
    """Return what the demo says up to the line with these words."""
    assert demo.stdout is not None
    said = []
    for line in demo.stdout:
        said.append(line)
        if words in line:
            return "".join(said)
    raise AssertionError(f"the demo ended without {words!r}")


def left_behind(folder: Path) -> list[str]:
    """Return the files in `folder`, and the processes that know of it."""
    deadline = time.monotonic() + 10
    while (left := [*_processes(folder)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left + [str(path) for path in folder.iterdir()]


def _processes(folder: Path) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            about = [(process / name).read_bytes() for name in ("cmdline", "environ")]
        except OSError:
            continue  # it has ended, or is somebody else's
        if any(os.fsencode(folder) in words for words in about):
            yield about[0].replace(b"\0", b" ").decode()


@openssh
def test_the_demo_ends_well_twice_in_a_row_and_leaves_nothing(tmp_path):
    for _ in range(2):
        done = run(tmp_path)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("\ndemo: ok\n")
        shown = [line for line in done.stdout.splitlines() if str(tmp_path) not in line]
        assert max(map(len, shown)) <= 78
        assert left_behind(tmp_path) == []


@openssh
def test_an_ssh_that_only_claims_to_be_in_is_found_out(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/ssh").write_text("#!/bin/sh\nid -un\n")
    (tmp_path / "bin/ssh").chmod(0o755)
    folder = tmp_path / "demo"
    folder.mkdir()

    done = run(folder, PATH=f"{tmp_path}/bin:{os.environ['PATH']}")

    last_word = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last_word.startswith("demo: failed: nothing like 'Accepted publickey")
    assert "sshd.log of " in done.stdout
    assert "Server listening on" in done.stdout
    assert left_behind(folder) == []


@openssh
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing(tmp_path, number):
    with started(tmp_path) as demo:
        wait_for(demo, "ca-deploy render")
        demo.send_signal(number)
        _, errors = demo.communicate(timeout=SECONDS)

    assert (demo.returncode, errors) == (130, "demo: interrupted\n")
    assert left_behind(tmp_path) == []


@openssh
def test_a_demo_that_is_kept_can_be_used_until_enter(tmp_path):
    with started(tmp_path, KEEP="1") as demo:
        said = wait_for(demo, "Enter or Ctrl-C")
        line = next(line for line in said.splitlines() if "export HOME=" in line)
        login = "ca-login >/dev/null && ssh -F ssh_config bastion echo hello"
        browser = f"{sys.executable} -m tests.toy_provider ada"
        tried = subprocess.run(
            ["sh", "-c", f"{line}; {login}"],
            env={**os.environ, "BROWSER": browser},
            capture_output=True,
            text=True,
            check=False,
        )
        output, errors = demo.communicate("\n", timeout=SECONDS)

    assert tried.stdout == "hello\n", tried.stderr
    assert (demo.returncode, errors) == (0, "")
    assert output.endswith("\ndemo: ok\n")
    assert left_behind(tmp_path) == []


def test_a_demo_does_not_run_beside_a_real_ca(tmp_path):
    done = run(tmp_path, DAYPASS_CONFIG="/etc/daypass/daypass.toml")

    assert (done.returncode, done.stdout) == (2, "")
    assert "DAYPASS_CONFIG is set" in done.stderr
    assert left_behind(tmp_path) == []


def answered(asked: Mapping[str, str]) -> tuple[int, str]:
    """Return the status and the page that a sign-in at the toy gets."""
    with ToyProvider() as provider:
        try:
            url = f"{provider.url}/authorize?{urlencode(asked)}"
            with urllib.request.urlopen(url, timeout=10) as page:  # noqa: S310 http
                return page.status, page.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()


def test_the_toy_provider_shows_two_buttons_under_a_red_banner():
    status, page = answered(SIGN_IN)

    assert status == 200
    assert "Sign in as Ada</button>" in page
    assert "Sign in as Grace</button>" in page
    assert "<strong>NOT FOR PRODUCTION</strong>" in page


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"client_id": "other"}, "client"),
        ({"redirect_uri": "http://203.0.113.1/callback"}, "redirect"),
        ({"redirect_uri": "http://127.0.0.1:1234/other"}, "redirect"),
        ({"response_type": "token"}, "code"),
        ({"scope": "email"}, "openid"),
        ({"code_challenge_method": "plain"}, "PKCE"),
        ({"code_challenge": ""}, "PKCE"),
        ({"nonce": ""}, "nonce"),
        ({"state": ""}, "state"),
    ],
)
def test_the_toy_provider_refuses_what_a_real_one_would(changed, why):
    status, page = answered({**SIGN_IN, "login_hint": "ada", **changed})

    assert status == 400
    assert why in page


def test_the_toy_provider_shows_what_it_was_sent_as_text():
    status, page = answered({**SIGN_IN, "state": '"><script>'})

    assert status == 200
    assert "<script>" not in page
