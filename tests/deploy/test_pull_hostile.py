"""`daypass-pull` runs as root, beside people with accounts, and talks to a server.

Neither a local account nor whoever answers in the CA's place gets root to believe, tell
or run anything but what is meant.
"""

import re
import stat
import subprocess
import threading
from contextlib import suppress
from hashlib import sha256

import pytest

from ca.trust import gate
from client.api import LARGEST_KRL
from tests.fakes import Answer
from tests.publisher import CURRENT, Publisher, sign
from tests.pulling import END_SESSIONS, PULL, Host
from tests.sshd import Sshd, make_key

pytestmark = pytest.mark.openssh

JOIN = "/v1/hosts"


@pytest.fixture
def ca():
    with Publisher() as ca:
        yield ca


@pytest.fixture
def one_host(tmp_path, ca):
    return Host(tmp_path, ca)


def joining(folder, ca, shell="dash"):
    """Return a host with a host key, and a file with a join token."""
    host = Host(folder, ca, shell=shell)
    make_key(host.root / "etc/ssh/host_key")
    host.configure(host_key="/etc/ssh/host_key")
    token = folder / "token"
    token.write_text("T0ken\n")
    return host, str(token)


# --- Other accounts of this host ----------------------------------------------------


def link(path):
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


OPENED = {
    "group-writable": lambda path: path.chmod(path.stat().st_mode | 0o020),
    "world-writable": lambda path: path.chmod(path.stat().st_mode | 0o002),
    "a link": link,
}


@pytest.mark.parametrize("how", OPENED)
@pytest.mark.parametrize("what", ["pull.conf", ""])
def test_a_configuration_that_others_may_write_is_not_believed(ca, one_host, what, how):
    OPENED[how](one_host.daypass / what)

    done = one_host.pull()

    assert done.returncode == 2
    assert "chmod go-w" in done.stderr
    assert sum(ca.hits.values()) == 0


@pytest.mark.parametrize("how", OPENED)
@pytest.mark.parametrize("name", ["ca_keys", "revoked.krl"])
def test_what_sshd_reads_is_made_roots_alone_again(ca, one_host, name, how):
    """To sshd it makes no difference who may write to its files."""
    one_host.pull()
    before = one_host.files
    ca.answers["/v1/trust/current"] = Answer(503, b"")
    OPENED[how](one_host.daypass / name)

    assert one_host.pull().returncode == 7

    found = (one_host.daypass / name).lstat()
    assert stat.S_ISREG(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o644
    assert one_host.files == before


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_nobody_else_can_read_a_join_token_while_it_is_sent(tmp_path, ca, shell):
    host, token = joining(tmp_path, ca, shell)
    seen = []

    def look(path):
        if path == JOIN:
            (staging,) = host.daypass.glob(".staging.*")
            held = [file for file in staging.iterdir() if file.is_file()]
            assert any(b"T0ken" in file.read_bytes() for file in held)
            seen.append(stat.S_IMODE(staging.stat().st_mode))

    ca.before = look
    host.pull("--join", token)

    assert seen == [0o700]
    assert not list(host.daypass.glob(".staging.*"))


@pytest.mark.parametrize("script", [PULL, END_SESSIONS], ids=lambda path: path.stem)
def test_nothing_is_run_from_the_callers_path(script):
    begins, path, _ = script.read_text().partition("export ")
    assert path
    done = subprocess.run(
        ["dash", "-c", f'{begins}\nprintf %s "$PATH"'],
        env={"PATH": "/tmp/evil:/usr/bin:."},  # noqa: S108 a name, and nothing there
        capture_output=True,
        text=True,
        check=True,
    )

    for folder in done.stdout.split(":"):
        assert re.fullmatch(r"(/usr(/local)?)?/s?bin", folder)


# --- Whoever answers ----------------------------------------------------------------


def test_no_answer_is_larger_than_what_the_ca_publishes():
    said = re.findall(r"^readonly (\w+_BYTES)=(\d+)", PULL.read_text(), re.MULTILINE)
    limits = dict(said)

    assert int(limits["KRL_BYTES"]) == gate.MOST_BYTES == LARGEST_KRL
    assert int(limits["DOCUMENT_BYTES"]) == gate.MOST_BYTES_OF_TEXT


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_a_krl_without_end_fills_no_disk(tmp_path, ca, shell):
    host = Host(tmp_path, ca, shell=shell)
    host.pull()
    before = host.files
    largest: list[int] = []
    ca.publish(revoked=(7,))
    path = f"/v1/trust/blob/{sha256(ca.krl).hexdigest()}"
    ca.answers[path] = Answer(200, bytes(gate.MOST_BYTES * 2))
    done = threading.Event()

    def look():
        while not done.wait(0.01):
            staged = host.daypass.glob(".staging.*/take/revoked.krl")
            with suppress(FileNotFoundError):
                largest.extend(file.stat().st_size for file in staged)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        assert host.pull().returncode == 1
    finally:
        done.set()
        watch.join()

    assert host.status["reason"] == "too-big"
    assert max(largest) <= gate.MOST_BYTES + 1024
    assert host.files == before


SAID = b'{"code":"\x1b]0;owned\x07\\033[2J","hint":"x"}\ndaypass-pull: all is well\r\n'


@pytest.mark.parametrize("shell", ["dash", "busybox"])
def test_what_an_answer_says_is_one_line_of_print(tmp_path, ca, shell):
    host, token = joining(tmp_path, ca, shell)
    ca.answers[JOIN] = Answer(400, SAID)

    done = host.pull("--join", token)

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"daypass-pull: {ca.url} answered 400: ")
    assert line.isprintable()


def test_what_a_stolen_online_key_shuts_hosts_with_new_roots_open_again(tmp_path, ca):
    """It can revoke all there is, plain keys too; it cannot keep new roots away."""
    host = Host(tmp_path, ca)
    assert host.pull().returncode == 0
    folder, key = tmp_path / "sshd", tmp_path / "key"
    folder.mkdir()
    make_key(key)
    krl = tmp_path / "krl"
    command = ["ssh-keygen", "-q", "-k", "-f", krl, key.with_name("key.pub")]
    subprocess.run(command, check=True)
    settings = (*host.sshd_settings(), f"AuthorizedKeysFile {key}.pub")
    with Sshd(folder, settings) as sshd:
        assert sshd.login(key).returncode == 0

        ca.publish(roots=ca.roots, krl=krl.read_bytes())
        ca.current = sign(ca.current_text(version=10**17), CURRENT, ca.online)
        assert host.pull().returncode == 0
        assert sshd.login(key).returncode == 255

        ca.online = ca.stranger
        ca.publish()
        assert host.pull().returncode == 0
        assert host.status["current_version"] == str(ca.version)
        assert sshd.login(key).returncode == 0


def test_a_wget_that_checks_nobody_is_told_no_join_token(tmp_path, ca):
    host, token = joining(tmp_path, ca, "busybox")
    host.stub("wget", f"echo asked >>{tmp_path}/asked; exit 1")
    host.configure(url="https://ca.example.com")

    done = host.pull("--join", token)

    assert done.returncode == 2
    assert "needs curl" in done.stderr
    assert "https" not in (tmp_path / "asked").read_text()
