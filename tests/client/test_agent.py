"""The person's ssh-agent: what a sign-in puts there, what it takes away, what it needs.

A real ssh-agent, and a real sshd that is logged in to; an agent that lies besides.
"""

import getpass
import subprocess
import sys
from pathlib import Path

import pytest

from ca import wire
from ca.certificate import parse_line
from client import in_agent, usable
from client.agent import Agent
from client.failure import Unable
from tests.agents import SshAgent, lying_agent
from tests.client.a_terminal import on_a_terminal
from tests.fake_ca import key_line, make_key
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh

ACCOUNT = getpass.getuser()


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Run an agent that is the person's."""
    with SshAgent(tmp_path) as running:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(running.socket))
        yield running


@pytest.fixture
def found(running):
    return Agent(str(running.socket))


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """Run a host that trusts the CA, and hears no more than OpenSSH's six attempts."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "trusted").write_text(f"{key_line('user_ca')}\n")
    (folder / "sshd").mkdir()
    with Sshd(folder / "sshd", [f"TrustedUserCAKeys {folder}/trusted"]) as host:
        yield host


@pytest.fixture
def ca(ca):
    ca.principals = (ACCOUNT,)
    return ca


def log_in(host, *options):
    """Log in as ssh would, with an agent and these options."""
    known = f"UserKnownHostsFile={host.known_hosts}"
    where = ["-p", str(host.port), f"{ACCOUNT}@127.0.0.1", "true"]
    return subprocess.run(
        [
            "ssh",
            "-F",
            "/dev/null",
            "-o",
            known,
            "-o",
            "BatchMode=yes",
            *options,
            *where,
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def comments(found):
    return [one.comment for one in found.identities()]


def test_unless_told_otherwise_the_agent_is_left_alone(login, found, running):
    make_key(running.socket.with_name("mine"))
    running.add(running.socket.with_name("mine"))

    assert login().status == 0

    assert comments(found) == ["mine"]


def test_auto_has_the_agent_hold_the_certificate_for_a_workday(
    login, found, host, ca, keys
):
    assert login("--agent", "auto").status == 0

    (held,) = found.identities()
    assert held.comment == "daypass:default"
    assert held.blob == wire.decode_base64(keys.certificate.read_text().split()[1])
    # By the agent alone, no file named.
    assert log_in(host, "-o", "IdentityFile=none").returncode == 0


def test_the_agent_lets_go_of_it_by_itself(found, keys, ca):
    with keys.attempt() as attempt:
        line, blob = attempt.public_key()
        certificate = parse_line(ca.certify(line))
        secret = in_agent._secret(attempt, blob)  # noqa: SLF001 what a sign-in adds

        assert found.add(certificate, secret, name="daypass:default", life=1)

    wait_until_empty(found)


def test_it_is_told_to_let_go_when_the_certificate_ends(login, lying, ca):
    ca.validity = "-1m:+2h"
    lives: list[int] = []

    with lying(lives=lives):
        login("--agent", "auto")

    assert 7000 < lives[0] <= 7200


def wait_until_empty(found):
    for _ in range(400):
        if not found.identities():
            return
        subprocess.run(["sleep", "0.02"], check=True)
    raise AssertionError("it is still there")


@pytest.mark.parametrize("mode", ["auto", "only", "never"])
def test_each_sign_in_takes_away_what_an_earlier_one_left(login, found, mode):
    login("--agent", "auto")
    before = found.identities()

    assert login("--agent", mode).status == 0

    now = found.identities()
    assert not {one.blob for one in before} & {one.blob for one in now}
    assert len(now) == {"auto": 1, "only": 2, "never": 0}[mode]


def test_an_agent_that_is_full_of_others_keeps_them(login, found, running):
    make_key(running.socket.with_name("mine"))
    running.add(running.socket.with_name("mine"))
    login("--agent", "auto")
    login("--agent", "auto")

    assert sorted(comments(found)) == ["daypass:default", "mine"]


def test_auto_without_an_agent_is_a_sign_in_all_the_same(login, keys):
    said = login("--agent", "auto", "-v")

    assert said.status == 0
    assert "there is no ssh-agent" in said.err
    assert keys.held().key_matches


def test_who_has_no_agent_loads_nothing_for_it(login, token_file):
    code = (
        "import sys; from client.__main__ import main;"
        f"status = main(['--token-file', {token_file!r}]);"
        "print(status, sorted(m for m in sys.modules if m.endswith('agent')))"
    )

    said = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout == "0 []\n"


# --- only -------------------------------------------------------------------------


def test_only_leaves_no_private_key_on_the_disk(login, found, home, host, keys, run):
    assert login("--agent", "only").status == 0

    everything = [path for path in home.rglob("*") if path.is_file()]
    assert not [p for p in everything if b"PRIVATE KEY" in p.read_bytes()]
    assert keys.held().key_matches
    assert run("status").status == 0
    files = ("-o", f"IdentityFile={keys.private}", "-o", "IdentitiesOnly=yes")
    done = log_in(host, *files)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_ends_with_the_agent(login, found, running, run, keys):
    login("--agent", "only")
    assert run("ensure").status == 0
    assert usable.answer("ensure", []) is None

    running.stop()
    running.start()

    assert run("check").status == 0
    assert on_a_terminal([sys.executable, "-m", "client", "ensure"]).status != 0


def test_only_exports_nothing(login, found, run, home):
    login("--agent", "only")

    said = run("export", "--ppk", str(home / "x.ppk"))

    assert said.status == 1
    assert "in the agent alone" in said.err


def test_only_without_an_agent_changes_nothing(login, keys):
    login()
    before = keys.certificate.read_bytes()

    said = login("--agent", "only")

    assert said.status == 1
    assert "there is no ssh-agent to hold the key" in said.err
    assert keys.certificate.read_bytes() == before


def test_logout_takes_it_out_of_the_agent(login, found, run, running):
    make_key(running.socket.with_name("mine"))
    running.add(running.socket.with_name("mine"))
    login("--agent", "only")

    assert run("logout").err == "ca-login: logged out\n"

    assert comments(found) == ["mine"]


def test_the_profile_says_how_it_is_each_morning(run, ca, found, token_file):
    run("setup", ca.url, "--pin", ca.pin, "--agent", "only")

    assert run("--token-file", token_file).status == 0
    assert comments(found) == ["daypass:default"] * 2
    assert run("setup", ca.url, "--pin", ca.pin, "--agent", "auto").status == 2


def test_a_profile_with_another_word_is_misuse(login, run, home, token_file):
    path = home / ".config/daypass/default.json"
    path.write_text(path.read_text().replace("{", '{"agent": "sometimes",', 1))

    assert login().status == 2


def test_a_key_of_the_persons_own_is_theirs_to_add(login, found, own_key):
    assert login("--key", str(own_key), "--agent", "auto").status == 2
    assert login("--key", str(own_key)).status == 0
    assert found.identities() == []


# --- Agents that do not do as OpenSSH's -------------------------------------------


def answering(*, limits=True, takes=True, keeps=True, lives=None):
    """Return an agent with a memory of its own, and what it refuses.

    `lives` gets how long it was told to keep what was added.
    """
    held: list[tuple[bytes, str]] = []

    def answer(message):
        kind, body = message[0], wire.Reader(message[1:])
        if kind == 11:
            listed = b"".join(wire.string(b) + wire.text(c) for b, c in held)
            return wire.string(b"\x0c" + wire.u32(len(held)) + listed)
        if kind == 18 or not takes or (kind == 25 and not limits):
            return wire.string(b"\x05")
        name, blob = body.string(), body.string()
        body.string()
        body.string()
        if lives is not None:
            lives.append(int.from_bytes(message[-4:]))
        if keeps and b"cert" in name:
            held.append((blob, body.string().decode()))
        return wire.string(b"\x06")

    return answer


@pytest.fixture
def lying(tmp_path, monkeypatch):
    """Return what has the person's agent be such a one."""
    path = tmp_path / "liar"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    return lambda **how: lying_agent(path, answering(**how))


def test_an_agent_without_lifetimes_gets_it_and_the_person_is_told(login, lying):
    with lying(limits=False):
        said = login("--agent", "auto")

    assert said.status == 0
    assert "does not let go of it by itself: ca-login logout" in said.err


@pytest.mark.parametrize("how", [{"takes": False}, {"keeps": False}])
def test_an_agent_that_takes_no_certificates_is_noticed(login, lying, how, keys):
    with lying(**how):
        auto = login("--agent", "auto")
        before = keys.certificate.read_bytes()
        only = login("--agent", "only")

    assert auto.status == 0
    assert "takes no certificates" in auto.err
    assert only.status == 1
    assert keys.certificate.read_bytes() == before


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        wire.string(b"\x0c\0\0\0\x09"),
        b"\0\0\0\2\6",
    ],
)
def test_an_agent_that_speaks_nonsense_is_named(tmp_path, answer):
    with (
        lying_agent(tmp_path / "liar", lambda _: answer),
        pytest.raises(Unable, match=str(tmp_path)),
    ):
        Agent(str(tmp_path / "liar"), seconds=1).identities()


def test_an_agent_that_says_something_else_is_named(tmp_path):
    with (
        lying_agent(tmp_path / "liar", lambda _: wire.string(b"\x06")),
        pytest.raises(Unable, match="message 6"),
    ):
        Agent(str(tmp_path / "liar")).identities()


def test_an_agent_that_is_gone_stops_no_sign_in_and_no_doctor(login, run, monkeypatch):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/at/all")

    assert login("--agent", "auto").status == 0
    assert login().status == 0
    found = run("doctor", "--json").document["findings"]
    assert [one["verdict"] for one in found if one["about"] == "agent"] == ["warn"]


def test_an_agent_that_is_gone_is_a_warning_to_who_logs_out(login, run, monkeypatch):
    login()
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/at/all")

    said = run("logout")

    assert said.status == 0
    assert "warning: what the ssh-agent at /nowhere/at/all holds" in said.err


# --- A week -----------------------------------------------------------------------


@pytest.fixture
def night(ca, keys, running):
    """Return what ends a day at its worst: the agent lets go of nothing by itself."""

    def night(day):
        ca.validity = "-20h:-10h"
        public = keys.certificate.resolve().with_name("key.pub")
        keys.certificate.write_text(ca.certify(words_of(public)))
        path = running.socket.with_name(f"day{day}")
        comment = ["-C", "daypass:default"]
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", *comment]
        subprocess.run([*command, "-f", path], check=True)
        public = Path(f"{path}.pub")
        Path(f"{path}-cert.pub").write_text(ca.certify(words_of(public)))
        running.add(path)
        ca.validity = "-1m:+10h"

    return night


def words_of(public):
    return " ".join(public.read_text().split()[:2])


def ended(keys):
    """Return the certificates in our folder that open nothing any more."""
    found = [p for p in keys.folder.rglob("*-cert.pub") if p.is_file()]
    return [p for p in found if not usable.is_good(str(p))]


def test_after_a_week_nothing_is_left_and_no_host_has_had_enough(
    login, found, keys, host, night
):
    for day in range(7):
        mode = ("auto", "only", "never")[day % 3]
        assert login("--agent", mode).status == 0

        held = found.identities()
        assert len(held) == {"auto": 1, "only": 2, "never": 0}[mode]
        assert ended(keys) == []
        assert len([p for p in keys.folder.iterdir() if p.is_dir()]) == 2
        # As whoever has ssh told nothing but where the key is.
        done = log_in(host, "-v", "-o", f"IdentityFile={keys.private}")
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("Offering public key") <= 2
        night(day)

    assert "maximum authentication attempts" not in host.log.read_text()
