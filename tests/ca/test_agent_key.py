"""A key in an ssh-agent signs as one in a file does; whatever goes wrong is said.

The agent is OpenSSH's own, with keys that `ca-admin init` could have made. One that
lies stands in for broken hardware and for whoever else could listen at the socket.
"""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ca import ssh_signature, wire
from ca.errors import KeyUnavailable
from ca.signing_key import AgentKey, FileKey, KeyType
from ca.signing_key.agent import LONGEST_ANSWER, Agent, receive
from tests.agents import SshAgent, answering, lying_agent

DATA = b"to be signed"
PASSPHRASE = b"a passphrase"
KEYS = {key_type: FileKey.generate(key_type) for key_type in KeyType}


@pytest.fixture
def agent(tmp_path):
    with SshAgent(tmp_path) as agent:
        yield agent


def add(agent, key):
    """Put a key into the agent, as an operator would; return its `.pub` file."""
    file = agent.socket.with_name("key")
    file.write_bytes(key.encrypt(PASSPHRASE))
    file.chmod(0o600)
    agent.add(file, answer=PASSPHRASE.decode())
    file.unlink()
    return write_public(agent.socket.parent, key)


def write_public(folder, key):
    public = folder / "key.pub"
    public.write_text(f"{key.line} a comment\n")
    return public


@pytest.fixture(params=KEYS)
def opened(request, agent):
    """Return a key of each type, and the same opened in an agent."""
    key = KEYS[request.param]
    return key, AgentKey.open(agent.socket, add(agent, key))


def test_it_is_the_same_key(opened):
    file_key, agent_key = opened

    assert agent_key.blob == file_key.blob
    assert agent_key.line == file_key.line
    assert agent_key.fingerprint == file_key.fingerprint


def test_what_it_signs_verifies(opened):
    file_key, agent_key = opened

    ssh_signature.verify(file_key.blob, agent_key.sign(DATA), DATA)


def test_rsa_is_asked_for_sha2_512(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.RSA]))

    assert wire.Reader(key.sign(DATA)).text() == "rsa-sha2-512"
    unasked = Agent(agent.socket).sign(key.blob, DATA, flags=0)
    assert unasked is not None
    assert wire.Reader(unasked).text() == "ssh-rsa"


def test_it_is_found_among_others(agent):
    add(agent, KEYS[KeyType.RSA])
    add(agent, KEYS[KeyType.ECDSA])
    public = add(agent, KEYS[KeyType.ED25519])

    assert AgentKey.open(agent.socket, public).sign(DATA)


def test_many_threads_sign_at_once(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.ED25519]))
    messages = [str(number).encode() for number in range(200)]

    with ThreadPoolExecutor(16) as pool:
        signatures = list(pool.map(key.sign, messages))

    for message, signature in zip(messages, signatures, strict=True):
        ssh_signature.verify(key.blob, signature, message)


def test_a_forked_process_signs(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.ED25519]))
    key.sign(DATA)
    child = os.fork()
    if child == 0:
        os._exit(0 if key.sign(DATA) else 1)

    assert key.sign(DATA)
    assert os.waitpid(child, 0)[1] == 0


# --- When it is gone, and back ----------------------------------------------------


def test_an_agent_that_was_started_again_is_used_again(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.ED25519]))
    agent.stop()
    with pytest.raises(KeyUnavailable, match="is gone") as refused:
        key.sign(DATA)
    assert "need not be restarted" in str(refused.value.hint)

    agent.start()
    with pytest.raises(KeyUnavailable, match="does not hold"):
        key.sign(DATA)

    add(agent, KEYS[KeyType.ED25519])
    assert key.sign(DATA)


def test_a_locked_agent_refuses_until_it_is_unlocked(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.ED25519]))
    agent.add("-x", answer="a lock")
    with pytest.raises(KeyUnavailable, match="or is locked") as refused:
        key.sign(DATA)
    assert "ssh-add -X" in str(refused.value.hint)

    agent.add("-X", answer="a lock")

    assert key.sign(DATA)


def test_a_key_that_must_be_confirmed_is_refused_in_words(agent, tmp_path):
    file = tmp_path / "private"
    file.write_bytes(KEYS[KeyType.ED25519].encrypt(PASSPHRASE))
    file.chmod(0o600)
    agent.add("-c", file, answer=PASSPHRASE.decode())
    key = AgentKey.open(agent.socket, write_public(tmp_path, KEYS[KeyType.ED25519]))

    with pytest.raises(KeyUnavailable, match="refuses to sign"):
        key.sign(DATA)


def test_an_agent_that_does_not_answer_costs_no_more_than_the_deadline(agent):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.ED25519]))
    slow = AgentKey(Agent(agent.socket, seconds=0.2), key.blob)
    agent.signal(signal.SIGSTOP)
    began = time.monotonic()

    with pytest.raises(KeyUnavailable, match="is gone: timed out"):
        slow.sign(DATA)

    assert 0.2 <= time.monotonic() - began < 5
    agent.signal(signal.SIGCONT)
    assert slow.sign(DATA)


def test_an_agent_that_drips_costs_no_more_than_the_deadline(tmp_path):
    def drip(_request):
        time.sleep(0.3)
        return wire.string(b"\x0e" + bytes(3))[:5]

    with lying_agent(tmp_path / "agent", drip):
        key = AgentKey(
            Agent(tmp_path / "agent", seconds=0.2), KEYS[KeyType.ED25519].blob
        )
        with pytest.raises(KeyUnavailable, match="timed out"):
            key.sign(DATA)


def test_a_deadline_that_has_passed_is_noticed_though_more_is_there():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"more")

        with pytest.raises(TimeoutError):
            receive(ours, 4, time.monotonic())


# --- What does not open -----------------------------------------------------------


def test_a_key_that_the_agent_does_not_hold_does_not_open(agent, tmp_path):
    add(agent, KEYS[KeyType.ECDSA])
    public = write_public(tmp_path, KEYS[KeyType.ED25519])

    with pytest.raises(KeyUnavailable, match="does not hold the key SHA256:"):
        AgentKey.open(agent.socket, public)


def test_no_agent_does_not_open(tmp_path):
    public = write_public(tmp_path, KEYS[KeyType.ED25519])

    with pytest.raises(KeyUnavailable, match=r"agent is gone: No such file"):
        AgentKey.open(tmp_path / "agent", public)
    with pytest.raises(KeyUnavailable, match="too long"):
        AgentKey.open(tmp_path / ("long" * 30), public)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "not one line"),
        (b"\xff", "not ASCII"),
        (b"ssh-ed25519 AAAA", "bytes early"),
    ],
)
def test_a_public_key_that_cannot_be_read_does_not_open(tmp_path, content, why):
    public = tmp_path / "key.pub"
    if content is not None:
        public.write_bytes(content)

    with pytest.raises(KeyUnavailable, match=why) as refused:
        AgentKey.open(tmp_path / "agent", public)

    assert str(public) in refused.value.detail


# --- An agent that lies -----------------------------------------------------------


@pytest.fixture
def lie(tmp_path):
    """Ask an agent that answers this for a signature; return what is said then."""

    def ask(answer, key=KEYS[KeyType.ED25519]):
        with lying_agent(tmp_path / "agent", answer):
            agent_key = AgentKey(Agent(tmp_path / "agent", seconds=5), key.blob)
            with pytest.raises(KeyUnavailable) as refused:
                agent_key.sign(DATA)
        return refused.value.detail

    return ask


@pytest.mark.parametrize("key_type", KeyType)
def test_a_signature_over_other_data_is_not_released(lie, key_type):
    key = KEYS[key_type]
    signature = key.sign(b"other data")

    said = lie(answering(keys=[key.blob], signature=signature), key)

    assert "wrong signature: the signature does not verify" in said


def test_a_signature_by_another_key_is_not_released(lie):
    signature = FileKey.generate().sign(DATA)

    assert "wrong signature" in lie(answering(keys=[], signature=signature))


def test_what_is_no_signature_is_not_released(lie):
    assert "wrong signature" in lie(answering(keys=[], signature=b"\0"))


def test_an_agent_that_ignores_the_flag_for_sha2_is_refused(agent, lie):
    key = AgentKey.open(agent.socket, add(agent, KEYS[KeyType.RSA]))
    real = Agent(agent.socket)
    sha1 = real.sign(key.blob, DATA, flags=0)
    sha256 = real.sign(key.blob, DATA, flags=2)
    assert sha1 is not None
    assert sha256 is not None
    agent.stop()

    said = lie(answering(keys=[key.blob], signature=sha1), key)
    assert "does not sign with 'ssh-rsa'" in said
    said = lie(answering(keys=[key.blob], signature=sha256), key)
    assert said.endswith("signed with rsa-sha2-256, not rsa-sha2-512")
    agent.start()


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"", "closed the connection"),
        (b"\0\0\0", "closed the connection"),
        (wire.u32(0), "a message of 0 bytes"),
        (wire.u32(LONGEST_ANSWER + 1), f"a message of {LONGEST_ANSWER + 1} bytes"),
        (wire.u32(2) + b"\x0e", "closed the connection"),
        (wire.string(b"\x06"), "message 6"),
        (wire.string(b"\x0e"), "bytes early"),
        (wire.string(b"\x0e" + wire.u32(1 << 31)), "claims"),
        (wire.string(b"\x0e" + wire.string(b"") + b"\0"), "bytes too many"),
        (wire.string(b"\x05"), "does not say which keys"),
    ],
)
def test_nonsense_is_refused_in_words(lie, message, why):
    assert why in lie(lambda _request: message)


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (b"\x0c", "bytes early"),
        (b"\x0c" + wire.u32(2**32 - 1), "bytes early"),
        (b"\x0c" + wire.u32(0) + b"\0", "bytes too many"),
    ],
)
def test_nonsense_about_identities_is_refused_in_words(tmp_path, message, why):
    with (
        lying_agent(tmp_path / "agent", lambda _request: wire.string(message)),
        pytest.raises(KeyUnavailable, match=why),
    ):
        Agent(tmp_path / "agent").identities()
