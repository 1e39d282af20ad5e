"""`why` and `doctor` name the cause: each fault is seeded, and met at a real sshd.

Every test breaks one thing and asks; the answer must be that thing, with a command to
type. A real ssh goes to a real sshd each time; the CA signs with ssh-keygen.
"""

import getpass
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from ca.certificate import parse_line
from ca.krl import KRL, RevokedCertificates, render_krl
from client.cause import in_words
from client.trial import Trial
from tests.agents import SshAgent
from tests.fake_ca import key_file, key_line, make_key, problem
from tests.fakes import Answer
from tests.sshd import LOOPBACK, Sshd

pytestmark = pytest.mark.openssh

ACCOUNT = getpass.getuser()
HOST = "web1.a.test"


@pytest.fixture
def ca(ca):
    """Have the CA certify for the account that there is, and one that there is not."""
    ca.principals = (ACCOUNT, "deploy")
    return ca


@pytest.fixture(scope="module")
def keys_of_host(tmp_path_factory):
    """Return a folder with host keys of other kinds."""
    folder = tmp_path_factory.mktemp("host-keys")
    rsa = ["ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f"]
    subprocess.run([*rsa, folder / "rsa"], check=True)
    make_key(folder / "ed25519")
    return folder


def start(folder, *settings, trusts="user_ca"):
    """Return a host that trusts a CA key, with further settings."""
    (folder / "sshd").mkdir()
    (folder / "trusted").write_text(f"{key_line(trusts)}\n")
    trust = f"TrustedUserCAKeys {folder}/trusted"
    return Sshd(folder / "sshd", [*settings, trust])


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory):
    """Run a host for the many faults that are not its own."""
    with start(tmp_path_factory.mktemp("ordinary")) as host:
        yield host


@pytest.fixture(scope="module")
def distrustful(tmp_path_factory):
    """Run a host that does not trust the CA."""
    with start(tmp_path_factory.mktemp("distrustful"), trusts="stranger") as host:
        yield host


@pytest.fixture
def serve(tmp_path, ordinary, distrustful):
    """Return what gives a host: one that runs, or one with settings of its own."""

    @contextmanager
    def serve(*settings, trusts="user_ca"):
        if not settings:
            yield ordinary if trusts == "user_ca" else distrustful
            return
        with start(tmp_path, *settings, trusts=trusts) as host:
            yield host

    return serve


@pytest.fixture
def config(home):
    """Return a person's configuration, which knows where the host really is."""
    path = Path(home, ".ssh/config")
    path.parent.mkdir(mode=0o700)
    return path


@pytest.fixture
def installed(login, run, config):
    """Sign in, and have ssh use it."""
    assert login().status == 0
    assert run("ssh-config", "install").status == 0
    return config


def lead(config, host, *lines):
    """Append where the hosts of the CA are, and what else a person has there."""
    known = host.folder / "known"
    words = (host.folder / "host_key.pub").read_text()
    known.write_text(f"{HOST} {words}")
    own = [
        f"HostName {LOOPBACK}",
        f"Port {host.port}",
        f"HostKeyAlias {HOST}",
        f"UserKnownHostsFile {known}",
        *lines,
    ]
    with config.open("a") as file:
        file.write("Host *\n" + "".join(f"    {line}\n" for line in own))
    return known


@pytest.fixture
def ask(run, config):
    """Ask why a login fails; the code of the cause, and what was said."""

    def ask(*arguments, host=HOST, user=ACCOUNT):
        words = ["-F", str(config), *arguments, f"{user}@{host}"]
        said = run("why", "--json", *words)
        cause = said.document["cause"]
        code = cause and cause["code"]
        if cause:
            assert said.status == cause["exit_code"]
            assert cause["hint"]
        return code, said

    return ask


def test_a_login_that_works_is_said_to_work_and_nothing_runs_there(
    installed, serve, ask, keys, tmp_path
):
    with serve(f"ForceCommand touch {tmp_path}/ran") as host:
        lead(installed, host)

        code, said = ask()

    assert (code, said.status) == (None, 0)
    assert said.document["with"] == str(keys.certificate)
    assert not (tmp_path / "ran").exists()


def reinstall(ca, keys):
    """Put a certificate of any kind where a sign-in would."""
    with keys.attempt() as attempt:
        attempt.add_certificate(ca.certify(attempt.public_key()[0]))
        keys.install(attempt)


@pytest.fixture(params=["-2h:-1h", "+1h:+2h"])
def not_now(installed, ca, keys, request):
    """Install a certificate that is not good now."""
    ca.validity = request.param
    reinstall(ca, keys)
    return installed


def test_1_2_a_certificate_that_is_not_good_now(not_now, serve, ask, ca):
    codes = {"-": "certificate_expired", "+": "certificate_not_yet_valid"}
    with serve() as host:
        lead(not_now, host)

        found, said = ask()

    assert (found, said.status) == (codes[ca.validity[0]], 3)
    assert said.document["cause"]["hint"] == "ca-login"


def test_3_no_certificate(installed, run, serve, ask):
    run("logout")
    with serve() as host:
        lead(installed, host)

        assert ask()[0] == "no_certificate"


def test_4_a_certificate_that_has_ended_and_a_ca_that_is_away(
    installed, serve, ask, ca, keys
):
    ca.validity = "-2h:-1h"
    reinstall(ca, keys)
    ca.answers["/v1/discovery"] = Answer(503, b"<html>", {"Content-Type": "text/html"})
    with serve() as host:
        lead(installed, host)

        code, said = ask()

    assert (code, said.status) == ("unreachable", 7)
    assert "ended 1 h 0 min ago" in said.document["cause"]["why"]


def test_5_a_clock_that_is_behind(installed, serve, ask, ca, keys):
    ca.validity = "+1h:+2h"
    reinstall(ca, keys)
    ca.clock_ahead = 5400
    with serve() as host:
        lead(installed, host)

        code, said = ask()

    assert (code, said.status) == ("clock_wrong", 8)
    assert "1 h 30 min behind" in said.document["cause"]["why"]


def test_6_another_account_than_the_certificate_is_for(installed, serve, ask, ca):
    ca.answers["/v1/explain"] = problem(403, "denied", "no")
    with serve() as host:
        lead(installed, host)

        code, said = ask(user="nobody")

    assert code == "wrong_principal"
    assert said.document["cause"]["hint"] == f"ssh {ACCOUNT}@{HOST}"


@pytest.fixture
def krl(ca, tmp_path, keys):
    """Have the CA revoke the next certificate; return the list of it."""
    serial = ca.ledger.next_serial
    revoked = RevokedCertificates(parse_line(ca.public("user_ca")), ((serial, serial),))
    ca.krl = render_krl(KRL(1, 0, certificates=(revoked,)))
    path = tmp_path / "krl"
    path.write_bytes(ca.krl)
    return path


def test_7_a_certificate_that_is_revoked(krl, installed, serve, ask, keys):
    serial = keys.held().certificate.serial
    with serve(f"RevokedKeys {krl}") as host:
        lead(installed, host)

        code, said = ask()

    assert code == "certificate_revoked"
    assert f"serial {serial}" in said.document["cause"]["why"]


def test_8_a_ca_key_that_was_retired(installed, serve, ask, ca):
    with serve(trusts="stranger") as host:
        lead(installed, host)
        ca.user_ca_named = "other"
        ca.roots_version += 1
        ca.current_version += 1

        assert ask()[0] == "ca_key_retired"


def test_9_a_host_that_does_not_trust_the_ca(installed, serve, ask, keys):
    with serve(trusts="stranger") as host:
        lead(installed, host)

        code, said = ask()

    assert code == "refused_by_host"
    serial = keys.held().certificate.serial
    assert f"serial {serial}" in said.document["cause"]["hint"]


def test_10_an_account_that_may_not_log_in_there(installed, serve, ask):
    with serve(f"DenyUsers {ACCOUNT}") as host:
        lead(installed, host)

        assert ask()[0] == "refused_by_host"


@pytest.fixture
def full_agent(tmp_path, monkeypatch):
    """Return an agent with more keys than a host listens to."""
    with SshAgent(tmp_path) as running:
        for number in range(6):
            make_key(tmp_path / f"other{number}")
            running.add(tmp_path / f"other{number}")
        monkeypatch.setenv("SSH_AUTH_SOCK", str(running.socket))
        yield running


def test_11_an_agent_full_of_other_keys(handmade, full_agent, serve, ask):
    with serve() as host:
        lead(handmade, host)

        code, said = ask()

    assert code == "too_many_keys"
    assert said.document["cause"]["hint"] == "ca-login ssh-config install"


@pytest.fixture
def stale_agent(ca, tmp_path, monkeypatch):
    """Return an agent in which the certificates of four days are left."""
    ca.validity = "-2h:-1h"
    with SshAgent(tmp_path) as running:
        for day in range(4):
            path = tmp_path / f"day{day}"
            key(path, "daypass:default")
            line = ca.certify(" ".join(Path(f"{path}.pub").read_text().split()[:2]))
            Path(f"{path}-cert.pub").write_text(line)
            running.add(path)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(running.socket))
        ca.validity = "-1m:+10h"
        yield running


@pytest.fixture
def handmade(login, config, keys):
    """Sign in, and offer the certificate without knowing of IdentitiesOnly."""
    login()
    config.write_text(f"IdentityFile {keys.private}\n")
    return config


def test_12_an_agent_with_certificates_of_other_days(
    handmade, stale_agent, serve, ask, run
):
    with serve() as host:
        lead(handmade, host)

        code, said = ask()
        warned = run("doctor", "--json")

    assert code == "stale_in_agent"
    assert "holds 4 certificates" in said.document["cause"]["why"]
    assert "stale_in_agent" in codes(warned)


def key(path, comment):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment]
    subprocess.run([*command, "-f", path], check=True)


def codes(said):
    """Return the causes that a doctor found."""
    findings = said.document["findings"]
    return [one["cause"]["code"] for one in findings if "cause" in one]


def test_13_a_key_that_others_may_read(installed, serve, ask, run, keys):
    keys.private.resolve().chmod(0o644)
    with serve() as host:
        lead(installed, host)

        code, said = ask()
        seen = run("doctor", "--json")

    assert code == "key_mode"
    assert said.document["cause"]["hint"] == f"chmod 600 {keys.private}"
    assert (seen.status, "key_mode" in codes(seen)) == (3, True)


def test_14_a_configuration_that_others_may_write(installed, run):
    installed.chmod(0o664)

    seen = run("doctor", "--json")

    assert seen.status == 1
    assert "config_mode" in codes(seen)


def test_15_an_include_that_stands_below_something(installed, serve, ask, run):
    ours = installed.read_text()
    installed.write_text(f"# mine\n\nHost other\n    User x\n{ours}")
    with serve() as host:
        lead(installed, host)

        code, said = ask()

    assert code == "include_order"
    assert "'Host other' (line 3)" in said.document["cause"]["why"]
    assert codes(run("doctor", "--json")) == ["include_order"]


def test_16_nothing_installed(login, config, serve, ask, run):
    login()
    with serve() as host:
        lead(config, host)

        assert ask()[0] == "ssh_config_missing"
    assert codes(run("doctor", "--json")) == ["ssh_config_missing"]


def test_17_a_host_that_is_none_of_the_ca_s(installed, serve, ask):
    with serve() as host:
        lead(installed, host)

        code, said = ask(host="web1.elsewhere")

    # Its key is known under another name, which is the same to ssh.
    assert code == "host_not_ours"
    hint = said.document["cause"]["hint"]
    assert hint == f"ca-login ssh {ACCOUNT}@web1.elsewhere"


def test_18_a_host_key_that_changed(installed, serve, ask, keys_of_host):
    with serve() as host:
        known = lead(installed, host)
        other = (keys_of_host / "ed25519.pub").read_text()
        known.write_text(f"{HOST} {other}")

        code, said = ask()

    assert code == "host_key_changed"
    assert f"{known}:1" in said.document["cause"]["why"]
    assert "ssh-keygen -f" in said.document["cause"]["hint"]


def test_19_a_host_that_nobody_vouches_for(installed, serve, ask):
    with serve() as host:
        lead(installed, host).write_text("")

        assert ask()[0] == "host_unknown"


@pytest.mark.parametrize(
    ("certified", "code"),
    [
        (["host_ca", "-n", "db9.a.test", "-V", "-1m:+1h"], "host_certificate_name"),
        (["host_ca", "-n", HOST, "-V", "-2h:-1h"], "host_certificate_expired"),
        (["other", "-n", HOST, "-V", "-1m:+1h"], "host_ca_unknown"),
    ],
)
def test_20_21_22_a_host_certificate_that_is_wrong(
    installed, serve, ask, keys_of_host, certified, code
):
    path, (signer, *more) = keys_of_host / "ed25519", certified
    sign = ["ssh-keygen", "-q", "-s", key_file(signer), "-h", "-I", "host", *more]
    subprocess.run([*sign, f"{path}.pub"], check=True)
    settings = (f"HostKey {path}", f"HostCertificate {path}-cert.pub")
    with serve(*settings) as host:
        lead(installed, host).write_text("")

        assert ask()[0] == code


def test_23_a_host_key_that_is_revoked(installed, serve, ask, keys):
    with serve() as host:
        lead(installed, host)
        revoked = keys.folder / "default.revoked_hosts"
        revoked.write_text((host.folder / "host_key.pub").read_text())

        assert ask()[0] == "host_revoked"


def test_24_the_list_of_revoked_hosts_is_missing(installed, serve, ask, run, keys):
    (keys.folder / "default.revoked_hosts").unlink()
    with serve() as host:
        lead(installed, host)

        code, said = ask()

    assert code == "revoked_hosts_missing"
    assert "ca-login ssh-config install" in said.document["cause"]["hint"]
    assert "revoked_hosts_missing" in codes(run("doctor", "--json"))


def test_25_a_host_that_knows_only_sha_1(installed, serve, ask, keys_of_host):
    settings = ("HostKeyAlgorithms ssh-rsa", f"HostKey {keys_of_host}/rsa")
    with serve(*settings) as host:
        lead(installed, host)

        code, said = ask()

    assert code == "sha1_only"
    assert "HostKeyAlgorithms=+ssh-rsa" in said.document["cause"]["hint"]


def test_26_a_certificate_for_another_address(installed, serve, ask, ca, keys):
    with keys.attempt() as attempt:
        line, _ = attempt.public_key()
        path = attempt.folder / "sign.pub"
        path.write_text(f"{line}\n")
        sign = ["ssh-keygen", "-q", "-s", ca.keys / "user_ca", "-I", "x", "-z", "9"]
        source = ["-O", "source-address=192.0.2.0/24"]
        command = [*sign, "-n", ACCOUNT, "-V", "-1m:+1h", *source, path]
        subprocess.run(command, check=True)
        attempt.add_certificate(path.with_name("sign-cert.pub").read_text())
        keys.install(attempt)
    with serve() as host:
        lead(installed, host)

        code, said = ask()

    assert code == "source_address"
    assert "192.0.2.0/24 alone" in said.document["cause"]["why"]


def test_27_a_key_that_is_not_the_certificate_s(installed, serve, ask, keys):
    path = keys.private.resolve()
    path.unlink()
    key(path, "another")
    with serve() as host:
        lead(installed, host)

        assert ask()[0] == "key_mismatch"


def test_28_a_host_with_too_many_logins_under_way(installed, serve, ask):
    with serve("PerSourceMaxStartups 1") as host:
        lead(installed, host)
        with socket.create_connection((LOOPBACK, host.port)) as waiting:
            waiting.recv(64)

            assert ask()[0] == "overloaded"


def test_29_an_address_that_is_shut_out(installed, ask, tmp_path):
    """What sshd 9.8 and later says is played: older ones have no such penalty."""
    with socket.create_server((LOOPBACK, 0)) as door:

        def shut() -> None:
            connection, _ = door.accept()
            with connection:
                connection.sendall(b"Not allowed at this time\r\n")

        keeper = threading.Thread(target=shut)
        keeper.start()
        port = door.getsockname()[1]
        code, said = ask("-p", str(port), "-o", f"HostName={LOOPBACK}")
        keeper.join()

    assert code == "penalty"
    assert "PerSourcePenalties" in said.document["cause"]["why"]


def test_30_nothing_listens_and_31_a_name_leads_nowhere(installed, serve, ask):
    with serve() as host:
        lead(installed, host)
    with socket.create_server((LOOPBACK, 0)) as door:
        port = door.getsockname()[1]

    assert ask("-p", str(port))[0] == "host_unreachable"
    assert ask("-o", "HostName=nowhere.invalid")[0] == "name_unknown"


def test_32_a_configuration_that_ssh_does_not_read(installed, serve, ask):
    with serve() as host:
        lead(installed, host, "Frobnicate yes")

        code, said = ask()

    assert code == "config_error"
    assert "frobnicate" in said.document["cause"]["why"]


def test_33_a_host_on_the_way_that_refuses(installed, serve, ask, tmp_path):
    with serve(trusts="stranger") as host:
        lead(installed, host)

        code, said = ask("-J", f"{ACCOUNT}@jump.a.test")

    assert code == "jump_host"
    assert "jump.a.test" in said.document["cause"]["why"]


def test_34_public_keys_are_off(installed, serve, ask):
    with serve() as host:
        lead(installed, host, "PubkeyAuthentication no")

        assert ask()[0] == "public_key_off"


# --- What else a doctor looks at ---------------------------------------------------


def test_a_doctor_is_content_with_a_laptop_that_is_in_order(installed, run):
    said = run("doctor")

    assert said.status == 0
    assert {line[:4] for line in said.out.splitlines()} == {"ok  "}


def test_what_a_ca_says_never_moves_the_cursor(installed, run, ca):
    ca.answers["/v1/discovery"] = problem(503, "unavailable", "\x1b[2Jgone")

    said = run("doctor")

    assert said.status == 7
    assert "\\x1b[2Jgone" in said.out
    assert "\x1b" not in said.out


def test_a_bundle_that_has_run_out_and_hosts_by_other_keys_are_warnings(
    installed, run, ca
):
    ca.expires_in = -60
    ca.current_version += 1
    assert codes(run("doctor", "--json")) == ["bundle_expired"]

    ca.expires_in = 3600
    ca.host_domains = ("*.b.test",)
    ca.roots_version += 1
    ca.current_version += 1
    assert codes(run("doctor", "--json")) == ["known_hosts_old"]


def test_a_clock_that_is_wrong_is_found_before_anybody_signs_in(installed, run, ca):
    ca.clock_ahead = 5400

    said = run("doctor", "--json")

    assert said.status == 8
    assert codes(said) == ["clock_wrong"]


def test_a_setting_that_comes_first_all_the_same_is_found(installed, run, keys):
    text = installed.read_text()
    block = keys.folder / "a.conf"
    block.write_text("Host *.a.test\n    IdentityFile ~/.ssh/id_other\n")

    said = run("doctor", "--json")

    assert installed.read_text() == text
    assert codes(said) == ["ssh_config_overridden"]


@pytest.mark.parametrize(
    ("says", "codes_found"),
    [("OpenSSH_7.4p1, OpenSSL", ["openssh"]), ("OpenSSH_for_Windows_8.6p1", [])],
)
def test_an_openssh_that_is_too_old_is_found(
    installed, run, tmp_path, monkeypatch, says, codes_found
):
    real = subprocess.run(
        ["sh", "-c", "command -v ssh"], capture_output=True, check=True
    )
    ssh = tmp_path / "ssh"
    where = real.stdout.decode().strip()
    ssh.write_text(
        f'#!/bin/sh\n[ "$1" = -V ] && echo {says!r} >&2 || exec {where} "$@"\n'
    )
    ssh.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    assert codes(run("doctor", "--json")) == codes_found


def test_without_ssh_both_say_so(installed, run, tmp_path, monkeypatch):
    keygen = subprocess.run(
        ["sh", "-c", "command -v ssh-keygen"], capture_output=True, check=True
    )
    (tmp_path / "ssh-keygen").symlink_to(keygen.stdout.decode().strip())
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "openssh" in codes(run("doctor", "--json"))
    assert run("why", HOST).status == 1


def test_without_a_host_why_is_misuse(installed, run):
    assert run("why").status == 2


@pytest.mark.parametrize(
    ("offer", "code"),
    [
        ("ssh-rsa,ssh-dss", "sha1_only"),
        ("$(reboot)-sha1", "no_common_algorithm"),
        ("ssh-rsa,newest", "no_common_algorithm"),
    ],
)
def test_what_a_host_calls_its_algorithms_never_ends_in_a_shell(offer, code):
    said = f"no matching host key type found. Their offer: {offer}"

    found = in_words(Trial(let_in=False, lines=(said,)), "web1")

    assert found is not None
    assert found.code == code
    assert "reboot" not in found.hint
