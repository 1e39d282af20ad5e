"""A private key opens only as it should, signs as OpenSSH does, and never shows."""

import base64
import subprocess
from collections.abc import Callable
from functools import cache

import asyncssh
import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.utils import CryptographyDeprecationWarning

from ca import ssh_signature, wire
from ca.errors import KeyUnavailable
from ca.signing_key import FileKey, KeyType
from ca.signing_key.file_key import PrivateKey
from ca.signing_key.key import parse_own_public_key
from tests.fido import fido_ed25519

PASSPHRASE = b"correct horse battery staple"


@cache
def rsa_key(bits=3072):
    return rsa.generate_private_key(65537, bits)


KEYS: dict[str, Callable[[], PrivateKey]] = {
    "ed25519": Ed25519PrivateKey.generate,
    "nistp256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "nistp384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "nistp521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa_key,
}


@pytest.fixture(params=KEYS)
def key_file(request, tmp_path):
    """Write a key and its passphrase as `ca-admin init` does."""
    key = FileKey(KEYS[request.param]())
    write(tmp_path / "key", key.encrypt(PASSPHRASE))
    write(tmp_path / "passphrase", PASSPHRASE + b"\n")
    return tmp_path / "key"


def write(file, content, mode=0o600):
    file.write_bytes(content)
    file.chmod(mode)


def open_key(file):
    return FileKey.open(file, file.parent / "passphrase")


def keygen(folder, *arguments):
    """Have ssh-keygen make an encrypted key; return its path."""
    command = ["ssh-keygen", "-q", *arguments, "-N", PASSPHRASE.decode()]
    subprocess.run([*command, "-f", folder / "key"], check=True)
    write(folder / "passphrase", PASSPHRASE)
    return folder / "key"


def kdf_rounds(file):
    """Return the rounds that a key file says (`PROTOCOL.key`)."""
    lines = file.read_bytes().splitlines()
    blob = base64.b64decode(b"".join(lines[1:-1]))
    reader = wire.Reader(blob.removeprefix(b"openssh-key-v1\0"))
    assert (reader.string(), reader.string()) == (b"aes256-ctr", b"bcrypt")
    options = wire.Reader(reader.string())
    assert len(options.string()) == 16
    return options.u32()


def test_a_passphrase_that_may_be_a_person_s_takes_as_many_rounds_as_ssh_keygen_s(
    key_file, tmp_path
):
    theirs = tmp_path / "theirs"
    theirs.mkdir()

    assert kdf_rounds(key_file) == 16 <= kdf_rounds(keygen(theirs, "-t", "ed25519"))


def test_ssh_keygen_agrees_on_the_public_key_and_fingerprint(key_file):
    key = open_key(key_file)

    command = ["ssh-keygen", "-y", "-P", PASSPHRASE.decode(), "-f", str(key_file)]
    public = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert public.split()[:2] == key.line.split()
    (key_file.parent / "key.pub").write_text(public)
    listing = ["ssh-keygen", "-l", "-f", str(key_file.parent / "key.pub")]
    listed = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    assert key.fingerprint in listed


@pytest.mark.parametrize(
    "arguments",
    [
        ("-t", "ed25519"),
        ("-t", "ed25519", "-Z", "aes256-gcm@openssh.com", "-a", "20"),
        ("-t", "ecdsa", "-b", "256"),
        ("-t", "ecdsa", "-b", "384"),
        ("-t", "ecdsa", "-b", "521"),
        ("-t", "rsa", "-b", "3072"),
        ("-t", "rsa", "-b", "4096"),
    ],
    ids=" ".join,
)
def test_a_key_made_by_ssh_keygen_opens_and_signs(tmp_path, arguments):
    file = keygen(tmp_path, *arguments)

    key = open_key(file)

    assert key.line in file.with_suffix(".pub").read_text()
    ssh_signature.verify(key.blob, key.sign(b"data"), b"data")


def test_its_signatures_verify_here_with_asyncssh_and_with_ssh_keygen(key_file):
    key = open_key(key_file)

    for number in range(20):
        data = f"data {number}".encode()
        signature = key.sign(data)
        ssh_signature.verify(key.blob, signature, data)
        assert asyncssh.import_public_key(key.line).verify(data, signature)

    folder = key_file.parent
    (folder / "allowed").write_text(f"ca {key.line}\n")
    (folder / "signature").write_text(key.sign_message("n", b"message"))
    command = ["ssh-keygen", "-Y", "verify", "-n", "n", "-I", "ca"]
    command += ["-f", folder / "allowed", "-s", folder / "signature"]
    subprocess.run(command, input=b"message", check=True)


def test_rsa_signs_with_sha2_512_and_nothing_else():
    key = FileKey(rsa_key())

    assert key.type == "ssh-rsa"
    assert wire.Reader(key.sign(b"data")).text() == "rsa-sha2-512"


@pytest.mark.parametrize("key_type", KeyType)
def test_keys_of_each_type_are_made(key_type):
    key = FileKey.generate(key_type)

    expected = {
        KeyType.ED25519: "ssh-ed25519",
        KeyType.ECDSA: "ecdsa-sha2-nistp256",
        KeyType.RSA: "ssh-rsa",
    }
    assert key.type == expected[key_type]
    assert key.line.startswith(f"{key.type} ")


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


@pytest.mark.parametrize("bits", ["1024", "2048", "3070"])
def test_a_short_rsa_key_is_refused(tmp_path, bits):
    file = keygen(tmp_path, "-t", "rsa", "-b", bits)

    with pytest.raises(KeyUnavailable, match=f"{bits} bits, fewer than 3072") as caught:
        open_key(file)
    assert str(file) in caught.value.detail


def test_another_kind_of_key_is_refused(tmp_path):
    write(tmp_path / "passphrase", PASSPHRASE)
    write(tmp_path / "key", dsa_key())

    with (
        pytest.warns(CryptographyDeprecationWarning),
        pytest.raises(KeyUnavailable, match="not an Ed25519, ECDSA or RSA key"),
    ):
        open_key(tmp_path / "key")


def dsa_key():
    # ssh-keygen makes none since OpenSSH 10.0.
    encryption = BestAvailableEncryption(PASSPHRASE)
    key = dsa.generate_private_key(1024)  # noqa: S505 (SSH knows no longer ones)
    with pytest.warns(CryptographyDeprecationWarning):
        return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, encryption)


def test_a_fido_key_cannot_be_one_of_ours():
    fido = fido_ed25519()
    line = f"{fido.type} {base64.b64encode(fido.blob).decode()}"

    with pytest.raises(KeyUnavailable, match="is a FIDO key") as refused:
        parse_own_public_key(line, source="key.pub")
    assert refused.value.hint == "use an Ed25519, ECDSA or RSA key"


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
