"""OpenSSH is the judge: of what hosts sign, of their certificates, and of canaries.

`ssh-keygen` signs what a host sends, as its script does. A real ssh that knows one
`@cert-authority` line gets in while the host's certificate is good, and a real sshd
lets a canary print its nonce, and do nothing else.
"""

import getpass
import subprocess
from base64 import b64decode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from ca.authorization import Call
from ca.hosts import make_join_token
from ca.messages import Canary, CanaryRequest, CanaryResponse
from ca.policy import load_policy
from signer.app import create_app
from tests.authority import make_ca, opened, request_of
from tests.fakes import FakeIdP
from tests.signing import ORIGIN, holder
from tests.sshd import LOOPBACK, Sshd, make_key

pytestmark = pytest.mark.openssh

HOUR = timedelta(hours=1)
RENEW = "/v1/host-certificates/renew"
NAME = "web1.prod.example.com"
ME = getpass.getuser()
POLICY = f"""
[[rule]]
name       = "canaries"
issuer     = "corp"
canary     = true
match      = {{ groups = ["oncall"] }}
principals = ["{ME}"]
validity   = "10m"

[[rule]]
name       = "developers"
issuer     = "corp"
match      = {{ groups = ["dev"] }}
principals = ["{ME}"]
validity   = "10h"

[[host]]
name     = "production"
issuer   = "corp"
match    = {{ groups = ["oncall"] }}
names    = ["*.prod.example.com"]
validity = "1h"

[roles]
provisioner = {{ issuer = "corp", groups = ["oncall"] }}
"""


class Clock:
    """The CA's, which a test turns."""

    def __init__(self):
        self.off = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) + self.off


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        authority.policy = load_policy(POLICY.encode(), issuers=frozenset({"corp"}))
        yield authority


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client(authority, clock):
    return create_app(authority, clock=clock).test_client()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "sshd"
    folder.mkdir()
    return folder


@dataclass(frozen=True)
class ShellHost:
    """A host that says what it says as its shell script does."""

    key: Path
    id: str = "web1"

    def say(self, *lines: str, at: datetime) -> bytes:
        text = "".join(f"{line}\n" for line in [*lines, f"time {at:%s}"])
        signed = subprocess.run(
            ["ssh-keygen", "-Y", "sign", "-n", "daypass-host", "-f", self.key],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        )
        return (text + signed.stdout).encode()

    @property
    def line(self) -> str:
        return " ".join(self.key.with_suffix(".pub").read_text().split()[:2])

    def join(self, token: str, *, at: datetime) -> bytes:
        return self.say(
            "daypass-host-join-v1",
            f"origin {ORIGIN}",
            f"host {self.id}",
            f"name {NAME}",
            f"key {self.line}",
            "pulls no",
            f"token {token}",
            at=at,
        )

    def renewal(self, *, at: datetime) -> bytes:
        return self.say(
            "daypass-host-renewal-v1",
            f"host {self.id}",
            f"origin {ORIGIN}",
            f"key {self.line}",
            at=at,
        )


def sign_in(client, idp, user, folder):
    """Return the user's key file, with a certificate beside it."""
    key = folder / user
    make_key(key)
    answer = client.post(
        "/v1/user-certificates",
        data=msgspec.json.encode(
            request_of(idp, user, key=key.with_suffix(".pub").read_text())
        ),
        content_type="application/json",
    )
    assert answer.status_code == 200, answer.data
    (folder / f"{user}-cert.pub").write_text(answer.json["certificate"] + "\n")
    return key


def ask(client, path, document):
    answer = client.post(path, data=document, content_type="text/plain")
    assert answer.status_code in {200, 201}, answer.data
    return answer


def test_a_client_that_knows_the_ca_alone_gets_in_while_the_certificate_is_good(
    authority, client, clock, idp, folder, tmp_path
):
    ada = sign_in(client, idp, "ada", tmp_path)
    make_key(tmp_path / "host")
    host, certificate = ShellHost(tmp_path / "host"), tmp_path / "host-cert.pub"
    trusted = tmp_path / "user_ca.pub"
    trusted.write_text(f"{authority.user_ca_key.line}\n")

    def join():
        by = {"identity": None, "by": "ada"}
        token = make_join_token(
            authority, host="web1", names=(NAME,), life=HOUR, by=by, now=clock()
        )
        ask(client, "/v1/hosts", host.join(token, at=clock()))

    def renew():
        certificate.write_text(ask(client, RENEW, host.renewal(at=clock())).text)

    def login():
        settings = [
            f"TrustedUserCAKeys {trusted}",
            f"HostKey {host.key}",
            f"HostCertificate {certificate}",
        ]
        with Sshd(folder, settings) as sshd:
            line = authority.host_ca_key.line
            sshd.known_hosts.write_text(f"@cert-authority *.prod.example.com {line}\n")
            alias = ["-o", f"HostKeyAlias={NAME}"]
            answer = sshd.login(ada, tmp_path / "ada-cert.pub", options=alias)
        (folder / "host_key").unlink()
        return answer

    # Two hours ago, for an hour: it has run out.
    clock.off = -2 * HOUR
    join()
    renew()
    refused = login()
    assert refused.returncode == 255
    assert "expired" in refused.stderr, refused.stderr

    # The same proof as the first time, although the certificate has ended.
    clock.off = timedelta(0)
    renew()
    renewed = login()
    assert renewed.returncode == 0, renewed.stderr


def canaries(client, idp, folder, *wanted, source=LOOPBACK):
    """Return a key and a file with a certificate for each canary."""
    grace, bird = holder(), folder / "bird"
    make_key(bird)
    signed_in = client.post(
        "/v1/user-certificates",
        data=msgspec.json.encode(request_of(idp, "grace", key=grace.line)),
        content_type="application/json",
    )
    certificate = signed_in.json["certificate"].split()[1]
    grace = grace.with_blob(b64decode(certificate))
    body = msgspec.json.encode(
        CanaryRequest(
            public_key=bird.with_suffix(".pub").read_text(),
            source=source,
            canaries=wanted,
        )
    )
    path = "/v1/canary-certificates"
    answer = client.post(
        path,
        data=body,
        content_type="application/json",
        headers={
            "Authorization": grace.sign(Call("POST", path, body), at=datetime.now(UTC))
        },
    )
    assert answer.status_code == 200, answer.data
    files = []
    for one in msgspec.json.decode(answer.data, type=CanaryResponse).certificates:
        file = folder / f"bird-{one.serial}-cert.pub"
        file.write_text(one.certificate + "\n")
        files.append(file)
    return bird, files


def test_a_canary_prints_its_nonce_from_one_address_and_does_nothing_else(
    authority, client, idp, folder, tmp_path
):
    first, second = "a" * 16, "B4" * 32
    bird, (one, two, elsewhere) = canaries(
        client,
        idp,
        tmp_path,
        Canary(principal=ME, nonce=first),
        Canary(principal=ME, nonce=second),
        Canary(principal=ME, nonce=first, source="192.0.2.1"),
    )
    trusted = tmp_path / "user_ca.pub"
    trusted.write_text(f"{authority.user_ca_key.line}\n")
    mark = tmp_path / "mark"

    with Sshd(folder, [f"TrustedUserCAKeys {trusted}"]) as sshd:
        assert sshd.login(bird, one).stdout == f"{first}\n"
        other = sshd.login(bird, two, command=f"touch {mark}")
        assert (other.returncode, other.stdout) == (0, f"{second}\n")
        assert not mark.exists()
        terminal = sshd.login(bird, one, options=["-tt"])
        assert "PTY allocation request failed" in terminal.stderr
        forwarded = sshd.login(
            bird,
            one,
            options=["-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"],
        )
        assert forwarded.returncode == 255
        refused = sshd.login(bird, elsewhere)
        assert refused.returncode == 255
        assert "not from a permitted source address" in sshd.said
