r"""Transcripts: what is typed, and what is to be seen, one file a scenario.

    python -m tests.transcripts          plays each again, and writes down what came

A file is played top to bottom, on a laptop of its own, against a CA that signs with
ssh-keygen, a provider and an sshd on loopback. Its lines:

    # a remark                   about the scenario
    @ browser honest             sets the stage, see `Stage`
    $ ca-login status            is run with its streams apart, and no terminal
    tty$ ca-login                is run on a pseudo-terminal of its own
    > to standard output
    ! to standard error
    | to the terminal
    [3]                          the exit code; none is 0

What differs each time is written as it would be in life: the CA's address as
https://ca.example.com, the moment a certificate ends as 18:02, and so on (`Names`).
"""

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.client.a_terminal import on_a_terminal
from tests.fake_ca import FakeCA, problem
from tests.fakes import FakeIdP
from tests.sshd import LOOPBACK, Sshd

FOLDER = Path(__file__).parent / "client/transcripts"
ROOT = Path(__file__).parent.parent

HOST = "web1.example.com"
_SECONDS = 60

_MASKS: tuple[tuple[str, str], ...] = (
    (r"/authorize\?\S+", "/authorize?…"),
    (r"(\d{4}-\d\d-\d\d )?\b\d\d:\d\d\b", "18:02"),
    (r"\b(9 h 59|10 h 0) min", "10 h 0 min"),
    (r'("valid_(?:after|before)": )\d+', r"\g<1>1767268920"),
    (r'("valid_until": )"[^"]+"', r'\1"2026-01-01T12:02:00+00:00"'),
    (r"OpenSSH_\S+( \S+-\S+)?", "OpenSSH_9.2p1"),
    (r"\.default\.[0-9a-f]{12}", ".default.3f9c0a1b2c3d"),
)


class Names:
    """What stands in a transcript for what is different each time; both ways."""

    def __init__(self, ca: FakeCA, idp: FakeIdP, home: Path) -> None:
        self._pairs = {
            "https://ca.example.com": ca.url,
            "https://login.example.com": idp.url,
            "SHA256:" + "dGhlIHJvb3Qga2V5J3MgZmluZ2VycHJpbnQgaGVyZSE": ca.pin,
            "/home/ada": str(home),
        }

    def real(self, text: str) -> str:
        """Return what is really to be typed."""
        for name, value in self._pairs.items():
            text = text.replace(name, value)
        return text

    def written(self, text: str) -> str:
        """Return what is to be read in a transcript."""
        for name, value in self._pairs.items():
            text = text.replace(value, name)
        text = text.replace(str(Path(sys.executable).parent), "/usr/bin")
        for pattern, mask in _MASKS:
            text = re.sub(pattern, mask, text)
        return text


class Stage:
    """One laptop, and the world that it is in. `@` lines are its methods."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self._stack = stack
        self.ca = stack.enter_context(FakeCA())
        self.idp = stack.enter_context(FakeIdP())
        self.ca.trust_issuer(self.idp.url)
        self.ca.host_patterns = ["*.example.com"]
        self.ca.host_domains = ("*.example.com",)
        self.names = Names(self.ca, self.idp, self.home)
        self.typed = ""
        self.interrupt_at: str | None = None
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TZ": "UTC",
            "TERM": "xterm",
        }
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def browser(self, mode: str) -> None:
        """Have a browser that signs in, or misbehaves, as `a_browser.py` has it."""
        script = ROOT / "tests/client/a_browser.py"
        seen = self.folder / "seen.json"
        self.environment["BROWSER"] = f"{sys.executable} {script} {seen} {mode} %s"

    def known(self) -> None:
        """Have the CA set up, so that the scenario begins after it."""
        self.run_quietly("ca-login setup https://ca.example.com --pin " + self.ca.pin)

    def signed(self) -> None:
        """Have somebody signed in, by a token."""
        self.known()
        (self.home / "token").write_text("eyJh.eyJz.c2ln\n")
        self.run_quietly("ca-login --token-file ~/token")

    def validity(self, span: str) -> None:
        """Have the CA's certificates begin and end elsewhere."""
        self.ca.validity = span

    def night(self) -> None:
        """Let the certificate end."""
        path = self.home / ".ssh/daypass/default-cert.pub"
        public = path.resolve().with_name("key.pub")
        self.ca.validity = "-11h:-1h"
        path.write_text(self.ca.certify(" ".join(public.read_text().split()[:2])))
        self.ca.validity = "-1m:+10h"

    def ahead(self, seconds: str) -> None:
        """Have the CA's clock be ahead of ours."""
        self.ca.clock_ahead = int(seconds)

    def refuses(self, code: str, status: str, *detail: str) -> None:
        """Have the CA refuse to sign."""
        answer = problem(int(status), code, " ".join(detail))
        self.ca.answers["/v1/user-certificates"] = answer

    def gone(self) -> None:
        """Have nothing listen where the CA was."""
        path = self.home / ".config/daypass/default.json"
        path.write_text(path.read_text().replace(self.ca.url, "http://127.0.0.1:9"))

    def unwritable(self) -> None:
        """Have a file stand where our folder would be."""
        folder = self.home / ".ssh"
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "daypass").touch()

    def types(self, *words: str) -> None:
        """Answer the next question with that."""
        self.typed = " ".join(words) + "\n"

    def interrupts(self, *words: str) -> None:
        """Type Ctrl-C at the next terminal, once that is to be seen."""
        self.interrupt_at = " ".join(words)

    def host(self, principal: str = "ada") -> None:
        """Have a host that trusts the CA, for one principal."""
        folder = self.folder / "sshd"
        folder.mkdir()
        (folder / "trusted").write_text(f"{self.ca.public('user_ca')}\n")
        (folder / "principals").write_text(f"{principal}\n")
        settings = [
            f"TrustedUserCAKeys {folder}/trusted",
            f"AuthorizedPrincipalsFile {folder}/principals",
            "Subsystem sftp internal-sftp",
        ]
        host = self._stack.enter_context(Sshd(folder, settings))
        key = (folder / "host_key.pub").read_text()
        (folder / "known").write_text(f"{HOST} {key}")
        config = self.home / ".ssh/config"
        config.parent.mkdir(mode=0o700, exist_ok=True)
        config.write_text(
            (config.read_text() if config.exists() else "")
            + f"Host {HOST}\n  HostName {LOOPBACK}\n  Port {host.port}\n"
            f"  User {getpass.getuser()}\n  HostKeyAlias {HOST}\n"
            f"  UserKnownHostsFile {folder}/known\n  LogLevel ERROR\n"
        )

    def run_quietly(self, command: str) -> None:
        """Run what is no part of the scenario."""
        subprocess.run(
            ["sh", "-c", self.names.real(command)],
            env=self.environment,
            check=True,
            capture_output=True,
            cwd=self.home,
        )

    def run(self, command: str) -> Iterator[str]:
        """Run a command without a terminal; yield the lines that came of it."""
        done = subprocess.run(
            ["sh", "-c", self.names.real(command)],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=_SECONDS,
        )
        yield from self._lines(">", done.stdout)
        yield from self._lines("!", done.stderr)
        yield from _exit_code(done.returncode)

    def run_on_a_terminal(self, command: str) -> Iterator[str]:
        """Run it on one."""
        real = self.names.real(command)
        typed, self.typed = self.typed, ""
        interrupt_at, self.interrupt_at = self.interrupt_at, None
        shown = on_a_terminal(
            [
                "env",
                "-i",
                *(f"{name}={value}" for name, value in self.environment.items()),
                *("sh", "-c", f"cd; exec {real}"),
            ],
            typed=typed,
            typed_at="[y/N]",
            interrupt_at=interrupt_at,
        )
        yield from self._lines("|", shown.text)
        yield from _exit_code(shown.status)

    def _lines(self, mark: str, text: str) -> Iterator[str]:
        for line in self.names.written(text).splitlines():
            yield f"{mark} {line}".rstrip()


def _exit_code(status: int) -> Sequence[str]:
    return [f"[{status}]"] if status else []


def play(path: Path) -> str:
    """Play a scenario, and return the transcript as it came out."""
    with staged() as stage:
        return "".join(f"{line}\n" for line in _play(path.read_text(), stage))


@contextmanager
def staged() -> Iterator[Stage]:
    """Make a stage, and clear it away."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        yield Stage(Path(folder), stack)


def _play(script: str, stage: Stage) -> Iterator[str]:
    runners: Mapping[str, Callable[[str], Iterator[str]]] = {
        "$": stage.run,
        "tty$": stage.run_on_a_terminal,
    }
    for line in script.splitlines():
        mark, _, rest = line.partition(" ")
        if mark in runners:
            yield line
            yield from runners[mark](rest)
        elif mark == "@":
            yield line
            name, *words = rest.split()
            getattr(stage, name)(*words)
        elif mark == "#" or not line:
            yield line


def main() -> None:
    """Play all of them, and write down what came."""
    for path in sorted(FOLDER.glob("*.txt")):
        path.write_text(play(path))


if __name__ == "__main__":
    main()
