"""What hosts are like before anybody deploys to them: each ends in the right words.

Either trust is proved by logins, or every byte of sshd's configuration is what it was.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from deploy.desired import DesiredHost, Taken
from deploy.failure import Blocked, HostKeyUnknown, NotProved, NotRoot
from tests.fleet import NONCE, Office
from tests.targets import MAIN, Target, make_login

pytestmark = [
    pytest.mark.openssh,
    pytest.mark.skipif(os.geteuid() != 0, reason="targets take root"),
]

DESIRED = DesiredHost({"deploy": ("dev",), "root": ("root",)})
REPLACING = DesiredHost(DESIRED.accounts, taken=Taken.REPLACE)
INCLUDE = "Include /etc/ssh/sshd_config.d/*.conf\n"
PLAIN = MAIN.replace(INCLUDE, "")
OTHER = "/etc/ssh/other_ca.pub"
EARLIER = {"etc/ssh/sshd_config.d/00-other.conf": f"TrustedUserCAKeys {OTHER}\n"}


@dataclass(frozen=True)
class State:
    """A host before we come."""

    main: str = MAIN
    files: Mapping[str, str] = field(default_factory=dict)
    desired: DesiredHost = DESIRED
    said: str = ""
    """What the plan says of it."""


PROVED = {
    "Include is missing": State(PLAIN, said="# daypass: begin"),
    "Include stands after a Match": State(
        f"{PLAIN}Match User nobody\n{INCLUDE}", said="# daypass: begin"
    ),
    "an earlier drop-in wins, and may be replaced": State(
        files=EARLIER | {f"{OTHER[1:]}": "ssh-ed25519 broken\n"},
        desired=REPLACING,
        said=f"TrustedUserCAKeys {OTHER} is no longer asked",
    ),
    "the main file sets it before the Include": State(
        f"TrustedUserCAKeys none\nRevokedKeys none\n{MAIN}", said="# daypass: begin"
    ),
    "garbage stands before our line": State(
        files={
            "etc/ssh/daypass/ca_keys": "garbage\n",
            "etc/ssh/sshd_config.d/05-daypass.conf": (
                "TrustedUserCAKeys /etc/ssh/daypass/ca_keys\n"
            ),
        },
        said="-garbage",
    ),
}

BLOCKED = {
    "an earlier drop-in wins": State(
        files=EARLIER,
        said="TrustedUserCAKeys is /etc/ssh/other_ca.pub, a file that does not exist, "
        "in /etc/ssh/sshd_config.d/00-other.conf line 1, and sshd takes one value",
    ),
    "a Match block beats us": State(
        f"{MAIN}Match User deploy\nTrustedUserCAKeys {OTHER}\n",
        said="a Match block sets TrustedUserCAKeys for deploy, and beats ours: "
        "/etc/ssh/sshd_config line 13",
    ),
    "AuthenticationMethods wants more": State(
        f"{MAIN}Match User deploy\nAuthenticationMethods publickey,password\n",
        said="a certificate alone does not do",
    ),
    "AllowUsers leaves somebody out": State(
        f"{MAIN}AllowUsers root ada\n", said="AllowUsers does not name deploy"
    ),
    "root is let in by no key": State(
        MAIN.replace("PermitRootLogin yes", "PermitRootLogin no"),
        said="PermitRootLogin is no, so root cannot log in",
    ),
    "there is no such account": State(
        desired=DesiredHost({"dba": ("dba",)}), said="there is no account dba"
    ),
    "the CA key's type is not taken": State(
        f"{MAIN}CASignatureAlgorithms rsa-sha2-512\n",
        said="CASignatureAlgorithms for deploy has no ssh-ed25519",
    ),
}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    folder = tmp_path_factory.mktemp("office")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    return Office(folder, make_login(folder))


async def visit(office, desired, *, apply=True, name="t0"):
    """Plan, apply, and return the two plans: before and after."""
    async with office.on(name) as stay:
        before = (await stay.plan(desired))[1]
        if apply:
            await stay.apply(desired)
        return before, (await stay.plan(desired))[1]


@pytest.mark.parametrize("name", PROVED)
def test_trust_is_proved_where(name, office, tmp_path):
    state = PROVED[name]
    with Target(
        tmp_path / "host", office.login.line, main=state.main, files=state.files
    ) as target:
        office.know(target)

        before, after = asyncio.run(visit(office, state.desired))

        assert state.said in before.render()
        assert after.changes == ()
        assert "Accepted publickey for deploy" in target.log


@pytest.mark.parametrize("name", BLOCKED)
def test_a_host_is_left_alone_where(name, office, tmp_path):
    state = BLOCKED[name]
    user = "ada" if "root" in name else "root"
    with Target(
        tmp_path / "host", office.login.line, main=state.main, files=state.files
    ) as target:
        office.know(target, users=[user])
        before = target.snapshot("etc")

        with pytest.raises(Blocked) as refused:
            asyncio.run(visit(office, state.desired))

        assert state.said in refused.value.detail
        assert target.snapshot("etc") == before


def test_another_programs_pipe_is_not_replaced(office, tmp_path):
    with Target(tmp_path / "host", office.login.line, files=EARLIER) as target:
        office.know(target)
        os.mkfifo(target.path(OTHER[1:]))

        with pytest.raises(Blocked, match="another program feeds it"):
            asyncio.run(visit(office, REPLACING))


def test_a_krl_that_is_missing_for_an_account_is_said(office, tmp_path):
    main = f"{MAIN}Match User deploy\nRevokedKeys /etc/ssh/revoked\n"
    with Target(tmp_path / "host", office.login.line, main=main) as target:
        office.know(target)

        with pytest.raises(Blocked, match="/etc/ssh/revoked, which does not exist"):
            asyncio.run(visit(office, DESIRED))


def test_a_locked_account_is_said_where_there_is_no_pam(office, tmp_path):
    with Target(tmp_path / "host", office.login.line) as target:
        office.know(target)
        target.lock_account("deploy")

        with pytest.raises(Blocked, match=r"usermod -p '\*' deploy"):
            asyncio.run(visit(office, DESIRED))


def test_a_configuration_that_is_broken_before_is_left_alone(office, tmp_path):
    with Target(tmp_path / "host", office.login.line) as target:
        office.know(target)
        target.write("etc/ssh/sshd_config.d/50-typo.conf", "PermitRotLogin yes\n")

        with pytest.raises(Blocked, match="sshd -t fails before any change"):
            asyncio.run(visit(office, DESIRED))


def test_an_sshd_that_would_die_of_a_reload_is_left_alone(office, tmp_path):
    options = ("-f", "etc/ssh/sshd_config")
    with Target(tmp_path / "host", office.login.line, options=options) as target:
        office.know(target)

        with pytest.raises(Blocked, match="a relative path"):
            asyncio.run(visit(office, DESIRED))


def test_what_cannot_be_foreseen_is_taken_back(office, tmp_path):
    with Target(
        tmp_path / "host", office.login.line, main=f"{MAIN}AllowGroups root ada\n"
    ) as target:
        office.know(target)
        before = target.snapshot("etc/ssh/sshd_config.d")

        with pytest.raises(NotProved, match="the host is as it was"):
            asyncio.run(visit(office, DESIRED))

        assert target.snapshot("etc/ssh/sshd_config.d") == before
        assert not list(target.path("etc/ssh/daypass/principals").iterdir())


def test_any_shell_does_and_a_password_for_sudo(office, tmp_path):
    busybox = {"bin/sh": shutil.which("busybox") or ""}
    with Target(tmp_path / "host", office.login.line, programs=busybox) as target:
        office.know(target, users=["ada"])
        accounts = target.path("etc/passwd")
        accounts.write_text(accounts.read_text().replace("ada:/bin/sh", "ada:/bin/csh"))
        target.write("etc/sudoers.d/ada", "ada ALL=(ALL) ALL\n", 0o440)

        wrong = Office(office.folder, office.login, office.ca, password=NONCE)
        with pytest.raises(NotRoot, match="sudo: "):
            asyncio.run(visit(wrong, DESIRED, apply=False))
        _, after = asyncio.run(visit(office, DESIRED))

        assert after.changes == ()
        assert "Accepted publickey for deploy" in target.log
        assert "daypass" not in target.path("etc/passwd").read_text()


def test_a_host_behind_another_is_reached_through_it(office, tmp_path):
    with (
        Target(tmp_path / "jump", office.login.line) as jump,
        Target(tmp_path / "host", office.login.line) as host,
    ):
        office.know(jump, host)
        with office.config.open("a") as config:
            config.write("Match host 127.0.0.1 originalhost t1\n  ProxyJump t0\n")

        _, after = asyncio.run(visit(office, DESIRED, name="t1"))

        assert after.changes == ()
        # One connection to the jump host, however many go through it.
        assert jump.log.count("Accepted publickey for root") == 1


def test_a_host_key_that_nobody_vouched_for_is_never_taken(office, tmp_path):
    with Target(tmp_path / "host", office.login.line) as target:
        office.know(target)
        (office.folder / "known_hosts").write_text("")

        with pytest.raises(HostKeyUnknown, match="is not known"):
            asyncio.run(visit(office, DESIRED, apply=False))
