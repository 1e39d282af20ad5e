"""OpenSSH, asyncssh and cryptography read our certificates as what they say.

And the other way round: `ssh-keygen -s` makes the same bytes of the same fields, and
of cryptography's test vectors we read none, since each is odd or unbounded.
"""

import os
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncssh
import cryptography_vectors
import pytest
from asyncssh.public_key import SSHOpenSSHCertificate
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from ca import wire
from ca.certificate import (
    CRITICAL_OPTIONS,
    EXTENSIONS,
    KEY_FIELDS,
    Certificate,
    CertificateType,
    parse_certificate,
    parse_line,
    render_line,
    split_key,
)
from ca.errors import BadRequest
from tests.certificates import (
    NOON,
    ThrowawayCA,
    certificate,
    with_serial,
    write_certificate,
)

pytestmark = pytest.mark.openssh

CA = ThrowawayCA()
VECTORS = Path(cryptography_vectors.__file__).parent / "asymmetric" / "OpenSSH"

LABELS = {
    "ssh-ed25519": "ED25519",
    "ssh-rsa": "RSA",
    "ecdsa-sha2-nistp256": "ECDSA",
    "ecdsa-sha2-nistp384": "ECDSA",
    "ecdsa-sha2-nistp521": "ECDSA",
    "sk-ssh-ed25519@openssh.com": "ED25519-SK",
    "sk-ecdsa-sha2-nistp256@openssh.com": "ECDSA-SK",
}
"""What ssh-keygen calls the key types."""

FIDO = {
    "sk-ssh-ed25519@openssh.com": "sk-ed25519-nopsw.key.pub",
    "sk-ecdsa-sha2-nistp256@openssh.com": "sk-ecdsa-nopsw.key.pub",
}
"""Keys out of hardware that we don't have; their test vectors."""

CONTENTS: dict[str, dict[str, Any]] = {
    "nothing optional": {"critical_options": {}, "extensions": ()},
    **{name: {"extensions": (name,)} for name in sorted(EXTENSIONS)},
    "force-command": {"critical_options": {"force-command": 'sh -c "echo ä; id"'}},
    "source-address": {
        "critical_options": {"source-address": "192.0.2.0/24,2001:db8::/32"}
    },
    "verify-required": {"critical_options": {"verify-required": ""}},
    "everything": {
        "serial": 2**64 - 1,
        "principals": ("zoe", "Az09_.@+-", "ada"),
        "critical_options": {
            "verify-required": "",
            "force-command": "true",
            "source-address": "192.0.2.1/32",
        },
        "extensions": tuple(sorted(EXTENSIONS)),
    },
}


HOST: dict[str, Any] = {
    "type": CertificateType.HOST,
    "principals": ("bastion.example.com",),
    "extensions": (),
}


@pytest.fixture(scope="module", params=sorted(KEY_FIELDS))
def subject_key(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """Return one key of each type that we certify, after the other."""
    if request.param in FIDO:
        return parse_line((VECTORS / FIDO[request.param]).read_text())
    path = tmp_path_factory.mktemp("key") / "key"
    size = ["-b", request.param[-3:]] if "nistp" in request.param else []
    kind = ["-t", LABELS[request.param].lower(), *size]
    subprocess.run(["ssh-keygen", "-q", "-N", "", *kind, "-f", path], check=True)
    return parse_line(path.with_suffix(".pub").read_text())


@pytest.fixture(params=[*CONTENTS, "host"])
def whole(request: pytest.FixtureRequest, subject_key: bytes) -> Certificate:
    """Return a certificate of each content, for each type of subject key."""
    contents = CONTENTS.get(request.param, HOST)
    return certificate(subject_key=subject_key, ca_key=CA.key, **contents)


def test_everything_that_a_certificate_can_say_is_tried():
    contents = CONTENTS["everything"]

    assert LABELS.keys() == KEY_FIELDS.keys()
    assert contents["critical_options"].keys() == CRITICAL_OPTIONS
    assert CONTENTS.keys() >= CRITICAL_OPTIONS | EXTENSIONS


def test_ssh_keygen_lists_exactly_what_we_put_in(whole: Certificate, tmp_path: Path):
    path = write_certificate(tmp_path / "cert.pub", CA.certify(whole))

    listed = subprocess.run(
        ["ssh-keygen", "-L", "-f", path],
        env=os.environ | {"TZ": "UTC", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert listed.stdout == f"{path}:\n{describe(whole)}"


def describe(says: Certificate) -> str:
    """Write a certificate down as ssh-keygen does."""
    key_type, _ = split_key(says.subject_key)
    name = f"{key_type.removesuffix('@openssh.com')}-cert-v01@openssh.com"
    key = f"{LABELS[key_type]}-CERT {wire.fingerprint(says.subject_key)}"
    begin, end = (
        datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        for second in (says.valid_after, says.valid_before)
    )
    critical_options = sorted(says.critical_options.items())
    lines = [
        f"Type: {name} {says.type.name.lower()} certificate",
        f"Public key: {key}",
        f"Signing CA: ED25519 {wire.fingerprint(CA.key)} (using ssh-ed25519)",
        f'Key ID: "{says.key_id}"',
        f"Serial: {says.serial}",
        f"Valid: from {begin} to {end}",
        *listing("Principals", says.principals),
        *listing("Critical Options", [f"{n} {v}".strip() for n, v in critical_options]),
        *listing("Extensions", says.extensions),
    ]
    return "".join(f"        {line}\n" for line in lines)


def listing(title, values):
    if not values:
        return [f"{title}: (none)"]
    return [f"{title}: ", *(f"        {value}" for value in values)]


def by_cryptography(blob: bytes) -> SSHCertificate:
    read = load_ssh_public_identity(render_line(blob, "").encode())
    assert isinstance(read, SSHCertificate)
    return read


def test_cryptography_reads_and_verifies_it(whole: Certificate):
    if split_key(whole.subject_key)[0] in FIDO:
        with pytest.raises(UnsupportedAlgorithm):
            by_cryptography(CA.certify(whole))
        return

    read = by_cryptography(CA.certify(whole))

    read.verify_cert_signature()
    key = read.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert parse_line(key.decode()) == whole.subject_key
    assert read.type is SSHCertificateType(whole.type)
    assert read.serial == whole.serial
    assert read.key_id == whole.key_id.encode()
    assert read.valid_principals == [name.encode() for name in whole.principals]
    assert (read.valid_after, read.valid_before) == (NOON, NOON + 36000)
    assert read.critical_options == {
        name.encode(): value.encode() for name, value in whole.critical_options.items()
    }
    assert read.extensions == {name.encode(): b"" for name in whole.extensions}


def test_cryptography_and_asyncssh_find_a_changed_serial():
    changed = with_serial(CA.certify(certificate()), 2)

    with pytest.raises(InvalidSignature):
        by_cryptography(changed).verify_cert_signature()
    with pytest.raises(asyncssh.KeyImportError):
        asyncssh.import_certificate(render_line(changed, ""))


def test_asyncssh_reads_and_verifies_it(whole: Certificate):
    # It knows all but verify-required.
    critical_options = dict(whole.critical_options)
    critical_options.pop("verify-required", None)
    says = replace(
        whole,
        critical_options=critical_options,
        valid_after=1,
        valid_before=2**64 - 2,
    )

    read = asyncssh.import_certificate(render_line(CA.certify(says), ""))

    assert isinstance(read, SSHOpenSSHCertificate)
    for principal in says.principals:
        read.validate(says.type, principal)
    with pytest.raises(ValueError, match="rincipal"):
        read.validate(says.type, "mallory")
    assert read.principals == list(says.principals)
    assert read.key.public_data == says.subject_key
    assert read.signing_key.public_data == CA.key
    assert read.options.keys() == {*critical_options, *says.extensions}


def test_ssh_keygen_makes_the_same_bytes(whole: Certificate, tmp_path: Path):
    CA.write(tmp_path / "ca")
    (tmp_path / "key.pub").write_text(render_line(whole.subject_key, ""))
    options = [f"{n}={v}" if v else n for n, v in whole.critical_options.items()]
    host = ["-h"] if whole.type is CertificateType.HOST else []

    subprocess.run(
        [
            *("ssh-keygen", "-q", "-s", str(tmp_path / "ca"), *host),
            *("-I", whole.key_id, "-n", ",".join(whole.principals)),
            *("-z", str(whole.serial), "-V", "20260101120000:20260101220000"),
            *("-O", "clear"),
            *(word for name in (*options, *whole.extensions) for word in ("-O", name)),
            str(tmp_path / "key.pub"),
        ],
        env=os.environ | {"TZ": "UTC"},
        check=True,
    )

    theirs = parse_line((tmp_path / "key-cert.pub").read_text())
    says, _ = parse_certificate(theirs)
    # The nonce is random; the signature, being Ed25519, is not.
    assert says == replace(whole, nonce=says.nonce)
    assert CA.certify(says) == theirs


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ("dsa-p256", "not a certificate type"),
        ("p256-dsa", "must begin"),
        ("p256-ed25519-non-singular-crit-opt-val", "bad value"),
        ("p256-ed25519-non-singular-ext-val", "bad value"),
        # We verify no signature here, but the certificate is valid for ever, too.
        ("p256-p256-broken-signature-key-type", "must begin"),
        ("p256-p256-duplicate-crit-opts", "each once"),
        ("p256-p256-duplicate-extension", "each once"),
        ("p256-p256-invalid-cert-type", "neither a user nor a host"),
        ("p256-p256-non-lexical-crit-opts", "lexical order"),
        ("p256-p256-non-lexical-extensions", "lexical order"),
        # What follows cryptography reads.
        ("p256-p256-empty-principals", "at least one principal"),
        ("p256-p384", "at least one principal"),
        ("p256-p521", "at least one principal"),
        ("p256-rsa-sha1", "at least one principal"),
        ("p256-rsa-sha256", "at least one principal"),
        ("p256-rsa-sha512", "at least one principal"),
    ],
)
def test_no_certificate_of_the_test_vectors_is_one_of_ours(vector: str, reason: str):
    line = (VECTORS / "certs" / f"{vector}.pub").read_text()

    with pytest.raises(BadRequest, match=reason):
        parse_certificate(parse_line(line))


def test_all_of_the_test_vectors_are_tried():
    (marks,) = test_no_certificate_of_the_test_vectors_is_one_of_ours.pytestmark
    tried = {vector for vector, _ in marks.args[1]}

    assert tried == {path.stem for path in (VECTORS / "certs").glob("*.pub")}
