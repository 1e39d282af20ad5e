"""Signers that decide by different policies notice, and the older ones say so.

Each `Agreement` here is one process of a signer; the database is all that they share.
"""

import os
import shutil
from contextlib import closing
from dataclasses import replace

import msgspec
import pytest

from ca.agreement import REMEMBERED_SECONDS, TELL_SECONDS, Agreement
from ca.config import load_config
from ca.messages import Readiness
from ca.policy import Policy, load_policy
from ca.store import Store
from signer.app import create_app
from tests.authority import make_ca, opened, rewrite
from tests.fakes import FakeIdP

RULE = b"""
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"] }
principals = ["deploy"]
validity   = "%dh"
"""


def policy(hours: int, *, changed: int) -> Policy:
    loaded = load_policy(RULE % hours, issuers=frozenset({"corp"}))
    return replace(loaded, changed=changed)


OLD, NEW = policy(10, changed=1_000_000), policy(1, changed=2_000_000)


class Clock:
    seconds = 1_767_225_600.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(database):
    opened = Store.open(database.url, password_file=database.password_file)
    with closing(opened) as store:
        yield store


@pytest.fixture
def processes(store, clock):
    return [Agreement(store, clock=clock) for _ in range(3)]


def test_who_decide_by_one_policy_agree(processes):
    assert [one.problem(OLD) for one in processes * 2] == [None] * 6


def test_who_has_an_older_policy_says_so_until_it_has_the_newer_one(processes, clock):
    first, second, third = processes
    assert [one.problem(OLD) for one in processes] == [None] * 3

    assert first.problem(NEW) is None
    clock.seconds += TELL_SECONDS
    for behind in (second, third):
        problem = behind.problem(OLD)
        assert problem is not None
        assert NEW.sha256 in problem

    assert second.problem(NEW) is None
    assert first.problem(NEW) is None
    assert third.problem(OLD) is not None


def test_a_policy_that_was_put_back_is_the_newest_again(processes, clock):
    first, second, _ = processes
    assert [first.problem(NEW), second.problem(NEW)] == [None, None]
    back = replace(OLD, changed=NEW.changed + 1)

    assert first.problem(back) is None

    clock.seconds += TELL_SECONDS
    assert second.problem(NEW) is not None
    assert second.problem(back) is None


def test_of_two_policies_of_one_moment_all_choose_the_same(processes, clock):
    first, second, _ = processes
    other = replace(OLD, changed=NEW.changed)

    first.problem(NEW)
    second.problem(other)
    clock.seconds += TELL_SECONDS

    problems = [first.problem(NEW), second.problem(other)]
    assert problems.count(None) == 1


def test_who_has_not_told_anything_for_long_is_forgotten(processes, clock):
    first, second, _ = processes
    assert first.problem(NEW) is None
    assert second.problem(OLD) is not None

    clock.seconds += REMEMBERED_SECONDS
    assert second.problem(OLD) is not None
    clock.seconds += TELL_SECONDS
    assert second.problem(OLD) is None


def test_it_is_told_no_more_often_than_needed(processes, database, clock):
    def told():
        return database.ask("SELECT seen FROM policies_in_use")

    began = int(clock.seconds)
    for _ in range(TELL_SECONDS):
        assert processes[0].problem(OLD) is None
        assert told() == [(began,)]
        clock.seconds += 1
    assert processes[0].problem(OLD) is None
    assert told() == [(began + TELL_SECONDS,)]

    clock.seconds = began - 60.0  # set back
    assert processes[0].problem(OLD) is None
    assert told() == [(began - 60,)]


def test_a_database_that_is_away_is_for_others_to_report(processes, database, caplog):
    database.ask("DROP TABLE policies_in_use")

    assert processes[0].problem(OLD) is None

    assert "other signers' policies are unknown" in caplog.text


def readiness(authority):
    answer = create_app(authority).test_client().get("/readyz")
    return msgspec.json.decode(answer.data, type=Readiness)


def test_a_signer_with_an_older_policy_is_not_ready(tmp_path):
    with FakeIdP() as idp:
        here = make_ca(tmp_path / "ca", idp)
        there = here.with_name("there.toml")
        shutil.copy(here, there)
        rewrite(there, {'"policy.toml"': '"there-policy.toml"'})
        theirs = here.with_name("there-policy.toml")
        shutil.copy(here.with_name("policy.toml"), theirs)
        rewrite(theirs, {'validity   = "10h"': 'validity   = "1h"'})
        os.utime(theirs, (2_000_000_000, 2_000_000_000))
        with opened(here) as old, opened(there) as new:
            assert load_config(there).policy_file == theirs

            assert readiness(new) == Readiness(ready=True, problems=())
            older = readiness(old)
            shutil.copy(theirs, here.with_name("policy.toml"))
            old.reload_policy()
            now = readiness(old)

    assert not older.ready
    assert new.policy.sha256 in older.problems[0]
    assert now.ready
