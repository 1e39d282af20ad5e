"""What the demo is played on: one folder, a narrator, and people who type.

Everything made here is gone at the end of the `with` block, however it ends.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tests.authority import LOOPBACK
from tests.toy_provider import ToyProvider

T = TypeVar("T")

BIN = Path(sys.executable).parent
"""Where our commands are, installed beside this Python."""

_WIDTH = 78
_SECONDS = 60
"""How long any command may take; none needs more than a few."""

_TAIL = 8
"""Lines of each log that are shown when something is not as it should be."""

_BOLD, _GREEN, _YELLOW, _CYAN = 1, 32, 33, 36
"""As terminals number them (ECMA-48, select graphic rendition)."""

_THEIRS = ("CA_LOGIN_", "DAYPASS_", "SSH_", "XDG_")
"""How the variables begin that would lead a command to our user's own settings."""


class Surprise(Exception):
    """Something was not as the demo says; `said` is what it was instead."""

    def __init__(self, what: str, *, said: str = "") -> None:
        super().__init__(what)
        self.said = said


def found(pattern: str, text: str) -> re.Match[str]:
    """Return where the pattern is in the text; raise `Surprise` when it is not."""
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise Surprise(f"nothing like {pattern!r} was said", said=text)
    return match


class Narrator:
    """Tells the story on standard output, in colour where a person is watching."""

    def __init__(self) -> None:
        # https://no-color.org: any value but the empty one counts.
        self._plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))

    def chapter(self, title: str) -> None:
        """Begin the next part."""
        self.write(f"\n{self._in(title.upper(), _BOLD)}")

    def say(self, text: str) -> None:
        """Tell what happens, in plain words."""
        self.write(f"\n{_wrap(text, '  ')}")

    def typed(self, who: str, command: str) -> None:
        """Show a command in front of what comes of it."""
        self.write(self._in(_wrap(f"{who}$ {command}", "  ", more=" \\"), _CYAN))

    def answered(self, text: str, *, good: bool = True) -> None:
        """Show what a program said."""
        for line in text.splitlines():
            self.write(self._in(_wrap(line, "    "), _GREEN if good else _YELLOW))

    def write(self, text: str) -> None:
        """Write lines as they are."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def _in(self, text: str, colour: int) -> str:
        return text if self._plain else f"\033[{colour}m{text}\033[0m"


def _wrap(text: str, indent: str, *, more: str = "") -> str:
    """Break a text at spaces; `more` ends each line that goes on."""
    lines = textwrap.wrap(
        text,
        _WIDTH - len(more),
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return f"{more}\n".join(lines)


@dataclass(frozen=True)
class Said:
    """What a command said, on either stream."""

    output: str
    errors: str

    @property
    def last_word(self) -> str:
        """The last line for people: what it all came to."""
        return (self.errors.splitlines() or [""])[-1]


@dataclass(frozen=True)
class Person:
    """Somebody with a home and a prompt."""

    name: str
    home: Path
    narrator: Narrator

    def types(self, command: str, *, into: Path | None = None, status: int = 0) -> Said:
        """Run a command in their home, showing it; raise `Surprise` at another status.

        `into` is the file that standard output goes to.
        """
        shown = f"{command} > {into.name}" if into else command
        self.narrator.typed(self.name, shown)
        done = subprocess.run(
            shlex.split(command),
            cwd=self.home,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode != status:
            raise Surprise(
                f"{command!r} ended with {done.returncode} instead of {status}",
                said=done.stdout + done.stderr,
            )
        if into:
            into.write_text(done.stdout)
        return Said(done.stdout, done.stderr)

    @property
    def shell_line(self) -> str:
        """What to type to be this person in a shell of one's own."""
        return (
            f"export HOME={shlex.quote(str(self.home))}"
            f" PATH={shlex.quote(str(BIN))}:$PATH;"
            " unset XDG_CONFIG_HOME XDG_STATE_HOME; cd"
        )

    def _environment(self) -> dict[str, str]:
        ours = {
            "HOME": str(self.home),
            "PATH": f"{BIN}:{os.environ.get('PATH', os.defpath)}",
            "BROWSER": f"{sys.executable} -m tests.toy_provider {self.name}",
        }
        inherited = os.environ.items()
        return {k: v for k, v in inherited if not k.startswith(_THEIRS)} | ours


class Stage:
    """The demo's folder, and all that runs until the curtain falls."""

    def __init__(self) -> None:
        self.narrator = Narrator()
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        """Make the folder, and start the identity provider."""
        self.folder = Path(tempfile.mkdtemp(prefix="daypass-demo-"))
        self._exits.callback(shutil.rmtree, self.folder)
        try:
            self.provider = self.start(ToyProvider())
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything in the reverse order, and remove the folder.

        After a surprise, first show what all logs say at their ends.
        """
        with self._exits:
            if isinstance(error, Exception):
                self._show_logs()

    def _show_logs(self) -> None:
        for log in sorted(self.folder.rglob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-_TAIL:]
            self.narrator.write("\n".join(("", f"{log.name} of {log.parent}:", *tail)))

    def start(self, server: AbstractContextManager[T]) -> T:
        """Let something run until the end."""
        return self._exits.enter_context(server)

    def person(self, name: str) -> Person:
        """Give somebody a home and a browser whose buttons a program presses."""
        home = self.folder / name
        home.mkdir(mode=0o700)
        return Person(name, home, self.narrator)

    def port(self) -> int:
        """Reserve a port until the end; who sets SO_REUSEADDR may listen on it."""
        holder = self.start(socket.socket())
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        port: int = holder.getsockname()[1]
        return port
