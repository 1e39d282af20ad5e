"""A CA key was stolen: the commands of docs/operating.md, as they are typed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ca import bundle
from tests.authority import (
    ROOT,
    Signer,
    certificate_in,
    let_in_our_account,
    make_ca,
    request_of,
)
from tests.fakes import FakeIdP
from tests.sshd import Sshd, make_key

pytestmark = pytest.mark.openssh

STEPS = """\
#!/bin/sh
# What is typed, but for where things are; who is asked has read it.
set -eu
"""


CUT, REPLACE = "## A CA key was stolen", "### Replace a stolen CA key"


def commands(heading):
    """Return the first block of commands below a heading."""
    text = (ROOT / "docs/operating.md").read_text()
    below = text.partition(f"\n{heading}\n")[2]
    block = re.search(r"```sh\n(.*?)```", below, re.DOTALL)
    assert block is not None
    return block[1]


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(tmp_path, idp):
    file = make_ca(tmp_path / "ca", idp)
    let_in_our_account(file)
    return file


def test_nobody_gets_in_by_the_stolen_key_any_more(config_file, idp, tmp_path):
    key, certificate = tmp_path / "key", tmp_path / "key-cert.pub"
    make_key(key)
    line = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    (tmp_path / "sshd").mkdir()
    ca_keys, krl = tmp_path / "ca_keys", tmp_path / "krl"
    settings = [f"TrustedUserCAKeys {ca_keys}", f"RevokedKeys {krl}"]

    def sign_in(signer):
        answer = signer.sign(request_of(idp, key=line)).certificate
        certificate.write_text(f"{answer.certificate}\n")
        return certificate_in(answer)

    with Sshd(tmp_path / "sshd", settings) as host:
        with Signer(config_file) as signer:
            stolen = sign_in(signer).ca_key
            pull(signer, ca_keys, krl)
            old_ca_keys = ca_keys.read_bytes()
            assert host.login(key, certificate).returncode == 0

            # No host is registered here, so nobody can tell where it is in force.
            said = run_as_typed(CUT, config_file.parent, tmp_path, status=1)
            assert "no host is registered" in said
            pull(signer, ca_keys, krl)
            assert ca_keys.read_bytes() == old_ca_keys
            assert host.login(key, certificate).returncode == 255
            assert "revoked" in host.said

        said = run_as_typed(REPLACE, config_file.parent, tmp_path)
        assert "REVOKED for ever" in said

        with Signer(config_file) as signer:
            pull(signer, ca_keys, krl)
            assert host.login(key, certificate).returncode == 255
            # Even where a host has the key in its file for some other reason.
            new_ca_keys = ca_keys.read_bytes()
            ca_keys.write_bytes(old_ca_keys)
            assert host.login(key, certificate).returncode == 255
            assert "revoked" in host.said
            ca_keys.write_bytes(new_ca_keys)

            assert sign_in(signer).ca_key != stolen
            assert host.login(key, certificate).returncode == 0


def run_as_typed(heading: str, folder: Path, place: Path, *, status: int = 0) -> str:
    """Run the block in a shell, as the operator of this CA would.

    `status` is what the last command ends with; all before it have to succeed.
    """
    programs = place / "bin"
    programs.mkdir(exist_ok=True)
    for name, command in {
        "ca-admin": f'exec {sys.executable} -m ca.admin "$@"',
        "systemctl": "exit 0",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{command}\n")
        (programs / name).chmod(0o700)
    typed = (
        commands(heading)
        .replace("/etc/daypass", str(folder))
        .replace("/media/usb/root", str(folder / "root"))
        .replace("sign-roots roots.new", "sign-roots roots.new --yes")
    )
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", STEPS + typed],
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def pull(signer: Signer, ca_keys: Path, krl: Path) -> None:
    """Do what a host does: it takes the KRL before the CA keys."""
    text, _ = bundle.split_signed(signer.get("/v1/trust/current").body)
    current = bundle.parse_current(text)
    krl.write_bytes(signer.get(f"/v1/trust/blob/{current.krl_sha256}").body)
    roots = signer.get(f"/v1/trust/blob/{current.roots_sha256}").body
    keys = bundle.parse_roots(bundle.split_signed(roots)[0]).user_ca_keys()
    ca_keys.write_text("".join(f"{key}\n" for key in keys))
