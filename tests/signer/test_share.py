"""Processes share connections: who has more than its share sends one away at a time."""

import copy

import pytest

from signer.metrics import new_counters
from signer.share import Share


@pytest.fixture
def shares():
    counters = new_counters(processes=2)
    of_other = copy.copy(counters)
    of_other.take_row(1)
    return Share(counters, processes=2), Share(of_other, processes=2)


@pytest.mark.parametrize(
    ("ours", "theirs", "sends"),
    [(0, 0, False), (1, 0, False), (4, 4, False), (4, 3, False), (5, 3, True)],
)
def test_who_has_more_than_half_sends_one_away(ours, theirs, sends, shares):
    one, other = shares
    other.compare(theirs)
    one.compare(ours)

    assert one.sends_away() is sends
    assert not one.sends_away()
    one.compare(ours)
    assert one.sends_away() is sends


def test_who_sent_one_away_leaves_one_to_others(shares):
    one, other = shares
    assert not one.leaves_next()
    one.compare(2)
    assert one.sends_away()

    assert not other.leaves_next()
    assert one.leaves_next()
    assert not one.leaves_next()


def test_one_process_alone_sends_nobody_away():
    share = Share(new_counters(processes=1), processes=1)
    share.compare(9)

    assert not share.sends_away()
