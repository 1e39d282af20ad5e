"""`ca-admin ledger`: what was changed, anywhere, is named; what was not is shown.

The ledger has 300 entries: five certificates, and acts.
"""

import json
import random
import secrets
import shutil
import sqlite3
from base64 import b64decode
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from proofbundle import tlogproof

from ca import wire
from ca.admin.__main__ import main
from ca.certificate import parse_to_be_signed
from ca.checkpoint import NoteKey, parse_note, render_key, render_note
from ca.ledger import EntryKind, canonical_json
from ca.ledger.entry import Place
from ca.store import Draft
from tests.authority import make_ca, opened, request_of
from tests.ca.test_issue import issue
from tests.fakes import FakeIdP
from tests.logs import files_of

SIZE = 300
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ENDED, LIVE = 0, 1
"""The indices of a certificate that has ended and of one that has not."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make the CA once."""
    folder = tmp_path_factory.mktemp("made") / "ca"
    with FakeIdP(now=LONG_AGO.timestamp) as idp:
        config_file = make_ca(folder, idp)
        with opened(config_file) as authority:
            issue(authority, request_of(idp), now=LONG_AGO)
    with FakeIdP() as idp:
        text = config_file.read_text()
        old = next(
            line
            for line in text.splitlines()
            if line.startswith("url") and "127" in line
        )
        config_file.write_text(text.replace(old, f'url = "{idp.issuer}"'))
        with opened(config_file) as authority:
            for _ in range(4):
                issue(authority, request_of(idp), now=datetime.now(UTC))
            act(authority, SIZE - 5)
    return folder


def act(authority, count=1):
    """Put acts of an administrator on record."""
    authority.store.append(
        [
            Draft(
                Place(
                    kind=EntryKind.ADMINISTRATION,
                    time=int(LONG_AGO.timestamp()),
                    record=canonical_json({"salt": secrets.token_hex(8)}),
                    build=None,
                )
            )
            for _ in range(count)
        ]
    )
    authority.ledger.checkpoint()


@pytest.fixture
def ca(made, tmp_path):
    """Return a copy of that CA."""
    return shutil.copytree(made, tmp_path / "ca")


@pytest.fixture
def run(capsys):
    """Run `ca-admin ledger`; return exit code, results and notes."""

    def run(*arguments, ca=None):
        config = [] if ca is None else ["--config", str(ca / "daypass.toml")]
        status = main(["ledger", *map(str, arguments), *config])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def change(ca, statement, *values):
    with sqlite3.connect(ca / "daypass.db") as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


# --- verify: the database ---------------------------------------------------------


def test_a_ledger_that_nobody_touched_has_nothing_wrong(run, ca):
    assert run("verify", ca=ca) == (0, "300 entries checked: nothing wrong\n", "")
    status, out, _ = run("verify", "--json", ca=ca)
    assert (status, json.loads(out)) == (0, {"v": 1, "entries": 300, "wrong": 0})


COLUMNS = [
    *(("entries", name) for name in ("leaf", "record", "to_be_signed")),
    *(("entries", name) for name in ("time", "kind", "serial")),
    ("tree_nodes", "hash"),
]


def flipped(value, chance):
    """Return a value of a database with one bit flipped."""
    if isinstance(value, int):
        return value ^ 1 << chance.randrange(30)
    raw = bytearray(value.encode() if isinstance(value, str) else value)
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_one_flipped_bit_in_any_row_is_named_by_its_entry(
    run, ca, rounds, table, column
):
    chance = random.Random(f"{table}{column}")  # noqa: S311 (no secret)
    place = "position << level" if table == "tree_nodes" else '"index"'
    with sqlite3.connect(ca / "daypass.db") as connection:
        rows = connection.execute(
            f'SELECT rowid, "{column}", {place} FROM {table}'  # noqa: S608 (our words)
            f' WHERE "{column}" IS NOT NULL'
        ).fetchall()
    connection.close()
    cast = "CAST(? AS TEXT)" if column in {"kind", "serial"} else "?"
    update = f'UPDATE {table} SET "{column}" = {cast} WHERE rowid = ?'  # noqa: S608

    for _ in range(rounds(5)):
        rowid, old, first = chance.choice(rows)
        change(ca, update, flipped(old, chance), rowid)
        status, out, _ = run("verify", "--json", ca=ca)
        change(ca, update, old, rowid)

        *found, _summary = map(json.loads, out.splitlines())
        assert status == 9
        assert {one["damage"]["first"] for one in found} == {first}


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ('DELETE FROM entries WHERE "index" = 77', "entry 77: the entry is missing"),
        (
            'DELETE FROM entries WHERE "index" = 299',
            "entry 299: the entry is missing",
        ),
        (
            "DELETE FROM tree_nodes WHERE level = 3 AND position = 2",
            "entries 16 to 23: the hash at level 3 of the tree is missing",
        ),
        (
            "DELETE FROM tree_nodes WHERE level = 8 AND position = 0",
            "entries 0 to 255: the hash at level 8 of the tree is missing",
        ),
        ("UPDATE ledger_head SET size = 172", "entries 172 to 299: missing"),
        ("UPDATE ledger_head SET size = 301", "entry 300: the ledger's head"),
    ],
)
def test_what_is_missing_is_named(run, ca, statement, says):
    change(ca, statement)

    status, out, _ = run("verify", ca=ca)

    assert status == 9
    assert says in out


GONE = "its record is gone, and no entry says that it was erased"


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ('record = NULL WHERE "index" IN (2)', f"entry 2: {GONE}\n"),
        ('to_be_signed = NULL WHERE "index" IN (2)', f"entry 2: {GONE}\n"),
        ('record = NULL WHERE "index" IN (7)', f"entry 7: {GONE}\n"),
        ("record = x'00' WHERE \"index\" IN (7)", "entry 7: its record is not the one"),
    ],
)
def test_a_record_that_somebody_took_away_in_silence_is_named(run, ca, changed, says):
    change(ca, f"UPDATE entries SET {changed}")  # noqa: S608 (our own words)

    status, out, _ = run("verify", ca=ca)

    assert status == 9
    assert out.startswith(says)
    assert out.endswith("300 entries checked: 1 wrong\n")


def test_what_was_taken_away_from_several_is_said_once(run, ca):
    for index in (2, 3, 4):
        change(ca, 'UPDATE entries SET record = NULL WHERE "index" = ?', index)
    run("erase-record", ENDED, ca=ca)

    assert f"entries 2 to 4: {GONE}\n" in run("verify", ca=ca)[1]


def test_a_node_that_the_tree_cannot_have_is_named(run, ca):
    for level, position in ((0, 300), (8, 1), (9, 0)):
        change(ca, "INSERT INTO tree_nodes VALUES (?, ?, ?)", level, position, b"x")

    status, out, _ = run("verify", ca=ca)

    assert status == 9
    assert "entry 300: there is a node beyond the tree, at level 0" in out
    assert "entry 256: there is a node beyond the tree, at level 8" in out
    assert "entry 0: there is a node beyond the tree, at level 9" in out


def test_a_head_that_says_less_is_noticed_without_a_checkpoint(run, ca):
    change(ca, "UPDATE ledger_head SET size = 172")
    (ca / "high-water").unlink()

    status, out, err = run("verify", ca=ca)

    assert status == 9
    assert "entry 172: the ledger's head does not fit its entries" in out
    assert "warning: not held against it" in err


def test_a_file_that_is_no_checkpoint_of_ours_holds_nothing_against_the_ledger(run, ca):
    (ca / "high-water").write_bytes(b"x" * 8192)

    status, _, err = run("verify", ca=ca)

    assert status == 0
    assert "holds no checkpoint of this log" in err


def test_a_checkpoint_that_another_key_signed_holds_nothing_either(run, ca):
    with opened(ca / "daypass.toml") as authority:
        note = authority.ledger.checkpoint().note
    (signature,) = note.signatures
    forged = replace(signature, signature=bytes(64))
    half = render_note(replace(note, signatures=(forged,)))
    (ca / "high-water").write_bytes(half.ljust(4096, b"\0") * 2)

    status, _, err = run("verify", ca=ca)

    assert status == 0
    assert "holds no checkpoint of this log" in err


def test_a_ledger_rewritten_as_a_whole_is_not_what_was_signed_for(run, ca):
    with opened(ca / "daypass.toml") as authority:
        note = authority.ledger.checkpoint().rendered
    with sqlite3.connect(ca / "daypass.db") as connection:
        for table in ("tree_nodes", "token_uses", "entries"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        connection.execute("UPDATE ledger_head SET size = 0")
    connection.close()
    (ca / "remembered").write_bytes(note)
    (ca / "high-water").unlink()
    with opened(ca / "daypass.toml") as authority:
        act(authority, SIZE)

    assert run("verify", ca=ca)[0] == 0
    status, out, _ = run("verify", "--checkpoint", ca / "remembered", ca=ca)

    assert status == 9
    assert "not those of the checkpoint that was signed for 300 entries" in out


@pytest.mark.parametrize("content", [None, b"", b"ca.example.com/log/1\n1\nx\n\n"])
def test_a_checkpoint_that_is_none_is_refused(run, ca, content):
    file = ca / "note"
    if content is not None:
        file.write_bytes(content)

    status, _, err = run("verify", "--checkpoint", file, ca=ca)

    assert status == 1
    assert str(file) in err


# --- export, and verify: a copy ---------------------------------------------------


@pytest.fixture
def copy(run, ca, tmp_path):
    assert run("export", tmp_path / "log", ca=ca)[0] == 0
    return tmp_path / "log"


def key_of(ca):
    with opened(ca / "daypass.toml") as authority:
        return render_key(authority.ledger.signer.key)


def test_export_writes_what_another_implementation_would(run, ca, copy):
    with opened(ca / "daypass.toml") as authority:
        leaves = [entry.leaf for entry in authority.store.entries(0, SIZE)]
        signed = authority.ledger.checkpoint()

    assert {
        str(path.relative_to(copy)): path.read_bytes()
        for path in copy.rglob("*")
        if path.is_file()
    } == files_of(leaves) | {
        "checkpoint": signed.rendered,
        "checkpoint-signature": signed.armour.encode(),
    }


def test_export_adds_what_is_new_and_says_which_key_verifies_it(run, ca, copy):
    with opened(ca / "daypass.toml") as authority:
        act(authority)

    status, out, _ = run("export", copy, ca=ca)

    assert status == 0
    assert out == f"{copy}: 300 -> 301 entries\nkey {key_of(ca)}\n"
    assert run("verify", copy, "--key", key_of(ca))[0] == 0


def test_a_copy_is_verified_by_its_key_alone_or_by_the_configuration(run, ca, copy):
    good = (0, "300 entries checked: nothing wrong\n", "")

    assert run("verify", copy, ca=ca) == good
    assert run("verify", copy, "--key", key_of(ca)) == good


def test_what_is_wrong_with_a_copy_is_named(run, ca, copy):
    bundle = copy / "tile/entries/000"
    bundle.write_bytes(bundle.read_bytes().replace(b'"serial":"3"', b'"serial":"4"'))

    status, out, _ = run("verify", copy, ca=ca)

    assert status == 9
    assert out.splitlines() == [
        "entry 2: the entry is not the one whose hash is in the tree",
        "entry 2: its serial 4 is not that of its place",
        "300 entries checked: 2 wrong",
    ]


def test_a_bundle_of_a_copy_that_is_gone_is_named(run, ca, copy):
    (copy / "tile/entries/000").unlink()

    status, out, _ = run("verify", copy, ca=ca)

    assert status == 9
    assert out.startswith("entries 0 to 255: the bundle is missing\n")


def test_a_copy_by_another_key_or_without_a_checkpoint_is_not_verified(run, ca, copy):
    other = render_key(NoteKey("ca.example.com/log/1", bytes(32)))
    for keys in (["--key", "x"], ["--key", key_of(ca), "--key", other]):
        assert run("verify", copy, *keys)[0] == 1
    note = parse_note((copy / "checkpoint").read_bytes())
    foreign = replace(note, text=note.text.replace(b"/1", b"/2", 1))
    (copy / "checkpoint").write_bytes(render_note(foreign))
    assert run("verify", copy, ca=ca)[0] == 1
    (copy / "checkpoint").unlink()
    status, _, err = run("verify", copy, ca=ca)
    assert status == 1
    assert "holds no checkpoint" in err


def test_a_copy_that_knows_other_entries_is_never_written_over(run, ca, copy):
    other = shutil.copytree(ca, ca.with_name("other"))
    with opened(other / "daypass.toml") as authority:
        act(authority, 2)
    assert run("export", copy, ca=other)[0] == 0
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}

    for says in ("300 of", "301 of", "checkpoint of 302", "checkpoint of 303"):
        status, _, err = run("export", copy, ca=ca)

        assert status == 9
        assert says in err
        assert "it may be right, and the ledger wrong" in err
        assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before
        with opened(ca / "daypass.toml") as authority:
            act(authority)


# --- show -------------------------------------------------------------------------


def test_show_prints_what_is_on_record_of_a_certificate(run, ca):
    status, out, _ = run("show", 2, ca=ca)

    assert status == 0
    lines = dict(line.split(None, 1) for line in out.splitlines())
    assert lines["index"] == "1"
    assert '"email":"ada@example.com"' in lines["record"]
    assert lines["principals"] == "ada"


def test_shown_as_json_it_carries_a_proof_that_another_implementation_verifies(run, ca):
    document = json.loads(run("show", 2, "--json", ca=ca)[1])

    leaf = b64decode(document["leaf"])
    assert tlogproof.verify_tlog_proof(document["proof"], leaf, key_of(ca))["ok"]
    assert document["serial"] == "2"
    assert document["kind"] == "user-certificate"
    assert document["record"]["identity"]


def test_show_finds_an_entry_without_a_serial_by_its_index(run, ca):
    document = json.loads(run("show", 7, "--index", "--json", ca=ca)[1])

    assert document["kind"] == "administration"
    assert document["serial"] is document["to_be_signed"] is None
    assert run("show", 7, "--index", ca=ca)[1].startswith("index      7\n")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["999"], 1), (["999", "--index"], 1), (["x"], 2), (["9" * 30], 2)],
)
def test_show_says_what_is_not_there(run, ca, arguments, status):
    assert run("show", *arguments, ca=ca)[0] == status


# --- erase-record -----------------------------------------------------------------


def test_what_was_erased_is_gone_and_everything_still_verifies(run, ca, copy):
    with opened(ca / "daypass.toml") as authority:
        erased = authority.store.entries(ENDED, 1)[0]

    status, out, err = run("erase-record", ENDED, ca=ca)

    assert status == 0
    assert out == "erased the record of entry 0; entry 300 says so\n"
    assert "backups still have it" in err
    assert run("verify", ca=ca)[0] == 0
    assert run("verify", "--checkpoint", copy / "checkpoint", ca=ca)[0] == 0
    assert "record     erased" in run("show", 1, ca=ca)[1]
    shown = json.loads(run("show", 300, "--index", "--json", ca=ca)[1])
    assert shown["record"]["act"] == "erase-record"
    assert shown["record"]["index"] == ENDED
    files = [path for path in ca.iterdir() if path.name.startswith("daypass.db")]
    assert files
    for file in files:
        assert erased.record not in file.read_bytes()
        assert erased.to_be_signed not in file.read_bytes()


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (LIVE, "lasts until"),
        (7, "about no certificate"),
        (300, "no entry at index 300"),
        (-1, "no entry at index -1"),
    ],
)
def test_what_may_still_be_needed_is_not_erased(run, ca, index, says):
    status, _, err = run("erase-record", index, ca=ca)

    assert status == 1
    assert says in err
    assert run("verify", ca=ca)[1].startswith("300 entries")


def test_a_record_is_found_by_its_serial_too(run, ca):
    assert "no certificate with serial 300" in run(*BY_SERIAL, 300, ca=ca)[2]
    assert "certificate of serial 2 lasts until" in run(*BY_SERIAL, 2, ca=ca)[2]

    _, out, _ = run(*BY_SERIAL, ENDED + 1, ca=ca)

    assert out == "erased the record of serial 1; entry 300 says so\n"
    assert run("verify", ca=ca)[0] == 0


BY_SERIAL = ("erase-record", "--serial")


def test_nothing_is_erased_twice(run, ca):
    run("erase-record", ENDED, ca=ca)

    status, _, err = run("erase-record", ENDED, ca=ca)

    assert status == 1
    assert "was erased before" in err


# --- reconcile --------------------------------------------------------------------


def accepted(folder, serial=2, **changes):
    with opened(folder / "daypass.toml") as authority:
        (entry,) = authority.store.entries(LIVE, 1)
        says = parse_to_be_signed(entry.to_be_signed or b"")
    parts = {
        "account": "ada",
        "key": wire.fingerprint(says.subject_key),
        "key_id": says.key_id,
        "serial": serial,
        "ca": wire.fingerprint(says.ca_key),
    } | changes
    return (
        "Nov 22 08:00:00 web1 sshd[7]: Accepted publickey for {account} from 192.0.2.7"
        " port 55192 ssh2: ED25519-CERT {key} ID {key_id} (serial {serial})"
        " CA ED25519 {ca}\n"
    ).format(**parts)


def reconcile(run, ca, *lines):
    log = Path(ca, "auth.log")
    log.write_text("".join(lines))
    return run("reconcile", log, ca=ca)


def test_logins_that_are_on_the_ledger_are_counted(run, ca):
    status, out, _ = reconcile(
        run,
        ca,
        accepted(ca),
        "Accepted password for ada from 192.0.2.7 port 1 ssh2\n",
        accepted(ca, ca="SHA256:another"),
    )

    assert status == 0
    assert out == "2 logins by certificate, 1 of other CAs: none not on the ledger\n"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"serial": 999}, "serial 999 was never issued"),
        ({"serial": 1 << 63}, "was never issued"),
        ({"key": "SHA256:x"}, "serial 2 was issued to another key"),
        ({"key_id": "corp:eve"}, "serial 2 was issued to corp:ada@example.com"),
        # A key ID that means to look like the rest of a line.
        (
            {"key_id": "x (serial 2) CA ED25519 SHA256:y", "serial": 999},
            "serial 999 was never issued",
        ),
    ],
)
def test_a_login_that_is_not_is_named(run, ca, changes, says):
    status, out, _ = reconcile(run, ca, accepted(ca), accepted(ca, **changes))

    assert status == 9
    assert out.startswith("line 2: ada from 192.0.2.7, key ")
    assert says in out.splitlines()[0]


def test_of_what_was_erased_the_serial_is_enough(run, ca):
    run("erase-record", ENDED, ca=ca)

    assert reconcile(run, ca, accepted(ca, serial=1))[0] == 0


def test_logins_are_read_from_standard_input_too(run, ca, monkeypatch, tmp_path):
    file = tmp_path / "log"
    file.write_text(accepted(ca, serial=999))
    with file.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        status, out, _ = run("reconcile", "-", "--json", ca=ca)

    assert status == 9
    assert json.loads(out.splitlines()[0])["why"] == "serial 999 was never issued"


def test_a_log_that_cannot_be_read_is_named(run, ca):
    status, _, err = run("reconcile", ca / "nowhere", ca=ca)

    assert status == 1
    assert "nowhere" in err
