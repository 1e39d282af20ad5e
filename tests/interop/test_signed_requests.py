"""Requests that ssh-keygen signs, sent by our client to real signers.

The certificate that they buy is judged by a real sshd; and of the same request sent to
two signers at once, one is taken.
"""

import http.client
import os
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ca.authorization import Call
from ca.certificate import CertificateType, parse_certificate, parse_line
from ca.errors import CertificateDerived, Denied, SignatureInvalid
from ca.messages import ExplainRequest as ExplainMessage
from client.api import CA, ExplainRequest, NarrowerRequest, RequestSigner
from client.failure import NoCertificate, Unable
from tests.agents import SshAgent
from tests.authority import (
    Signer,
    make_ca,
    request_of,
    rewrite,
    wait_until,
    write_whole,
)
from tests.databases import put_into
from tests.fakes import FakeIdP
from tests.fido import fido_ecdsa, fido_ed25519
from tests.login_table import ACCOUNT
from tests.signing import holder
from tests.sshd import Sshd, free_port, make_key

pytestmark = pytest.mark.openssh

KINDS = {
    "ed25519": ["-t", "ed25519"],
    "ecdsa-256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-521": ["-t", "ecdsa", "-b", "521"],
    "rsa-3072": ["-t", "rsa", "-b", "3072"],
}
AT_ONCE = 16

POLICY = f"""
[[rule]]
name       = "developers"
issuer     = "corp"
match      = {{ groups = ["dev"] }}
principals = ["{ACCOUNT}", "deploy"]
validity   = "10h"
extensions = ["permit-pty"]
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def config_file(idp, tmp_path_factory):
    origin = f"http://127.0.0.1:{free_port()}"
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp, origin=origin)
    write_whole(config_file.with_name("policy.toml"), POLICY)
    return config_file


@pytest.fixture(scope="module")
def origin(config_file):
    (line,) = (x for x in config_file.read_text().splitlines() if x[:6] == "origin")
    return line.split('"')[1]


@pytest.fixture(scope="module")
def signer(config_file, origin):
    """Serve at the origin, as the client must reach it."""
    with Signer(config_file, port=int(origin.rpartition(":")[2])) as signer:
        yield signer


@pytest.fixture
def ca(signer):
    with CA(signer.url) as ca:
        yield ca


def sign_in(signer, idp, key: Path) -> RequestSigner:
    """Have a key certified for an ID token; return what signs requests with it."""
    line = " ".join(key.with_name(f"{key.name}.pub").read_text().split()[:2])
    answer = signer.sign(request_of(idp, key=line)).certificate
    path = key.with_name(f"{key.name}-cert.pub")
    path.write_text(f"{answer.certificate}\n")
    return RequestSigner.open(key, path)


@pytest.fixture
def ada(signer, idp, tmp_path):
    make_key(tmp_path / "ada")
    return sign_in(signer, idp, tmp_path / "ada")


def new_key(path: Path) -> str:
    make_key(path)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


# --- Keys of every kind ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_signs_is_taken(kind, ca, signer, idp, tmp_path):
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-N", "", *KINDS[kind], "-f", key], check=True)

    told = ca.explain(ExplainRequest(), sign_in(signer, idp, key))

    assert told["key_id"] == "corp:ada@example.com"
    assert told["granted"]["principals"] == [ACCOUNT, "deploy"]


@pytest.mark.parametrize("make", [fido_ed25519, fido_ecdsa])
def test_what_a_fido_key_signs_is_taken(make, signer, idp, origin):
    key = make()
    ada = replace(holder(), key=key.blob, sign_data=key.sign)
    answer = signer.sign(request_of(idp, key=ada.line)).certificate
    body = msgspec.json.encode(ExplainMessage())
    call = Call("POST", "/v1/explain", body)

    header = ada.with_certificate(answer).sign(
        call, at=datetime.now(UTC), origin=origin
    )
    told = signer.ask("POST", call.target, body, headers={"Authorization": header})

    assert told.status == 200, told.body


def test_a_key_in_an_agent_signs(ca, signer, idp, tmp_path, monkeypatch):
    key = tmp_path / "key"
    make_key(key)
    signs = sign_in(signer, idp, key)
    with SshAgent(tmp_path) as agent:
        agent.add(key)
        key.unlink()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))

        told = ca.explain(ExplainRequest(), replace(signs, key=key.with_suffix(".pub")))

    assert told["key_id"] == "corp:ada@example.com"


def test_without_the_key_nothing_is_signed(ca, ada):
    gone = replace(ada, key=ada.key.with_name("gone"))

    with pytest.raises(Unable, match="ssh-keygen cannot sign") as failed:
        ca.explain(ExplainRequest(), gone)

    assert "SSH_AUTH_SOCK" in str(failed.value.hint)


def test_a_certificate_that_is_missing_or_none_signs_nothing(ada, tmp_path):
    with pytest.raises(NoCertificate, match="there is no certificate"):
        RequestSigner.open(ada.key, tmp_path / "gone")
    with pytest.raises(Unable, match="is no certificate"):
        RequestSigner.open(ada.key, ada.key.with_suffix(".pub"))


def test_a_certificate_that_no_header_holds_is_said_before_it_is_sent(ca, ada):
    with pytest.raises(Unable, match="too large to sign"):
        ca.explain(ExplainRequest(), replace(ada, certificate=os.urandom(8000)))


def test_the_signer_takes_headers_as_long_as_the_client_sends(signer):
    for length, status in ((8150, 401), (9000, 431)):
        header = f"Daypass-SSHSIG {'x' * (length - 15)}"
        answer = signer.ask(
            "POST", "/v1/explain", b"{}", headers={"Authorization": header}
        )
        assert answer.status == status


# --- What is bought -------------------------------------------------------------------


def test_a_narrower_certificate_opens_a_host(ca, ada, config_file, tmp_path):
    line = new_key(tmp_path / "phone")
    trusted = tmp_path / "user_ca.pub"
    trusted.write_bytes(
        config_file.with_name("keys").joinpath("user_ca.pub").read_bytes()
    )
    request = NarrowerRequest(
        line, (ACCOUNT,), validity_seconds=600, extensions=(), reason="phone"
    )

    answer = ca.narrower(request, ada)

    says, _ = parse_certificate(parse_line(answer.certificate))
    assert says.type is CertificateType.USER
    assert (says.principals, says.extensions) == ((ACCOUNT,), ())
    # Not beside the key, where ssh would find it by itself.
    certificate = tmp_path / "narrower.pub"
    certificate.write_text(f"{answer.certificate}\n")
    folder = tmp_path / "sshd"
    folder.mkdir()
    with Sshd(folder, [f"TrustedUserCAKeys {trusted}"]) as sshd:
        login = sshd.login(tmp_path / "phone", certificate, command="echo in")
        assert login.stdout == "in\n", sshd.said
        assert f"(serial {says.serial})" in sshd.said
        without = sshd.login(tmp_path / "phone")
        assert without.returncode == 255


def test_a_narrower_certificate_signs_no_request(ca, ada, tmp_path):
    line = new_key(tmp_path / "phone")
    answer = ca.narrower(NarrowerRequest(line, ("deploy",)), ada)
    path = tmp_path / "phone-cert.pub"
    path.write_text(f"{answer.certificate}\n")

    with pytest.raises(CertificateDerived):
        ca.explain(ExplainRequest(), RequestSigner.open(tmp_path / "phone", path))


def test_what_the_certificate_lacks_is_denied(ca, ada, tmp_path):
    line = new_key(tmp_path / "phone")

    with pytest.raises(Denied):
        ca.narrower(NarrowerRequest(line, ("nobody",)), ada)


def test_policy_of_now_decides(config_file, ca, ada, signer, tmp_path):
    policy = config_file.with_name("policy.toml")
    line = new_key(tmp_path / "phone")
    ca.narrower(NarrowerRequest(line, ("deploy",)), ada)
    rewrite(policy, {', "deploy"]': "]"})
    reload_policy(signer)
    try:
        with pytest.raises(Denied):
            ca.narrower(NarrowerRequest(line, ("deploy",)), ada)
    finally:
        write_whole(policy, POLICY)
        reload_policy(signer)


def reload_policy(signer):
    """Have the signer take its policy as it is now, in the parent and the worker."""

    def reloaded():
        return signer.log.read_text().count('"message":"policy reloaded"')

    before = reloaded()
    signer.signal(signal.SIGHUP)
    wait_until(lambda: reloaded() == before + 2)


def test_a_request_signed_for_another_url_is_refused(ada, config_file, origin):
    # What another server could do with what it is sent: pass it on.
    with (
        Signer(config_file) as other,
        CA(other.url) as elsewhere,
        pytest.raises(SignatureInvalid) as refused,
    ):
        elsewhere.explain(ExplainRequest(), ada)

    assert origin in str(refused.value.hint)


# --- Once -----------------------------------------------------------------------------


def test_one_request_at_two_signers_at_once_is_taken_once(
    idp, database, tmp_path, rounds
):
    config_file = make_ca(tmp_path / "ca", idp)
    put_into(config_file, database)
    with Signer(config_file) as one, Signer(config_file) as other:
        ada = holder()
        ada = ada.with_certificate(one.sign(request_of(idp, key=ada.line)).certificate)
        body = msgspec.json.encode(ExplainMessage())
        call = Call("POST", "/v1/explain", body)
        for _ in range(rounds(20)):
            header = ada.sign(call, at=datetime.now(UTC))
            answers = at_once((one, other), call, header)

            statuses = sorted(answer.status for answer in answers)
            assert statuses == [200] + [409] * (AT_ONCE - 1)
            refused = [answer for answer in answers if answer.status == 409]
            assert {answer.json["code"] for answer in refused} == {"request_replayed"}


def at_once(signers, call, header):
    """Send one request many times at the same moment, in turn to each signer."""
    start = threading.Barrier(AT_ONCE)

    def send(number):
        start.wait()
        return signers[number % len(signers)].ask(
            call.method, call.target, call.body, headers={"Authorization": header}
        )

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(send, range(AT_ONCE)))


def test_two_headers_are_no_signed_request(signer, ada, origin):
    call = Call("POST", "/v1/explain", b"{}")
    connection = http.client.HTTPConnection("127.0.0.1", signer.port)
    connection.putrequest(call.method, call.target)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(len(call.body)))
    for _ in range(2):
        connection.putheader("Authorization", ada.sign(call, origin=origin))
    connection.endheaders(call.body)

    answer = connection.getresponse()

    assert answer.status in {400, 401}
    answer.read()
    connection.close()
