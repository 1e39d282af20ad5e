"""What operating.md says to type when something was stolen does what it says."""

import re
import shlex
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from ca.admin.__main__ import main
from ca.bundle import parse_current, split_signed
from ca.certify import BACKDATE
from ca.issue import Caller, issue_user_certificate
from ca.krl import parse_krl
from tests.authority import (
    ROOT,
    certificate_in,
    make_ca,
    opened,
    request_of,
    wait_until,
)
from tests.fakes import FakeIdP

OPERATING = (ROOT / "docs" / "operating.md").read_text()


def commands(section):
    """Return the lines of a section's shell blocks, a list for each block."""
    (text,) = re.findall(
        rf"^## {section}\n(.*?)^## ", OPERATING, re.MULTILINE | re.DOTALL
    )
    shown = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in shown]


@pytest.fixture
def ca(tmp_path, monkeypatch):
    with FakeIdP() as idp:
        config_file = make_ca(tmp_path / "daypass", idp)
        yield config_file, idp


def type_(line, config_file, capsys):
    """Type a line on this CA's machine; return its exit code and output."""
    words = shlex.split(line.replace("/etc/daypass", str(config_file.parent)))
    if words[0] == "export":
        return 0, ""
    assert words.pop(0) == "ca-admin"
    capsys.readouterr()
    status = main([*words, "--config", str(config_file)])
    return status, capsys.readouterr().out


def issue(ca, user):
    config_file, idp = ca
    with opened(config_file) as authority:
        caller = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
        request, now = request_of(idp, user), datetime.now(UTC)
        return certificate_in(
            issue_user_certificate(authority, request, caller, now=now)
        )


def published(ca):
    with opened(ca[0]) as authority:
        text, _ = split_signed(authority.trust.current(now=datetime.now(UTC)))
        return parse_krl(authority.trust.blob(parse_current(text).krl_sha256))


def test_someone_s_laptop_was_stolen(ca, capsys):
    ada, grace = issue(ca, "ada"), issue(ca, "grace")
    (_export, *lines), (lift,) = commands("Someone's laptop was stolen")

    said = [type_(line, ca[0], capsys) for line in lines]

    (would, cut, live, blocked) = said
    assert would[0] == 0
    assert would[1].startswith("would cut 1 live certificate of 1 person")
    # No host is registered here, so nobody can tell where it is in force.
    assert cut[0] == 1
    assert cut[1].startswith("cut 1 live certificate of 1 person")
    assert live == (0, "")
    assert "laptop stolen" in blocked[1]
    krl = published(ca)
    assert krl.revokes(ada)
    assert not krl.revokes(grace)

    assert type_(lift, ca[0], capsys)[0] == 0
    assert "1  " not in type_(lines[3], ca[0], capsys)[1]


def test_a_ca_key_was_stolen(ca, capsys):
    ada = issue(ca, "ada")
    (_export, keys, would, cut), _ = commands("A CA key was stolen")

    assert "user CA key" in type_(keys, ca[0], capsys)[1]
    assert type_(would, ca[0], capsys)[0] == 0
    status, said = type_(cut, ca[0], capsys)

    assert status == 1
    assert said.startswith("cut 1 live certificate of 1 person")
    assert published(ca).revokes(ada)


def test_a_machine_was_broken_into(ca, capsys):
    ada = issue(ca, "ada")
    wait_until(lambda: time.time() > ada.valid_after + BACKDATE.total_seconds() + 1)
    *_, (line,) = commands("A CA key was stolen")
    yesterday = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%dT%H:%M}"

    status, _ = type_(line.replace("2026-11-22T08:00", yesterday), ca[0], capsys)

    assert status == 0
    assert published(ca).revokes(ada)
