"""Requests in one thread share a commit, and none waits for what only one waits for."""

import gc
import socket
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial

import pytest
from greenlet import getcurrent

from ca.errors import StoreUnavailable, TokenSpent
from ca.issuers import IssuerSettings
from ca.oidc.fetch import SECONDS
from ca.oidc.jwks import JWKSCache
from ca.store import Store, TokenUse
from ca.waiting import CREW, apart, in_step
from signer.crew import Crew
from signer.sockets import send_together
from tests.fakes import FakeIdP
from tests.ledgers import append, new_store, open_ledger, unopened_ledger
from tests.tokens import CLIENTS

MEMBERS = 8


class CountedStore(Store):
    """The real store, which remembers how large the batches were, or fails."""

    def __init__(self, store):
        self._real = store
        self.batches = []
        self.fails = False

    def forget(self, **before):
        return self._real.forget(**before)

    def append(self, drafts, *, seen=()):
        self.batches.append(len(drafts))
        if self.fails:
            raise StoreUnavailable("the disk is full")
        return self._real.append(drafts, seen=seen)


class Asked:
    """What somebody asks."""


def raise_interrupt():
    raise KeyboardInterrupt


@pytest.fixture
def store(tmp_path):
    real = new_store(tmp_path)
    yield CountedStore(real)
    real.close()


@pytest.fixture
def ledger(store, tmp_path):
    open_ledger(store._real, tmp_path / "high-water")  # noqa: SLF001 (makes the file)
    return unopened_ledger(store, tmp_path / "high-water")


@pytest.fixture
def others():
    with ThreadPoolExecutor(4) as others:
        yield others


def outcomes_of(others, calls):
    """Return what the calls of one crew returned or raised, in the order of ending."""
    outcomes = []

    def run(call):
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001 (that is what it came to)
            outcomes.append(error)

    crew = Crew(others)
    crew.work([partial(run, call) for call in calls])
    crew.wait()
    return outcomes


def test_a_crew_shares_one_commit(ledger, store, others):
    entries = outcomes_of(others, [lambda: append(ledger).entry] * MEMBERS)

    assert store.batches == [MEMBERS]
    assert [entry.serial for entry in entries] == list(range(1, MEMBERS + 1))


def test_who_is_refused_is_refused_alone(ledger, store, others):
    uses = [TokenUse(b"t" * 32, bytes([n]) * 32, 1, 1) for n in (1, 2, 1)]

    first, refused, again = outcomes_of(
        others, [partial(append, ledger, spends=use) for use in uses]
    )

    assert store.batches == [3]
    assert isinstance(refused, TokenSpent)
    assert first.entry == again.entry


def test_a_commit_that_fails_fails_for_all_of_the_crew(ledger, store, others):
    store.fails = True

    outcomes = outcomes_of(others, [partial(append, ledger)] * 3)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable] * 3
    store.fails = False
    assert append(ledger).entry.serial == 1


def test_who_appends_twice_waits_twice(ledger, store, others):
    def twice():
        append(ledger)
        return append(ledger).entry.serial

    assert outcomes_of(others, [twice, lambda: append(ledger).entry.serial]) == [2, 3]
    assert store.batches == [2, 1]


def test_what_is_the_same_for_all_is_done_by_one_right_after_the_other(others):
    done = []

    def member(name):
        done.append(f"{name} comes")
        done.append(in_step(work, name, what="works"))
        done.append(f"{name} goes on")

    def work(name, *, what):
        done.append(f"{name} {what}")
        return f"{name} is done"

    outcomes_of(others, [partial(member, "a"), partial(member, "b")])

    assert done == [
        *("a comes", "b comes"),
        *("a works", "b works"),
        *("a is done", "a goes on", "b is done", "b goes on"),
    ]


def test_what_one_raises_in_step_is_raised_to_it_alone(others):
    def work(number):
        if number == 2:
            raise KeyError("what")
        return number

    outcomes = outcomes_of(others, [partial(in_step, work, n) for n in (1, 2, 3)])

    assert [outcomes[0], type(outcomes[1]), outcomes[2]] == [1, KeyError, 3]


def test_what_one_raises_in_step_says_where_it_was_raised(others):
    def work():
        raise KeyError("what")

    (error,) = outcomes_of(others, [partial(in_step, work)])

    where = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert where[-1] == "work"


def test_with_a_thread_its_greenlets_go(others):
    kept = []

    def run():
        outcomes_of(others, [lambda: kept.append(weakref.ref(getcurrent()))] * 2)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    gc.collect()

    assert [each() for each in kept] == [None, None]


def test_who_is_further_on_waits_to_share_the_commit(ledger, store, others):
    def longer():
        in_step(list)
        in_step(list)
        return append(ledger).entry.serial

    serials = outcomes_of(others, [lambda: append(ledger).entry.serial, longer])

    assert sorted(serials) == [1, 2]
    assert store.batches == [2]


def test_what_one_leaves_behind_the_next_does_not_find(others):
    name: ContextVar[str] = ContextVar("name", default="nobody's")
    seen, kept = [], []

    def member(asked):
        seen.append((getcurrent(), name.get()))
        name.set("somebody's")
        kept.append(weakref.ref(asked))

    for _ in range(2):
        outcomes_of(others, [partial(member, Asked())])

    # The same greenlet has worked on both, and keeps nothing of either.
    (first, _), (second, left) = seen
    assert first is second
    assert left == "nobody's"
    gc.collect()
    assert [each() for each in kept] == [None, None]


def test_a_thread_goes_on_after_a_fault(others):
    crew = Crew(others)

    with pytest.raises(KeyboardInterrupt):
        crew.work([raise_interrupt])

    assert outcomes_of(others, [lambda: "served"] * 2) == ["served"] * 2


def test_who_is_in_no_crew_waits_for_nobody():
    assert in_step(sorted, [2, 1], reverse=True) == [2, 1]


def test_what_may_take_long_holds_up_nobody_else(ledger, store, others):
    arrived = threading.Event()

    def slow():
        assert apart(lambda: arrived.wait(60))
        return append(ledger).entry.serial

    done = []
    crew = Crew(others)
    crew.work([lambda: done.append(slow()), lambda: done.append(append(ledger))])

    assert len(done) == 1
    arrived.set()
    crew.wait()
    assert done[1] == 2
    assert store.batches == [1, 1]


def test_who_is_slow_to_take_an_answer_holds_up_nobody_else(others):
    ours, client = socket.socketpair()
    ours.settimeout(0)
    answer, done = bytes(5_000_000), []
    with ours, client:
        crew = Crew(others)

        crew.work([lambda: send_together(ours, answer), lambda: done.append(True)])

        assert done
        received = 0
        while received < len(answer):
            received += len(client.recv(1 << 20))
        crew.wait()


def test_what_others_raise_is_raised_where_it_was_waited_for(others):
    def fail():
        assert CREW.get() is None
        raise KeyError("what")

    (outcome,) = outcomes_of(others, [partial(apart, fail)])

    assert isinstance(outcome, KeyError)
    with pytest.raises(KeyError):
        apart(fail)


def test_a_slow_issuer_holds_up_only_who_needs_it(ledger, others):
    with FakeIdP() as idp:
        cache = JWKSCache(IssuerSettings("corp", idp.issuer, CLIENTS))
        cache.find("RS-0", "RS256")
        idp.rotate()
        idp.delay_seconds = SECONDS / 2
        done: list[object] = []
        crew = Crew(others)

        crew.work(
            [
                lambda: done.append(cache.find("RS-1", "RS256")),
                lambda: done.append(cache.find("RS-0", "RS256")),
                lambda: done.append(append(ledger)),
            ]
        )

        assert len(done) == 2
        crew.wait()
        assert len(done) == 3
