"""PuTTY logs in with our certificates: beside the key, and inside its PPK file."""

import subprocess

import pytest

from ca import wire
from client.ppk import read_seed, render_ppk
from tests.certificates import write_certificate
from tests.login_table import ACCOUNT, CA, Bench, now
from tests.sshd import LOOPBACK, Sshd, make_key

pytestmark = pytest.mark.openssh


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return a fresh key to certify."""
    key = tmp_path_factory.mktemp("key") / "key"
    make_key(key)
    return Bench(key)


@pytest.fixture(scope="module")
def ppk(bench):
    """Return the same key as PuTTY keeps keys."""
    ppk = bench.key.with_suffix(".ppk")
    puttygen(bench.key, "-O", "private", "-o", ppk)
    return ppk


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    """Run an sshd that trusts our CA."""
    trust = tmp_path_factory.mktemp("trust") / "ca.pub"
    trust.write_text(f"{CA.line}\n")
    settings = [f"TrustedUserCAKeys {trust}"]
    with Sshd(tmp_path_factory.mktemp("sshd"), settings) as sshd:
        yield sshd


def puttygen(*arguments):
    """Run puttygen, which asks nothing."""
    command = ["puttygen", "--new-passphrase", "/dev/null", *arguments]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


@pytest.fixture
def plink(sshd, tmp_path):
    """Return a function that logs in with plink, and says whether it got in."""
    host_key = (sshd.folder / "host_key.pub").read_text().split()[1]
    fingerprint = wire.fingerprint(wire.decode_base64(host_key))

    def plink(*identity):
        with sshd.listening():
            done = subprocess.run(
                [
                    *("plink", "-batch", "-ssh", "-noagent", "-P", str(sshd.port)),
                    *("-hostkey", fingerprint, *identity, f"{ACCOUNT}@{LOOPBACK}"),
                    "echo in",
                ],
                env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        return done.stdout == "in\n"

    return plink


def test_plink_logs_in_with_a_certificate_beside_the_key(plink, bench, ppk, tmp_path):
    file = write_certificate(tmp_path / "cert.pub", bench.signed())

    assert plink("-i", ppk, "-cert", file)
    assert not plink("-i", ppk)


def test_plink_logs_in_with_a_certificate_inside_the_key_file(
    plink, bench, ppk, tmp_path
):
    file = write_certificate(tmp_path / "cert.pub", bench.signed())

    puttygen(ppk, "--certificate", file, "-o", tmp_path / "both.ppk")

    assert plink("-i", tmp_path / "both.ppk")


def test_plink_logs_in_with_what_ca_login_exports(plink, bench, tmp_path):
    signed = bench.signed()
    seed = read_seed(bench.key.read_bytes(), public_key=bench.plain().subject_key)

    (tmp_path / "ours.ppk").write_bytes(
        render_ppk(certificate=signed, seed=seed, comment="daypass:default")
    )

    assert plink("-i", tmp_path / "ours.ppk")


def test_plink_is_refused_with_a_certificate_that_has_ended(
    plink, sshd, bench, ppk, tmp_path
):
    ended = bench.signed(valid_after=now() - 120, valid_before=now() - 60)

    assert not plink(
        "-i", ppk, "-cert", write_certificate(tmp_path / "cert.pub", ended)
    )

    assert "Certificate invalid: expired" in sshd.said


def test_puttygen_says_what_is_in_a_certificate(bench, tmp_path):
    file = write_certificate(tmp_path / "cert.pub", bench.signed())

    said = subprocess.run(
        ["puttygen", "--cert-info", file], capture_output=True, text=True, check=True
    ).stdout

    assert "Certificate type: user authentication key" in said
    assert f"Valid user names: {ACCOUNT},deploy" in said
