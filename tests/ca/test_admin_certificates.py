"""`ca-admin certificates`: who got what, from a ledger that real requests filled."""

import json
import re
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from ca.admin.__main__ import main
from ca.issue import Caller, issue_user_certificate
from ca.ledger import canonical_json
from ca.store import Span
from tests.authority import ROOT, make_ca, opened, request_of, rewrite
from tests.fakes import FakeIdP

HOUR = 3600
NOW = int(time.time())
AT = {"old": NOW - 20 * 24 * HOUR, "yesterday": NOW - 24 * HOUR, "today": NOW}
"""When certificates were asked for, the last of them a moment ago."""


class House:
    """A CA with a history, and what the command says about it."""

    def __init__(self, config_file, answers, capsys):
        self.config_file = config_file
        self.answers = answers
        self.capsys = capsys
        self.out = self.err = ""

    def run(self, *words):
        config = ("--config", str(self.config_file))
        status = main(["certificates", *words, *config])
        said = self.capsys.readouterr()
        self.out, self.err = said.out, said.err
        return status

    def serials(self, *filters):
        assert self.run("list", *filters) == 0, self.err
        return [int(line.split()[0]) for line in self.out.splitlines()]

    def documents(self):
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(scope="module")
def history(tmp_path_factory):
    """Issue five certificates at three times, and erase the first."""
    clock = [0.0]
    folder = tmp_path_factory.mktemp("ca")
    with FakeIdP(now=lambda: clock[0]) as idp:
        config_file = make_ca(folder / "ca", idp)
        rewrite(
            config_file.with_name("policy.toml"),
            {
                '["{email_local}"]': '["{email_local}", "web"]',
                'gets     = ["ada"]': 'gets     = ["ada", "web"]',
            },
        )
        answers = []
        with opened(config_file) as authority:
            for when, user, wishes in (
                ("old", "ada", {}),
                ("old", "grace", {}),
                ("yesterday", "ada", {"reason": "disk \x1b[2J\nfull"}),
                ("today", "grace", {"validity_seconds": 2 * HOUR}),
                ("today", "ada", {"principals": ("ada",)}),
            ):
                clock[0] = AT[when]
                answers.append(
                    issue_user_certificate(
                        authority,
                        request_of(idp, user, **wishes),
                        Caller(ip_address("192.0.2.7"), "c0ffee"),
                        now=datetime.fromtimestamp(AT[when], UTC),
                    )
                )
    with sqlite3.connect(folder / "ca/daypass.db") as database:
        database.execute(
            "UPDATE entries SET record = NULL, to_be_signed = NULL WHERE serial = '1'"
        )
    database.close()
    return config_file, answers


@pytest.fixture
def house(history, capsys):
    config_file, answers = history
    return House(config_file, answers, capsys)


# --- list ---------------------------------------------------------------------------


def test_all_that_is_on_record_is_listed_newest_first_with_its_state(house):
    assert house.run("list") == 0

    lines = [line.split("  ") for line in house.out.splitlines()]
    assert [(line[0], *line[3:]) for line in lines] == [
        ("5", "live", "corp:ada@example.com", "ada"),
        ("4", "live", "corp:grace@example.com", "grace,web"),
        ("3", "ended", "corp:ada@example.com", "ada,web"),
        ("2", "ended", "corp:grace@example.com", "grace,web"),
        ("1", "erased", "-", "-"),
    ]
    assert lines[0][1] == f"{datetime.fromtimestamp(NOW, UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert lines[4][2] == "-"
    assert house.err == ""


@pytest.mark.parametrize(
    ("filters", "serials"),
    [
        (["--live"], [5, 4]),
        (["--live", "--principal", "web"], [4]),
        (["--principal", "web"], [4, 3, 2]),
        (["--principal", "we"], []),
        (["--person", "ada@example.com"], [5, 3]),
        (["--person", "corp:grace@example.com"], [4, 2]),
        (["--person", "ada"], [5, 3]),
        (["--person", "ADA@example.com"], []),
        (["--since", "2d"], [5, 4, 3]),
        (["--since", "2d", "--live"], [5, 4]),
        (["--since", "365d", "--live"], [5, 4]),
        (["--until", "2d"], [2, 1]),
        (["--since", "30d", "--until", "2h"], [3, 2, 1]),
        (["--since", "2999-01-01"], []),
        (["--since", "2020-01-01T08:00", "--limit", "2"], [5, 4]),
        (["--since", "2020-01-01T08:00:00+02:00", "--limit", "0"], []),
        (["--serial", "1"], [1]),
        (["--serial", "99"], []),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_filters_all_have_to_hold(filters, serials, house):
    assert house.serials(*filters) == serials


def test_a_list_as_json_is_one_object_a_line(house):
    assert house.run("list", "--json") == 0

    first, *_, last = house.documents()
    answer = house.answers[-1]
    assert first == {
        "v": 1,
        "serial": "5",
        "time": NOW,
        "kind": "user-certificate",
        "state": "live",
        "key_id": "corp:ada@example.com",
        "principals": ["ada"],
        "valid_after": answer.valid_after,
        "valid_before": answer.valid_before,
    }
    assert (last["serial"], last["state"], last["key_id"]) == ("1", "erased", None)


@pytest.mark.parametrize(
    "words",
    [
        ["list", "--since", "soon"],
        ["list", "--until", "2026-13-01"],
        ["list", "--limit", "few"],
        ["list", "--serial", "0x11"],
        ["list", "--serial", "9" * 21],
        ["list", "--persn", "ada"],
        ["show"],
        ["show", "ada"],
        ["erase"],
    ],
    ids=" ".join,
)
def test_misuse_is_told_with_where_help_is(words, house):
    assert house.run(*words) == 2

    assert house.out == ""
    assert "\nca-admin: hint: " in house.err


@pytest.mark.parametrize("at_once", [1, 2, 3, 5, 500])
def test_a_long_ledger_is_read_in_pages(at_once, house):
    with opened(house.config_file) as authority:
        stored = list(authority.store.certificates(Span(), at_once=at_once))

    assert [one.serial for one in stored] == [5, 4, 3, 2, 1]


def test_neither_keys_nor_policy_have_to_be_there(history, capsys, tmp_path):
    config_file, answers = history
    lonely = tmp_path / "daypass.toml"
    lonely.write_text(config_file.read_text())
    with sqlite3.connect(config_file.with_name("daypass.db")) as database:
        database.execute("VACUUM INTO ?", [str(tmp_path / "daypass.db")])
    database.close()

    assert House(lonely, answers, capsys).serials("--live") == [5, 4]


def test_a_reader_that_has_enough_stops_the_list(house):
    command = [sys.executable, "-m", "ca.admin", "certificates", "list"]
    with subprocess.Popen(
        [*command, "--config", str(house.config_file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
    assert process.returncode == 1


# --- show ---------------------------------------------------------------------------


@pytest.mark.openssh
@pytest.mark.parametrize("serial", [3, 5])
def test_show_says_what_ssh_keygen_says_and_what_is_on_record(serial, house, tmp_path):
    file = tmp_path / "id-cert.pub"
    file.write_text(house.answers[serial - 1].certificate + "\n")
    listed = subprocess.run(
        ["ssh-keygen", "-L", "-f", file],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC"},
    ).stdout

    assert house.run("show", str(serial)) == 0

    _, *theirs = listed.splitlines()
    said, _, record = house.out.partition("record:\n")
    _, _, *ours = said.splitlines()
    # It has the signature, which names its algorithm; we have times with their zone.
    assert ours == [
        re.sub(r" \(using .*\)$|(?<=\d\dT\d\d:\d\d:\d\d)", _changed, line)
        for line in theirs
    ]
    assert json.loads(record)["grant"]["principals"] == list(
        house.answers[serial - 1].principals
    )


def _changed(found):
    return "" if found[0] else "Z"


def test_show_as_json_has_leaf_record_and_keys(house):
    assert house.run("show", "3", "--json") == 0

    (document,) = house.documents()
    assert document["record"]["asked"]["reason"] == "disk \x1b[2J\nfull"
    assert document["record"]["address"] == "192.0.2.7"
    assert document["leaf"]["serial"] == "3"
    assert document["index"] == 2
    assert document["subject_key"].startswith("SHA256:")
    assert document["extensions"] == ["permit-port-forwarding", "permit-pty"]
    assert document["critical_options"] == {}


def test_what_somebody_wrote_cannot_move_the_cursor(house):
    assert house.run("show", "3") == 0

    assert "\x1b" not in house.out
    assert r"disk \u001b[2J\nfull" in house.out


def test_of_what_was_erased_only_the_leaf_is_left(house):
    assert house.run("show", "1") == 0
    assert house.out.startswith("serial 1, user-certificate, erased\n")
    assert house.out.endswith("what it said and whom it was for was erased\n")

    assert house.run("show", "1", "--json") == 0
    (document,) = house.documents()
    assert document["record"] is None
    assert document["leaf"]["to_be_signed_sha256"]
    assert "subject_key" not in document


def test_a_serial_that_is_not_on_record_fails(house):
    assert house.run("show", "99") == 1
    assert "no certificate with serial 99 is on record" in house.err


def test_a_damaged_entry_is_named(history, capsys, tmp_path):
    config_file, answers = history
    copy = tmp_path / "daypass.db"
    with sqlite3.connect(config_file.with_name("daypass.db")) as database:
        database.execute("VACUUM INTO ?", [str(copy)])
    database.close()
    with sqlite3.connect(copy) as database:
        database.execute("UPDATE entries SET to_be_signed = x'00' WHERE serial = '4'")
    database.close()
    (tmp_path / "daypass.toml").write_text(config_file.read_text())
    house = House(tmp_path / "daypass.toml", answers, capsys)

    assert house.run("list") == 1

    assert "entry 3 of the ledger is damaged" in house.err
    assert house.out.startswith("5  ")


def test_a_subject_that_json_escapes_is_found(house, tmp_path, capsys):
    subject = 'a"b\\c\nä'
    copy = tmp_path / "daypass.db"
    with sqlite3.connect(house.config_file.with_name("daypass.db")) as database:
        database.execute("VACUUM INTO ?", [str(copy)])
    database.close()
    with sqlite3.connect(copy) as database:
        ((record,),) = database.execute("SELECT record FROM entries WHERE serial = '4'")
        changed = json.loads(record)
        changed["identity"]["subject"] = subject
        database.execute(
            "UPDATE entries SET record = ? WHERE serial = '4'",
            [canonical_json(changed)],
        )
    database.close()
    (tmp_path / "daypass.toml").write_text(house.config_file.read_text())
    house = House(tmp_path / "daypass.toml", house.answers, capsys)

    assert house.serials("--person", subject) == [4]
    assert house.serials("--person", "\udce4") == []
