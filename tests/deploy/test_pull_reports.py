"""What a host tells the CA, signed with its host key; and its own certificate."""

import subprocess
import sys
import time
from hashlib import sha256
from typing import Any

import pytest

from ca import sshsig, wire
from ca.bundle import split_signed
from ca.certificate import CertificateType, parse_line, render_line
from tests.authority import Signer, make_ca
from tests.certificates import ThrowawayCA, by_hand, certificate, texts
from tests.fakes import Answer, FakeIdP
from tests.publisher import Publisher, make_krl
from tests.pulling import SHELLS, Host
from tests.sshd import Sshd, find_sshd, free_port, make_key

pytestmark = pytest.mark.openssh

REPORTS, RENEW = "/v1/host-reports", "/v1/host-certificates/renew"
DAY = 86_400


@pytest.fixture
def ca():
    with Publisher() as ca:
        yield ca


def with_key(folder, ca, shell="dash"):
    """Return a host with a host key, which reports."""
    host = Host(folder, ca, shell=shell)
    make_key(host.root / "etc/ssh/host_key")
    host.configure(report="yes", host_key="/etc/ssh/host_key")
    return host


@pytest.fixture(params=["dash", "busybox"])
def host(request, tmp_path, ca):
    return with_key(tmp_path, ca, request.param)


@pytest.fixture
def one_host(tmp_path, ca):
    return with_key(tmp_path, ca)


def host_key(host):
    return parse_line((host.root / "etc/ssh/host_key.pub").read_text())


def signed_text(host, document, folder):
    """Return the lines of what a host sent, once ssh-keygen has verified it."""
    text, armour = split_signed(document)
    line = (host.root / "etc/ssh/host_key.pub").read_text()
    (folder / "signers").write_text(f"web1 {line}")
    (folder / "armour").write_text(armour)
    command = ["ssh-keygen", "-Y", "verify", "-n", "daypass-host", "-I", "web1"]
    command += ["-f", folder / "signers", "-s", folder / "armour"]
    subprocess.run(command, input=text, check=True, capture_output=True)
    assert sshsig.parse_armour(armour).public_key == host_key(host)
    return text.decode().splitlines()


# --- Reports ------------------------------------------------------------------------


@pytest.mark.parametrize("host", SHELLS, indirect=True)
def test_a_report_says_what_is_applied_signed_by_the_host_key(tmp_path, ca, host):
    assert host.pull().returncode == 0

    (document,) = ca.posted[REPORTS]
    *lines, when = signed_text(host, document, tmp_path)
    assert lines == [
        "daypass-host-report-v1",
        "host web1",
        f"origin {ca.url}",
        f"roots-version {ca.version}",
        f"current-version {ca.version}",
        f"current-sha256 {sha256(ca.current).hexdigest()}",
    ]
    assert abs(int(when.removeprefix("time ")) - time.time()) < 60


def test_it_is_sent_when_something_changed_and_once_an_hour(ca, host):
    counts = []
    for minutes in (0, 1, 61, 62):
        host.set_clock(minutes * 60)
        assert host.pull().returncode == 0
        counts.append(len(ca.posted[REPORTS]))
    ca.publish(revoked=(7,))
    host.pull()
    counts.append(len(ca.posted[REPORTS]))

    assert counts == [1, 1, 2, 2, 3]


def test_a_report_that_did_not_arrive_is_sent_again_at_once(ca, one_host):
    ca.report_status = 503
    assert one_host.pull().returncode == 0
    ca.report_status = 204
    one_host.pull()
    one_host.pull()

    assert len(ca.posted[REPORTS]) == 2


def test_a_report_that_was_refused_is_sent_again_after_a_while(ca, one_host):
    ca.report_status = 403
    counts, said = [], []
    for minutes in (0, 1, 6, 7):
        one_host.set_clock(minutes * 60)
        done = one_host.pull()
        assert done.returncode == 0, "what is applied is good, whoever knows of it"
        said.append("403" in done.stderr)
        counts.append(len(ca.posted[REPORTS]))

    assert counts == [1, 1, 2, 2]
    assert said == [True, False, True, False]


def test_what_sshd_does_not_read_is_not_reported(ca, one_host):
    """Somebody waits for every host to say that a revocation is in force there."""
    one_host.pull()
    krl = one_host.krl.read_bytes()
    for name in ("revoked.krl", ".revoked.krl"):
        (one_host.daypass / name).write_bytes(make_krl(ca.user_ca, ()))
    ca.answers["/v1/trust/blob/"] = Answer(503, b"")
    one_host.set_clock(7200)

    assert one_host.pull().returncode == 1
    assert (one_host.status["result"], len(ca.posted[REPORTS])) == ("failed", 1)

    ca.answers.clear()
    assert one_host.pull().returncode == 0
    assert (one_host.krl.read_bytes(), len(ca.posted[REPORTS])) == (krl, 2)


def test_what_was_refused_is_not_reported(ca, one_host):
    one_host.pull()
    ca.publish(revoked=(7,), krl=b"no KRL")
    one_host.pull()

    assert len(ca.posted[REPORTS]) == 1


# --- The registry ---


def test_a_machine_joins_reports_and_gets_certified_by_a_real_signer(tmp_path):
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    with FakeIdP() as idp:
        config = make_ca(tmp_path / "ca", idp, origin=origin)
        with (config.parent / "policy.toml").open("a") as policy:
            policy.write(
                '[[host]]\nname = "all"\nissuer = "corp"\n'
                'match = { groups = ["ops"] }\nnames = ["*.example.com"]\n'
                'validity = "30d"\n'
            )
        admin = [sys.executable, "-m", "ca.admin", "hosts"]
        token = tmp_path / "token"
        words = ["join-token", "--id", "web1", "--name", "web1.example.com"]
        with token.open("w") as file:
            subprocess.run(
                [*admin, *words, "--config", config], stdout=file, check=True
            )
        with Signer(config, port=port) as signer, Publisher() as ca:
            host = with_key(tmp_path / "host", ca)
            root = parse_line((tmp_path / "ca/root/root.pub").read_text())
            host.configure(
                url=origin, pin=wire.fingerprint(root), names="web1.example.com"
            )
            for arguments in (("--join", str(token)), (), ("--renew",)):
                done = host.pull(*arguments)
                assert done.returncode == 0, done.stderr
                assert "did not take" not in done.stderr
            assert not ca.hits
            refused = host.pull("--join", str(_token_of(tmp_path, "x" * 43)))
            assert refused.returncode == 1
            assert "join_token_refused" in refused.stderr
            assert signer.said()

    shown = subprocess.run(
        [*admin, "list", "--json", "--config", config],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert host.status["current_version"] in shown.decode()
    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", certificate_file(host)],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    assert b"web1.example.com" in said


def _token_of(folder, text):
    file = folder / "another-token"
    file.write_text(f"{text}\n")
    return file


@pytest.mark.parametrize("text", ["", "a b", "a\nb", "a/b"])
def test_what_is_no_join_token_is_not_sent(tmp_path, ca, one_host, text):
    done = one_host.pull("--join", str(_token_of(tmp_path, text)))

    assert done.returncode == 2
    assert ca.posted == {}


# --- The host certificate -----------------------------------------------------------


def host_certificate(ca, host, *, signed_by=None, raw=None, **changes):
    """Return the line of a host certificate for the key of a host."""
    now = int(time.time())
    signer = signed_by or ca.host_ca
    ordinary = {
        "type": CertificateType.HOST,
        "subject_key": host_key(host),
        "ca_key": signer.key,
        "key_id": "host:web1",
        "principals": ("web1.example.com", "web1"),
        "valid_after": now - 60,
        "valid_before": now + 30 * DAY,
        "extensions": (),
    }
    blob = signer.sign(by_hand(certificate(**{**ordinary, **changes}), **(raw or {})))
    return render_line(blob, "web1").encode()


def certificate_file(host):
    return host.root / "etc/ssh/host_key-cert.pub"


def test_a_renewal_asks_with_the_host_key_and_installs_what_comes(tmp_path, ca, host):
    host.configure(names="web1.example.com,web1")
    host.pull()
    line = host_certificate(ca, host)
    ca.certificate = lambda _: line

    done = host.pull("--renew")

    assert done.returncode == 0, done.stderr
    (document,) = ca.posted[RENEW]
    *lines, when = signed_text(host, document, tmp_path)
    words = (host.root / "etc/ssh/host_key.pub").read_text().split()[:2]
    assert lines == [
        "daypass-host-renewal-v1",
        "host web1",
        f"origin {ca.url}",
        f"key {' '.join(words)}",
    ]
    assert abs(int(when.removeprefix("time ")) - time.time()) < 60
    assert certificate_file(host).read_bytes() == line
    host.pull()
    expires = int(host.status["certificate_expires"])
    assert abs(expires - time.time() - 30 * DAY) < 60


def test_it_is_renewed_when_half_of_its_time_is_over(ca, one_host):
    host = one_host
    host.pull()
    now = int(time.time())
    first = host_certificate(
        ca, host, valid_after=now - DAY, valid_before=now + 2 * DAY
    )
    certificate_file(host).write_bytes(first)
    second = host_certificate(ca, host)
    ca.certificate = lambda _: second

    assert host.pull("--renew").returncode == 0
    assert certificate_file(host).read_bytes() == first
    host.set_clock(DAY)
    assert host.pull("--renew").returncode == 0
    assert certificate_file(host).read_bytes() == second
    assert len(ca.posted[RENEW]) == 1


def test_one_that_clients_would_refuse_is_renewed_at_once(ca, one_host):
    one_host.pull()
    stranger = host_certificate(ca, one_host, signed_by=ThrowawayCA())
    certificate_file(one_host).write_bytes(stranger)
    good = host_certificate(ca, one_host)
    ca.certificate = lambda _: good

    assert one_host.pull("--renew").returncode == 0
    assert certificate_file(one_host).read_bytes() == good


NOW = int(time.time())
BAD: dict[str, dict[str, Any]] = {
    "another CA key": {"signed_by": ThrowawayCA()},
    "another host's key": {"subject_key": parse_line(ThrowawayCA().line)},
    "a user certificate": {"type": CertificateType.USER},
    "a name short": {"principals": ("web1",)},
    "no names": {"raw": {"principals": texts()}},
    "a longer name": {"principals": ("web1.example.com.evil.test", "web1")},
    "over": {"valid_after": NOW - 2 * DAY, "valid_before": NOW - DAY},
    "not begun": {"valid_after": NOW + DAY, "valid_before": NOW + 2 * DAY},
    "a key ID that says it is another": {
        "signed_by": ThrowawayCA(),
        "raw": {"key_id": wire.text('x"\n        Type: host certificate\n')},
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_host_certificate_that_is_not_right_is_not_installed(ca, one_host, name):
    one_host.configure(names="web1.example.com,web1")
    one_host.pull()
    bad = host_certificate(ca, one_host, **BAD[name])
    ca.certificate = lambda _: bad

    done = one_host.pull("--renew")

    assert done.returncode == 1
    assert "not ours" in done.stderr
    assert not certificate_file(one_host).exists()


@pytest.mark.parametrize(
    "answer", [b"", b"<html>sign in</html>\n", b"ssh-ed25519 AAAA x\n"]
)
def test_what_is_no_certificate_is_not_installed(ca, one_host, answer):
    one_host.pull()
    ca.certificate = lambda _: answer

    assert one_host.pull("--renew").returncode == 1
    assert not certificate_file(one_host).exists()


def test_a_ca_that_does_not_answer_is_said_and_asked_again(ca, one_host):
    one_host.pull()
    ca.take = lambda _path, _body: Answer(503, b'{"code":"store_unavailable"}')

    done = one_host.pull("--renew")

    assert done.returncode == 7
    assert "store_unavailable" in done.stderr


@pytest.mark.parametrize("named", ["host_key-cert.pub", "another-cert.pub"])
def test_what_the_port_shows_is_looked_at_after_the_reload(
    tmp_path, ca, one_host, named
):
    one_host.pull()
    folder = tmp_path / "sshd"
    folder.mkdir()
    key = one_host.root / "etc/ssh/host_key"
    old = host_certificate(ca, one_host, valid_before=NOW + 3600, valid_after=NOW - DAY)
    for path in {certificate_file(one_host), key.with_name(named)}:
        path.write_bytes(old)
    settings = (f"HostKey {key}", f"HostCertificate {key.with_name(named)}")
    new = host_certificate(ca, one_host)
    ca.certificate = lambda _: new
    with Sshd(folder, settings) as sshd:
        assert shown(sshd) == old.split()[1]
        one_host.stub("sshd", f'exec {find_sshd()} -f {folder}/sshd_config "$@"')
        process = sshd._process  # noqa: SLF001 what a service manager knows
        assert process is not None
        one_host.configure(reload=f"kill -HUP {process.pid}")

        done = one_host.pull("--renew")

        if named == "host_key-cert.pub":
            assert done.returncode == 0, done.stderr
            assert shown(sshd) == new.split()[1]
        else:
            assert done.returncode == 1
            assert "does not show the new certificate" in done.stderr


def shown(sshd: Sshd) -> bytes:
    """Return the host certificate that the port shows, in base64."""
    command = ["ssh-keyscan", "-c", "-p", str(sshd.port), "127.0.0.1"]
    said = subprocess.run(command, capture_output=True, check=False).stdout
    return next(word for word in said.split() if word.startswith(b"AAAA"))


def test_the_one_before_comes_back_when_sshd_would_not_start(ca, one_host):
    one_host.pull()
    old = host_certificate(ca, one_host, valid_before=NOW + 60, valid_after=NOW - DAY)
    certificate_file(one_host).write_bytes(old)
    one_host.stub("sshd", "echo 'no such certificate' >&2; exit 255")
    new = host_certificate(ca, one_host)
    ca.certificate = lambda _: new

    done = one_host.pull("--renew")

    assert done.returncode == 1
    assert "no such certificate" in done.stderr
    assert certificate_file(one_host).read_bytes() == old
