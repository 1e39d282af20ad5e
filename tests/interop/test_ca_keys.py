"""Certificates by every kind of CA key are read, and let in, by those that count.

ssh-keygen, cryptography and asyncssh read them, a real sshd lets them in, a real ssh
believes a host that has one. What an RSA key signs with SHA-1 is refused; and a host
that may not use Ed25519 takes the other kinds.
"""

import re
import subprocess
from contextlib import contextmanager

import asyncssh
import pytest
from asyncssh.public_key import SSHOpenSSHCertificate
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    load_ssh_public_identity,
)

from ca import wire
from ca.certificate import (
    CertificateType,
    complete,
    parse_certificate,
    parse_line,
    render_line,
    render_to_be_signed,
)
from ca.signing_key import AgentKey, FileKey, KeyType
from ca.ssh_signature import verify
from tests import login_table
from tests.agents import SshAgent
from tests.certificates import certificate, write_certificate
from tests.sshd import LOOPBACK, Sshd, make_key

pytestmark = pytest.mark.openssh

RSA = rsa.generate_private_key(65537, 3072)
KEYS = {
    "ed25519": FileKey.generate(),
    "nistp256": FileKey.generate(KeyType.ECDSA),
    "nistp384": FileKey(ec.generate_private_key(ec.SECP384R1())),
    "nistp521": FileKey(ec.generate_private_key(ec.SECP521R1())),
    "rsa": FileKey(RSA),
}
SIGNED_WITH = {
    "ed25519": "ED25519 .* (using ssh-ed25519)",
    "nistp256": "ECDSA .* (using ecdsa-sha2-nistp256)",
    "nistp384": "ECDSA .* (using ecdsa-sha2-nistp384)",
    "nistp521": "ECDSA .* (using ecdsa-sha2-nistp521)",
    "rsa": "RSA .* (using rsa-sha2-512)",
}
TYPES = list(CertificateType)


def sign(says, key):
    """Return a certificate as our core would make it, with this CA key."""
    to_be_signed = render_to_be_signed(says)
    return complete(to_be_signed, key.sign(to_be_signed))


@pytest.fixture(params=KEYS)
def kind(request):
    return request.param


@pytest.fixture(params=TYPES, ids=lambda type_: type_.name.lower())
def says(request, kind):
    """Return what a certificate by this kind of key says."""
    extensions = ("permit-pty",) if request.param is CertificateType.USER else ()
    return certificate(
        type=request.param, extensions=extensions, ca_key=KEYS[kind].blob
    )


def test_ssh_keygen_names_the_ca_key_and_how_it_signed(says, kind, tmp_path):
    file = write_certificate(tmp_path / "cert.pub", sign(says, KEYS[kind]))

    listed = subprocess.run(
        ["ssh-keygen", "-L", "-f", file], capture_output=True, text=True, check=True
    ).stdout

    label, _, how = SIGNED_WITH[kind].partition(" .* ")
    assert f"Signing CA: {label} {KEYS[kind].fingerprint} {how}\n" in listed


def test_cryptography_and_asyncssh_verify_it(says, kind):
    lasting = certificate(
        **{name: getattr(says, name) for name in ("type", "extensions", "ca_key")},
        valid_after=1,
        valid_before=2**64 - 2,
    )
    line = render_line(sign(lasting, KEYS[kind]), "")

    read = load_ssh_public_identity(line.encode())
    assert isinstance(read, SSHCertificate)
    read.verify_cert_signature()
    by_asyncssh = asyncssh.import_certificate(line)
    assert isinstance(by_asyncssh, SSHOpenSSHCertificate)
    by_asyncssh.validate(lasting.type, "ada")
    assert by_asyncssh.signing_key.public_data == KEYS[kind].blob


def test_we_read_and_verify_it(says, kind):
    blob = sign(says, KEYS[kind])

    read, signature = parse_certificate(blob)

    assert read == says
    verify(read.ca_key, signature, blob[: -len(wire.string(signature))])


# --- Logins -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Return a fresh key to certify."""
    key = tmp_path_factory.mktemp("key") / "key"
    make_key(key)
    return login_table.Bench(key)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory):
    """Return a TrustedUserCAKeys file with all our keys in it."""
    file = tmp_path_factory.mktemp("trust") / "ca.pub"
    file.write_text("".join(f"{key.line}\n" for key in KEYS.values()))
    return f"TrustedUserCAKeys {file}"


@pytest.fixture(scope="module")
def sshd(trusted, tmp_path_factory):
    """Run an sshd that trusts them all, with its own ideas about algorithms."""
    with Sshd(tmp_path_factory.mktemp("sshd"), [trusted], log_level="DEBUG2") as sshd:
        yield sshd


def login(sshd, bench, blob, folder):
    file = write_certificate(folder / "cert.pub", blob)
    return sshd.login(bench.key, file, command="echo in").stdout == "in\n"


def test_sshd_lets_in_who_was_certified_by_it(sshd, bench, kind, tmp_path):
    says = bench.plain(ca_key=KEYS[kind].blob)

    assert login(sshd, bench, sign(says, KEYS[kind]), tmp_path)

    assert re.search(rf"CA \S+ {re.escape(KEYS[kind].fingerprint)}", sshd.said)


@pytest.mark.parametrize("key_type", KeyType)
def test_sshd_lets_in_who_was_certified_by_a_key_in_an_agent(
    sshd, bench, key_type, tmp_path
):
    kind = {KeyType.ECDSA: "nistp256"}.get(key_type, key_type.value)
    (tmp_path / "ca").write_bytes(KEYS[kind].encrypt(b"passphrase"))
    (tmp_path / "ca").chmod(0o600)
    (tmp_path / "ca.pub").write_text(KEYS[kind].line)
    says = bench.plain(ca_key=KEYS[kind].blob)

    with SshAgent(tmp_path) as agent:
        agent.add(tmp_path / "ca", answer="passphrase")
        blob = sign(says, AgentKey.open(agent.socket, tmp_path / "ca.pub"))

    assert login(sshd, bench, blob, tmp_path)


def sign_with_sha1(says):
    """Sign as our RSA key never does (RFC 4253 section 6.6)."""
    to_be_signed = render_to_be_signed(says)
    made = RSA.sign(to_be_signed, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 (it must be refused)
    return complete(to_be_signed, wire.text("ssh-rsa") + wire.string(made))


def test_sshd_refuses_what_an_rsa_key_signed_with_sha1(sshd, bench, tmp_path):
    says = bench.plain(ca_key=KEYS["rsa"].blob)
    assert login(sshd, bench, sign(says, KEYS["rsa"]), tmp_path)

    assert not login(sshd, bench, sign_with_sha1(says), tmp_path)

    assert "ssh-rsa: signature algorithm not supported" in sshd.said


def test_a_host_that_may_not_use_ed25519_takes_the_others(
    trusted, bench, tmp_path_factory
):
    # The CASignatureAlgorithms of RHEL 9's FIPS policy, but for the key types that we
    # do not have.
    allowed = (
        "ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,"
        "rsa-sha2-256,rsa-sha2-512"
    )
    settings = [trusted, f"CASignatureAlgorithms {allowed}"]
    let_in = set()
    with Sshd(tmp_path_factory.mktemp("sshd"), settings) as strict:
        for kind, key in KEYS.items():
            blob = sign(bench.plain(ca_key=key.blob), key)
            if login(strict, bench, blob, tmp_path_factory.mktemp("cert")):
                let_in.add(kind)

    assert let_in == KEYS.keys() - {"ed25519"}


@contextmanager
def a_host(kind, bench, folder, **changes):
    """Run an sshd whose key the CA certified, known to ssh by the CA alone."""
    host_key = folder / "host"
    make_key(host_key)
    says = {
        "type": CertificateType.HOST,
        "subject_key": parse_line(host_key.with_suffix(".pub").read_text()),
        "ca_key": KEYS[kind].blob,
        "principals": (LOOPBACK,),
        "extensions": (),
    }
    blob = sign(bench.plain(**says | changes), KEYS[kind])
    write_certificate(folder / "host-cert.pub", blob)
    (folder / "keys").write_text(bench.key.with_suffix(".pub").read_text())
    settings = [
        f"HostKey {host_key}",
        f"HostCertificate {folder}/host-cert.pub",
        f"AuthorizedKeysFile {folder}/keys",
    ]
    (folder / "sshd").mkdir()
    with Sshd(folder / "sshd", settings) as sshd:
        name = f"[{LOOPBACK}]:{sshd.port}"
        sshd.known_hosts.write_text(f"@cert-authority {name} {KEYS[kind].line}\n")
        yield sshd


def test_ssh_believes_a_host_that_it_certified(kind, bench, tmp_path):
    with a_host(kind, bench, tmp_path) as sshd:
        assert sshd.login(bench.key).returncode == 0

        other = KEYS["nistp256" if kind != "nistp256" else "rsa"]
        trusted = sshd.known_hosts.read_text().replace(KEYS[kind].line, other.line)
        sshd.known_hosts.write_text(trusted)
        assert sshd.login(bench.key).returncode == 255


def test_ssh_takes_no_user_certificate_for_a_hosts(bench, tmp_path):
    with a_host("ed25519", bench, tmp_path, type=CertificateType.USER) as sshd:
        refused = sshd.login(bench.key)

    assert refused.returncode == 255
    assert "not a host certificate" in refused.stderr
