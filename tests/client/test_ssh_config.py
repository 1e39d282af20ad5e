"""`ssh-config`: one line in a person's own file, and ssh does the rest."""

import getpass
import os
import subprocess
from pathlib import Path

import pytest

from client import ssh_config
from tests.fake_ca import FakeCA
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh


@pytest.fixture
def config(home) -> Path:
    return Path(home, ".ssh/config")


@pytest.fixture
def install(login, run):
    def install(*arguments: str) -> None:
        said = run("ssh-config", "install", *arguments)
        assert said.status == 0, said.err

    return install


def effective(config: Path, host: str, *options: str) -> dict[str, list[str]]:
    """Return what `ssh -G` makes of a host, by keyword."""
    done = subprocess.run(
        ["ssh", "-G", "-F", config, *options, host],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        keyword, _, value = line.partition(" ")
        found.setdefault(keyword, []).append(value)
    return found


def test_one_line_is_put_first_and_the_rest_stays(install, config):
    before = b"# mine\r\nHost *\n    User ada"  # no newline at the end
    config.parent.mkdir()
    config.write_bytes(before)

    install()

    first, rest = config.read_bytes().split(b"\n", 1)
    assert first.startswith(b"Include ")
    assert first.endswith(b"/daypass/*.conf")
    assert rest == before
    assert config.with_name("config.before-daypass").read_bytes() == before


def test_again_it_changes_nothing(install, config, home):
    install()
    block = home / ".ssh/daypass/default.conf"
    before = config.read_bytes(), block.read_bytes(), {*config.parent.iterdir()}

    install()

    assert (
        config.read_bytes(),
        block.read_bytes(),
        {*config.parent.iterdir()},
    ) == before


def test_it_moves_up_again_when_something_was_put_before_it(install, config):
    install()
    ours = config.read_text()
    config.write_text(f"Host *\n    User x\n{ours}")

    install()

    assert config.read_text() == f"{ours}Host *\n    User x\n"


def test_removed_the_file_is_as_it_was(install, run, config):
    before = b"Host *\n    User ada\n"
    config.parent.mkdir()
    config.write_bytes(before)
    install()

    said = run("ssh-config", "remove")

    assert said.status == 0
    assert config.read_bytes() == before
    assert list(config.parent.glob("daypass/*.conf")) == []
    assert "nothing to remove" in run("ssh-config", "remove").err


def test_the_line_stays_for_as_long_as_a_profile_needs_it(install, run, config, ca):
    run("setup", ca.url, "--pin", ca.pin, "--profile", "other")
    install()
    install("--profile", "other")

    run("ssh-config", "remove")

    assert config.read_text().startswith("Include ")
    assert [path.stem for path in config.parent.glob("daypass/*.conf")] == ["other"]


def test_a_link_stays_a_link_and_a_mode_a_mode(install, config, tmp_path):
    real = tmp_path / "dotfiles/config"
    real.parent.mkdir(mode=0o755)
    real.write_text("Host x\n")
    real.chmod(0o644)
    config.parent.mkdir()
    config.symlink_to(real)

    install()

    assert config.is_symlink()
    assert real.read_text().startswith("Include ")
    assert real.stat().st_mode & 0o777 == 0o644
    assert real.parent.stat().st_mode & 0o777 == 0o755


def test_print_shows_the_block_and_changes_nothing(login, run, config, home):
    said = run("ssh-config", "print")

    assert said.status == 0
    assert "Host *.a.test\n" in said.out
    assert "IdentitiesOnly yes" in said.out
    assert run("ssh-config", "print", "--json").document["block"] == said.out
    assert not config.exists()
    assert not (home / ".ssh/daypass/default.conf").exists()


def test_json_says_what_was_done(login, run, config):
    document = run("ssh-config", "install", "--json").document

    assert document["host_patterns"] == ["*.a.test"]
    assert document["config"] == str(config)
    assert document["backup"] is None
    assert run("ssh-config", "remove", "--json").document["removed"] is True


def test_the_ca_s_hosts_and_no_others_get_our_key_alone(install, login, config, keys):
    login()
    plain = effective(Path("/dev/null"), "web1.b.test")
    install()

    ours = effective(config, "web1.a.test")
    theirs = effective(config, "web1.b.test")

    assert ours["identityfile"] == [str(keys.private)]
    assert ours["certificatefile"] == [str(keys.certificate)]
    assert ours["identitiesonly"] == ["yes"]
    assert str(keys.folder / "default.known_hosts") in ours["globalknownhostsfile"][0]
    assert ours["updatehostkeys"] == plain["updatehostkeys"]
    assert theirs == plain | {"host": theirs["host"]}


def test_without_a_certificate_ssh_offers_what_it_did_before_us(install, config):
    install()

    # Nobody to ask: ssh's streams are not a terminal, but ours may be one.
    found = effective(config, "web1.a.test")

    assert len(found["identityfile"]) > 1
    assert found["identitiesonly"] == ["no"]
    assert "default.known_hosts" in found["globalknownhostsfile"][0]


@pytest.mark.parametrize("pattern", ["*", "?.*", "a b", "a\nHost *", "a,b", 'a"', ""])
def test_a_ca_cannot_claim_every_host_or_write_our_file(
    run, login, ca, config, pattern
):
    ca.host_patterns = ["*.a.test", pattern]

    said = run("ssh-config", "install")

    assert said.status == 1
    assert "no pattern of its own" in said.err
    assert not config.exists()


def test_a_ca_that_names_no_hosts_says_what_else_to_do(run, login, ca):
    ca.host_patterns = []

    said = run("ssh-config", "install")

    assert said.status == 2
    assert "ca-login ssh HOST" in said.err


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["install", "print"]])
def test_what_was_typed_wrong_is_misuse(run, login, arguments):
    assert run("ssh-config", *arguments).status == 2


def test_a_home_with_a_space_is_quoted(monkeypatch, tmp_path, ca, run, token_file):
    home = tmp_path / "a home 100%"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    run("setup", ca.url, "--pin", ca.pin)
    run("--token-file", token_file)
    assert run("ssh-config", "install").status == 0

    found = effective(home / ".ssh/config", "web1.a.test")

    key = f"{home}/.ssh/daypass/default"
    assert found["identityfile"] == [key.replace("%", "%%")]


def test_below_ssh_s_own_home_the_line_names_no_folder(monkeypatch):
    monkeypatch.setenv("HOME", os.path.expanduser(f"~{getpass.getuser()}"))  # noqa: PTH111

    assert ssh_config.include_word() == "daypass/*.conf"


def trusting(folder: Path, ca: FakeCA) -> Sshd:
    """Return an sshd that trusts the CA, and has a host certificate of its."""
    (folder / "user_ca").write_text(ca.public("user_ca"))
    return Sshd(
        folder,
        [
            f"TrustedUserCAKeys {folder}/user_ca",
            f"HostCertificate {folder}/host_key-cert.pub",
        ],
    )


def test_ssh_logs_in_and_believes_the_host(login, run, ca, config, tmp_path):
    ca.principals = (getpass.getuser(),)
    ca.host_patterns = ["localhost"]
    login()
    run("ssh-config", "install")
    known_hosts = config.with_name("daypass") / "default.known_hosts"
    known_hosts.write_text(f"@cert-authority localhost {ca.public('host_ca')}\n")
    with trusting(tmp_path, ca) as sshd:
        certify_host(tmp_path / "host_key.pub", ca, "localhost")
        command = ["ssh", "-F", config, "-p", str(sshd.port)]
        settings = ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"]

        done = subprocess.run(
            [*command, *settings, "localhost", "echo", "in"],
            capture_output=True,
            text=True,
            check=False,
        )
        revoked = known_hosts.with_suffix(".revoked_hosts")
        revoked.write_text((tmp_path / "host_key.pub").read_text())
        refused = subprocess.run(
            [*command, *settings, "localhost", "true"],
            capture_output=True,
            text=True,
            check=False,
        )

    assert (done.stdout, done.returncode) == ("in\n", 0), done.stderr
    assert refused.returncode == 255
    assert "revoked" in refused.stderr


def certify_host(public: Path, ca: FakeCA, name: str) -> None:
    command = ["ssh-keygen", "-q", "-s", str(ca.keys / "host_ca"), "-h"]
    subprocess.run([*command, "-I", name, "-n", name, str(public)], check=True)
