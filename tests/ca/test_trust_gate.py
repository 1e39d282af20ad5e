"""The gate before publication: what OpenSSH would read otherwise does not pass."""

import dataclasses
import subprocess
from shutil import which

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ca import bundle, sshsig, wire
from ca.errors import PublicationRefused
from ca.krl import KRL, RevokedCertificates, render_krl, runs_of
from ca.signing_key import FileKey, KeyType
from ca.trust import gate
from ca.trust.gate import LAST_SERIAL, judge_krl, judge_signed, samples_of
from tests.fido import FidoKey

pytestmark = pytest.mark.openssh

USER_CA, HOST_CA, GONE = (FileKey.generate() for _ in range(3))
SERIALS = runs_of((serial, serial) for serial in (1, 7, 8, 900))
MEANT = KRL(
    version=3,
    generated=4,
    certificates=(RevokedCertificates(USER_CA.blob, SERIALS),),
    keys=(GONE.blob,),
)
OURS = (USER_CA.blob, HOST_CA.blob, GONE.blob)


def trap(folder, serials=range(70, 236 * 70 + 1, 70)):
    """Return what ssh-keygen itself writes of serials 70 apart: unreadable."""
    (folder / "ca.pub").write_text(f"{USER_CA.line}\n")
    (folder / "spec").write_text("".join(f"serial: {serial}\n" for serial in serials))
    subprocess.run(
        ["ssh-keygen", "-q", "-k", "-f", "trap", "-s", "ca.pub", "spec"],
        cwd=folder,
        check=True,
    )
    return (folder / "trap").read_bytes()


def test_what_openssh_reads_as_it_was_meant_passes():
    judge_krl(render_krl(MEANT), meant=MEANT, ca_keys=OURS)
    nothing = KRL(version=1, generated=2)
    judge_krl(render_krl(nothing), meant=nothing, ca_keys=OURS)


@pytest.mark.parametrize(
    "key",
    [
        *(FileKey.generate(key_type) for key_type in KeyType),
        FileKey(ec.generate_private_key(ec.SECP384R1())),
        FileKey(ec.generate_private_key(ec.SECP521R1())),
        FidoKey(Ed25519PrivateKey.generate()),
        FidoKey(ec.generate_private_key(ec.SECP256R1()), application="ssh:ca"),
    ],
    ids=lambda key: key.type,
)
@pytest.mark.parametrize("is_revoked", [False, True])
def test_certificates_of_ca_keys_of_every_kind_are_tried(key, is_revoked):
    meant = dataclasses.replace(
        MEANT,
        certificates=(RevokedCertificates(key.blob, SERIALS),),
        keys=(key.blob,) if is_revoked else (),
    )

    judge_krl(render_krl(meant), meant=meant, ca_keys=(key.blob, HOST_CA.blob))


def test_a_ca_key_that_nothing_can_stand_for_is_refused():
    exponent = wire.mpint((1 << 32) + 15)
    odd = wire.text("ssh-rsa") + exponent + wire.mpint((1 << 3071) + 1)
    meant = dataclasses.replace(MEANT, keys=(odd,))

    with pytest.raises(PublicationRefused, match="odd length"):
        judge_krl(render_krl(meant), meant=meant, ca_keys=OURS)


def test_samples_are_at_the_edges_and_of_every_ca_key():
    samples = {(one.ca_key, one.serial): one.revoked for one in samples_of(MEANT, OURS)}

    assert samples == {
        (USER_CA.blob, 1): True,
        (USER_CA.blob, 2): False,
        (USER_CA.blob, 6): False,
        (USER_CA.blob, 7): True,
        (USER_CA.blob, 8): True,
        (USER_CA.blob, 9): False,
        (USER_CA.blob, 899): False,
        (USER_CA.blob, 900): True,
        (USER_CA.blob, 901): False,
        (HOST_CA.blob, 1): False,
        (GONE.blob, 1): True,
    }


def test_there_is_no_live_sample_where_all_serials_are_revoked():
    runs = ((1, LAST_SERIAL),)
    meant = dataclasses.replace(
        MEANT, certificates=(RevokedCertificates(USER_CA.blob, runs),)
    )

    samples = samples_of(meant, [USER_CA.blob])

    assert {(one.serial, one.revoked) for one in samples} == {
        (1, True),
        (LAST_SERIAL, True),
    }
    judge_krl(render_krl(meant), meant=meant, ca_keys=OURS)


GOOD = render_krl(MEANT)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>it works</html>\n",
        GOOD[:-1],
        GOOD + b"\0",
        render_krl(KRL(version=3, generated=4)),
        render_krl(dataclasses.replace(MEANT, keys=())),
        render_krl(dataclasses.replace(MEANT, keys=(GONE.blob, HOST_CA.blob))),
        render_krl(dataclasses.replace(MEANT, version=2)),
        GOOD.replace(USER_CA.blob, HOST_CA.blob),
        GOOD.replace(wire.u64(900), wire.u64(901)),
    ],
)
def test_what_was_not_meant_does_not_pass(content):
    assert content != GOOD

    with pytest.raises(PublicationRefused):
        judge_krl(content, meant=MEANT, ca_keys=OURS)


def test_what_ssh_keygen_writes_and_sshd_cannot_read_does_not_pass(tmp_path):
    serials = range(70, 236 * 70 + 1, 70)
    runs = runs_of((serial, serial) for serial in serials)
    meant = KRL(0, 0, certificates=(RevokedCertificates(USER_CA.blob, runs),))

    with pytest.raises(PublicationRefused, match="our own reader refuses"):
        judge_krl(trap(tmp_path, serials), meant=meant, ca_keys=OURS)
    # OpenSSH would have said so, too.
    with pytest.raises(PublicationRefused, match="cannot read"):
        gate.ask_about_samples(trap(tmp_path, serials), samples_of(meant, OURS))
    # Of the same serials, this is what we write.
    judge_krl(render_krl(meant), meant=meant, ca_keys=OURS)


def test_a_krl_that_is_too_large_does_not_pass():
    content = GOOD + bytes(gate.MOST_BYTES)

    with pytest.raises(PublicationRefused, match="at most"):
        judge_krl(content, meant=MEANT, ca_keys=OURS)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo unreadable >&2; exit 255", "cannot read it: unreadable"),
        ("exit 0", "cannot read it: 0"),
        ('shift 3; for f in "$@"; do echo "$f (key): ok"; done', "not revoked to"),
        ('shift 3; for f in "$@"; do echo "$f (key): REVOKED"; done; exit 1', "is rev"),
        ('shift 3; for f in "$@"; do echo "$f (key): REVOKED"; done', "cannot read"),
        (
            (
                f'[ $# -lt 9 ] && exec {which("ssh-keygen")} "$@"; '
                'shift 3; for f in "$@"; do echo "$f (key): ok"; done'
            ),
            "a certificate with serial [0-9]+ is not revoked to OpenSSH",
        ),
    ],
)
def test_another_verdict_of_openssh_than_was_meant_stops_it(
    tmp_path, monkeypatch, script, why
):
    program = tmp_path / "ssh-keygen"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    with pytest.raises(PublicationRefused, match=why):
        judge_krl(GOOD, meant=MEANT, ca_keys=OURS)


def test_nothing_passes_without_openssh(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(PublicationRefused, match="not installed") as refused:
        judge_krl(GOOD, meant=MEANT, ca_keys=OURS)

    assert refused.value.hint == "install OpenSSH's client programs"


def test_nothing_passes_without_a_place_for_files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))

    with pytest.raises(PublicationRefused, match="cannot be asked"):
        judge_krl(GOOD, meant=MEANT, ca_keys=OURS)


# --- Signed documents -------------------------------------------------------------

ROOT, OTHER = FileKey.generate(), FileKey.generate()
TEXT = b"daypass-roots-v1\n"


def signed(text=TEXT, *, key=ROOT, namespace=bundle.ROOTS_NAMESPACE):
    return bundle.join_signed(text, key.sign_message(namespace, text))


def test_a_document_that_readers_can_verify_passes():
    judge_signed(signed(), namespace=bundle.ROOTS_NAMESPACE, key=ROOT.blob)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        TEXT,
        signed(key=OTHER),
        signed(namespace=bundle.CURRENT_NAMESPACE),
        signed().replace(b"v1", b"v2"),
        signed(TEXT * gate.MOST_BYTES_OF_TEXT),
        # The key's own signature, in an envelope that names another key.
        bundle.join_signed(
            TEXT,
            sshsig.render_armour(
                sshsig.Signature(
                    OTHER.blob,
                    bundle.ROOTS_NAMESPACE,
                    ROOT.sign(sshsig.signed_data(bundle.ROOTS_NAMESPACE, TEXT)),
                )
            ),
        ),
    ],
)
def test_a_document_that_readers_would_refuse_does_not_pass(document):
    with pytest.raises(PublicationRefused, match="daypass-roots"):
        judge_signed(document, namespace=bundle.ROOTS_NAMESPACE, key=ROOT.blob)
