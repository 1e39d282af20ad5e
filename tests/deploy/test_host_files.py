"""What is put on hosts: complete, linted, and refused where it would not be read."""

import configparser
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import host_files, sshd_config
from deploy.host_files import HostFile, Pull
from tests.publisher import Publisher
from tests.pulling import PULL, SCRIPTS, Host

PIN = "SHA256:" + "A" * 43
ORDINARY = Pull("https://ca.example.com", pin=PIN, host="web1")

UNITS = sorted(path.name for path in SCRIPTS.iterdir() if path.suffix != ".sh")


def by_path(files: tuple[HostFile, ...]) -> dict[str, HostFile]:
    return {file.path: file for file in files}


def test_a_host_with_systemd_gets_units_and_another_gets_cron():
    with_systemd = by_path(host_files.host_files(ORDINARY, systemd=True, renews=True))
    with_cron = by_path(host_files.host_files(ORDINARY, systemd=False, renews=True))

    scripts = {host_files.PULL, host_files.END_SESSIONS, "/etc/ssh/daypass/pull.conf"}
    units = "/etc/systemd/system/daypass-"
    assert set(with_systemd) == scripts | {
        f"{units}{name}.{kind}"
        for name in ("pull", "renew")
        for kind in ("service", "timer")
    }
    assert set(with_cron) == scripts | {
        "/etc/cron.d/daypass",
        "/etc/cron.d/daypass-renew",
    }
    assert {file.mode for file in with_systemd.values()} == {0o755, 0o644}
    assert with_systemd[host_files.PULL].mode == 0o755


def test_nothing_is_renewed_unless_asked():
    files = by_path(host_files.host_files(ORDINARY, systemd=True))
    assert not any("renew" in path for path in files)


def test_every_file_for_hosts_is_put_on_some():
    files = [
        file
        for systemd in (True, False)
        for file in host_files.host_files(ORDINARY, systemd=systemd, renews=True)
    ]
    contents = {file.content for file in files}
    ours = [
        path for path in SCRIPTS.glob("daypass*") if path.read_text() not in contents
    ]

    assert ours == []


def test_what_is_rendered_is_what_the_script_reads(tmp_path):
    with Publisher() as ca:
        host = Host(tmp_path, ca)
        pull = replace(
            ORDINARY,
            url=f"{ca.url}/",
            pin=ca.pin,
            report=False,
            names=("web1.example.com",),
            reload="systemctl reload ssh",
        )
        (host.daypass / "pull.conf").write_text(host_files.render_configuration(pull))
        done = host.pull()

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "http://ca.example.com"},
        {"url": "https://ca.example.com\nurl=https://evil.example.com"},
        {"url": "https://"},
        {"pin": "SHA256:short"},
        {"host": "Web1"},
        {"host": ""},
        {"host_key": "ssh_host_ed25519_key"},
        {"names": ("web1,evil",)},
        {"names": ("web1\nreload=reboot",)},
        {"reload": "true\nend_sessions=yes"},
        {"tls_ca_file": "ca.pem"},
    ],
)
def test_what_the_script_would_not_read_is_not_rendered(changes):
    with pytest.raises(ValueError, match=r"pull\.conf"):
        replace(ORDINARY, **changes)


@pytest.mark.parametrize(
    "line",
    [
        "url=http://ca.example.com",
        'url=https://ca.example.com/"x',
        "pin=SHA256:short",
        "pin=MD5:" + "a" * 43,
        "host=../x",
        "report=perhaps",
        "reports=yes",
        "a line",
    ],
)
def test_a_wrong_configuration_is_misuse(tmp_path, line):
    with Publisher() as ca:
        host = Host(tmp_path, ca)
        with (host.daypass / "pull.conf").open("a") as file:
            file.write(f"{line}\n")
        done = host.pull()

        assert done.returncode == 2
        assert "pull.conf" in done.stderr
        assert sum(ca.hits.values()) == 0


def test_a_comment_and_a_missing_newline_are_fine(tmp_path):
    with Publisher() as ca:
        host = Host(tmp_path, ca)
        with (host.daypass / "pull.conf").open("a") as file:
            file.write("\n# by the operator\nreport=no")
        assert host.pull().returncode == 0


@pytest.mark.parametrize("arguments", [["--help"], ["--locked"], ["--jitter", "0"]])
def test_misuse_is_said(tmp_path, arguments):
    with Publisher() as ca:
        done = Host(tmp_path, ca).pull(*arguments)

    assert done.returncode == 2
    assert done.stderr.startswith("daypass-pull: ")


def test_a_jitter_waits_less_than_that(tmp_path):
    with Publisher() as ca:
        host = Host(tmp_path, ca)
        host.stub("sleep", f'echo "$1" >>{tmp_path}/slept')
        for _ in range(5):
            assert host.pull("--jitter", "20").returncode == 0

    slept = [int(line) for line in (tmp_path / "slept").read_text().split()]
    assert len(slept) == 5
    assert all(0 <= seconds < 20 for seconds in slept)
    assert len(set(slept)) > 1


@pytest.mark.parametrize(
    "script", sorted(SCRIPTS.glob("daypass*.sh")), ids=lambda p: p.name
)
def test_shellcheck_finds_nothing(script):
    """POSIX sh, and none of the traps that shellcheck knows."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    subprocess.run([shellcheck, "--shell=sh", script], check=True)


@pytest.mark.parametrize(
    "script", sorted(SCRIPTS.glob("daypass*.sh")), ids=lambda p: p.name
)
def test_a_script_of_which_a_part_arrived_does_nothing(script, tmp_path):
    whole = script.read_text()
    assert whole.endswith('\nmain "$@"\n')
    part = tmp_path / "part.sh"
    part.write_text(whole.removesuffix('main "$@"\n'))
    done = subprocess.run(
        ["dash", part],
        env={"DAYPASS_ROOT": str(tmp_path)},
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert list(tmp_path.iterdir()) == [part]


@pytest.mark.parametrize(
    "name", [n for n in UNITS if n.endswith((".service", ".timer"))]
)
def test_a_unit_runs_what_is_installed(name):
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((SCRIPTS / name).read_text())

    if name.endswith(".timer"):
        assert unit["Install"]["WantedBy"] == "timers.target"
        assert int(unit["Timer"]["RandomizedDelaySec"].rstrip("h")) > 0
        assert (SCRIPTS / name).with_suffix(".service").exists()
    else:
        assert unit["Service"]["ExecStart"].split()[0] == host_files.PULL
        assert unit["Service"]["ProtectSystem"] == "strict"
        assert unit["Service"]["SuccessExitStatus"] == "7"
        assert sshd_config.FOLDER.startswith(unit["Service"]["ReadWritePaths"])


def test_systemd_reads_the_units(tmp_path):
    """Where systemd is; what it says of the program that is not here does not count."""
    if shutil.which("systemd-analyze") is None:
        return
    for name in UNITS:
        if name.endswith((".service", ".timer")):
            text = (SCRIPTS / name).read_text()
            (tmp_path / name).write_text(text.replace(host_files.PULL, "/bin/true"))
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "verify", *units],
        capture_output=True,
        text=True,
        check=False,
    )

    said = [line for line in done.stderr.splitlines() if "daypass" in line]
    assert said == []


@pytest.mark.parametrize("name", [n for n in UNITS if n.endswith(".cron")])
def test_a_line_of_cron_runs_what_is_installed_as_root(name):
    lines = [
        line
        for line in (SCRIPTS / name).read_text().splitlines()
        if not line.startswith("#")
    ]

    for line in lines:
        assert re.match(r"(\S+ ){5}root ", line)
        assert "%" not in line, "cron takes it for a newline"
        assert host_files.PULL in line


def test_the_names_in_the_script_are_those_that_are_installed():
    said = PULL.read_text()
    assert f"folder=${{DAYPASS_ROOT-}}{sshd_config.FOLDER}\n" in said
    assert sshd_config.CA_KEYS.removeprefix(sshd_config.FOLDER) in said
    assert sshd_config.KRL.removeprefix(sshd_config.FOLDER) in said
    assert host_files.END_SESSIONS in said
