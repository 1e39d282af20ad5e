"""`ca-deploy` as it is typed, against a real signer and real hosts.

The commands are those of docs/operating.md, in its order: what it says to type is what
runs here.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ca.certificate import parse_line
from ca.wire import fingerprint
from client.api import CA
from signer.app import create_app
from tests.authority import (
    LOOPBACK,
    ROOT,
    Signer,
    make_ca,
    opened,
    request_of,
    write_whole,
)
from tests.client.a_terminal import on_a_terminal
from tests.fakes import FakeIdP
from tests.sshd import free_port, make_key
from tests.targets import PASSWORD, Target, make_login, wait_until

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

POLICY = """
[[rule]]
name       = "proofs of ca-deploy"
issuer     = "corp"
canary     = true
match      = { groups = ["oncall"] }
principals = ["root", "dev"]
validity   = "10m"

[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev", "oncall"] }
principals = ["dev"]
validity   = "10h"

[[host]]
name     = "web"
issuer   = "corp"
match    = { groups = ["oncall"] }
names    = ["web1", "web2"]
validity = "1h"

[roles]
provisioner = { issuer = "corp", groups = ["oncall"] }
"""

DESIRED = """
version = 1
ca  = "{url}"
pin = "{pin}"

[host]
accounts = {{ root = ["root"], deploy = ["dev"] }}
host_certificate = true
"""


@dataclass(frozen=True)
class Desk:
    """The operator's machine: deploy.toml, hosts, an ssh_config, a certificate."""

    folder: Path

    def type(self, line: str, *, answer: str = "") -> subprocess.CompletedProcess[str]:
        """Type a command line of ca-deploy, as it stands in the documents."""
        program, *arguments = shlex.split(line)
        assert program == "ca-deploy"
        given = ["--ssh-config", "ssh_config"] if "render" not in arguments else []
        if {"apply", "verify", "authorized-keys"} & set(arguments):
            given += ["--key", "default"]
        return subprocess.run(
            [sys.executable, "-m", "deploy", *arguments, *given],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            input=answer,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    port = free_port()
    with FakeIdP() as idp:
        folder = tmp_path_factory.mktemp("ca") / "ca"
        config = make_ca(folder, idp, origin=f"http://{LOOPBACK}:{port}")
        write_whole(folder / "policy.toml", POLICY)
        with Signer(config, port=port) as signer:
            yield signer, idp


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    login = make_login(folder)
    with (
        Target(folder / "a", login.line) as one,
        Target(folder / "b", login.line) as two,
    ):
        yield login, (one, two)


@pytest.fixture(scope="module")
def desk(signer, hosts, tmp_path_factory):
    served, idp = signer
    login, targets = hosts
    folder = tmp_path_factory.mktemp("desk")
    make_key(folder / "default")
    line = (folder / "default.pub").read_text().strip()
    answer = served.sign(request_of(idp, "grace", key=line)).certificate
    (folder / "default-cert.pub").write_text(f"{answer.certificate}\n")
    with CA(served.url) as ca:
        pin = ca.unverified_root_fingerprint()
    (folder / "deploy.toml").write_text(DESIRED.format(url=served.url, pin=pin))
    (folder / "hosts").write_text("[web]\nweb1\nweb2\n")
    known = folder / "known_hosts"
    known.write_text("".join(target.known_hosts for target in targets))
    (folder / "ssh_config").write_text(
        "".join(
            f"Host web{number}\n  HostName {target.address}\n  Port {target.port}\n"
            for number, target in enumerate(targets, 1)
        )
        + f"Host *\n  User root\n  IdentityFile {login.key}\n  IdentityAgent none\n"
        f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
    )
    return Desk(folder)


def said_to_type(heading: str) -> list[str]:
    """Return the command lines of a section of docs/operating.md."""
    text = (ROOT / "docs/operating.md").read_text()
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^ca-deploy .*$", section, re.MULTILINE)


def plan_id(said: str) -> str:
    found = re.search(r"^plan (\w+):", said, re.MULTILINE)
    assert found, said
    return found[1]


def test_a_fleet_is_rolled_out_as_the_documents_say(desk, hosts):
    plan, one, whole, verify = said_to_type("Roll out to a fleet")

    looked = desk.type(plan)
    assert looked.returncode == 0, looked.stderr
    assert "plan " in looked.stdout
    assert "2 of 2 hosts would change" in looked.stdout
    unasked = desk.type(one)
    assert unasked.returncode == 2
    assert "there is nobody to ask" in unasked.stderr
    first = desk.type(f"{one} --plan {plan_id(unasked.stdout)}")
    assert first.returncode == 0, first.stderr
    assert "web1: proved" in first.stderr
    stale = desk.type(f"{whole} --plan {plan_id(looked.stdout)}")
    assert stale.returncode == 1
    assert "nothing was changed" in stale.stderr
    rest = desk.type(f"{whole} --plan {plan_id(stale.stdout)}")
    assert rest.returncode == 0, rest.stderr
    assert "web1: unchanged" in rest.stderr
    assert "web2: proved" in rest.stderr
    proved = desk.type(verify)
    assert proved.returncode == 0, proved.stderr
    events = [json.loads(line) for line in proved.stdout.splitlines()]
    assert {e["host"]: e["event"] for e in events} == {
        "web1": "proved",
        "web2": "proved",
    }


def test_hosts_are_known_to_the_ca_and_pull_by_themselves(desk, hosts, signer):
    _, (one, _) = hosts

    pulled = subprocess.run(
        ["ssh", "-F", "ssh_config", "web1", "/usr/local/sbin/daypass-pull"],
        cwd=desk.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    told = desk.type("ca-deploy status --limit web1")

    assert pulled.returncode == 0, pulled.stderr
    assert "result=ok" in one.path("etc/ssh/daypass/status").read_text()
    assert "pull: result ok" in told.stdout
    assert one.path("etc/cron.d/daypass").exists()
    # It says to the CA which bundle it has, with the key that it was registered with.
    served, _ = signer
    reports = [line for line in served.said() if line.get("path") == "/v1/host-reports"]
    assert [(line["host"], line["status"]) for line in reports] == [("web1", 204)]


def test_somebody_s_certificate_opens_what_was_deployed(desk, hosts, signer):
    served, idp = signer
    line = (desk.folder / "default.pub").read_text().strip()
    mine = served.sign(request_of(idp, "ada", key=line)).certificate
    certificate = desk.folder / "ada-cert.pub"
    certificate.write_text(f"{mine.certificate}\n")
    only = ["-o", "IdentitiesOnly=yes", "-o", f"CertificateFile={certificate}"]

    said = subprocess.run(
        [*("ssh", "-F", "ssh_config", "-i", "default", *only), "deploy@web2", "id -un"],
        cwd=desk.folder,
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.stdout == "deploy\n", said.stderr


def test_a_host_shows_a_certificate_of_the_host_ca(desk, hosts):
    _, (_, two) = hosts
    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", two.path("etc/ssh/ssh_host_ed25519_key-cert.pub")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "host certificate" in said
    assert "                web2\n" in said
    assert two.path("etc/cron.d/daypass-renew").exists()


def renewal_of(host: Target, name: str, origin: str, at: datetime) -> bytes:
    """Return how a host asks for a certificate, signed as its script does."""
    key = host.path("etc/ssh/ssh_host_ed25519_key")
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    text = (
        f"daypass-host-renewal-v1\nhost {name}\norigin {origin}\nkey {public}\n"
        f"time {at.timestamp():.0f}\n"
    )
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-n", "daypass-host", "-f", key],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return (text + signed.stdout).encode()


def test_a_client_with_one_line_about_the_ca_knows_a_host_while_it_is_certified(
    desk, hosts, signer
):
    _, (_, two) = hosts
    served, _ = signer
    certificate = two.path("etc/ssh/ssh_host_ed25519_key-cert.pub")
    with CA(served.url) as ca:
        trusted = ca.bundle(ca.unverified_root_fingerprint()).roots.host_ca[0].key
    (desk.folder / "ca_alone").write_text(f"@cert-authority web1,web2 {trusted}\n")
    only = ["UserKnownHostsFile=ca_alone", "HostKeyAlias=web2", "BatchMode=yes"]
    options = [word for one in only for word in ("-o", one)]

    def login(command: str = "echo in") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", *options, "-F", "ssh_config", "web2", command],
            cwd=desk.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    enrolled = certificate.read_text()
    assert login().stdout == "in\n"
    # Not yet due: the host's own script leaves it.
    assert login("daypass-pull --renew").returncode == 0
    assert certificate.read_text() == enrolled

    # As it would be had the host been off for two hours: the rule gives it one.
    then = datetime.now(UTC) - timedelta(hours=2)
    with opened(served.config_file) as authority:
        asked = (
            create_app(authority, clock=lambda: then)
            .test_client()
            .post(
                "/v1/host-certificates/renew",
                data=renewal_of(two, "web2", served.url, then),
                content_type="text/plain",
            )
        )
    assert asked.status_code == 200, asked.data
    certificate.write_text(asked.text)
    reload = ["ssh", "-F", "ssh_config", "web2", f"kill -HUP {two.listener}"]
    subprocess.run(reload, cwd=desk.folder, check=True)
    wait_until(lambda: "expired" in login().stderr, 20)

    renew = ["ssh", "-F", "ssh_config", "web2", "daypass-pull --renew"]
    renewed = subprocess.run(
        renew, cwd=desk.folder, capture_output=True, text=True, check=False
    )

    assert renewed.returncode == 0, renewed.stderr
    assert "host certificate renewed" in renewed.stderr
    assert login().stdout == "in\n"
    assert certificate.read_text() not in {enrolled, asked.text}


def test_drift_has_an_exit_code_of_its_own(desk, hosts):
    _, (one, _) = hosts
    path = one.path("etc/ssh/sshd_config.d/05-daypass.conf")
    before = path.read_text()
    path.write_text("")

    said = desk.type("ca-deploy verify")

    assert said.returncode == 9
    assert "web1: failed: not as it should be: /etc/ssh/sshd_config.d" in said.stderr
    path.write_text(before)


def test_keys_from_before_are_listed_moved_and_brought_back(desk, hosts):
    login, (one, _) = hosts
    key = desk.folder / "old"
    make_key(key)
    place = one.path("root/.ssh/authorized_keys")
    before = place.read_text()
    with place.open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    toml = desk.folder / "deploy.toml"
    declared = toml.read_text()
    kept = fingerprint(parse_line(" ".join(login.line.split()[:2])))
    toml.write_text(f'{declared}authorized_keys = "retire"\nkept_keys = ["{kept}"]\n')

    listed = desk.type("ca-deploy authorized-keys report --json --limit web1")
    left = desk.type("ca-deploy verify --limit web1")
    looked = desk.type("ca-deploy authorized-keys retire --limit web1")
    done = desk.type(
        f"ca-deploy authorized-keys retire --limit web1 --plan {plan_id(looked.stdout)}"
    )

    found = [json.loads(line) for line in listed.stdout.splitlines()]
    assert [(f["account"], f["kept"], f["replaced"]) for f in found[:2]] == [
        ("root", True, False),
        ("root", False, True),
    ]
    assert left.returncode == 9
    assert "authorized keys are left: " in left.stderr
    assert looked.returncode == 2
    assert done.returncode == 0, done.stderr
    assert place.read_text() == before
    looked = desk.type("ca-deploy authorized-keys restore --limit web1")
    named = f"--plan {plan_id(looked.stdout)}"
    back = desk.type(f"ca-deploy authorized-keys restore --limit web1 {named}")
    assert back.returncode == 0, back.stderr
    assert place.read_text() == before + key.with_suffix(".pub").read_text()
    place.write_text(before)
    toml.write_text(declared)


def test_it_is_undone_as_the_documents_say(desk, hosts):
    _, (one, two) = hosts
    undo, status = said_to_type("Undo it")

    looked = desk.type(undo)
    undone = desk.type(f"{undo} --plan {plan_id(looked.stdout)}")
    told = desk.type(status)

    assert undone.returncode == 0, undone.stderr
    assert not list(one.path("etc/ssh/sshd_config.d").iterdir())
    assert list(two.path("etc/ssh/sshd_config.d").iterdir())
    assert "web1: does not trust the CA\n" in told.stdout
    assert "web2: trusts 1 CA keys\n" in told.stdout


def test_it_is_undone_on_a_console_as_the_documents_say(desk, hosts):
    _, (_, two) = hosts
    text = (ROOT / "docs/operating.md").read_text()
    section = text.partition("\n## Undo it\n")[2].partition("\n## ")[0]
    console = next(
        block
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        if "change.sh" in block
    )

    said = subprocess.run(
        ["ssh", "-F", "ssh_config", "web2", "sh -e"],
        cwd=desk.folder,
        input=console,
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr
    assert said.stdout.endswith("restored, and sshd has read it\n")
    assert not list(two.path("etc/ssh/sshd_config.d").iterdir())
    told = desk.type("ca-deploy status --limit web2")
    assert "web2: does not trust the CA\n" in told.stdout


def test_a_key_without_the_role_proves_nothing_and_changes_nothing(desk, hosts, signer):
    served, idp = signer
    _, (one, _) = hosts
    line = (desk.folder / "default.pub").read_text().strip()
    certificate = desk.folder / "default-cert.pub"
    before = certificate.read_text()
    mine = served.sign(request_of(idp, "ada", key=line)).certificate
    certificate.write_text(f"{mine.certificate}\n")

    looked = desk.type("ca-deploy plan --limit web1")
    said = desk.type(f"ca-deploy apply --limit web1 --plan {plan_id(looked.stdout)}")

    assert said.returncode == 5
    assert "provisioners" in said.stderr
    assert not list(one.path("etc/ssh/sshd_config.d").iterdir())
    certificate.write_text(before)


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("ca-deploy plan --limit nobody", 2, "no host and no group"),
        ("ca-deploy --file missing.toml", 2, "cannot read missing.toml"),
        ("ca-deploy plan --parallel 0", 2, "not a number from 1 to 1000"),
        ("ca-deploy apply --clock 5", 2, "at least 10 seconds"),
        ("ca-deploy apply --max-fail x", 2, "not a number"),
        ("ca-deploy aply", 2, "invalid choice"),
    ],
)
def test_what_is_typed_wrong_is_misuse(desk, line, status, words):
    said = desk.type(line)

    assert said.returncode == status
    assert words in said.stderr
    assert "ca-deploy: error: " in said.stderr


def test_a_password_for_sudo_is_asked_for_once_and_only_of_somebody(desk, hosts):
    _, (one, two) = hosts
    for host in (one, two):
        host.path("etc/sudoers.d/ada").unlink()
        host.write("etc/sudoers.d/ada", "ada ALL=(ALL) ALL\n", 0o440)
    config = (desk.folder / "ssh_config").read_text()
    (desk.folder / "as_ada").write_text(config.replace("User root", "User ada"))
    line = [sys.executable, "-m", "deploy", "plan", "--ssh-config", "as_ada"]

    unasked = subprocess.run(
        line,
        cwd=desk.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    asked = on_a_terminal(
        line, typed=f"{PASSWORD}\n", typed_at="hosts ask for: ", cwd=desk.folder
    )
    mistyped = on_a_terminal(
        line, typed="correct hose\n", typed_at="hosts ask for: ", cwd=desk.folder
    )

    assert unasked.returncode == 1
    assert b"there is no terminal to ask at" in unasked.stderr
    assert asked.status == 0, asked.text
    assert asked.text.count("password for sudo, which 2 hosts ask for: ") == 1
    assert "of 2 hosts would change" in asked.text
    assert PASSWORD not in asked.text
    assert mistyped.status == 1, mistyped.text
    said = " ".join(mistyped.text.split())
    assert "web2: not tried, since web1 did not take the password" in said


def test_a_host_key_is_shown_and_never_taken_in_silence(desk, hosts):
    known = desk.folder / "known_hosts"
    before = known.read_text()
    known.write_text("")

    said = desk.type("ca-deploy plan --accept-new")

    assert said.returncode == 2
    assert said.stderr.count("SHA256:") == 2
    assert known.read_text() == ""

    # Somebody who is there is asked, and what they believe is written down.
    line = [sys.executable, "-m", "deploy", "plan", "--ssh-config", "ssh_config"]
    shown = on_a_terminal([*line, "--accept-new"], typed="yes\n", cwd=desk.folder)

    assert shown.status == 0, shown.text
    assert "type yes to trust these 2 keys" in shown.text
    assert "2 hosts: " in shown.text, "the table"
    written = {line.strip() for line in known.read_text().splitlines()}
    assert written == {line.strip() for line in before.splitlines()}
    known.write_text(before)
