"""`ca-login.pyz`: one file, which needs a Python and nothing of ours beside it."""

import subprocess
import sys

import pytest

from tests.dist import write_zipapp
from tests.fake_ca import FakeCA


@pytest.fixture
def pyz(tmp_path):
    path = tmp_path / "a folder/ca-login.pyz"
    write_zipapp(path)
    return path


def run(pyz, home, *arguments):
    """Run it as on a machine where there is no more than a Python."""
    return subprocess.run(
        [sys.executable, "-I", "-S", pyz, *arguments],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )


def test_one_file_signs_in_and_has_ssh_run_it(pyz, home, ca: FakeCA, token_file):
    assert run(pyz, home, "setup", ca.url, "--pin", ca.pin).returncode == 0
    signed_in = run(pyz, home, "--token-file", token_file)
    checked = run(pyz, home, "check")
    shown = run(pyz, home, "ssh-config", "print")

    assert "signed in as" in signed_in.stderr
    assert checked.returncode == 0
    assert f"{sys.executable} '{pyz}' ensure" in shown.stdout


def test_each_command_is_in_it(pyz, home):
    from client.__main__ import _MODULES  # noqa: PLC0415 what there is

    for name in filter(None, _MODULES):
        said = run(pyz, home, name, "--help")
        assert (said.returncode, said.stderr) == (0, ""), name


def test_the_same_source_makes_the_same_file(pyz, tmp_path):
    write_zipapp(tmp_path / "again")

    assert (tmp_path / "again").read_bytes() == pyz.read_bytes()
