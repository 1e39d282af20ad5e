"""`ca-admin revoke` and `block`: what an operator types, and what comes of it."""

import json
import shutil
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from ca import wire
from ca.admin.__main__ import main
from ca.bundle import parse_current, split_signed
from ca.certificate import parse_line
from ca.issue import Caller, issue_user_certificate
from ca.krl import parse_krl
from tests.authority import (
    certificate_in,
    make_ca,
    opened,
    request_of,
    subject_key,
)
from tests.fakes import FakeIdP

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
WHY = ("--reason", "laptop stolen")
ADA = ("--person", "ada@example.com")


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def made(idp, tmp_path_factory):
    return make_ca(tmp_path_factory.mktemp("made") / "ca", idp).parent


@pytest.fixture
def config_file(made, tmp_path, monkeypatch):
    file = shutil.copytree(made, tmp_path / "ca") / "daypass.toml"
    monkeypatch.setenv("DAYPASS_CONFIG", str(file))
    return file


def issue(config_file, idp, *users, key=None):
    """Return what the certificates say that these people were given."""
    with opened(config_file) as authority:
        now = datetime.now(UTC)
        return [
            certificate_in(
                issue_user_certificate(
                    authority, request_of(idp, user, key=key), HERE, now=now
                )
            )
            for user in users
        ]


def run(capsys, *words, status=0):
    """Run a command; return its results as JSON and what it said to a person."""
    assert main([*words, "--json"]) == status
    said = capsys.readouterr()
    return [json.loads(line) for line in said.out.splitlines()], said.err


def published(config_file):
    with opened(config_file) as authority:
        text, _ = split_signed(authority.trust.current(now=datetime.now(UTC)))
        return parse_krl(authority.trust.blob(parse_current(text).krl_sha256))


def test_a_person_is_cut_off_and_it_is_published(config_file, idp, capsys):
    ada, grace = issue(config_file, idp, "ada", "grace")

    (done,), _ = run(capsys, "revoke", *ADA, *WHY)

    assert (done["certificates"], done["people"]) == (1, 1)
    assert done["ends"] == ada.valid_before
    krl = published(config_file)
    assert krl.revokes(ada)
    assert not krl.revokes(grace)


def test_what_is_said_to_a_person(config_file, idp, capsys):
    issue(config_file, idp, "ada", "ada")

    assert main(["revoke", *ADA, *WHY, "--dry-run"]) == 0
    would = capsys.readouterr()
    assert main(["revoke", *ADA, *WHY]) == 0
    done = capsys.readouterr()

    assert would.out.startswith("would cut 2 live certificates of 1 person, good until")
    assert would.err == ""
    assert done.out.startswith("cut 2 live certificates of 1 person, good until")
    assert "entry 2 of the ledger says so" in done.out
    assert "hosts have it with version" in done.err


def test_somebody_unknown_is_blocked_at_least(config_file, capsys):
    (done,), _ = run(capsys, "revoke", "--subject", "x@y", *WHY)

    assert (done["certificates"], done["people"]) == (0, 0)
    assert main(["revoke", "--person", "nobody", *WHY]) == 0
    assert "cut 0 live certificates of 0 people;" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["serial", "key-id", "fingerprint", "file"])
def test_each_way_to_say_what(config_file, idp, tmp_path, capsys, way):
    key, file = subject_key(), tmp_path / "key.pub"
    file.write_text(f"{key} a comment\n")
    (meant,) = issue(config_file, idp, "ada", key=key)
    (other,) = issue(config_file, idp, "grace")
    what = {
        "serial": ("--serial", str(meant.serial)),
        "key-id": ("--key-id", meant.key_id),
        "fingerprint": ("--key", wire.fingerprint(parse_line(key))),
        "file": ("--key", str(file)),
    }[way]

    run(capsys, "revoke", *what, *WHY)

    krl = published(config_file)
    assert krl.revokes(meant)
    assert not krl.revokes(other)


def test_everything_of_the_last_hour_goes(config_file, idp, capsys):
    issue(config_file, idp, "ada", "grace")
    with opened(config_file) as authority:
        rows = "UPDATE entries SET time = time - 60"
        authority.store._database.write(  # noqa: SLF001
            lambda c, _head: c.exec_driver_sql(rows)
        )

    (done,), _ = run(capsys, "revoke", "--issued-between", "1h", "now", *WHY)

    assert (done["certificates"], done["people"]) == (2, 2)


def test_a_ca_key_is_revoked_by_its_file(config_file, idp, capsys):
    (ada,) = issue(config_file, idp, "ada")
    file = config_file.with_name("keys") / "user_ca.pub"

    run(capsys, "revoke", "--ca-key", str(file), *WHY)

    assert published(config_file).revokes(ada)


def test_wait_says_where_it_is_not_in_force(config_file, idp, capsys):
    (ada,) = issue(config_file, idp, "ada")

    done, _ = run(capsys, "revoke", *ADA, *WHY, "--wait", "--timeout", "1s", status=1)

    assert done[1]["everywhere"] is False
    assert done[1]["ends"] == ada.valid_before


def test_what_does_not_pass_the_gate_is_said(config_file, idp, capsys, monkeypatch):
    issue(config_file, idp, "ada")
    published(config_file)
    monkeypatch.setenv("PATH", "/nonexistent")

    failed, said = run(capsys, "revoke", *ADA, *WHY, status=1)

    assert failed[0]["index"] == 1
    assert "not at hosts" in said
    monkeypatch.undo()


@pytest.mark.parametrize(
    "words",
    [
        ("revoke", *ADA),
        ("revoke", *WHY),
        ("revoke", *ADA, "--serial", "1", *WHY),
        ("revoke", *ADA, "--reason", ""),
        ("revoke", "--serial", "x", *WHY),
        ("revoke", "--key", "/nonexistent", *WHY),
        ("revoke", *ADA, *WHY, "--timeout", "soon"),
        ("revoke", "--issued-between", "yesterday", "now", *WHY),
        ("block", "add", *WHY),
        ("block", "add", *ADA, "--key", "SHA256:" + "A" * 43, *WHY),
        ("block", "add", *ADA, "--reason", " "),
        ("block",),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_misuse(config_file, capsys, words):
    run(capsys, *words, status=2)


def test_a_file_that_holds_no_key_is_misuse(config_file, tmp_path, capsys):
    (tmp_path / "key").write_text("no key\n")

    _, said = run(capsys, "revoke", "--key", str(tmp_path / "key"), *WHY, status=2)

    assert "key: not base64" in said


def test_with_several_issuers_one_has_to_be_named(config_file, idp, capsys):
    text = config_file.read_text()
    other = text[text.index("[[issuer]]") :].replace(idp.issuer, "https://b.example")
    config_file.write_text(text + other.replace('name = "corp"', 'name = "other"'))

    _, said = run(capsys, "revoke", *ADA, *WHY, status=2)
    assert "several issuers: corp, other" in said
    run(capsys, "revoke", *ADA, "--issuer", "other", *WHY)


def test_a_block_is_made_listed_and_lifted(config_file, idp, capsys):
    (done,), _ = run(capsys, "block", "add", *ADA, *WHY)
    run(capsys, "block", "add", "--key", subject_key_file(config_file), *WHY)

    (key, ada), _ = run(capsys, "block", "list")
    assert (key["kind"], ada["kind"]) == ("key", "email")
    assert (ada["name"], ada["issuer"]) == ("ada@example.com", "corp")
    assert (ada["reason"], ada["index"]) == ("laptop stolen", done["index"])
    assert main(["block", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split("  ")[2:5] == ["active", "email", "corp:ada@example.com"]
    assert lines[0].split("  ")[3:5] == ["key", key["name"]]

    run(capsys, "block", "lift", str(ada["id"]), "--reason", "found")
    assert len(run(capsys, "block", "list")[0]) == 1
    assert len(run(capsys, "block", "list", "--all")[0]) == 2
    run(capsys, "block", "lift", str(ada["id"]), "--reason", "again", status=1)


def subject_key_file(config_file):
    file = config_file.with_name("subject.pub")
    file.write_text(subject_key() + "\n")
    return str(file)


def test_revoked_certificates_are_listed_as_such(config_file, idp, capsys):
    ada, grace = issue(config_file, idp, "ada", "grace")
    run(capsys, "revoke", "--serial", str(ada.serial), *WHY)

    listed, _ = run(capsys, "certificates", "list")
    live, _ = run(capsys, "certificates", "list", "--live")

    states = {one["serial"]: one["state"] for one in listed}
    assert states == {str(ada.serial): "revoked", str(grace.serial): "live"}
    assert [one["serial"] for one in live] == [str(grace.serial)]

    file = config_file.with_name("keys") / "user_ca.pub"
    run(capsys, "revoke", "--ca-key", str(file), *WHY)
    assert run(capsys, "certificates", "list", "--live")[0] == []
