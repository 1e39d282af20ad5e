"""The registry's tables, in both kinds of database, also where two meet in one row."""

import threading
from dataclasses import replace

import pytest

from ca.errors import CAError, Conflict, JoinTokenRefused, NotFound
from ca.store import Draft, Entry, JoinToken, Reported, Store, StoredHost
from ca.store.hosts import forgetting, join_token, registration

WEB = StoredHost(
    id="web1",
    names=("web1.example.com", "www"),
    pulls=True,
    registered=100,
    entry_index=0,
    seen=100,
    keys=(b"a key", b"another"),
)
TOKEN = b"t" * 32


@pytest.fixture
def store(database):
    store = Store.open(database.url, password_file=database.password_file)
    yield store
    store.close()


def build(index, serial):
    leaf = b"leaf %d" % index
    return Entry(index, 0, "administration", None, leaf, b"{}", None)


def change(store, write):
    return store.change(Draft(build), write)[0]


def test_a_host_comes_back_as_it_was_registered(store):
    entry = change(store, registration(WEB, time=100))

    found = store.hosts.find("web1")

    assert replace(found, keys=()) == replace(WEB, keys=(), entry_index=entry.index)
    assert set(found.keys) == set(WEB.keys)
    assert store.hosts.owner(b"another") == replace(found, keys=(b"another",))
    assert store.hosts.owner(b"nobody's") is None
    assert store.hosts.find("web2") is None
    assert store.hosts.every() == [found]


def test_what_is_refused_leaves_neither_row_nor_entry(store):
    change(store, registration(WEB, time=100))
    size = store.log_head().tree.size
    refused = [
        (Conflict, registration(replace(WEB, keys=(b"a key",)), time=200)),
        (Conflict, registration(replace(WEB, id="web2"), time=200)),
        (JoinTokenRefused, registration(WEB, time=200, token_sha256=TOKEN)),
        (NotFound, forgetting(["web1", "web2"], time=200)),
    ]

    for error, write in refused:
        with pytest.raises(error):
            change(store, write)

    assert store.log_head().tree.size == size
    assert [host.registered for host in store.hosts.every(forgotten=True)] == [100]


def test_a_report_moves_forward_alone(store):
    change(store, registration(WEB, time=100))

    for roots, current, seen in ((1, 5, 200), (1, 4, 300), (0, 9, 300), (2, 5, 250)):
        store.hosts.report("web1", Reported(roots, current, seen, alarm="late"))

    host = store.hosts.find("web1")
    assert (host.roots_version, host.current_version) == (2, 5)
    assert (host.seen, host.alarm) == (250, "late")


def test_a_machine_that_joins_has_applied_nothing(store):
    change(store, registration(WEB, time=100))
    store.hosts.report("web1", Reported(1, 5, 200))

    change(store, registration(replace(WEB, names=()), time=300))
    assert store.hosts.find("web1").current_version == 5

    change(store, join_token(TOKEN, JoinToken(None, (), expires=500), now=0))
    change(store, registration(WEB, time=300, token_sha256=TOKEN))
    assert store.hosts.find("web1").current_version == 0


def test_a_forgotten_host_begins_anew(store):
    change(store, registration(WEB, time=100))
    store.hosts.report("web1", Reported(1, 5, 200))

    change(store, forgetting(["web1"], time=300))

    store.hosts.report("web1", Reported(1, 6, 300))
    assert store.hosts.owner(b"a key") is None
    assert store.hosts.every() == []
    (gone,) = store.hosts.every(forgotten=True)
    assert (gone.forgotten, gone.keys, gone.current_version) == (300, (), 0)
    change(store, registration(replace(WEB, keys=(b"new",)), time=400))
    back = store.hosts.find("web1")
    assert (back.forgotten, back.keys, back.seen) == (None, (b"new",), 400)


def test_the_silent_ones_are_those_that_pull(store):
    hosts = [
        replace(WEB, id="b", keys=(b"1",)),
        replace(WEB, id="a", keys=(b"2",)),
        replace(WEB, id="c", keys=(b"3",), pulls=False),
        replace(WEB, id="d", keys=(b"4",)),
    ]
    for host in hosts:
        change(store, registration(host, time=100))
    store.hosts.report("d", Reported(1, 1, 101))

    assert store.hosts.silent(before=101) == ["a", "b"]
    assert store.hosts.silent(before=100) == []


def test_a_join_token_is_spent_once_however_many_come(store):
    token = JoinToken("web1", ("www",), expires=500)
    change(store, join_token(TOKEN, token, now=0))
    assert store.hosts.join_token(TOKEN) == token
    assert store.hosts.join_token(b"?" * 32) is None
    barrier, outcomes = threading.Barrier(4), []

    def race(number):
        host = replace(WEB, id=f"web{number}", keys=(b"%d" % number,))
        barrier.wait()
        try:
            change(store, registration(host, time=100, token_sha256=TOKEN))
            outcomes.append(host.id)
        except CAError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=race, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (winner,) = (host.id for host in store.hosts.every())
    assert sorted(outcomes) == ["join_token_refused"] * 3 + [winner]
    assert store.hosts.join_token(TOKEN) == replace(token, spent_by=winner)
