"""Ids of signed requests are spent once, on either kind of database."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ca.errors import RequestReplayed
from ca.store import Store, Take

TOGETHER = 8


def open_store(database):
    return Store.open(database.url, password_file=database.password_file)


@pytest.fixture
def store(database):
    store = open_store(database)
    yield store
    store.close()


def spend(store, id_, *, time=1000, forget_before=0):
    takes = Take(b"s" * 32, cost=1, now=time * 1_000_000)
    store.spend_request(id_, time=time, forget_before=forget_before, takes=takes)


def test_an_id_is_spent_once_whoever_asks(database, store):
    spend(store, b"a" * 16)
    spend(store, b"b" * 16)

    other = open_store(database)
    for again in (store, other):
        with pytest.raises(RequestReplayed):
            spend(again, b"a" * 16, time=1001)
    other.close()


def test_of_many_at_once_one_spends_an_id(store, rounds):
    for number in range(rounds(5)):
        id_, start = number.to_bytes(16), threading.Barrier(TOGETHER)

        def try_it(_number, *, id_=id_, start=start):
            start.wait()
            try:
                spend(store, id_)
            except RequestReplayed:
                return False
            return True

        with ThreadPoolExecutor(TOGETHER) as pool:
            outcomes = list(pool.map(try_it, range(TOGETHER)))

        assert sorted(outcomes) == [False] * (TOGETHER - 1) + [True]


def test_an_id_is_forgotten_only_when_it_is_old(store):
    old, young = b"o" * 16, b"y" * 16
    spend(store, old, time=999)
    spend(store, young, time=1000)

    spend(store, b"n" * 16, time=5000, forget_before=1000)

    spend(store, old, time=5000)
    with pytest.raises(RequestReplayed):
        spend(store, young, time=5000)


def test_a_refused_id_forgets_nothing(store):
    spend(store, b"o" * 16, time=1)
    spend(store, b"a" * 16, time=1000)

    with pytest.raises(RequestReplayed):
        spend(store, b"a" * 16, time=1000, forget_before=500)

    with pytest.raises(RequestReplayed):
        spend(store, b"o" * 16, time=1)


def test_nothing_is_on_record_of_a_serial_that_nobody_has(store):
    assert store.recorded(4711) is None
