"""`export` writes what puttygen would; plink itself logs in with it."""

import base64
import stat
import subprocess

import pytest

from ca.certificate import parse_line
from ca.errors import Malformed
from client.ppk import read_seed
from tests.fido import fido_ecdsa, fido_ed25519


def puttygen(*arguments):
    """Run puttygen, which asks nothing."""
    command = ["puttygen", "--new-passphrase", "/dev/null", *arguments]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)


@pytest.fixture
def ppk(home):
    return home / "work.ppk"


@pytest.mark.openssh
def test_it_is_to_the_byte_what_puttygen_makes(run, login, keys, ppk, tmp_path):
    login()
    puttygen(keys.private, "-O", "private", "-o", tmp_path / "key.ppk")
    both = ["--certificate", keys.certificate, "-o", tmp_path / "both.ppk"]
    puttygen(tmp_path / "key.ppk", *both)

    said = run("export", "--ppk", str(ppk))

    assert said.status == 0
    assert ppk.read_bytes() == (tmp_path / "both.ppk").read_bytes()
    assert said.err.startswith(f"ca-login: wrote {ppk}, good until ")


def test_nobody_else_may_read_it_and_it_replaces_what_was_there(run, login, ppk):
    login()
    ppk.write_text("the one of yesterday")
    ppk.chmod(0o644)

    document = run("export", "--ppk", str(ppk), "--json").document

    assert document["ppk"] == str(ppk)
    assert stat.S_IMODE(ppk.stat().st_mode) == 0o600
    assert ppk.read_text().startswith(
        "PuTTY-User-Key-File-3: ssh-ed25519-cert-v01@openssh.com\nEncryption: none\n"
    )


def test_without_a_good_certificate_there_is_nothing_to_export(run, login, ca, ppk):
    none = run("export", "--ppk", str(ppk))
    ca.validity = "-2h:-30m"
    login()
    ended = run("export", "--ppk", str(ppk))

    assert (none.status, ended.status) == (3, 3)
    assert "there is no certificate" in none.err
    assert not ppk.exists()


@pytest.mark.parametrize("make", [fido_ed25519, fido_ecdsa])
def test_a_fido_key_is_refused_with_the_reason(run, login, own_key, ppk, make):
    fido = make()
    line = f"{fido.type} {base64.b64encode(fido.blob).decode()}"
    own_key.with_suffix(".pub").write_text(f"{line}\n")
    login("--key", str(own_key))

    said = run("export", "--ppk", str(ppk))

    assert said.status == 1
    assert "FIDO token, which does not hand it out" in said.err
    assert not ppk.exists()


def test_a_key_of_the_persons_own_is_not_opened(run, login, keys, own_key, ppk):
    login("--key", str(own_key))

    said = run("export", "--ppk", str(ppk))

    assert said.status == 1
    assert (
        f"hint: puttygen {own_key} --certificate {keys.certificate} -o {ppk}"
        in said.err
    )
    assert not ppk.exists()


@pytest.mark.parametrize("words", [[], ["--ppk"]])
def test_where_to_must_be_said(run, login, words):
    login()

    assert run("export", *words).status == 2


def test_a_folder_that_is_not_there_is_not_made(run, login, home):
    login()

    said = run("export", "--ppk", str(home / "gone" / "work.ppk"))

    assert said.status == 1
    assert "No such file" in said.err
    assert not (home / "gone").exists()


def test_a_private_key_that_is_broken_is_not_written_out(run, login, keys, ppk):
    login()
    keys.private.resolve().write_bytes(b"\xff")

    said = run("export", "--ppk", str(ppk))

    assert said.status in {1, 3}
    assert not ppk.exists()


@pytest.fixture
def made(tmp_path):
    """Return a key file's content and its public key, of any type."""

    def made(*options):
        key = tmp_path / "key"
        command = ["ssh-keygen", "-q", "-N", "", *options, "-f", key]
        subprocess.run(command, check=True)
        return key.read_bytes(), parse_line(key.with_suffix(".pub").read_text())

    return made


def test_the_seed_is_that_of_the_public_key(made):
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PrivateKey,
    )

    private, public = made("-t", "ed25519")

    seed = read_seed(private, public_key=public)

    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert public.endswith(key.public_bytes_raw())


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-t", "ecdsa"], "not an Ed25519 key"),
        (["-t", "ed25519", "-N", "a passphrase"], "not an unencrypted"),
    ],
)
def test_other_keys_are_refused(made, options, why):
    private, public = made(*options)

    with pytest.raises(Malformed, match=why):
        read_seed(private, public_key=public)


def test_another_public_key_is_refused(made):
    private, public = made("-t", "ed25519")

    with pytest.raises(Malformed, match="another key"):
        read_seed(private, public_key=public[:-1] + bytes([public[-1] ^ 1]))


@pytest.mark.parametrize("content", [b"", b"\xff", b"a\nb\nc\n", b"\n\n\n\n"])
def test_what_is_no_key_file_is_refused(content):
    with pytest.raises(Malformed):
        read_seed(content, public_key=b"")
