"""Crews come one after the other, and nobody waits for what only another waits for."""

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ca.waiting import apart
from signer.crews import MOST, Crews


class Loop:
    """A loop that adds requests and does what crews leave to it."""

    def __init__(self, pools, answer):
        steady, threads, others = pools
        self._deferred: queue.Queue[Any] = queue.Queue()
        self.finished: list[Any] = []
        self.crews = Crews(
            steady=steady,
            threads=threads,
            others=others,
            answer=answer,
            finish=self.finished.append,
            defer=self._deferred.put,
        )

    @property
    def left(self):
        """Return how much crews have left to the loop."""
        return self._deferred.qsize()

    def turn(self):
        """Do the next thing that a crew leaves to the loop, and send the next crew."""
        self._deferred.get(timeout=60)()
        self.crews.send()


@pytest.fixture
def pools():
    with (
        ThreadPoolExecutor(1) as steady,
        ThreadPoolExecutor(4) as threads,
        ThreadPoolExecutor(4) as others,
    ):
        yield steady, threads, others


def test_who_comes_while_a_crew_works_is_in_the_next(pools):
    begun, go_on = threading.Event(), threading.Event()

    def answer(request):
        begun.set()
        assert go_on.wait(60), request

    loop = Loop(pools, answer)
    loop.crews.add(0)
    loop.crews.send()
    assert begun.wait(60)
    for request in range(1, MOST + 2):
        loop.crews.add(request)
        loop.crews.send()
    assert list(loop.crews.waiting) == list(range(1, MOST + 2))
    go_on.set()
    for _ in range(6):
        loop.turn()

    assert loop.finished == list(range(MOST + 2))
    assert not loop.crews.waiting


def test_the_loop_stands_aside_while_a_crew_works(pools, monkeypatch):
    monkeypatch.setattr("signer.crews.ASIDE_SECONDS", 60)
    loop = Loop(pools, lambda _request: time.sleep(0.05))
    loop.crews.add(0)

    loop.crews.send()

    assert loop.left


def test_who_waits_for_others_keeps_nobody_waiting(pools):
    arrived = threading.Event()

    def answer(request):
        if request == "slow":
            assert apart(lambda: arrived.wait(60))

    loop = Loop(pools, answer)
    for request in ("slow", "quick"):
        loop.crews.add(request)
    loop.crews.send()
    loop.turn()
    loop.crews.add("next")
    loop.crews.send()
    loop.turn()
    loop.turn()

    assert loop.finished == ["quick", "next"]
    arrived.set()
    loop.turn()
    assert loop.finished == ["quick", "next", "slow"]


def test_crews_work_in_the_same_thread_while_it_is_free(pools):
    arrived, worked_in = threading.Event(), []

    def answer(request):
        worked_in.append(threading.get_ident())
        if request == "slow":
            assert apart(lambda: arrived.wait(60))

    loop = Loop(pools, answer)
    for request in ("first", "slow", "next", "another"):
        loop.crews.add(request)
        loop.crews.send()
        while request != "slow" and request not in loop.finished:
            loop.turn()
        while loop.left:
            loop.turn()
    arrived.set()
    while "slow" not in loop.finished:
        loop.turn()
    loop.crews.add("last")
    loop.crews.send()
    loop.turn()

    first, slow, next_, another, last = worked_in
    assert first == slow == last
    assert first not in {next_, another}
