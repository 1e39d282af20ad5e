"""SSHSIG framing is the one that `ssh-keygen -Y` makes and takes."""

import base64
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import sshsig
from ca.errors import CAError, Malformed
from ca.signing_key import FileKey

MESSAGE = b"version 1\nuser-ca active\n"


def verify(folder, key, armour, *, namespace, message=MESSAGE):
    """Run `ssh-keygen -Y verify`; return whether it is satisfied."""
    (folder / "allowed").write_text(f'root namespaces="{namespace}" {key.line}\n')
    (folder / "signature").write_text(armour)
    command = ["ssh-keygen", "-Y", "verify", "-f", folder / "allowed", "-I", "root"]
    command += ["-n", namespace, "-s", folder / "signature"]
    return subprocess.run(command, input=message, check=False).returncode == 0


def test_ssh_keygen_verifies_what_we_sign(tmp_path):
    key = FileKey.generate()

    armour = key.sign_message("daypass-roots", MESSAGE)

    assert verify(tmp_path, key, armour, namespace="daypass-roots")


def test_ssh_keygen_refuses_another_message_key_or_namespace(tmp_path):
    key, other = FileKey.generate(), FileKey.generate()
    armour = key.sign_message("daypass-roots", MESSAGE)

    assert not verify(tmp_path, key, armour, namespace="daypass-current")
    assert not verify(tmp_path, other, armour, namespace="daypass-roots")
    assert not verify(
        tmp_path, key, armour, namespace="daypass-roots", message=MESSAGE + b"\n"
    )


def test_what_ssh_keygen_signs_is_read(tmp_path):
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"],
        check=True,
    )
    command = ["ssh-keygen", "-q", "-Y", "sign", "-f", tmp_path / "key", "-n", "space"]
    armour = subprocess.run(command, input=MESSAGE, capture_output=True, check=True)

    signature = sshsig.parse_armour(armour.stdout.decode())

    assert signature.namespace == "space"
    assert sshsig.render_armour(signature) == armour.stdout.decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("BEGIN", "BEGINS"),
        ("SIGNATURE-----\n", "SIGNATURE-----"),
        ("U1NIU0lH", "U1NIU0lI"),
        ("\nU1", "\n\nU1"),
        ("\nU1", "\n U1"),
        ("\nU1NIU0lHAAAAAQ", "\nU1NIU0lHAAAAAg"),
    ],
)
def test_other_armour_is_malformed(old, new):
    armour = FileKey.generate().sign_message("n", b"")
    assert old in armour

    with pytest.raises(Malformed):
        sshsig.parse_armour(armour.replace(old, new))


def test_a_reserved_field_or_another_hash_is_malformed():
    armour = FileKey.generate().sign_message("n", b"")
    body = "".join(armour.splitlines()[1:-1])
    blob = base64.b64decode(body)
    weaker = base64.b64encode(blob.replace(b"sha512", b"sha256")).decode()

    with pytest.raises(Malformed, match="sha512"):
        sshsig.parse_armour(
            f"-----BEGIN SSH SIGNATURE-----\n{weaker[:70]}\n{weaker[70:140]}\n"
            f"{weaker[140:210]}\n{weaker[210:]}\n-----END SSH SIGNATURE-----\n"
        )


@given(st.text())
def test_any_text_is_a_signature_or_a_clean_refusal(text):
    try:
        signature = sshsig.parse_armour(text)
    except CAError:
        return
    assert sshsig.render_armour(signature)
