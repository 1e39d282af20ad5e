r"""What is written for Windows, as far as it can be driven where there is no Windows.

A process that is told it is on Windows, and has none of what Windows lacks, signs in
and writes its block for ssh. The agent's pipe is played by a pseudo-terminal in raw
mode, which like the pipe is opened as one file and carries both directions.
"""

import os
import pty
import subprocess
import sys
import threading
import tty
from pathlib import Path

import pytest

from ca.certificate import parse_line
from client import agent, in_agent
from client.agent import Agent
from tests.client.test_agent import answering

ROOT = Path(__file__).parents[2]

LIKE_WINDOWS = """
import os, sys
for name in ("posix_spawnp", "posix_spawn", "mkfifo", "statvfs", "getuid"):
    delattr(os, name)
for name in ("fcntl", "pwd"):
    sys.modules[name] = None
from client.__main__ import main
sys.platform = "win32"
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def on_windows(home):
    """Run `ca-login` in a process that takes this for Windows."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", LIKE_WINDOWS, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    return run


def test_it_signs_in_and_tells_ssh(on_windows, ca, home, token_file):
    assert on_windows("setup", ca.url, "--pin", ca.pin).returncode == 0
    signed_in = on_windows("--token-file", token_file)
    installed = on_windows("ssh-config", "install")
    looked = on_windows("doctor")

    assert signed_in.returncode == 0, signed_in.stderr
    assert on_windows("check").returncode == 0
    assert on_windows("ensure").returncode == 0
    assert installed.returncode == 0, installed.stderr
    # No drive, no backslash: Windows' ssh takes neither there.
    assert (home / ".ssh/config").read_text() == "Include daypass/*.conf\n"
    assert "\nok    files" in looked.stdout, looked.stdout + looked.stderr
    assert on_windows("logout").returncode == 0


def test_where_nobody_can_be_asked_nobody_is(on_windows, ca):
    on_windows("setup", ca.url, "--pin", ca.pin)

    assert on_windows("ensure").returncode == 4


def test_a_key_for_the_agent_alone_cannot_be_had_there(on_windows, ca, token_file):
    on_windows("setup", ca.url, "--pin", ca.pin)

    said = on_windows("--token-file", token_file, "--agent", "only")

    assert said.returncode == 1
    assert "ca-login --agent auto" in said.stderr


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    """Play an agent behind what is called as Windows calls its pipe."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    name = r"\\.\pipe\openssh-ssh-agent"
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).symlink_to(os.ttyname(theirs))
    answer = answering(limits=False)

    def serve() -> None:
        while length := int.from_bytes(os.read(ours, 4)):
            os.write(ours, answer(os.read(ours, length)))

    server = threading.Thread(target=serve)
    server.start()
    yield name
    os.write(theirs, bytes(4))
    server.join()
    os.close(ours)
    os.close(theirs)


def test_the_agent_is_asked_through_its_pipe(pipe, keys, ca):
    found = Agent(pipe)
    assert found.identities() == []

    with keys.attempt() as attempt:
        line, blob = attempt.public_key()
        certificate = parse_line(ca.certify(line))
        secret = in_agent._secret(attempt, blob)  # noqa: SLF001 what a sign-in adds
        limited = found.add(certificate, secret, name="daypass:default", life=60)

    assert not limited
    assert [one.blob for one in found.identities()] == [certificate]


def test_its_name_is_known_in_both_spellings():
    assert agent._is_pipe(r"\\.\pipe\openssh-ssh-agent")  # noqa: SLF001
    assert agent._is_pipe("//./pipe/openssh-ssh-agent")  # noqa: SLF001
    assert not agent._is_pipe("/tmp/agent.1")  # noqa: S108, SLF001
