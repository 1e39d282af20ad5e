"""What OpenSSH signs verifies; anything changed, weak or untouched does not.

ssh-keygen makes the signatures, asyncssh is the second judge: whatever we let pass it
lets pass, too.
"""

import base64
import subprocess

import asyncssh
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from hypothesis import given
from hypothesis import strategies as st

from ca import sshsig, wire
from ca.certificate import KEY_FIELDS, parse_line
from ca.errors import CAError, Malformed, SignatureInvalid
from ca.ssh_signature import verify
from tests.fido import TOUCHED, VERIFIED, fido_ecdsa, fido_ed25519

KINDS = {
    "ssh-ed25519": ["-t", "ed25519"],
    "ecdsa-sha2-nistp256": ["-t", "ecdsa", "-b", "256"],
    "ecdsa-sha2-nistp384": ["-t", "ecdsa", "-b", "384"],
    "ecdsa-sha2-nistp521": ["-t", "ecdsa", "-b", "521"],
    "ssh-rsa": ["-t", "rsa", "-b", "3072"],
}
FIDO = {key.type: key for key in (fido_ed25519(), fido_ecdsa())}
NAMESPACE = "daypass-request"
MESSAGE = b"POST /v1/explain"
DATA = sshsig.signed_data(NAMESPACE, MESSAGE)


class Signed:
    """A key of ssh-keygen's, and its signature over DATA."""

    def __init__(self, folder, kind):
        self.file = folder / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-N", "", *KINDS[kind], "-f", self.file], check=True
        )
        self.key = parse_line(self.file.with_suffix(".pub").read_text())
        armour = subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-n", NAMESPACE, "-f", self.file],
            input=MESSAGE,
            capture_output=True,
            check=True,
        ).stdout.decode()
        self.signature = sshsig.parse_armour(armour).signature

    def sign_rsa(self, algorithm, hash_):
        """Sign DATA with the RSA key by another hash than ssh-keygen's own."""
        made = rsa_key(self.file).sign(DATA, padding.PKCS1v15(), hash_)
        return wire.text(algorithm) + wire.string(made)


def rsa_key(file):
    key = load_ssh_private_key(file.read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """Return a `Signed` of each kind; made once, since RSA keys take long."""
    return {kind: Signed(tmp_path_factory.mktemp(kind), kind) for kind in KINDS}


def by_asyncssh(key, signature, data=DATA):
    line = f"{wire.Reader(key).text()} {base64.b64encode(key).decode()}"
    return asyncssh.import_public_key(line).verify(data, signature)


def test_every_subject_key_type_is_tried():
    assert KINDS.keys() | FIDO.keys() == KEY_FIELDS.keys()


@pytest.mark.openssh
@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_signs_verifies(signed, kind):
    verify(signed[kind].key, signed[kind].signature, DATA)

    assert by_asyncssh(signed[kind].key, signed[kind].signature)


@pytest.mark.openssh
@pytest.mark.parametrize("kind", FIDO)
@pytest.mark.parametrize("flags", [TOUCHED, TOUCHED | VERIFIED])
def test_a_touched_fido_key_verifies_here_and_with_ssh_keygen(tmp_path, kind, flags):
    key = FIDO[kind]
    signature = key.sign(DATA, flags=flags)

    verify(key.blob, signature, DATA)

    line = f"{kind} {base64.b64encode(key.blob).decode()}"
    (tmp_path / "allowed").write_text(f"ada {line}\n")
    armour = sshsig.render_armour(sshsig.Signature(key.blob, NAMESPACE, signature))
    (tmp_path / "signature").write_text(armour)
    command = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-I", "ada"]
    command += ["-f", tmp_path / "allowed", "-s", tmp_path / "signature"]
    subprocess.run(command, input=MESSAGE, capture_output=True, check=True)
    assert by_asyncssh(key.blob, signature)


@pytest.mark.parametrize("kind", FIDO)
@pytest.mark.parametrize("flags", [0, VERIFIED])
def test_a_fido_key_that_nobody_touched_is_refused(kind, flags):
    with pytest.raises(SignatureInvalid, match="without being touched"):
        verify(FIDO[kind].blob, FIDO[kind].sign(DATA, flags=flags), DATA)


@pytest.mark.parametrize("kind", FIDO)
@pytest.mark.parametrize("byte", [-5, -1], ids=["flags", "counter"])
def test_flags_and_counter_of_a_fido_key_are_signed(kind, byte):
    signature = bytearray(FIDO[kind].sign(DATA))
    signature[byte] ^= VERIFIED

    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(FIDO[kind].blob, bytes(signature), DATA)


@pytest.mark.parametrize("kind", FIDO)
def test_the_application_of_a_fido_key_is_signed(kind):
    key = FIDO[kind]
    elsewhere = key.blob.removesuffix(wire.string(b"ssh:")) + wire.string(b"ssh:x")

    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(elsewhere, key.sign(DATA), DATA)


def every_signature(signed):
    made = [(one.key, one.signature) for one in signed.values()]
    return made + [(key.blob, key.sign(DATA)) for key in FIDO.values()]


def test_other_data_is_refused(signed):
    for key, signature in every_signature(signed):
        with pytest.raises(SignatureInvalid, match="does not verify"):
            verify(key, signature, DATA + b"\n")
        assert not by_asyncssh(key, signature, DATA + b"\n")


@pytest.mark.openssh
@pytest.mark.parametrize("kind", KINDS)
def test_another_key_of_the_same_type_is_refused(signed, tmp_path, kind):
    other = Signed(tmp_path, kind)

    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(other.key, signed[kind].signature, DATA)


def test_a_signature_of_another_type_is_refused(signed):
    made = every_signature(signed)
    for key, own in made:
        for _, signature in made:
            if signature != own:
                with pytest.raises(SignatureInvalid, match="does not sign with"):
                    verify(key, signature, DATA)


@pytest.mark.parametrize(
    ("algorithm", "hash_"),
    [("rsa-sha2-256", hashes.SHA256()), ("rsa-sha2-512", hashes.SHA512())],
)
def test_rsa_signs_with_either_sha2(signed, algorithm, hash_):
    rsa = signed["ssh-rsa"]

    verify(rsa.key, rsa.sign_rsa(algorithm, hash_), DATA)

    with pytest.raises(SignatureInvalid, match="does not verify"):
        verify(rsa.key, rsa.sign_rsa(algorithm, hashes.SHA1()), DATA)  # noqa: S303 (it must be refused)


@pytest.mark.parametrize("algorithm", ["ssh-rsa", "rsa-sha2-384", "", "none"])
def test_rsa_with_sha1_or_by_another_name_is_refused(signed, algorithm):
    rsa = signed["ssh-rsa"]

    with pytest.raises(SignatureInvalid, match="does not sign with") as refused:
        verify(rsa.key, rsa.sign_rsa(algorithm, hashes.SHA1()), DATA)  # noqa: S303 (it must be refused)

    assert refused.value.hint == "sign with rsa-sha2-256 or rsa-sha2-512"


def test_an_rsa_signature_without_its_leading_zeros_verifies(signed):
    private_key = rsa_key(signed["ssh-rsa"].file)
    data, made = DATA, b"\1"
    while made[0]:
        data += b"."
        made = private_key.sign(data, padding.PKCS1v15(), hashes.SHA512())
    short = wire.text("rsa-sha2-512") + wire.string(made.lstrip(b"\0"))

    verify(signed["ssh-rsa"].key, short, data)

    longer = wire.text("rsa-sha2-512") + wire.string(b"\0" + made)
    with pytest.raises(SignatureInvalid):
        verify(signed["ssh-rsa"].key, longer, data)


def test_more_after_a_signature_is_malformed(signed):
    for key, signature in every_signature(signed):
        with pytest.raises(Malformed):
            verify(key, signature + b"\0", DATA)


def test_less_of_a_signature_or_key_is_an_error_of_ours(signed):
    for key, signature in every_signature(signed):
        for length in range(len(signature)):
            with pytest.raises(CAError):
                verify(key, signature[:length], DATA)
        for length in range(len(key)):
            with pytest.raises(CAError):
                verify(key[:length], signature, DATA)


def test_a_certificate_is_no_key_to_verify_with(signed):
    signature = signed["ssh-ed25519"].signature
    blob = wire.text("ssh-ed25519-cert-v01@openssh.com") + bytes(100)

    with pytest.raises(Malformed, match="not a plain public key"):
        verify(blob, signature, DATA)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (wire.text("ssh-ed25519") + wire.string(bytes(31)), "32 bytes"),
        (
            wire.text("ecdsa-sha2-nistp256") + wire.text("nistp384") + wire.string(b""),
            "another curve",
        ),
        (
            wire.text("ecdsa-sha2-nistp256") + wire.text("nistp") + wire.string(b""),
            "another curve",
        ),
        (
            wire.text("ecdsa-sha2-nistp256")
            + wire.text("nistp256")
            + wire.string(b"\4" + bytes(64)),
            "not a point",
        ),
        (
            wire.text("ssh-rsa") + wire.mpint(65537) + wire.mpint(1 << 16384),
            "more than 16384",
        ),
        (wire.text("ssh-rsa") + wire.mpint(2) + wire.mpint(1 << 3000), "no RSA key"),
        (wire.text("ssh-rsa") + wire.mpint(0) + wire.mpint(0), "no RSA key"),
    ],
)
def test_what_is_no_key_is_malformed(key, why):
    name = wire.Reader(key).text().replace("ssh-rsa", "rsa-sha2-512")

    with pytest.raises(Malformed, match=why):
        verify(key, wire.text(name) + wire.string(b""), DATA)


@pytest.mark.parametrize("r_and_s", [(0, 0), (0, 1), (1, 0), (1, 1 << 300)])
def test_impossible_ecdsa_numbers_are_refused(signed, r_and_s):
    key = signed["ecdsa-sha2-nistp256"].key
    made = wire.string(b"".join(map(wire.mpint, r_and_s)))

    with pytest.raises(SignatureInvalid):
        verify(key, wire.text("ecdsa-sha2-nistp256") + made, DATA)


def test_numbers_after_the_two_of_ecdsa_are_malformed(signed):
    made = wire.string(wire.mpint(1) * 3)

    with pytest.raises(Malformed):
        verify(
            signed["ecdsa-sha2-nistp256"].key,
            wire.text("ecdsa-sha2-nistp256") + made,
            DATA,
        )


ALGORITHMS = [*KEY_FIELDS, "rsa-sha2-256", "rsa-sha2-512"]
FIELD = st.binary(max_size=80) | st.sampled_from([b"nistp256", b"nistp521", b"\1\0\1"])


@given(st.binary(), st.binary())
def test_any_bytes_are_refused_by_an_error_of_ours(key, signature):
    with pytest.raises(CAError):
        verify(key, signature, DATA)


@given(st.sampled_from(ALGORITHMS), st.lists(FIELD, max_size=4), st.binary())
def test_any_key_of_ours_is_refused_by_an_error_of_ours(name, fields, made):
    type_ = name.replace("rsa-sha2-256", "ssh-rsa").replace("rsa-sha2-512", "ssh-rsa")
    key = wire.text(type_) + b"".join(map(wire.string, fields))

    with pytest.raises(CAError):
        verify(key, wire.text(name) + wire.string(made), DATA)


@given(st.integers(0, 1 << 2048), st.integers(0, 1 << 2048), st.binary())
def test_any_rsa_numbers_are_refused_by_an_error_of_ours(exponent, modulus, made):
    key = wire.text("ssh-rsa") + wire.mpint(exponent) + wire.mpint(modulus)

    with pytest.raises(CAError):
        verify(key, wire.text("rsa-sha2-512") + wire.string(made), DATA)


@given(st.data())
def test_a_changed_byte_is_noticed(data):
    key = Ed25519PrivateKey.generate()
    name = wire.text("ssh-ed25519")
    blob = name + wire.string(key.public_key().public_bytes_raw())
    signature = bytearray(name + wire.string(key.sign(DATA)))
    at = data.draw(st.integers(0, len(signature) - 1))
    signature[at] ^= data.draw(st.integers(1, 255))

    with pytest.raises(CAError):
        verify(blob, bytes(signature), DATA)
