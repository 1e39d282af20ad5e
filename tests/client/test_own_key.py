"""A key of one's own is certified where it is, and never touched."""

import base64
import os
import subprocess
from pathlib import Path

import pytest

from ca.certificate import parse_line
from tests.fido import fido_ecdsa, fido_ed25519


def public_of(key: Path) -> bytes:
    """Return the blob in a key's `.pub` file."""
    return parse_line(" ".join(key.with_suffix(".pub").read_text().split()[:2]))


def links(folder: Path) -> set[str]:
    """Return what stands for keys and certificates, and not for hosts."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return names - {"default.known_hosts", "default.revoked_hosts"}


def test_the_key_is_certified_and_stays_where_it_is(login, keys, own_key):
    before = own_key.read_bytes(), own_key.stat().st_mtime_ns

    said = login("--key", str(own_key))

    assert said.status == 0
    held = keys.held()
    assert held.key_matches
    assert held.certificate.subject_key == public_of(own_key)
    assert keys.private.resolve() == own_key
    assert (own_key.read_bytes(), own_key.stat().st_mtime_ns) == before
    assert links(own_key.parent) == {"mine", "mine.pub", "daypass"}
    assert links(keys.folder) == {"default", "default-cert.pub"}


def test_the_public_half_names_it_as_well(login, keys, own_key):
    login("--key", f"{own_key}.pub")

    assert keys.private.resolve() == own_key


def test_the_name_may_be_relative(login, keys, own_key, monkeypatch):
    monkeypatch.chdir(own_key.parent)

    assert login("--key", "mine").status == 0

    assert keys.private.resolve() == own_key


def test_the_private_key_is_never_opened(login, run, keys, own_key):
    own_key.unlink()
    os.mkfifo(own_key)  # whoever opened it would wait for ever

    assert login("--key", str(own_key)).status == 0
    assert run("status").status == 0
    assert run("logout").status == 0
    assert own_key.exists()


def test_a_key_in_an_agent_has_only_its_public_half(login, run, keys, own_key):
    own_key.unlink()

    assert login("--key", str(own_key)).status == 0

    assert keys.private.resolve() == own_key.with_suffix(".pub")
    assert run("status").status == 0


@pytest.mark.parametrize("make", [fido_ed25519, fido_ecdsa])
def test_fido_keys_are_certified(login, keys, own_key, make):
    fido = make()
    line = f"{fido.type} {base64.b64encode(fido.blob).decode()}"
    own_key.with_suffix(".pub").write_text(f"{line} ada's, naïvely named\n")

    assert login("--key", str(own_key)).status == 0

    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", keys.certificate],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert keys.held().certificate.subject_key == fido.blob
    assert "-SK-CERT SHA256:" in shown


def test_the_next_sign_in_without_it_makes_a_key_again(login, keys, own_key):
    login("--key", str(own_key))

    assert login().status == 0

    assert not keys.private.resolve().samefile(own_key)
    assert keys.held().key_matches
    assert own_key.exists()


def test_logging_out_leaves_the_key_alone(login, run, keys, own_key):
    login("--key", str(own_key))

    assert run("logout").status == 0

    assert links(keys.folder) == set()
    assert own_key.exists()
    assert own_key.with_suffix(".pub").exists()


@pytest.mark.parametrize("change", ["another key", "no key", "no public half"])
def test_status_says_when_the_key_is_another_by_now(login, run, own_key, change):
    login("--key", str(own_key))
    public = own_key.with_suffix(".pub")
    if change == "another key":
        public.write_text(f"ssh-ed25519 {'A' * 68}\n")
    elif change == "no key":
        own_key.unlink()
    else:
        public.unlink()

    said = run("status")

    assert said.status == 3


def test_without_a_public_half_it_says_how_to_make_one(login, ca, own_key):
    own_key.with_suffix(".pub").unlink()

    said = login("--key", str(own_key))

    assert said.status == 2
    assert f"hint: ssh-keygen -y -f {own_key} > {own_key}.pub" in said.err
    assert ca.requests == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"ssh-ed25519 AAAA", b"{}"])
def test_what_is_no_public_key_is_not_sent(login, ca, own_key, content):
    own_key.with_suffix(".pub").write_bytes(content)

    said = login("--key", str(own_key))

    assert said.status == 2
    assert "is no public key" in said.err
    assert ca.requests == []
