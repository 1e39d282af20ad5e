"""A CA that is served, and laptops and jobs that know it and run `ca-login`.

    with open_house(tmp_path / "ca", provider.issuer) as house:
        laptop = house.laptop()
        laptop.run("--device").returncode

Each laptop has the home of the test, so two of one test differ by `--profile`.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ca.admin import init
from tests.authority import LOOPBACK, ROOT, Signer
from tests.fakes import CLIENT
from tests.sshd import free_port

_SECONDS = 60


@dataclass(frozen=True)
class Laptop:
    """Where `ca-login` is typed, or a job runs it."""

    environment: Mapping[str, str] = field(default_factory=dict)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `ca-login`."""
        return subprocess.Popen(
            [sys.executable, "-m", "client", *arguments],
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `ca-login` to its end."""
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=_SECONDS)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def key(self) -> Path:
        """Where the key of the one profile is, or will be."""
        return Path(os.environ["HOME"], ".ssh/daypass/default")

    @property
    def certificate(self) -> Path:
        """Where its certificate is."""
        return self.key.with_name("default-cert.pub")


@dataclass(frozen=True)
class House:
    """A CA that is being served, and what `ca-login setup` needs to know of it."""

    signer: Signer
    folder: Path
    pin: str

    @property
    def url(self) -> str:
        """Where it is served, and what its origin is."""
        return self.signer.url

    def laptop(self, **environment: str) -> Laptop:
        """Return a laptop that was set up for this CA."""
        laptop = Laptop(environment)
        set_up = laptop.run("setup", self.url, "--pin", self.pin)
        assert set_up.returncode == 0, set_up.stderr
        return laptop

    def person(self, name: str) -> Laptop:
        """Return a laptop with a browser in which somebody sits."""
        browser = f"{sys.executable} {ROOT}/tests/browsing.py {name} %s"
        return self.laptop(BROWSER=browser)


@contextmanager
def open_house(
    folder: Path, issuer: str, *, clients: str = "", rules: str = ""
) -> Iterator[House]:
    """Make and serve a CA whose first issuer is called corp.

    `clients` is appended to its configuration, with `{origin}` filled in, and may bring
    further issuers; `rules` is appended to its policy.
    """
    port = free_port()
    origin = f"http://{LOOPBACK}:{port}"
    answers = init.Answers(origin, issuer, CLIENT, "example.com")
    pin = init.make(folder, answers).root_fingerprint
    config = folder / "daypass.toml"
    with config.open("a") as file:
        file.write(clients.replace("{origin}", origin))
    with (folder / "policy.toml").open("a") as file:
        file.write(rules)
    with Signer(config, port=port) as signer:
        yield House(signer, folder, pin)
