"""What `ca-login` costs, beside a Python that does nothing, for `make bench`.

    check_ratio        pip's `ca-login check` over `python -c pass`, by the clock
    login_cpu_ms       a bare login with a token in a file, at a signer on this machine:
                       processor time of it and of every ssh-keygen it runs
    login_ratio        the same over that of `python -c pass`
    ssh_g_added_ms     what `ssh-config install` adds to `ssh -G HOST`

It is measured in a virtual environment with nothing but the wheel in it, by the
command's own path. All take turns; the median of the rounds counts.
"""

import os
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.authority import ROOT
from tests.fakes import FakeIdP
from tests.laptop import open_house

CHECKS = 41
LOGINS = 15

JOBS = """
[[issuer.client]]
id = "jobs"
flow = "ci"
binding = "none"
"""


def run(folder: Path) -> dict[str, float]:
    """Measure in a home of its own below `folder`."""
    python = make_environment(folder / "venv")
    home = folder / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
    ca = folder / "login-ca"
    with FakeIdP() as idp, open_house(ca, idp.issuer, clients=JOBS) as house:
        laptop = Laptop(python, environment, home)
        laptop.run("setup", house.url, "--pin", house.pin)
        return laptop.measure_login(idp) | laptop.measure_check() | laptop.measure_ssh()


class Laptop:
    """Where only `ca-login` is installed."""

    def __init__(
        self, python: Path, environment: Mapping[str, str], home: Path
    ) -> None:
        self.nothing = [str(python), "-c", "pass"]
        self.command = str(python.with_name("ca-login"))
        self.environment = environment
        self.home = home

    def run(self, *arguments: str) -> None:
        subprocess.run([self.command, *arguments], env=self.environment, check=True)

    def measure_login(self, idp: FakeIdP) -> dict[str, float]:
        """Sign in again and again, each time with a fresh token."""
        token = self.home / "token"
        login = [self.command, "--token-file", str(token)]
        logins, nothings = [], []
        for round_ in range(LOGINS + 1):
            token.write_text(
                idp.token(aud="jobs", jti=secrets.token_hex(), **idp.people["ada"])
            )
            measured = self.cpu_ms(login), self.cpu_ms(self.nothing)
            if round_:
                logins.append(measured[0])
                nothings.append(measured[1])
        return {
            "login_cpu_ms": round(statistics.median(logins), 1),
            "login_ratio": ratio(logins, nothings),
        }

    def measure_check(self) -> dict[str, float]:
        """Ask whether the certificate is good, which it is."""
        checks, nothings = [], []
        for _ in range(CHECKS):
            checks.append(self.wall_ms([self.command, "check"]))
            nothings.append(self.wall_ms(self.nothing))
        return {"check_ratio": ratio(checks, nothings)}

    def measure_ssh(self) -> dict[str, float]:
        """Compare how long ssh reads its configuration, with our line and without."""
        self.run("ssh-config", "install")
        ours = ["ssh", "-G", "-F", f"{self.home}/.ssh/config", "web1.example.com"]
        plain = ["ssh", "-G", "-F", "/dev/null", "web1.example.com"]
        added = [self.wall_ms(ours) - self.wall_ms(plain) for _ in range(CHECKS)]
        return {"ssh_g_added_ms": round(statistics.median(added), 1)}

    def wall_ms(self, command: Sequence[str]) -> float:
        began = time.perf_counter()
        self.spend(command)
        return (time.perf_counter() - began) * 1000

    def cpu_ms(self, command: Sequence[str]) -> float:
        """Return the processor time of a command and of all that it waited for."""
        user, system = self.spend(command)
        return (user + system) * 1000

    def spend(self, command: Sequence[str]) -> tuple[float, float]:
        quiet = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
        process = os.posix_spawnp(
            command[0], list(command), self.environment, file_actions=quiet
        )
        _, status, usage = os.wait4(process, 0)
        assert status == 0, command
        return usage.ru_utime, usage.ru_stime


def ratio(times: Sequence[float], floors: Sequence[float]) -> float:
    """Return the median of what each round took over its own floor."""
    return round(
        statistics.median(t / f for t, f in zip(times, floors, strict=True)), 2
    )


def make_environment(folder: Path) -> Path:
    """Install the wheel into an environment of its own; return its Python."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-index", "--no-deps"]
    wheels = folder.with_name("wheel")
    subprocess.run(
        [*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, ROOT],
        check=True,
    )
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin/python"
    subprocess.run(
        [*pip, "--python", python, "install", *offline, *wheels.iterdir()], check=True
    )
    return python
