"""The ledger: durable before signed, in batches, with nothing personal in a leaf."""

import hashlib
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ca.admin import database
from ca.errors import StoreUnavailable, TokenSpent
from ca.ledger import EntryKind, Ledger, canonical_json
from ca.store import Entry, Store, TokenUse
from ca.store.tables import token_uses

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RECORD = {"identity": {"email": "ada@example.com"}}


@pytest.fixture
def store(tmp_path):
    url = f"sqlite:///{tmp_path}/daypass.db"
    database.migrate(url, create=True)
    store = Store.open(url)
    yield store
    store.close()


def append(ledger, *, spends=None, now=NOW):
    return ledger.append(
        lambda serial: b"to be signed %d" % serial,
        kind=EntryKind.USER_CERTIFICATE,
        record=RECORD,
        spends=spends,
        now=now,
    )


def token_use(request):
    return TokenUse(b"t" * 32, request.ljust(32), int(NOW.timestamp()) + 300, 1)


def test_an_entry_is_in_the_store_when_append_returns(store):
    entry = append(Ledger(store))

    assert store.entry_by_serial(entry.serial) == entry
    assert entry.to_be_signed == b"to be signed 1"


def test_the_leaf_commits_to_what_is_signed_and_to_the_record(store):
    entry = append(Ledger(store))

    assert json.loads(entry.leaf) == {
        "v": 1,
        "time": int(NOW.timestamp()),
        "kind": "user-certificate",
        "serial": "1",
        "to_be_signed_sha256": hashlib.sha256(entry.to_be_signed).hexdigest(),
        "record_sha256": hashlib.sha256(entry.record).hexdigest(),
    }
    assert canonical_json(json.loads(entry.leaf)) == entry.leaf


def test_equal_records_have_different_hashes(store):
    ledger = Ledger(store)

    first, second = append(ledger), append(ledger)

    assert first.record != second.record
    assert json.loads(first.record)["identity"] == RECORD["identity"]


def test_canonical_json_is_that_of_rfc_8785():
    value = {"b": [1, None, True], "a": '\x0f\n"\\\u20ac\U0001f600'}

    assert canonical_json(value) == (
        '{"a":"\\u000f\\n\\"\\\\\u20ac\U0001f600","b":[1,null,true]}'.encode()
    )


def test_a_spent_token_is_refused_and_the_same_request_repeated(store):
    ledger = Ledger(store)
    first = append(ledger, spends=token_use(b"one"))

    assert append(ledger, spends=token_use(b"one")) == first
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

    def append(self, drafts):
        self.batches.append(len(drafts))
        self.entered.set()
        assert self.go.wait(10)
        return self._real.append(drafts)


def test_who_comes_during_a_commit_shares_the_next_one(store):
    slow = SlowStore(store)
    ledger = Ledger(slow)
    entries = []
    threads = [
        threading.Thread(target=lambda: entries.append(append(ledger)))
        for _ in range(8)
    ]

    threads[0].start()
    assert slow.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(ledger._waiting) < 7:  # noqa: SLF001 (nothing else tells)
        pass
    slow.go.set()
    for thread in threads:
        thread.join()

    assert slow.batches == [1, 7]
    assert sorted(entry.serial for entry in entries) == list(range(1, 9))


class FailingStore(Store):
    """The real store, which fails once: before it has written, or after."""

    def __init__(self, store, *, stored):
        self._real = store
        self._reald = stored
        self._fail = True

    def forget(self, **before):
        return self._real.forget(**before)

    def append(self, drafts):
        if not self._fail:
            return self._real.append(drafts)
        self._fail = False
        if self._reald:
            self._real.append(drafts)
        raise StoreUnavailable("the database refuses")


@pytest.mark.parametrize("stored", [False, True])
def test_a_failed_append_raises_and_asking_again_settles_it(store, stored):
    ledger = Ledger(FailingStore(store, stored=stored))
    with pytest.raises(StoreUnavailable):
        append(ledger, spends=token_use(b"one"))

    entry = append(ledger, spends=token_use(b"one"))

    assert isinstance(entry, Entry)
    assert entry.serial == 1
    assert store.entry_by_serial(2) is None


class RefusingStore:
    """A store whose disk is gone."""

    def forget(self, **_):
        raise StoreUnavailable("the database refuses")

    def append(self, drafts):
        raise StoreUnavailable("the database refuses")


def test_a_failed_batch_fails_for_all_in_it_and_stops_nobody_after(store):
    slow = SlowStore(RefusingStore())
    ledger = Ledger(slow)
    outcomes = []

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
    while len(ledger._waiting) < 3:  # noqa: SLF001
        pass
    slow.go.set()
    for thread in threads:
        thread.join()

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 4
    assert slow.batches == [1, 3]
    ledger._store = store  # noqa: SLF001 (the disk is back)
    assert append(ledger).serial == 1


def uses_of(store):
    with store._database.engine.connect() as connection:  # noqa: SLF001 (no method tells)
        return connection.scalar(sa.select(sa.func.count()).select_from(token_uses))


def test_tokens_that_ended_a_day_ago_are_forgotten_once_an_hour(store):
    ledger = Ledger(store)
    append(ledger, spends=token_use(b"one"))
    end = datetime.fromtimestamp(token_use(b"one").expires, UTC)

    counts = []
    for age in (timedelta(hours=23), timedelta(hours=24, minutes=1)):
        append(ledger, now=end + age)
        counts.append(uses_of(store))
    append(ledger, spends=replace(token_use(b"two"), token_sha256=b"u" * 32))
    append(ledger, now=NOW + timedelta(days=3))

    assert counts == [1, 0]
    assert uses_of(store) == 0


def test_forgetting_is_not_worth_a_refusal(store, caplog):
    class Unforgetting(SlowStore):
        def __init__(self, store):
            super().__init__(store)
            self.go.set()

        def forget(self, **_):
            raise StoreUnavailable("the database refuses")

    assert append(Ledger(Unforgetting(store))).serial == 1
    assert "not forgotten yet" in caplog.text
