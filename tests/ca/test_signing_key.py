"""A private key opens only as it should, signs as OpenSSH does, and never shows."""

import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ca import wire
from ca.errors import KeyUnavailable
from ca.signing_key import SigningKey

PASSPHRASE = b"correct horse battery staple"


@pytest.fixture
def key_file(tmp_path):
    """Write a key and its passphrase as `ca-admin init` does."""
    key = SigningKey.generate()
    write(tmp_path / "key", key.encrypt(PASSPHRASE))
    write(tmp_path / "passphrase", PASSPHRASE + b"\n")
    return tmp_path / "key"


def write(file, content, mode=0o600):
    file.write_bytes(content)
    file.chmod(mode)


def open_key(file):
    return SigningKey.open(file, file.parent / "passphrase")


def test_ssh_keygen_agrees_on_the_public_key_and_fingerprint(key_file):
    key = open_key(key_file)

    command = ["ssh-keygen", "-y", "-P", PASSPHRASE.decode(), "-f", str(key_file)]
    public = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert public.split()[:2] == key.line.split()
    (key_file.parent / "key.pub").write_text(public)
    listing = ["ssh-keygen", "-l", "-f", str(key_file.parent / "key.pub")]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    assert key.fingerprint in listed


def test_a_key_made_by_ssh_keygen_opens(tmp_path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", PASSPHRASE.decode()]
    subprocess.run([*command, "-f", tmp_path / "key"], check=True)
    write(tmp_path / "passphrase", PASSPHRASE)

    assert open_key(tmp_path / "key").line in (tmp_path / "key.pub").read_text()


def test_its_signature_verifies(key_file):
    key = open_key(key_file)
    reader = wire.Reader(key.sign(b"data"))

    assert reader.text() == "ssh-ed25519"
    Ed25519PublicKey.from_public_bytes(key.blob[-32:]).verify(reader.string(), b"data")


def test_a_wrong_passphrase_is_refused_without_the_librarys_words(key_file):
    write(key_file.parent / "passphrase", b"incorrect")

    with pytest.raises(KeyUnavailable, match="cannot open") as caught:
        open_key(key_file)
    assert "incorrect" not in str(caught.value)


def test_an_unencrypted_key_is_refused(key_file):
    command = ["ssh-keygen", "-q", "-p", "-P", PASSPHRASE.decode(), "-N", ""]
    subprocess.run([*command, "-f", key_file], check=True, capture_output=True)

    with pytest.raises(KeyUnavailable):
        open_key(key_file)


def test_another_kind_of_key_is_refused(tmp_path):
    command = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", PASSPHRASE.decode()]
    subprocess.run([*command, "-f", tmp_path / "key"], check=True)
    write(tmp_path / "passphrase", PASSPHRASE)

    with pytest.raises(KeyUnavailable, match="not an Ed25519 key"):
        open_key(tmp_path / "key")


@pytest.mark.parametrize("name", ["key", "passphrase"])
def test_a_file_that_others_may_read_is_refused(key_file, name):
    (key_file.parent / name).chmod(0o640)

    with pytest.raises(KeyUnavailable, match="open to others"):
        open_key(key_file)


@pytest.mark.parametrize("name", ["key", "passphrase"])
def test_a_missing_file_is_refused_by_its_name(key_file, name):
    (key_file.parent / name).unlink()

    with pytest.raises(KeyUnavailable, match=name):
        open_key(key_file)
