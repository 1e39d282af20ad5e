"""The ways to come to a host as its operator, each to a real sshd; none in silence.

By key, by certificate, by an agent that holds the key alone; to hosts that known_hosts
names, or a host CA; through a jump host that went away meanwhile; as root by sudo or
doas. And what is refused: an account that asks nobody for a key, a host that hangs.
"""

import asyncio
import os
import subprocess
import time
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncssh
import pytest

from ca.certificate import CertificateType, parse_line, render_line
from client.api import Misuse
from deploy.connection import Connections
from deploy.failure import (
    HostKeyUnknown,
    HostUnreachable,
    LoginRefused,
    NotProved,
    NotRoot,
    PasswordNeeded,
)
from deploy.inventory import Resolver
from deploy.proof import SEEN
from deploy.root import Password, Root
from tests.agents import SshAgent
from tests.certificates import certificate
from tests.fleet import Office
from tests.sshd import make_key
from tests.targets import MAIN, PASSWORD, Target, make_login, wait_until

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

TRUSTING = f"{MAIN}TrustedUserCAKeys /etc/ssh/ca.pub\nMaxAuthTries 3\n"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder))


@pytest.fixture(scope="module")
def target(office):
    """A host that believes the CA, lets anybody into web, and has doas."""
    files = {"etc/ssh/ca.pub": f"{office.ca.line}\n"}
    main = TRUSTING.replace("PasswordAuthentication no", "PasswordAuthentication yes")
    main += "PermitEmptyPasswords yes\n"
    with Target(office.folder / "host", office.login.line, main=main, files=files) as t:
        shadow = t.path("etc/shadow")
        shadow.write_text(shadow.read_text().replace("web:*:", "web::"))
        t.write("etc/doas.conf", "permit nopass ada\n", 0o600)
        yield t


@pytest.fixture(autouse=True)
def known(office, target):
    office.know(target)


def open_once(office, name="t0", **how):
    async def work():
        resolver = Resolver(office.config)
        async with Connections(resolver) as connections:
            endpoint = await resolver.resolve(name)
            connection = await connections.open(endpoint, **how)
            async with connection:
                return (await connection.run("id -un")).stdout

    return asyncio.run(work())


def configure(office, *lines):
    """Replace what the operator logs in with."""
    before, _, after = office.config.read_text().partition("  IdentityFile")
    rest = after.partition("  UserKnownHostsFile")[2]
    mine = "".join(f"  {line}\n" for line in lines)
    office.config.write_text(f"{before}{mine}  UserKnownHostsFile{rest}")


def certify(office, key):
    """Return the line of a certificate for root."""
    now = int(time.time())
    made = certificate(
        subject_key=parse_line(key.with_suffix(".pub").read_text().strip()),
        principals=("root",),
        valid_after=now - 60,
        valid_before=now + 600,
    )
    return render_line(office.ca.certify(made), "mine")


def test_a_certificate_beside_its_key_opens_a_host(office, target, tmp_path):
    key = tmp_path / "key"
    make_key(key)
    configure(office, f"IdentityFile {key}", "IdentityAgent none")

    with pytest.raises(LoginRefused, match="t0 refuses root"):
        open_once(office)
    (tmp_path / "key-cert.pub").write_text(certify(office, key))

    assert open_once(office) == "root\n"


def test_a_certificate_in_a_file_goes_with_a_key_in_an_agent(office, target, tmp_path):
    key, certified = tmp_path / "key", tmp_path / "certificate"
    make_key(key)
    certified.write_text(certify(office, key))
    with SshAgent(tmp_path) as agent:
        agent.add(key)
        key.unlink()
        key.with_suffix(".pub").unlink()
        configure(
            office, f"CertificateFile {certified}", f"IdentityAgent {agent.socket}"
        )

        assert open_once(office) == "root\n"


@pytest.mark.parametrize("only", ["yes", "no"])
def test_of_many_keys_in_an_agent_the_named_one_comes_first(
    office, target, tmp_path, only
):
    with SshAgent(tmp_path) as agent:
        for number in range(4):
            make_key(tmp_path / f"other{number}")
            agent.add(tmp_path / f"other{number}")
        agent.add(office.login.key)
        named = tmp_path / "named"
        named.with_suffix(".pub").write_text(office.login.line + "\n")
        configure(
            office,
            f"IdentityFile {named}",
            f"IdentityAgent {agent.socket}",
            f"IdentitiesOnly {only}",
        )

        assert open_once(office) == "root\n"


def test_a_host_is_known_by_its_certificate_alone(office, target):
    now = int(time.time())
    key = target.path(f"{HOST_KEY}.pub").read_text().strip()
    made = certificate(
        type=CertificateType.HOST,
        subject_key=parse_line(key),
        principals=("t0.example.com",),
        valid_after=now - 60,
        valid_before=now + 600,
        extensions=(),
    )
    line = render_line(office.ca.certify(made), "host")
    target.write(f"{HOST_KEY}-cert.pub", line)
    target.write(
        "etc/ssh/sshd_config.d/host.conf", f"HostCertificate /{HOST_KEY}-cert.pub\n"
    )
    subprocess.run(
        ["ssh", "-F", office.config, "t0", "kill -HUP", target.listener], check=True
    )
    wait_until(lambda: target.log.count("Server listening") == 2, 20)
    known_hosts = office.folder / "known_hosts"
    known_hosts.write_text(f"@cert-authority *.example.com {office.ca.line}\n")
    with office.config.open("a") as config:
        config.write("  HostKeyAlias t0.example.com\n")

    assert open_once(office) == "root\n"

    known_hosts.write_text(f"@cert-authority *.example.org {office.ca.line}\n")
    with pytest.raises(HostKeyUnknown, match="the host key of t0 is not known"):
        open_once(office)


def test_a_line_that_known_hosts_cannot_have_is_named(office, target):
    known_hosts = office.folder / "known_hosts"
    known_hosts.write_text("@nonsense t0 ssh-ed25519 AAAA\n")

    with pytest.raises(
        Misuse, match="known_hosts for t0: Invalid known hosts marker: nonsense"
    ):
        open_once(office)


def test_an_account_that_asks_nobody_for_a_key_proves_nothing(office, target):
    offered = office.operator().canaries.foreign(("web",))

    with pytest.raises(NotProved, match="lets everybody in as web"):
        open_once(office, user="web", with_=offered)


def test_a_jump_host_that_went_away_is_connected_to_anew(office, target):
    office.know(target, target)
    with office.config.open("a") as config:
        config.write("Match originalhost t1\n  ProxyJump t0\n")

    async def work():
        resolver = Resolver(office.config)
        async with Connections(resolver) as connections:
            endpoint = await resolver.resolve("t1")
            first = await connections.open(endpoint)
            (jump,) = connections._jumps.values()  # noqa: SLF001
            jump.result().abort()
            await first.wait_closed()
            async with await connections.open(endpoint) as second:
                return (await second.run("id -un")).stdout

    assert asyncio.run(work()) == "root\n"


def visit(office, work, *, user="root", become="root", password=None, limit=60.0):
    """Come to the host, and do something with root there."""

    async def stay():
        resolver = Resolver(office.config)
        async with Connections(resolver) as connections:
            endpoint = replace(await resolver.resolve("t0"), user=user)
            async with await connections.open(endpoint) as connection:
                given = password or Password()
                root = Root(connection, "t0", become, given, limit_seconds=limit)
                return await work(root)

    return asyncio.run(stay())


def test_a_host_that_does_not_answer_is_given_up(office, target):
    with pytest.raises(HostUnreachable, match="t0 has not answered for 1 s"):
        visit(office, lambda root: root.run("sleep 60"), limit=1.0)


def test_doas_makes_root(office, target):
    said = visit(office, lambda root: root.run("id -u"), user="ada", become="doas")

    assert said == b"0\n"


def test_doas_that_forbids_it_is_said(office, target):
    doas = target.path("etc/doas.conf")
    before = doas.read_text()
    doas.write_text("permit nopass grace\n")

    with pytest.raises(NotRoot, match="not permitted"):
        visit(office, lambda root: root.run("id -u"), user="ada", become="doas")

    doas.write_text(before)


@pytest.fixture
def sudo_asks(target):
    """Let sudo ask ada for a password."""
    rules = target.path("etc/sudoers.d/ada")
    before = rules.read_text()

    def rewrite(text):
        rules.chmod(0o640)
        rules.write_text(text)
        rules.chmod(0o440)

    rewrite("ada ALL=(ALL) ALL\n")
    yield
    rewrite(before)


@pytest.mark.usefixtures("sudo_asks")
def test_a_password_that_sudo_refused_once_is_given_to_no_other_host(office):
    password = Password()

    def ask(root):
        return root.run("id -u")

    with pytest.raises(PasswordNeeded, match="t0: sudo asks for a password"):
        visit(office, ask, user="ada", become="sudo", password=password)
    password.text = "wrong"
    with pytest.raises(NotRoot, match="sudo: "):
        visit(office, ask, user="ada", become="sudo", password=password)
    with pytest.raises(NotRoot, match="not tried, since t0 did not take the password"):
        visit(office, ask, user="ada", become="sudo", password=password)
    said = visit(office, ask, user="ada", become="sudo", password=Password(PASSWORD))

    assert said == b"0\n"
    assert "wrong" not in repr(password)


@pytest.mark.usefixtures("sudo_asks")
def test_who_refuses_before_the_script_is_sent_has_refused_no_less(office, monkeypatch):
    begin = asyncssh.SSHClientConnection.create_process

    @asynccontextmanager
    async def late(connection, command, **settings):
        async with begin(connection, command, **settings) as process:
            if command.startswith("sudo -n"):
                await process.wait_closed()
            yield process

    monkeypatch.setattr(asyncssh.SSHClientConnection, "create_process", late)

    def ask(root):
        return root.run("id -u")

    with pytest.raises(PasswordNeeded, match="t0: sudo asks for a password"):
        visit(office, ask, user="ada", become="sudo")
    said = visit(office, ask, user="ada", become="sudo", password=Password(PASSWORD))

    assert said == b"0\n"


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "Accepted publickey for web from {me} ssh2: X ID a (serial 7) CA X\n",
            b"seen\n",
        ),
        (
            "Accepted publickey for web from ::1 port 1 ssh2: (serial 7) CA X\n",
            b"seen\n",
        ),
        ("sshd: nothing of the kind\n", b"nowhere\n"),
        ("", b"nowhere\n"),
    ],
)
def test_what_sshd_has_logged_is_found(office, target, log, said):
    path = target.path("var/log/auth.log")
    before = path.read_text()

    async def look(root):
        client, port, *_ = (await root.run('echo "$1"')).decode().split()
        path.write_text(log.format(me=f"{client} port {port}"))
        return await root.run(SEEN, ("web", "7"))

    assert visit(office, look) == said
    path.write_text(before)


def test_a_login_that_sshd_has_not_logged_is_told_from_no_log(office, target):
    said = visit(office, lambda root: root.run(SEEN, ("web", "123456789")))

    assert said == b"unseen\n"


def test_what_an_agent_does_not_say_is_no_key(office, target, tmp_path):
    configure(
        office,
        f"IdentityFile {office.login.key}",
        f"IdentityAgent {tmp_path / 'nobody'}",
    )

    assert open_once(office) == "root\n"
