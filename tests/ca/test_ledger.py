"""The ledger: durable before signed, in batches, proved, nothing personal in a leaf.

What a proof is worth is judged as a reader would, by `tests.ledgers.check`.
"""

import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ca import merkle
from ca.errors import (
    LedgerStopped,
    Malformed,
    Misconfigured,
    StoreUnavailable,
    TokenSpent,
)
from ca.ledger import CheckpointSigner, EntryKind, canonical_json
from ca.ledger.batches import Batches
from ca.ledger.entry import Place
from ca.signing_key import FileKey, KeyType
from ca.store import Draft, Entry, Store, TokenUse
from ca.store.tables import token_uses
from tests.ledgers import (
    NOW,
    ONLINE_KEY,
    ORIGIN,
    RECORD,
    append,
    check,
    checkpoint_signer,
    new_store,
    open_ledger,
    seen_in,
)


@pytest.fixture
def store(tmp_path):
    store = new_store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def opened(store, tmp_path):
    """Open the ledger of a store, or of one that stands in for it."""
    open_ledger(store, tmp_path / "high-water")
    return lambda store: open_ledger(store, tmp_path / "high-water")


@pytest.fixture
def ledger(store, opened):
    return opened(store)


def token_use(request):
    return TokenUse(b"t" * 32, request.ljust(32), int(NOW.timestamp()) + 300, 1)


def test_an_entry_is_in_the_store_when_append_returns(store, ledger):
    entry = append(ledger).entry

    assert store.entry_by_serial(entry.serial) == entry
    assert entry.to_be_signed == b"to be signed 1"


def test_the_leaf_commits_to_what_is_signed_and_to_the_record(ledger):
    entry = append(ledger).entry
    assert entry.record is not None
    assert entry.to_be_signed is not None

    assert json.loads(entry.leaf) == {
        "v": 1,
        "time": int(NOW.timestamp()),
        "kind": "user-certificate",
        "serial": "1",
        "to_be_signed_sha256": hashlib.sha256(entry.to_be_signed).hexdigest(),
        "record_sha256": hashlib.sha256(entry.record).hexdigest(),
    }
    assert canonical_json(json.loads(entry.leaf)) == entry.leaf


def test_equal_records_have_different_hashes(ledger):
    first, second = append(ledger).entry, append(ledger).entry

    assert first.record != second.record
    assert first.record is not None
    assert json.loads(first.record)["identity"] == RECORD["identity"]


def test_canonical_json_is_that_of_rfc_8785():
    value = {"b": [1, None, True], "a": '\x0f\n"\\\u20ac\U0001f600'}

    assert canonical_json(value) == (
        '{"a":"\\u000f\\n\\"\\\\\u20ac\U0001f600","b":[1,null,true]}'.encode()
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner)
    ),
)


@given(st.dictionaries(st.text(st.characters(codec="ascii")), VALUES))
def test_canonical_json_is_that_of_the_standard_library(value):
    assert (
        canonical_json(value)
        == json.dumps(
            value, ensure_ascii=False, separators=(",", ":"), sort_keys=True
        ).encode()
    )


def test_a_spent_token_is_refused_and_the_same_request_repeated(ledger):
    first = append(ledger, spends=token_use(b"one"))
    append(ledger)

    again = append(ledger, spends=token_use(b"one"))

    assert again.entry == first.entry
    assert check(again, ledger.signer.key).size == 2
    with pytest.raises(TokenSpent):
        append(ledger, spends=token_use(b"two"))


class SlowStore(Store):
    """The real store, whose first append waits until `go` is set."""

    def __init__(self, store):
        self._real = store
        self.entered = threading.Event()
        self.go = threading.Event()
        self.batches = []

    def forget(self, **before):
        return self._real.forget(**before)

    def append(self, drafts, *, seen=()):
        self.batches.append(len(drafts))
        self.entered.set()
        assert self.go.wait(10)
        return self._real.append(drafts, seen=seen)


def test_who_comes_during_a_commit_shares_the_next_one(store, opened):
    slow = SlowStore(store)
    ledger = opened(slow)
    entries = []
    threads = [
        threading.Thread(target=lambda: entries.append(append(ledger).entry))
        for _ in range(8)
    ]

    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(ledger._batches._waiting) < 7:  # noqa: SLF001 (nothing else tells)
        pass
    slow.go.set()
    for thread in threads:
        thread.join()

    assert slow.batches == [1, 7]
    assert {entry.serial for entry in entries} == set(range(1, 9))


class FailingStore(Store):
    """The real store, which fails once: before it has written, or after."""

    def __init__(self, store, *, stored):
        self._real = store
        self._reald = stored
        self._fail = True

    def forget(self, **before):
        return self._real.forget(**before)

    def append(self, drafts, *, seen=()):
        if not self._fail:
            return self._real.append(drafts, seen=seen)
        self._fail = False
        if self._reald:
            self._real.append(drafts, seen=seen)
        raise StoreUnavailable("the database refuses")


@pytest.mark.parametrize("stored", [False, True])
def test_a_failed_append_raises_and_asking_again_settles_it(store, opened, stored):
    ledger = opened(FailingStore(store, stored=stored))
    with pytest.raises(StoreUnavailable):
        append(ledger, spends=token_use(b"one"))

    entry = append(ledger, spends=token_use(b"one")).entry

    assert isinstance(entry, Entry)
    assert entry.serial == 1
    assert store.entry_by_serial(2) is None


class RefusingStore:
    """A store whose disk is gone."""

    def forget(self, **_):
        raise StoreUnavailable("the database refuses")

    def append(self, drafts, *, seen=()):
        raise StoreUnavailable("the database refuses")


def test_a_failed_batch_fails_for_all_in_it_and_stops_nobody_after(store, opened):
    slow = SlowStore(RefusingStore())
    ledger = opened(slow)
    outcomes: list[object] = []

    def run():
        try:
            outcomes.append(append(ledger))
        except StoreUnavailable as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(ledger._batches._waiting) < 3:  # noqa: SLF001
        pass
    slow.go.set()
    for thread in threads:
        thread.join()

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert slow.batches == [1, 3]
    ledger._store = store  # noqa: SLF001 (the disk is back)
    assert append(ledger).entry.serial == 1


def test_the_next_commit_does_not_wait_for_the_answers_of_the_one_before(store):
    finishing, go = threading.Event(), threading.Event()

    def finish(growth):
        if growth.tree.size == 1:
            finishing.set()
            assert go.wait(10)
        return growth

    def commit(drafts):
        appended = store.append(drafts)
        return appended.outcomes, appended.growth

    batches = Batches(commit, finish)
    place = Place(EntryKind.BLOCK, 1, b"{}", None)
    first = threading.Thread(target=lambda: batches.append(Draft(place)))
    first.start()
    assert finishing.wait(10)

    entry, growth = batches.append(Draft(place))

    assert (entry.index, growth.tree.size) == (1, 2)
    go.set()
    first.join()


# --- Proofs -----------------------------------------------------------------------


def test_each_entry_comes_with_a_proof_that_holds(ledger):
    for size in range(1, 20):
        proved = append(ledger)

        checkpoint = check(proved, ledger.signer.key)
        assert (checkpoint.origin, checkpoint.size) == (ORIGIN, size)


def test_a_batch_has_one_checkpoint_for_all_its_entries(store, opened):
    slow = SlowStore(store)
    ledger = opened(slow)
    proved = []
    threads = [
        threading.Thread(target=lambda: proved.append(append(ledger))) for _ in range(6)
    ]
    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(ledger._batches._waiting) < 5:  # noqa: SLF001
        pass
    slow.go.set()
    for thread in threads:
        thread.join()

    sizes = sorted(check(each, ledger.signer.key).size for each in proved)

    assert sizes == [1, 6, 6, 6, 6, 6]


def test_what_a_request_brings_is_proved_to_be_in_the_new_tree(ledger):
    old = seen_in(append(ledger).signed)
    for _ in range(5):
        append(ledger)

    proved = append(ledger, seen=old)

    checkpoint = check(proved, ledger.signer.key)
    merkle.verify_consistency(
        old.size, old.root, checkpoint.size, checkpoint.root, proved.consistency
    )


def test_an_entry_about_no_certificate_has_no_serial_and_takes_its_place(ledger, store):
    act = ledger.append(None, kind=EntryKind.BLOCK, record=RECORD, now=NOW)
    after = append(ledger).entry

    assert set(json.loads(act.entry.leaf)) == {"v", "time", "kind", "record_sha256"}
    assert (act.entry.index, act.entry.serial, act.entry.to_be_signed) == (
        0,
        None,
        None,
    )
    assert (after.index, after.serial) == (1, 2)
    assert store.entries(0, 9) == [act.entry, after]
    check(act, ledger.signer.key)


def test_the_newest_checkpoint_is_that_of_the_last_batch(ledger):
    assert ledger.checkpoint().checkpoint.size == 0
    proved = append(ledger)

    assert ledger.checkpoint() == proved.signed


def test_the_store_proves_what_is_asked_for(ledger, store):
    leaves = [append(ledger).entry.leaf for _ in range(11)]
    tree, nodes = merkle.CompactTree().extend(map(merkle.leaf_hash, leaves))

    assert store.log_head().tree == tree
    assert store.hashes(merkle.plan_root(11)) == (tree.root,)
    assert (
        store.neighbours(merkle.Node(1, 1), 4)
        == [node.hash for node in nodes if node.level == 1][1:]
    )
    assert [entry.leaf for entry in store.entries(3, 4)] == leaves[3:7]


# --- Going back -------------------------------------------------------------------


def test_a_signer_without_its_high_water_file_refuses_a_ledger_with_entries(
    ledger, store, tmp_path
):
    append(ledger)

    with pytest.raises(Misconfigured, match="the ledger has 1 entries"):
        open_ledger(store, tmp_path / "another")


def test_a_checkpoint_that_the_tree_lacks_stops_all_signers(ledger, tmp_path):
    append(ledger)
    other = new_store(tmp_path, "restored")
    elsewhere = open_ledger(other, tmp_path / "high-water of a peer")

    with pytest.raises(LedgerStopped, match="checkpoint of 1 entries"):
        append(elsewhere, seen=seen_in(ledger.checkpoint()))

    with pytest.raises(LedgerStopped):
        append(elsewhere)
    assert other.log_head().tree.size == 0
    other.close()


def test_another_root_at_the_same_size_stops_all_signers(ledger, tmp_path):
    append(ledger)
    other = new_store(tmp_path, "fork")
    fork = open_ledger(other, tmp_path / "high-water of the fork")
    append(fork)

    with pytest.raises(LedgerStopped, match="other entries"):
        append(fork, seen=seen_in(ledger.checkpoint()))
    other.close()


def test_only_an_ed25519_key_signs_checkpoints():
    other = FileKey.generate(KeyType.ECDSA)

    with pytest.raises(Misconfigured, match="not an Ed25519 key"):
        CheckpointSigner(ORIGIN, other, trusted=[])
    assert CheckpointSigner(ORIGIN, ONLINE_KEY, trusted=[other.blob]).origin


def test_only_our_own_checkpoints_are_recognised(ledger):
    note = ledger.checkpoint().rendered

    assert checkpoint_signer().recognise(note).note == note
    with pytest.raises(Malformed):
        checkpoint_signer().recognise(note.replace(b"/log/1\n", b"/log/2\n"))


def uses_of(store):
    with store._database.engine.connect() as connection:  # noqa: SLF001 (no method tells)
        return connection.scalar(sa.select(sa.func.count()).select_from(token_uses))


def test_tokens_that_ended_a_day_ago_are_forgotten_once_an_hour(store, ledger):
    append(ledger, spends=token_use(b"one"))
    end = datetime.fromtimestamp(token_use(b"one").expires, UTC)

    counts = []
    for age in (timedelta(hours=23), timedelta(hours=24, minutes=1)):
        append(ledger, now=end + age)
        counts.append(uses_of(store))
    append(ledger, spends=structs.replace(token_use(b"two"), token_sha256=b"u" * 32))
    append(ledger, now=NOW + timedelta(days=3))

    assert counts == [1, 0]
    assert uses_of(store) == 0


def test_forgetting_is_not_worth_a_refusal(store, opened, caplog):
    class Unforgetting(SlowStore):
        def __init__(self, store):
            super().__init__(store)
            self.go.set()

        def forget(self, **_):
            raise StoreUnavailable("the database refuses")

    assert append(opened(Unforgetting(store))).entry.serial == 1
    assert "not forgotten yet" in caplog.text
