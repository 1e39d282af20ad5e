"""What is erased from a database is gone, and the leaf is all that stays."""

import secrets

import pytest

from ca.store import Draft, Entry, Store


@pytest.fixture
def store(database):
    store = Store.open(database.url, password_file=database.password_file)
    yield store
    store.close()


def test_record_and_to_be_signed_bytes_are_erased_and_the_leaf_stays(store):
    entries = [
        Entry(
            index=index,
            time=1,
            kind="user-certificate",
            serial=index + 1,
            leaf=secrets.token_bytes(),
            record=b"record",
            to_be_signed=b"to be signed",
        )
        for index in range(3)
    ]
    store.append([Draft(lambda at, _serial: entries[at]) for _ in entries])

    store.erase(1)
    store.erase(1)

    first, erased, last = store.entries(0, 3)
    assert (first, last) == (entries[0], entries[2])
    assert erased.leaf == entries[1].leaf
    assert erased.serial == 2
    assert erased.record is erased.to_be_signed is None
