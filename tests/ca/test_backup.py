"""`ca-admin backup` and `restore`: what comes back is whole, and stopped."""

import json
import os
import shutil
import sqlite3
import stat
from datetime import UTC, datetime

import pytest

from ca.admin.__main__ import main
from ca.administration import Person, RevocationRequest
from ca.bundle import parse_current, split_signed
from ca.errors import LedgerStopped
from ca.krl import KRL, parse_krl, render_krl
from ca.revoke import operator, revoke
from ca.signing_key import FileKey
from ca.store import Store
from tests.authority import make_ca, opened, request_of
from tests.ca.test_issue import issue
from tests.ca.test_ledger_new_log import current_of
from tests.databases import put_into
from tests.fakes import FakeIdP


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def made(idp, tmp_path_factory):
    """Make a CA with one certificate, and a backup of it, once."""
    folder = tmp_path_factory.mktemp("made")
    config_file = make_ca(folder / "ca", idp)
    with opened(config_file) as authority:
        issue(authority, request_of(idp), now=datetime.now(UTC))
    assert run("backup", folder / "old/backup", ca=folder / "ca") == 0
    return folder


@pytest.fixture
def folder(made, tmp_path, capsys):
    capsys.readouterr()
    return shutil.copytree(made, tmp_path / "made")


def run(*arguments, ca):
    return main([*map(str, arguments), "--config", str(ca / "daypass.toml")])


def certify(authority, idp):
    return issue(authority, request_of(idp), now=datetime.now(UTC))


def test_a_backup_has_the_database_and_no_key(folder):
    backup = folder / "old/backup"

    names = {path.name for path in backup.iterdir()}
    assert names == {"daypass.db", "daypass.toml", "policy.toml", "roots"}
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert stat.S_IMODE((backup / "daypass.db").stat().st_mode) == 0o600
    with sqlite3.connect(backup / "daypass.db") as connection:
        assert connection.execute("SELECT size FROM ledger_head").fetchall() == [(1,)]
    connection.close()


def test_a_backup_is_whole_while_the_database_is_written_to(folder, idp):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        last = certify(authority, idp)
        assert run("backup", folder / "now", ca=ca) == 0  # its log is not written back

    store = Store.open(f"sqlite:///{folder}/now/daypass.db")
    assert store.entry_by_serial(int(last.serial)) is not None
    store.close()


def test_a_restored_database_is_stopped_for_signers_that_have_it_open(folder, idp):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        certify(authority, idp)

        assert run("restore", folder / "old/backup", ca=ca) == 0

        with pytest.raises(LedgerStopped, match="restored from a backup"):
            certify(authority, idp)
        assert authority.store.log_head().tree.size == 1
    assert not list(ca.glob(".daypass.db*"))


def test_a_restored_database_goes_on_when_nothing_known_is_missing(folder, idp, capsys):
    ca = folder / "ca"
    assert run("restore", folder / "old/backup", ca=ca) == 0
    assert "the ledger is stopped" in capsys.readouterr().out

    assert run("ledger", "recover", "--yes", ca=ca) == 0

    with opened(ca / "daypass.toml") as authority:
        assert certify(authority, idp).serial == "3"  # 2 is the recovery's own


def test_a_restored_database_that_lost_entries_stays_stopped(folder, idp, capsys):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        certify(authority, idp)
        assert run("ledger", "export", folder / "copy", ca=ca) == 0
    assert run("restore", folder / "old/backup", ca=ca) == 0

    assert run("ledger", "recover", "--yes", ca=ca) == 1
    assert "checkpoint of 2 entries" in capsys.readouterr().err
    assert run("ledger", "recover", folder / "copy", "--yes", ca=ca) == 0


def test_where_nobody_knows_how_far_it_was_nothing_goes_on(folder, capsys):
    ca = folder / "ca"
    (ca / "high-water").unlink()
    assert run("restore", folder / "old/backup", ca=ca) == 0

    assert run("ledger", "recover", "--yes", ca=ca) == 1

    assert "nobody has said how far the ledger was" in capsys.readouterr().err
    assert run("ledger", "recover", "--new-log", folder / "roots.new", ca=ca) == 0


def test_what_stopped_the_database_before_is_not_forgotten(folder, idp, capsys):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        certify(authority, idp)
    backup = folder / "old/backup"
    shutil.copy(backup / "daypass.db", ca / "daypass.db")
    with opened(ca / "daypass.toml") as authority, pytest.raises(LedgerStopped):
        certify(authority, idp)
    (ca / "high-water").unlink()

    assert run("restore", backup, ca=ca) == 0
    assert run("restore", "--stop", ca=ca) == 0

    assert run("ledger", "recover", "--yes", ca=ca) == 1
    assert "checkpoint of 2 entries" in capsys.readouterr().err


def test_what_was_revoked_after_a_backup_stays_revoked(folder, capsys):
    ca, host = folder / "ca", folder / "host"
    with opened(ca / "daypass.toml") as authority:
        pull(authority, host)
        assert run("backup", folder / "now", ca=ca) == 0
        request = RevocationRequest(reason="lost", serial="1")
        revoke(authority, request, operator(), now=datetime.now(UTC))
        pull(authority, host)
    assert run("ledger", "export", folder / "copy", ca=ca) == 0
    assert run("restore", folder / "now", ca=ca) == 0
    recover = ("ledger", "recover", folder / "copy")
    capsys.readouterr()

    assert run(*recover, ca=ca) == 1
    assert "--krl FILE" in capsys.readouterr().err
    assert run(*recover, "--krl", host / "revoked.krl", ca=ca) == 2
    assert "blocked, as the database has it:\n  nobody" in capsys.readouterr().err
    for _ in range(2):
        assert run(*recover, "--krl", host / "revoked.krl", "--yes", ca=ca) == 0

    assert (
        "came back without its record: entry 1, revocation" in capsys.readouterr().out
    )
    with opened(ca / "daypass.toml") as authority:
        assert authority.store.log_head().tree.size == 3  # the recovery, once
        assert authority.store.revoked_among({1, 2}) == {1}
        krl = pull(authority, host)
    assert {one.serials for one in krl.certificates} == {((1, 1),)}


def test_a_krl_is_proved_and_not_older_than_what_the_database_published(folder, capsys):
    ca, host = folder / "ca", folder / "host"
    with opened(ca / "daypass.toml") as authority:
        pull(authority, host)
        other = FileKey.generate().blob
        krl = render_krl(KRL(version=1, generated=1, keys=(other,)))
        older = current_of(authority, krl)
        newer = current_of(authority, krl, version=1 << 50)
        assert run("backup", folder / "now", ca=ca) == 0
    assert run("restore", folder / "now", ca=ca) == 0
    recover = ("ledger", "recover", "--yes", "--krl", host / "revoked.krl")

    (host / "revoked.krl").write_bytes(krl)
    assert run(*recover, ca=ca) == 1
    assert "is not proved" in capsys.readouterr().err
    (host / "current").write_bytes(older)
    assert run(*recover, ca=ca) == 1
    assert "is older than" in capsys.readouterr().err
    (host / "current").unlink()
    assert run(*recover, ca=ca) == 1
    assert "cannot read" in capsys.readouterr().err
    (host / "current").write_bytes(newer)
    assert run(*recover, ca=ca) == 0

    with opened(ca / "daypass.toml") as authority:
        assert authority.store.revocations().ca_keys == (other,)


def test_the_blocks_are_shown_and_confirmed(folder, capsys, monkeypatch):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        ada = Person(issuer="corp", email="ada@example.com")
        request = RevocationRequest(reason="x", person=ada)
        revoke(authority, request, operator(), now=datetime.now(UTC))
    assert run("backup", folder / "now", ca=ca) == 0
    assert run("restore", folder / "now", ca=ca) == 0
    capsys.readouterr()

    master, terminal = os.openpty()
    with open(terminal) as stdin:  # noqa: PTH123 (a descriptor)
        monkeypatch.setattr("sys.stdin", stdin)
        os.write(master, b"n\n")
        assert run("ledger", "recover", ca=ca) == 1
        assert "  email ada@example.com" in capsys.readouterr().err
        os.write(master, b"y\n")
        assert run("ledger", "recover", ca=ca) == 0
    os.close(master)


def pull(authority, host):
    """Take the bundle as a host does."""
    host.mkdir(exist_ok=True)
    current = authority.trust.current(now=datetime.now(UTC))
    says = parse_current(split_signed(current)[0])
    (host / "current").write_bytes(current)
    krl = authority.trust.blob(says.krl_sha256)
    (host / "revoked.krl").write_bytes(krl)
    return parse_krl(krl)


@pytest.mark.parametrize("content", [None, b"", b"nonsense " * 1000])
def test_a_database_that_is_gone_or_damaged_is_replaced(folder, idp, content, capsys):
    ca = folder / "ca"
    with opened(ca / "daypass.toml") as authority:
        certify(authority, idp)
        for name in ("daypass.db", "daypass.db-wal", "daypass.db-shm"):
            shutil.copy(ca / name, folder / name)  # as a crash leaves them
    for name in ("daypass.db-wal", "daypass.db-shm"):
        shutil.copy(folder / name, ca / name)
    (ca / "daypass.db").unlink()
    if content is not None:
        (ca / "daypass.db").write_bytes(content)

    status = run("restore", folder / "old/backup", ca=ca)

    if content:
        assert status == 1
        assert "move it away" in capsys.readouterr().err
        return
    assert status == 0
    store = Store.open(f"sqlite:///{ca}/daypass.db")
    assert store.log_head().tree.size == 1
    assert store.log_head().stopped == "the database was restored from a backup"
    store.close()


def test_a_backup_is_never_written_over_and_a_missing_one_is_named(folder, capsys):
    ca = folder / "ca"
    assert run("backup", folder / "old/backup", ca=ca) == 1
    assert "is not empty" in capsys.readouterr().err
    assert run("restore", folder / "none", ca=ca) == 1
    assert "there is no backup" in capsys.readouterr().err
    assert run("backup", folder / "old/backup/roots/x", ca=ca) == 1
    assert "cannot make" in capsys.readouterr().err
    (ca / "daypass.db").unlink()
    assert run("backup", folder / "b", ca=ca) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not (folder / "b").exists()


def test_a_backup_that_is_damaged_is_not_put_back(folder, capsys):
    ca, backup = folder / "ca", folder / "old/backup/daypass.db"
    content = bytearray(backup.read_bytes())
    content[4096 * 3 : 4096 * 3 + 200] = b"x" * 200
    backup.write_bytes(content)

    assert run("restore", backup.parent, ca=ca) == 1

    assert "damaged" in capsys.readouterr().err
    with opened(ca / "daypass.toml") as authority:
        assert authority.problems() == []


def test_a_database_on_a_server_makes_its_own_backups(folder, postgres, capsys):
    ca = folder / "ca"
    database = postgres.make_database()
    put_into(ca / "daypass.toml", database)

    assert run("backup", folder / "b", ca=ca) == 1
    assert "pg_dump" in capsys.readouterr().err
    assert run("restore", "--stop", "--json", ca=ca) == 0

    said = json.loads(capsys.readouterr().out)
    assert said == {"v": 1, "restored": False, "stopped": True}
    ((stopped,),) = database.ask("SELECT stopped FROM ledger_head")
    assert stopped == "the database was restored from a backup"
