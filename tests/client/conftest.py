"""A CA, an identity provider and a laptop that knows them."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from client.__main__ import main
from client.keys import KeyFiles
from tests.fake_ca import FakeCA
from tests.fakes import FakeIdP

TOKEN = "eyJh.eyJz.c2ln"  # noqa: S105 of the right form, and no more
"""What `--token-file` is given where the CA believes everything anyway."""


@dataclass
class Said:
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, object]:
        """The one JSON object on standard output."""
        document: dict[str, object] = json.loads(self.out)
        return document


Run = Callable[..., Said]


@pytest.fixture
def ca() -> Iterator[FakeCA]:
    with FakeCA() as ca:
        yield ca


@pytest.fixture
def idp(ca: FakeCA) -> Iterator[FakeIdP]:
    with FakeIdP() as idp:
        ca.trust_issuer(idp.url)
        yield idp


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `ca-login` in this process."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        status = main(list(arguments))
        return Said(status, *capfd.readouterr())

    return run


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def token_file(home: Path) -> str:
    path = home / "token"
    path.write_text(f"{TOKEN}\n")
    return str(path)


@pytest.fixture
def login(run: Run, ca: FakeCA, token_file: str) -> Run:
    """Sign in with a token on a laptop that was set up."""
    assert run("setup", ca.url, "--pin", ca.pin).status == 0

    def login(*arguments: str) -> Said:
        return run("--token-file", token_file, *arguments)

    return login


@pytest.fixture
def keys(home: Path) -> KeyFiles:
    return KeyFiles("default")


@pytest.fixture
def browser(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Callable[[], list[dict[str, object]]]]:
    """Choose how the browser behaves; what comes back says what it has seen."""

    def choose(mode: str) -> Callable[[], list[dict[str, object]]]:
        report = tmp_path / "seen.json"
        script = Path(__file__).with_name("a_browser.py")
        monkeypatch.setenv("BROWSER", f"{sys.executable} {script} {report} {mode} %s")

        def seen() -> list[dict[str, object]]:
            for _ in range(500):
                if report.exists() and (text := report.read_text()):
                    requests: list[dict[str, object]] = json.loads(text)
                    return requests
                time.sleep(0.02)
            raise AssertionError("the browser reported nothing")

        return seen

    return choose


@pytest.fixture
def own_key(home: Path) -> Path:
    """Make a key pair of the person's own, under a passphrase that nobody knows."""
    path = home / ".ssh" / "mine"
    path.parent.mkdir(mode=0o700, exist_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", secrets.token_hex()]
    subprocess.run([*command, "-C", "a comment", "-f", path], check=True)
    return path
