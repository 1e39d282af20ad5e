"""A sign-in brings host CA keys and revoked hosts up to date, and only with proof."""

import getpass
import subprocess

import pytest

from ca.certificate import parse_line
from ca.krl import KRL, RevokedCertificates, render_krl
from client.api import LARGEST_KRL
from tests.fake_ca import EMPTY_KRL
from tests.sshd import Sshd, make_key

REVOKED_SERIAL = 7


@pytest.fixture
def known(keys):
    return keys.folder / "default.known_hosts"


@pytest.fixture
def revoked(keys):
    return keys.folder / "default.revoked_hosts"


def revoking(ca, *serials, version=1):
    """Return a KRL that revokes serials of the host CA key."""
    runs = tuple((serial, serial) for serial in serials)
    host_ca = parse_line(ca.public("host_ca"))
    certificates = (RevokedCertificates(host_ca, runs),)
    return render_krl(KRL(version, 0, certificates=certificates))


def test_host_ca_keys_are_known_for_their_domains_alone(login, ca, known):
    ca.host_domains = ("*.prod.example", "db.example")

    assert login().status == 0

    comment, line = known.read_text().splitlines()
    assert comment.startswith("#")
    key = ca.public("host_ca")
    assert line == f"@cert-authority *.prod.example,db.example {key}"
    assert known.stat().st_mode & 0o777 == 0o600


def test_a_host_ca_key_without_domains_is_believed_nowhere(login, ca, known, revoked):
    ca.host_domains = ()

    assert login().status == 0

    (comment,) = known.read_text().splitlines()
    assert comment.startswith("#")
    assert revoked.read_bytes() == EMPTY_KRL


def test_what_changes_at_the_ca_changes_here_at_the_next_sign_in(
    login, ca, known, revoked
):
    login()
    ca.host_domains = ("*.new.example",)
    ca.roots_version += 1
    ca.krl = revoking(ca, REVOKED_SERIAL)
    ca.current_version += 1

    assert login().status == 0

    assert "*.new.example" in known.read_text()
    assert revoked.read_bytes() == ca.krl


def test_what_has_not_changed_is_not_fetched_or_written(login, ca, known, revoked):
    login()
    before = [path.stat().st_ino for path in (known, revoked)]
    hits = sum(count for path, count in ca.hits.items() if "/blob/" in path)

    assert login().status == 0

    assert [path.stat().st_ino for path in (known, revoked)] == before
    assert sum(n for path, n in ca.hits.items() if "/blob/" in path) == hits


def test_a_file_that_somebody_changed_is_put_right(login, known, revoked):
    login()
    before = known.read_bytes()
    known.write_bytes(b"@cert-authority * ssh-ed25519 AAAA\n")
    revoked.write_bytes(b"")

    assert login().status == 0

    assert known.read_bytes() == before
    assert revoked.read_bytes() == EMPTY_KRL


def test_an_older_bundle_changes_nothing(login, ca, known):
    login()
    before = known.read_bytes()
    ca.host_domains = ("*.old.example",)
    ca.roots_version -= 1

    assert login().status == 1

    assert known.read_bytes() == before


def test_a_krl_that_the_bundle_does_not_name_is_refused(login, ca, keys, revoked):
    login()
    held = keys.held()
    ca.current_version += 1
    ca.krl_named = revoking(ca, REVOKED_SERIAL)

    said = login()

    assert said.status == 1
    assert "not the one that the CA's trust bundle names" in said.err
    assert revoked.read_bytes() == EMPTY_KRL
    assert keys.held() == held


@pytest.mark.parametrize("bad", [b"", b"<html>", b"SSHKRL\n\0", EMPTY_KRL[:-1]])
def test_a_krl_that_ssh_cannot_read_never_takes_the_place_of_a_good_one(
    login, ca, keys, revoked, bad
):
    ca.krl = bad

    # ssh refuses all hosts without the file, and takes an empty one.
    said = login()
    assert said.status == 0
    assert "cannot read the CA's list of revoked hosts" in said.err
    assert revoked.read_bytes() == b""

    ca.krl = good = revoking(ca, REVOKED_SERIAL)
    assert login().status == 0
    ca.krl = bad
    assert login().status == 0
    assert revoked.read_bytes() == good
    assert {path.name for path in keys.folder.glob(".default.r*")} == set()


def test_a_krl_that_is_too_large_is_not_taken(login, ca, revoked):
    ca.krl = bytes(LARGEST_KRL + 1)

    said = login()

    assert said.status == 1
    assert "more than" in said.err
    assert not revoked.exists()


def test_a_large_krl_is_taken(login, ca, revoked):
    ca.krl = revoking(ca, *range(1, 40_000_001, 200))
    assert len(ca.krl) > 1 << 20

    assert login().status == 0

    assert revoked.read_bytes() == ca.krl


# --- With a real host -------------------------------------------------------------


@pytest.mark.openssh
def test_ssh_believes_the_hosts_that_the_ca_vouches_for_and_no_others(
    login, ca, keys, tmp_path
):
    ca.principals = (getpass.getuser(),)
    ca.host_domains = ("*.prod.example",)
    assert login().status == 0

    with house(ca, tmp_path) as host:
        certify(ca, host, "db1.prod.example", serial=REVOKED_SERIAL)
        assert connect(host, keys, "db1.prod.example").returncode == 0
        assert "verification failed" in connect(host, keys, "db2.prod.example").stderr

        certify(ca, host, "db1.other.example", serial=8)
        assert "verification failed" in connect(host, keys, "db1.other.example").stderr

        ca.krl = revoking(ca, REVOKED_SERIAL)
        ca.current_version += 1
        assert login().status == 0
        certify(ca, host, "db1.prod.example", serial=REVOKED_SERIAL)
        refused = connect(host, keys, "db1.prod.example")
        assert refused.returncode == 255
        assert "revoked" in refused.stderr
        certify(ca, host, "db1.prod.example", serial=8)
        assert connect(host, keys, "db1.prod.example").returncode == 0


def house(ca, folder):
    """Return a host that trusts the CA, and has a certificate of it to come."""
    key, sshd = folder / "key", folder / "sshd"
    sshd.mkdir()
    make_key(key)
    (folder / "user_ca").write_text(f"{ca.public('user_ca')}\n")
    settings = [f"HostKey {key}", f"HostCertificate {key}-cert.pub"]
    return Sshd(sshd, [*settings, f"TrustedUserCAKeys {folder / 'user_ca'}"])


def certify(ca, host, name, *, serial):
    """Give the host a certificate; it is read when sshd starts anew for a client."""
    key = host.folder.parent / "key.pub"
    sign = ["ssh-keygen", "-q", "-s", ca.keys / "host_ca", "-h", "-I", "host"]
    subprocess.run([*sign, "-n", name, "-z", str(serial), key], check=True)
    host.restart()


def connect(host, keys, name):
    """Log in with what a sign-in left alone: no other host key is known."""
    command = host.ssh_command(keys.private, keys.certificate)
    ours = {
        "HostKeyAlias": name,
        "UserKnownHostsFile": "/dev/null",
        "GlobalKnownHostsFile": keys.folder / "default.known_hosts",
        "RevokedHostKeys": keys.folder / "default.revoked_hosts",
    }
    options = [word for item in ours.items() for word in ("-o", "{}={}".format(*item))]
    return subprocess.run(
        [*command[:3], *options, *command[3:], "true"],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
