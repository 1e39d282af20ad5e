"""`ca-deploy render`: only keys that the pinned root key vouches for are printed."""

import pytest

from ca.wire import fingerprint
from deploy.__main__ import HELP, main
from tests.fake_ca import FakeCA


@pytest.fixture
def fake_ca():
    with FakeCA() as fake_ca:
        yield fake_ca


def test_the_user_ca_keys_are_printed_as_sshd_reads_them(fake_ca, capsys):
    assert main(["render", fake_ca.url, "--pin", fake_ca.pin]) == 0

    line = (fake_ca.keys / "user_ca.pub").read_text().split()[:2]
    assert capsys.readouterr().out == " ".join(line) + "\n"


def test_nothing_is_printed_under_another_root_key(fake_ca, capsys):
    assert main(["render", fake_ca.url, "--pin", fingerprint(b"another")]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert "is pinned" in said.err
    assert "ca-deploy: hint: " in said.err


def test_a_pin_that_is_none_is_misuse(fake_ca, capsys):
    assert main(["render", fake_ca.url, "--pin", "SHA256:short"]) == 2
    assert "43 characters" in capsys.readouterr().err


def test_a_ca_that_does_not_answer_is_unreachable(fake_ca, capsys):
    url = fake_ca.url
    fake_ca.__exit__(None, None, None)

    assert main(["render", url, "--pin", fake_ca.pin]) == 7
    assert url.removeprefix("http://") in capsys.readouterr().err


def test_help_is_printed(capsys):
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == HELP
