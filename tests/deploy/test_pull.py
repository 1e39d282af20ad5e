"""`daypass-pull`: what a host takes, what it refuses, and what it tells its operator.

Judged by the OpenSSH of this machine: ssh-keygen says what a file is, sshd who gets in.
What is refused leaves every file as it was, byte for byte.
"""

import os
import stat
import subprocess
import time
from hashlib import sha256

import pytest

from ca import wire
from ca.bundle import parse_roots, split_signed
from ca.certificate import parse_line
from tests.authority import Signer, make_ca
from tests.fakes import Answer, FakeIdP
from tests.publisher import CURRENT, ROOTS, Publisher, make_krl, sign
from tests.pulling import SHELLS, Host
from tests.signing import holder

pytestmark = pytest.mark.openssh


@pytest.fixture
def ca():
    with Publisher() as ca:
        yield ca


@pytest.fixture(params=["dash", "busybox"])
def host(request, tmp_path, ca):
    return Host(tmp_path, ca, shell=request.param)


@pytest.fixture
def one_host(tmp_path, ca):
    """Return a host of one shell, where the shell makes no difference."""
    return Host(tmp_path, ca)


# --- What is taken ------------------------------------------------------------------


@pytest.mark.parametrize("host", SHELLS, indirect=True)
def test_a_first_pull_writes_what_sshd_and_monitoring_read(ca, host):
    done = host.pull()

    assert (done.returncode, done.stdout) == (0, "")
    assert host.ca_keys.read_text() == f"{ca.user_ca.line}\n"
    assert host.files["revoked.krl"] == ca.krl
    assert (host.files["roots"], host.files["current"]) == (ca.roots, ca.current)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (host.ca_keys, host.krl)}
    assert modes == {0o644}
    status = host.status
    assert (status["result"], status["reason"], status["alarm"]) == ("ok", "", "no")
    assert status["roots_version"] == status["current_version"] == str(ca.version)
    assert abs(int(status["checked"]) - time.time()) < 60
    assert f"expires {status['expires']}\n".encode() in ca.current


def test_a_newer_version_is_taken_and_the_same_one_costs_one_request(ca, host):
    host.pull()
    ca.publish(revoked=(7,), user_ca=(ca.user_ca, ca.next_user_ca))
    assert host.pull().returncode == 0
    taken = host.files
    ca.hits.clear()

    assert host.pull().returncode == 0

    assert host.files == taken
    assert taken["revoked.krl"] == ca.krl
    assert host.ca_keys.read_text() == f"{ca.user_ca.line}\n{ca.next_user_ca.line}\n"
    assert ca.hits == {"/v1/trust/current": 1}
    # wget cannot say what it has; curl can.
    assert ca.not_modified == (host.shell == "dash")


def test_roots_that_did_not_change_are_not_asked_for_again(ca, one_host):
    one_host.pull()
    asked = f"/v1/trust/blob/{sha256(ca.roots).hexdigest()}"
    ca.publish(revoked=(7,), roots=ca.roots)

    assert one_host.pull().returncode == 0

    assert ca.hits[asked] == 1
    assert one_host.files["revoked.krl"] == ca.krl


def test_newer_roots_cure_a_stolen_online_key_with_a_lower_version(ca, one_host):
    host = one_host
    ca.current = sign(ca.current_text(version=10**17), CURRENT, ca.online)
    assert host.pull().returncode == 0
    assert host.status["current_version"] == str(10**17)

    ca.publish()

    assert host.pull().returncode == 0
    assert host.status["current_version"] == str(ca.version)


def test_a_krl_that_revokes_a_whole_ca_key_is_taken(ca, one_host, tmp_path):
    host = one_host
    key = tmp_path / "ca.pub"
    key.write_text(f"{ca.user_ca.line}\n")
    krl = tmp_path / "krl"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", krl, key], check=True)
    ca.publish(krl=krl.read_bytes())

    assert host.pull().returncode == 0
    assert host.files["revoked.krl"] == krl.read_bytes()


def test_roots_may_list_revoked_and_staged_keys_and_closed_logs(ca, host):
    text = ca.roots_text(
        user_ca=(ca.user_ca, ca.next_user_ca),
        version=ca.version + 1,
        more=(f"revoked-ca {holder().line}", f"revoked-ca {holder().line}"),
    )
    text = text.replace(
        b"log ca.example.com 0\n", b"log ca.test/2 40\nclosed-log ca 7\n"
    )
    ca.publish(roots=sign(text.replace(b"active", b"staged", 1), ROOTS, ca.root))

    assert host.pull().returncode == 0
    assert host.ca_keys.read_text() == f"{ca.user_ca.line}\n{ca.next_user_ca.line}\n"


def test_a_host_pulls_from_a_real_signer(tmp_path, ca):
    with FakeIdP() as idp:
        config = make_ca(tmp_path / "ca", idp)
        host = Host(tmp_path / "host", ca)
        root = (tmp_path / "ca/root/root.pub").read_text()
        with Signer(config) as signer:
            host.configure(url=signer.url, pin=wire.fingerprint(parse_line(root)))
            for _ in range(2):
                done = host.pull()
                assert (done.returncode, done.stderr) == (0, "")

    roots, _ = split_signed((tmp_path / "ca/roots").read_bytes())
    keys = parse_roots(roots).user_ca_keys()
    assert host.ca_keys.read_text() == "".join(f"{key}\n" for key in keys)
    shown = subprocess.run(["ssh-keygen", "-Q", "-l", "-f", host.krl], check=False)
    assert shown.returncode == 0


# --- What is refused ----------------------------------------------------------------


def refused_at(path_of):
    """Return what makes the CA answer otherwise at a path."""

    def spoil(answer):
        def apply(ca):
            ca.publish(revoked=(9,))
            ca.answers[path_of(ca)] = answer(ca)

        return apply

    return spoil


def resign_roots(change, key="root"):
    """Return what publishes roots whose text was changed, signed by a key."""

    def apply(ca):
        text = change(ca.roots_text(version=ca.version + 1))
        ca.publish(roots=sign(text, ROOTS, getattr(ca, key)))

    return apply


def resign_current(change, key="online", namespace=CURRENT):
    """Return what publishes a current whose text was changed, signed by a key."""

    def apply(ca):
        ca.publish(revoked=(9,))
        ca.current = sign(change(ca.current_text()), namespace, getattr(ca, key))

    return apply


def same(text):
    return text


def change_document(change):
    def apply(ca):
        ca.publish(revoked=(9,))
        ca.current = change(ca.current)

    return apply


def with_krl(krl):
    return lambda ca: ca.publish(krl=krl)


def replace_line(name, line):
    """Return a change of the first line that begins with a word."""

    def change(text):
        lines = text.decode().splitlines()
        at = next(i for i, old in enumerate(lines) if old.split()[0] == name)
        lines[at] = line(lines[at]) if callable(line) else line
        return "".join(f"{line}\n" for line in lines).encode()

    return change


current = refused_at(lambda _ca: "/v1/trust/current")
roots = refused_at(lambda ca: f"/v1/trust/blob/{sha256(ca.roots).hexdigest()}")
krl = refused_at(lambda ca: f"/v1/trust/blob/{sha256(ca.krl).hexdigest()}")

HTML = b"<!DOCTYPE html><html><body>Please sign in to the guest network</body></html>\n"


def other_pin(ca):
    other = holder()
    text = ca.roots_text(root=other, version=ca.version + 1)
    ca.publish(roots=sign(text, ROOTS, other))


def pretend_root(ca):
    """Sign roots with another key, and have them name the right one."""
    text = ca.roots_text(version=ca.version + 1)
    ca.publish(roots=sign(text, ROOTS, ca.stranger))


def older_roots(ca):
    older = sign(ca.roots_text(version=ca.version - 5), ROOTS, ca.root)
    ca.publish(roots=older)


def older_current(ca):
    ca.publish(roots=ca.roots, revoked=(9,))
    ca.current = sign(ca.current_text(version=ca.version - 5), CURRENT, ca.online)


def same_version(ca):
    ca.publish(roots=ca.roots, revoked=(9,))
    ca.current = sign(ca.current_text(version=ca.version - 1), CURRENT, ca.online)


def cut_short(ca):
    """Promise the whole of a KRL, and send half."""
    ca.publish(revoked=range(1, 900, 80))
    path = f"/v1/trust/blob/{sha256(ca.krl).hexdigest()}"
    length = {"Content-Length": str(len(ca.krl))}
    ca.answers[path] = Answer(200, ca.krl[: len(ca.krl) // 2], length)


ANOTHER_SIGNER = "/v1/trust/elsewhere"


def endless_chunks(ca):
    """Send more than a document may have, without a length to know it by."""
    ca.publish()
    ca.answers["/v1/trust/current"] = Answer(
        200, b"A" * (1 << 20), {"Content-Length": str(1 << 30)}
    )


BAD = {
    "nothing": (current(lambda _: Answer(200, b"")), "empty"),
    "a sign-in page": (current(lambda _: Answer(200, HTML)), "malformed"),
    "not found": (current(lambda _: Answer(404, b"no")), "refused"),
    "an error": (current(lambda _: Answer(500, HTML)), "unreachable"),
    "a redirect": (
        current(lambda ca: Answer(302, b"", {"Location": f"{ca.url}{ANOTHER_SIGNER}"})),
        None,
    ),
    "an unasked 304": (
        current(lambda _: Answer(304, b"", {"ETag": '"x"'})),
        None,
    ),
    "too large": (current(lambda _: Answer(200, b"A" * 70_000)), "too-big"),
    "endless": (endless_chunks, "too-big"),
    "truncated": (change_document(lambda whole: whole[:-1]), "malformed"),
    "without signature": (
        change_document(lambda whole: split_signed(whole)[0]),
        "malformed",
    ),
    "with CRLF": (
        change_document(lambda whole: whole.replace(b"\n", b"\r\n")),
        "malformed",
    ),
    "with a NUL": (
        resign_current(lambda text: text.replace(b"roots ", b"roots\0 ")),
        "malformed",
    ),
    "with a tail": (change_document(lambda whole: whole + b"x\n"), "malformed"),
    "with two signatures": (
        change_document(lambda whole: whole + whole[whole.index(b"-----") :]),
        "malformed",
    ),
    "an unknown line": (resign_current(lambda t: t + b"and more\n"), "malformed"),
    "a line twice": (
        resign_current(lambda t: t + t.splitlines(keepends=True)[-1]),
        "malformed",
    ),
    "two spaces": (
        resign_current(lambda t: t.replace(b"krl ", b"krl  ")),
        "malformed",
    ),
    "a space at an end": (
        resign_current(replace_line("expires", lambda line: f"{line} ")),
        "malformed",
    ),
    "a line without its word": (
        resign_current(replace_line("version", "version")),
        "malformed",
    ),
    "an octal version": (
        resign_current(replace_line("version", lambda line: f"version 0{line[8:]}")),
        "malformed",
    ),
    "an immense version": (
        resign_current(replace_line("version", "version " + "9" * 19)),
        "malformed",
    ),
    "without a KRL": (
        resign_current(lambda t: b"".join(t.splitlines(keepends=True)[:-1])),
        "malformed",
    ),
    "a path for a hash": (
        resign_current(replace_line("krl", "krl ../../livez")),
        "malformed",
    ),
    "a later format": (
        resign_current(lambda t: t.replace(b"current-v1", b"current-v2")),
        "malformed",
    ),
    "changed after signing": (
        change_document(lambda whole: whole.replace(b"expires 1", b"expires 2")),
        "signature",
    ),
    "signed by a stranger": (resign_current(same, "stranger"), "signature"),
    "signed by a staged online key": (resign_current(same, "staged"), "signature"),
    "signed by a retiring online key": (resign_current(same, "retiring"), "signature"),
    "signed by the root key": (resign_current(same, "root"), "signature"),
    "signed for another purpose": (
        resign_current(same, namespace="daypass-checkpoint"),
        "signature",
    ),
    "roots signed by the online key": (resign_roots(same, "online"), "signature"),
    "roots signed by a stranger": (pretend_root, "signature"),
    "another root key": (other_pin, "pin"),
    "roots not there": (roots(lambda _: Answer(404, b"no")), "refused"),
    "roots of another hash": (roots(lambda ca: Answer(200, ca.roots + b"\n")), "hash"),
    "roots with an unknown line": (
        resign_roots(lambda t: t + b"trust-all yes\n"),
        "malformed",
    ),
    "roots with a key state of a later version": (
        resign_roots(lambda t: t.replace(b"user-ca active", b"user-ca resting")),
        "malformed",
    ),
    "roots out of order": (
        resign_roots(lambda t: t + b"log ca.example.com 0\n"),
        "malformed",
    ),
    "roots with options before a key": (
        resign_roots(replace_line("user-ca", 'user-ca active cert-authority,x="y" AA')),
        "malformed",
    ),
    "roots with a line short of a word": (
        resign_roots(replace_line("user-ca", "user-ca active")),
        "malformed",
    ),
    "roots without a user CA key": (
        resign_roots(replace_line("user-ca", f"user-ca active ssh-rsa {'A' * 8}")),
        "ca-keys",
    ),
    "a CA key that no OpenSSH reads": (
        resign_roots(replace_line("user-ca", "user-ca active ssh-ed25519 AAAA")),
        "ca-keys",
    ),
    "older roots": (older_roots, "older"),
    "an older current": (older_current, "older"),
    "the same version twice": (same_version, "conflict"),
    "out of date": (lambda ca: ca.publish(expires_in=-1), "expired"),
    "a KRL that is not there": (krl(lambda _: Answer(404, b"no")), "refused"),
    "a KRL of another hash": (
        krl(lambda ca: Answer(200, make_krl(ca.user_ca, ()))),
        "hash",
    ),
    "an empty KRL": (with_krl(b""), "empty"),
    "a KRL cut short on its way": (cut_short, "unreachable"),
    "a KRL that is text": (with_krl(b"ssh-ed25519 AAAA\n"), "krl"),
    "a KRL that is HTML": (with_krl(HTML), "krl"),
    "a KRL that is garbage": (with_krl(b"SSHKRL\n\0" + os.urandom(90)), "krl"),
    "a KRL cut short before it was signed": (
        lambda ca: ca.publish(krl=make_krl(ca.user_ca, (9,))[:-3]),
        "krl",
    ),
}


def also_revoked(key):
    """Return what publishes roots that trust a key and revoke it."""

    def apply(ca):
        more = (f"revoked-ca {getattr(ca, key).line}",)
        text = ca.roots_text(version=ca.version + 1, more=more)
        ca.publish(roots=sign(text, ROOTS, ca.root))

    return apply


def bitmap_trap(ca):
    """Publish the KRL that ssh-keygen writes and cannot read: serials 70 apart."""
    ca.publish(revoked=range(1, 70 * 300, 70))


BAD["a user CA key that is revoked, too"] = (also_revoked("user_ca"), "malformed")
BAD["a host CA key that is revoked, too"] = (also_revoked("host_ca"), "malformed")
BAD["an online key that is revoked, too"] = (also_revoked("staged"), "malformed")
BAD["a KRL that ssh-keygen cannot read back"] = (bitmap_trap, "krl")


@pytest.fixture(scope="module")
def settled(tmp_path_factory):
    """Return a CA and the hosts that have its first version, for all bad bundles."""
    with Publisher() as ca:
        hosts = {
            shell: Host(tmp_path_factory.mktemp(shell), ca, shell=shell)
            for shell in ("dash", "busybox")
        }
        assert [host.pull().returncode for host in hosts.values()] == [0, 0]
        yield ca, hosts


def each_bad_bundle():
    """Return all of them under dash, and under busybox every third but in a soak."""
    for at, name in enumerate(BAD):
        yield pytest.param("dash", name)
        marks = [pytest.mark.soak] if at % 3 else []
        yield pytest.param("busybox", name, marks=marks)


@pytest.mark.parametrize(("shell", "name"), list(each_bad_bundle()))
def test_a_bad_bundle_changes_nothing_and_is_said(settled, shell, name):
    ca, hosts = settled
    host = hosts[shell]
    spoil, reason = BAD[name]
    before = host.files
    kept = ca.roots, ca.krl, ca.current, ca.version
    try:
        spoil(ca)
        done = host.pull()
    finally:
        ca.answers.clear()
        ca.roots, ca.krl, ca.current, ca.version = kept

    assert host.files == before
    if reason is not None:
        assert host.status["reason"] == reason
        assert host.status["result"] == "kept"
        assert done.returncode == (7 if reason == "unreachable" else 1)
    assert ca.hits[ANOTHER_SIGNER] == 0 or host.shell == "busybox"
    assert host.status["alarm"] == "no"
    assert not list(host.daypass.glob(".staging*"))


def test_what_went_wrong_is_over_with_the_next_good_version(settled):
    ca, hosts = settled
    host = hosts["dash"]
    ca.publish(revoked=(7, 8))

    assert host.pull().returncode == 0
    assert host.files["revoked.krl"] == ca.krl
    assert host.status["result"] == "ok"


def test_a_replayed_bundle_is_refused_and_what_is_there_stays(ca, host):
    host.pull()
    old = ca.current
    ca.publish(revoked=(7,))
    host.pull()
    taken = host.files

    ca.current = old

    assert host.pull().returncode == 1
    assert host.status["reason"] == "older"
    assert host.files == taken


def test_nothing_out_of_date_is_a_first_version(ca, one_host):
    host = one_host
    ca.publish(expires_in=-1)

    done = host.pull()

    assert done.returncode == 1
    assert (host.status["result"], host.status["alarm"]) == ("failed", "yes")
    assert "ALARM: failed" in done.stderr
    assert not host.ca_keys.exists()
