"""Nobody issues from the past: what stops the signers, and how they go on.

A ledger that lost entries is made by copying its database, going on, and putting the
copy back, as a restored backup would be.
"""

import json
import shutil
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest

from ca.admin.__main__ import main
from ca.errors import (
    Conflict,
    LedgerStopped,
    Malformed,
    Misconfigured,
    StoreUnavailable,
    TokenSpent,
)
from ca.issue import Caller, issue_user_certificate
from ca.ledger import EntryKind, HighWater, place_of
from ca.ledger.recovery import Copy, adopt_head, recover
from ca.merkle import CompactTree
from ca.store import (
    Act,
    Draft,
    Forgotten,
    JoinToken,
    PublishedCurrent,
    Seen,
    Store,
    TokenUse,
)
from ca.store.hosts import join_token
from tests.authority import make_ca, opened, request_of
from tests.fakes import FakeIdP
from tests.ledgers import (
    NOW,
    append,
    check,
    checkpoint_signer,
    new_store,
    open_ledger,
    seen_in,
)

LATER = NOW + timedelta(hours=1)
JOIN = b"j" * 32


class Restored:
    """A ledger of three entries that was then taken back to two."""

    def __init__(self, folder):
        self.folder = folder
        self.store = new_store(folder)
        self.ledger = open_ledger(self.store, folder / "high-water")
        made = self.ledger.change(
            join_token(JOIN, JoinToken(None, (), expires=1 << 40), now=0),
            kind=EntryKind.ADMINISTRATION,
            record={"v": 1, "act": "make-join-token"},
            now=NOW,
        )
        self.leaves = [made.leaf, append(self.ledger).entry.leaf]
        self.store.close()
        for kept in folder.glob("daypass.db*"):
            shutil.copy(kept, folder / f"backup-{kept.name}")
        proved = append(self.ledger)
        self.leaves.append(proved.entry.leaf)
        self.newest = seen_in(proved.signed)
        self.store.close()
        for kept in folder.glob("daypass.db*"):
            kept.unlink()
        for backup in folder.glob("backup-*"):
            backup.rename(folder / backup.name.removeprefix("backup-"))
        # As after a restart: a signer that runs does not take a file for another.
        self.store = Store.open(f"sqlite:///{folder}/daypass.db")
        self.ledger = open_ledger(self.store, folder / "high-water")


@pytest.fixture
def restored(tmp_path):
    restored = Restored(tmp_path)
    yield restored
    restored.store.close()


def test_a_signer_whose_database_was_taken_back_stops_them_all(restored, tmp_path):
    with pytest.raises(LedgerStopped, match=r"of 3 entries .* the ledger has 2"):
        append(restored.ledger)

    peer = Store.open(f"sqlite:///{tmp_path}/daypass.db")
    (tmp_path / "peer").mkdir()
    with pytest.raises(Misconfigured, match="peer/high-water"):
        open_ledger(peer, tmp_path / "peer/high-water")
    with pytest.raises(LedgerStopped):
        peer.append([])
    peer.close()


def as_one_batch(ledger, seen=None):
    ledger.append_all([draft()], seen=seen)


def as_a_change(ledger):
    record = {"v": 1, "act": "test"}
    kind = EntryKind.ADMINISTRATION
    ledger.change(lambda _c, _entry: None, kind=kind, record=record, now=NOW)


def as_an_act(ledger):
    ledger.act(lambda _tail: Act(draft=draft()), tail_from=1 << 62)


def draft():
    record = {"v": 1, "act": "test"}
    return Draft(place_of(None, kind=EntryKind.BLOCK, record=record, now=NOW))


@pytest.mark.parametrize("write", [as_one_batch, as_a_change, as_an_act])
def test_whatever_is_to_be_written_stops_such_a_ledger(restored, write):
    with pytest.raises(LedgerStopped, match="of 3 entries"):
        write(restored.ledger)

    assert restored.store.log_head().stopped is not None
    assert restored.store.log_head().tree.size == 2


@pytest.mark.parametrize("write", [as_one_batch, as_a_change, as_an_act])
def test_whatever_was_written_is_in_the_high_water_file(ledger, write):
    write(ledger)

    assert ledger.high_water.newest().size == 1


def test_asking_for_the_checkpoint_of_such_a_ledger_stops_it_too(restored):
    with pytest.raises(LedgerStopped):
        restored.ledger.checkpoint()

    (problem,) = restored.ledger.problems()
    assert problem.startswith("the ledger is stopped: there is a checkpoint of 3")
    assert "\n" not in problem


def test_asking_whether_a_signer_is_ready_stops_such_a_ledger_for_all(restored):
    (problem,) = restored.ledger.problems()

    assert problem.startswith("the ledger is stopped: there is a checkpoint of 3")
    assert restored.store.log_head().stopped is not None


def test_a_signer_that_certifies_nothing_learns_how_far_its_peers_are(ledger, tmp_path):
    peer = Store.open(f"sqlite:///{tmp_path}/daypass.db")
    (tmp_path / "high-water of a peer").write_bytes(
        (tmp_path / "high-water").read_bytes()
    )
    newest = seen_in(
        append(open_ledger(peer, tmp_path / "high-water of a peer")).signed
    )
    peer.close()

    assert ledger.problems() == []

    assert ledger.high_water.newest() == newest


@pytest.mark.parametrize("write", [append, as_one_batch])
def test_a_peer_is_stopped_by_what_a_request_brings(restored, tmp_path, write):
    (tmp_path / "high-water").unlink()
    adopt_head(restored.ledger, restored.store)

    with pytest.raises(LedgerStopped):
        write(restored.ledger, seen=restored.newest)
    with pytest.raises(LedgerStopped):
        append(restored.ledger)


def test_a_stopped_ledger_publishes_nothing_new(restored):
    with pytest.raises(LedgerStopped):
        append(restored.ledger)
    current = PublishedCurrent(version=1, published=5, roots_sha256="00", document=b"d")

    with pytest.raises(LedgerStopped):
        publish(restored.store, current)

    recover(restored.ledger, restored.store, Copy(restored.leaves), now=LATER)
    publish(restored.store, current)
    assert restored.store.newest_current() == current


def publish(store, current):
    assert store.publish(current, unless_since=store.publication_mark())


def test_a_database_that_was_moved_away_is_written_to_when_it_is_back(ledger, tmp_path):
    append(ledger)
    file, away = tmp_path / "daypass.db", tmp_path / "away"
    file.rename(away)
    for put in (lambda: None, lambda: file.write_bytes(away.read_bytes())):
        put()

        with pytest.raises(StoreUnavailable, match="is gone, or not the file"):
            append(ledger)
        (problem,) = ledger.problems()
        assert problem.startswith(f"{file} is gone, or not")

    away.rename(file)

    assert append(ledger).entry.serial == 2
    assert ledger.problems() == []


# --- Recovery ---------------------------------------------------------------------


def test_lost_entries_are_taken_back_and_issuing_goes_on(restored):
    with pytest.raises(LedgerStopped):
        append(restored.ledger)

    recovered = recover(
        restored.ledger, restored.store, Copy(restored.leaves[1:], 1), now=LATER
    )

    assert [(e.serial, e.record) for e in recovered.entries] == [(3, None)]
    proved = append(restored.ledger, seen=restored.newest)
    assert proved.entry.serial == 5
    assert check(proved, restored.ledger.signer.key).size == 5
    assert restored.ledger.problems() == []


def test_what_others_know_to_be_revoked_is_so_at_once_for_all(restored):
    before = restored.store.revocation_mark()

    recover(
        restored.ledger,
        restored.store,
        Copy(restored.leaves),
        forgotten=Forgotten(((2, 2),), (b"a stolen CA key",)),
        now=LATER,
    )

    revoked = restored.store.revocations()
    assert revoked.ca_keys == (b"a stolen CA key",)
    assert revoked.lost == ((2, 3),)
    assert restored.store.revocation_mark() != before


def test_recovering_twice_changes_nothing(restored):
    recover(restored.ledger, restored.store, Copy(restored.leaves), now=LATER)

    again = recover(restored.ledger, restored.store, Copy(restored.leaves), now=LATER)

    assert again.entries == ()
    assert restored.store.log_head().tree.size == 4


def test_what_is_still_missing_keeps_the_ledger_stopped(restored, tmp_path):
    with pytest.raises(LedgerStopped):
        append(restored.ledger)
    (tmp_path / "high-water").unlink()

    with pytest.raises(LedgerStopped, match="of 3 entries"):
        recover(restored.ledger, restored.store, Copy(restored.leaves[:2]), now=LATER)

    assert restored.store.log_head().stopped is not None
    assert restored.store.log_head().tree.size == 2


def test_other_entries_than_those_that_were_lost_are_refused(restored):
    forged = restored.leaves[-1].replace(b'"time":1', b'"time":2')

    with pytest.raises(LedgerStopped, match="other entries"):
        recover(
            restored.ledger,
            restored.store,
            Copy([*restored.leaves[:2], forged]),
            now=LATER,
        )
    assert restored.store.log_head().tree.size == 2


@pytest.mark.parametrize(("first", "count"), [(3, 0), (2, 1)])
def test_a_copy_that_does_not_fit_is_refused(restored, first, count):
    with pytest.raises(Conflict):
        recover(
            restored.ledger,
            restored.store,
            Copy(restored.leaves[1 : 1 + count], first),
            now=LATER,
        )


def test_tokens_from_before_a_recovery_buy_nothing(restored):
    recover(restored.ledger, restored.store, Copy(restored.leaves), now=LATER)

    def spend(issued):
        use = TokenUse(b"t" * 32, b"r" * 32, 0, 1, issued=int(issued.timestamp()))
        return append(restored.ledger, spends=use)

    with pytest.raises(TokenSpent, match="before the ledger was recovered"):
        spend(NOW)
    assert spend(LATER).entry.serial == 5


def test_join_tokens_from_before_a_recovery_have_ended(restored):
    recover(restored.ledger, restored.store, Copy(restored.leaves), now=LATER)

    token = restored.store.hosts.join_token(JOIN)
    assert token.expires == LATER.timestamp()
    assert token.spent_by is None


def test_an_operator_lets_a_signer_begin_with_the_ledger_as_it_is(restored, tmp_path):
    (tmp_path / "high-water").write_bytes(b"nonsense")
    with pytest.raises(StoreUnavailable, match="holds no checkpoint"):
        append(restored.ledger)
    assert restored.ledger.problems()

    signed = adopt_head(restored.ledger, restored.store)

    assert signed.checkpoint.size == 2
    assert append(restored.ledger).entry.serial == 3


def test_a_head_that_a_peer_contradicts_is_not_adopted(restored, tmp_path):
    (tmp_path / "high-water").unlink()

    with pytest.raises(LedgerStopped):
        adopt_head(restored.ledger, restored.store, known=restored.newest)
    assert not (tmp_path / "high-water").exists()


# --- The high-water file ----------------------------------------------------------


@pytest.fixture
def ledger(tmp_path):
    store = new_store(tmp_path)
    yield open_ledger(store, tmp_path / "high-water")
    store.close()


def test_each_checkpoint_is_in_the_file_before_anybody_has_it(ledger):
    for _ in range(5):
        proved = append(ledger)

        assert ledger.high_water.newest() == seen_in(proved.signed)


def test_a_half_that_was_torn_leaves_the_other(ledger, tmp_path):
    before = seen_in(append(ledger).signed)
    append(ledger)
    newest = ledger.checkpoint().rendered
    content = (tmp_path / "high-water").read_bytes()
    assert content.count(newest) == 1

    (tmp_path / "high-water").write_bytes(content.replace(newest[:90], bytes(90)))

    assert ledger.high_water.newest() == before
    assert append(ledger).entry.serial == 3


def test_the_file_never_changes_its_length(ledger, tmp_path):
    for _ in range(3):
        append(ledger)

        assert (tmp_path / "high-water").stat().st_size == 8192


def test_two_databases_that_share_the_file_are_told_apart(ledger, tmp_path):
    other = new_store(tmp_path, "other")
    fork = open_ledger(other, tmp_path / "high-water")
    mine = append(ledger)
    theirs = other.append([], seen=[]).growth
    forged = fork.signer.sign(theirs.tree.extend([b"x" * 32])[0])

    with pytest.raises(StoreUnavailable, match="another ledger"):
        fork.high_water.raise_to(seen_in(forged))
    assert ledger.high_water.newest() == seen_in(mine.signed)
    other.close()


def test_a_file_that_cannot_be_written_refuses_and_loses_nothing(ledger, tmp_path):
    (tmp_path / "high-water-lock").mkdir()

    with pytest.raises(StoreUnavailable, match="high-water-lock"):
        append(ledger)

    (tmp_path / "high-water-lock").rmdir()
    assert append(ledger).entry.serial == 2


def test_a_checkpoint_that_the_file_has_no_room_for_is_refused(tmp_path):
    file = tmp_path / "high-water"
    high_water = HighWater(file, recognise=checkpoint_signer().recognise)

    with pytest.raises(Malformed, match="too long"):
        high_water.create(Seen(1, b"r" * 32, b"n" * 5000))
    assert not file.exists()


def test_creating_it_twice_keeps_the_first(ledger):
    newest = seen_in(append(ledger).signed)

    ledger.high_water.create(seen_in(checkpoint_signer().sign(CompactTree())))

    assert ledger.high_water.newest() == newest


# --- The operator's commands ------------------------------------------------------


@pytest.fixture
def taken_back(tmp_path, capsys):
    """Make a CA of four entries, a monitor's copy, and a database of two."""
    with FakeIdP() as idp:
        config_file = make_ca(tmp_path / "ca", idp)
        with opened(config_file) as authority:
            act(authority)
            act(authority)
        backup = (tmp_path / "ca/daypass.db").read_bytes()
        with opened(config_file) as authority:
            act(authority)
            issue(authority, request_of(idp))
        config = ["--config", str(config_file)]
        assert main(["ledger", "export", str(tmp_path / "copy"), *config]) == 0
        (tmp_path / "ca/daypass.db").write_bytes(backup)
        capsys.readouterr()
        yield idp, config_file


def issue(authority, request):
    caller = Caller(ip_address("127.0.0.1"), "test")
    return issue_user_certificate(authority, request, caller, now=datetime.now(UTC))


def act(authority):
    authority.ledger.append(
        None,
        kind=EntryKind.ADMINISTRATION,
        record={"v": 1, "act": "test"},
        now=datetime.now(UTC),
    )


def test_an_operator_takes_entries_back_from_a_monitor_s_copy(
    taken_back, tmp_path, capsys
):
    idp, config_file = taken_back
    config = ["--config", str(config_file), "--json"]
    with opened(config_file) as authority, pytest.raises(LedgerStopped):
        issue(authority, request_of(idp))
    assert main(["ledger", "recover", "--yes", *config]) == 1
    assert '"ledger_stopped"' in capsys.readouterr().out

    assert main(["ledger", "recover", str(tmp_path / "copy"), "--yes", *config]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["size"], said["taken_back"]) == (5, 2)
    assert said["revoked_serials"] == [["4", "4"]]
    assert said["without_record"] == [{"index": 2, "kind": "administration"}]
    assert main(["ledger", "recover", "--yes", *config]) == 0
    assert main(["ledger", "verify", *config]) == 0
    with opened(config_file) as authority:
        assert authority.problems() == []


def test_a_folder_without_a_copy_is_said_in_words(taken_back, tmp_path, capsys):
    _idp, config_file = taken_back

    arguments = [str(tmp_path), "--config", str(config_file)]

    assert main(["ledger", "recover", *arguments]) == 1
    assert "there is no copy of a ledger" in capsys.readouterr().err


def test_nobody_goes_on_from_behind_what_another_signer_knows(
    taken_back, tmp_path, capsys
):
    _idp, config_file = taken_back
    config = ["--config", str(config_file)]
    peer = (tmp_path / "ca/high-water").rename(tmp_path / "high-water of a peer")
    content = peer.read_bytes()
    assert main(["ledger", "adopt-head", *config]) == 0
    assert main(["restore", "--stop", *config]) == 0
    known = ["--checkpoint", str(peer)]

    assert main(["ledger", "verify", *known, *config]) == 9
    assert main(["ledger", "recover", *known, "--yes", *config]) == 1

    assert "a checkpoint of 4 entries" in capsys.readouterr().err
    with opened(config_file) as authority:
        assert authority.store.log_head().stopped is not None
    planned = [str(tmp_path / "roots.new"), *known]
    assert main(["ledger", "recover", "--new-log", *planned, *config]) == 0
    assert "at 4 entries" in capsys.readouterr().out
    peer.write_bytes(bytes(4096) + content[4096:])  # the power went in the middle
    copy = str(tmp_path / "copy")
    assert main(["ledger", "recover", copy, *known, "--yes", *config]) == 0
    assert main(["ledger", "adopt-head", *known, *config]) == 0
    peer.write_bytes(bytes(8192))
    assert main(["ledger", "adopt-head", *known, *config]) == 1
    assert str(peer) in capsys.readouterr().err


def test_a_loss_that_no_signer_has_noticed_is_recovered_from_like_any_other(
    taken_back, tmp_path, capsys
):
    _idp, config_file = taken_back
    copy, config = str(tmp_path / "copy"), ["--config", str(config_file)]
    with opened(config_file) as authority:
        authority.trust.current(now=datetime.now(UTC))
        assert authority.store.log_head().stopped is None

    # Otherwise what was revoked since would be forgotten without a word.
    assert main(["ledger", "recover", copy, "--yes", *config]) == 1
    assert "--krl FILE" in capsys.readouterr().err

    with opened(config_file) as authority:
        assert "of 4 entries" in (authority.store.log_head().stopped or "")
        assert authority.store.log_head().tree.size == 2
    recover = ["ledger", "recover", copy, "--no-krl", "--yes"]
    assert main([*recover, *config]) == 0
    assert "blocked, as the database has it" in capsys.readouterr().err


def test_a_checkpoint_that_somebody_brings_stops_whoever_is_behind_it(
    taken_back, tmp_path, capsys
):
    _idp, config_file = taken_back
    config = ["--config", str(config_file)]
    (tmp_path / "ca/high-water").unlink()
    assert main(["ledger", "adopt-head", *config]) == 0
    known = ["--checkpoint", str(tmp_path / "copy/checkpoint")]

    assert main(["ledger", "recover", *known, "--yes", *config]) == 1

    assert "a checkpoint of 4 entries" in capsys.readouterr().err
    with opened(config_file) as authority:
        (problem,) = authority.problems()
    assert "of 4 entries" in problem


def test_an_operator_adopts_the_head_with_and_without_a_checkpoint(
    taken_back, tmp_path, capsys
):
    _idp, config_file = taken_back
    (tmp_path / "ca/high-water").unlink()
    arguments = ["ledger", "adopt-head", "--config", str(config_file)]
    missing = ["--checkpoint", str(tmp_path / "none")]
    newest = ["--checkpoint", str(tmp_path / "copy/checkpoint")]

    assert main([*arguments, *missing]) == 1
    assert "cannot read" in capsys.readouterr().err
    assert main(arguments) == 0
    assert "begins with 2 entries" in capsys.readouterr().out
    assert main([*arguments, *newest]) == 1
    assert "ledger is stopped" in capsys.readouterr().err

    config = arguments[2:]
    assert main(["ledger", "recover", str(tmp_path / "copy"), "--yes", *config]) == 0
    assert main([*arguments, *newest]) == 0
    assert "begins with 5 entries" in capsys.readouterr().out
