"""Who asks too often has to wait, whichever process is asked, and nobody else has."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ca.errors import CAError, RateLimited, StoreUnavailable
from ca.identity import Binding, Identity, VerifiedClaims
from ca.limits import Limits
from ca.store import MINUTE, Draft, Entry, Store, Take, TokenUse
from tests.databases import make_sqlite

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ADA = Identity(
    issuer="corp",
    subject="ada",
    client="daypass",
    binding=Binding.NONCE,
    email=None,
    groups=None,
    auth_time=None,
    claims=VerifiedClaims({}),
)
HERE, THERE = ip_address("192.0.2.1"), ip_address("192.0.2.2")


@pytest.fixture
def store(database):
    store = Store.open(database.url, password_file=database.password_file)
    yield store
    store.close()


def limits_of(store, *, requests=10, refusals=10, processes=2):
    return Limits(store, requests=requests, refusals=refusals, processes=processes)


def seconds(count):
    return timedelta(seconds=count)


# --- One bucket ---------------------------------------------------------------------


@given(
    per_minute=st.integers(1, 60_000),
    gaps=st.lists(st.integers(0, 5_000_000), max_size=200),
)
def test_no_minute_has_more_than_twice_what_a_minute_allows(per_minute, gaps):
    """A full bucket, and what a minute refills: the law of token buckets."""
    now, full_at, allowed = 0, 0, []
    for gap in gaps:
        now += gap
        try:
            full_at = Take(b"", cost=MINUTE // per_minute, now=now).allowed(full_at)
        except RateLimited as refusal:
            waited = now + refusal.retry_after * 1_000_000
            Take(b"", cost=MINUTE // per_minute, now=waited).allowed(full_at)
        else:
            allowed.append(now)
    for end in allowed:
        assert sum(end - MINUTE < at <= end for at in allowed) <= 2 * per_minute + 1


def test_a_bucket_of_a_clock_that_was_wrong_locks_nobody_out():
    take = Take(b"", cost=MINUTE // 10, now=0)

    assert take.allowed(100 * MINUTE) == take.cost
    with pytest.raises(RateLimited):
        take.allowed(MINUTE + 1_000_000)


# --- Identities, in the ledger's own transaction ------------------------------------


def draft(takes, *, token=b"t", request=b"r", max_uses=1):
    def build(index, serial):
        return Entry(
            index=index,
            time=1,
            kind="user-certificate",
            serial=serial,
            leaf=b"leaf %d" % index,
            record=b"",
            to_be_signed=b"",
        )

    return Draft(build, TokenUse(token * 32, request * 32, 10, max_uses, takes))


def test_an_identity_gets_what_a_minute_allows_from_all_signers_together(database):
    stores = [
        Store.open(database.url, password_file=database.password_file) for _ in "ab"
    ]
    outcomes: list[Entry | CAError] = []
    for number in range(12):
        store = stores[number % 2]
        take = limits_of(store).of_identity(ADA, now=NOW)
        outcomes += store.append([draft(take, token=bytes([number]))]).outcomes
    for store in stores:
        store.close()

    assert [type(o) for o in outcomes] == [Entry] * 10 + [RateLimited] * 2
    assert "try again in 6 s" in str(getattr(outcomes[-1], "hint", None))


def test_within_a_batch_each_pays_for_itself(store):
    limits = limits_of(store)
    ada = limits.of_identity(ADA, now=NOW)
    bob = limits.of_identity(replace(ADA, subject="bob"), now=NOW)

    outcomes = store.append(
        [draft(ada, token=bytes([n])) for n in range(11)] + [draft(bob, token=b"b")]
    ).outcomes

    assert [type(o) for o in outcomes] == [Entry] * 10 + [RateLimited] + [Entry]
    assert getattr(outcomes[-1], "index", None) == 10


def test_the_same_request_again_and_again_is_limited_too(store):
    take = limits_of(store).of_identity(ADA, now=NOW)

    outcomes = [store.append([draft(take)]).outcomes[0] for _ in range(11)]

    assert outcomes[:10] == [outcomes[0]] * 10
    assert isinstance(outcomes[10], RateLimited)


def test_after_a_while_an_identity_may_ask_again(store):
    limits = limits_of(store)
    take = limits.of_identity(ADA, now=NOW)
    *_, last = store.append([draft(take, token=bytes([n])) for n in range(11)]).outcomes
    assert isinstance(last, RateLimited)

    limits.remember(last.subject, seconds=last.retry_after, now=NOW)

    with pytest.raises(RateLimited) as caught:
        limits.of_identity(ADA, now=NOW + seconds(5))
    assert caught.value.retry_after == 1
    limits.of_identity(replace(ADA, subject="bob"), now=NOW)
    take = limits.of_identity(ADA, now=NOW + seconds(6))
    assert isinstance(store.append([draft(take, token=b"x")]).outcomes[0], Entry)


def test_a_signed_request_takes_from_the_same_bucket(store):
    take = limits_of(store).of_identity(ADA, now=NOW)
    for number in range(10):
        store.spend_request(bytes([number]) * 16, time=1, forget_before=0, takes=take)

    with pytest.raises(RateLimited):
        store.spend_request(b"last" * 4, time=1, forget_before=0, takes=take)
    (outcome,) = store.append([draft(take)]).outcomes
    assert isinstance(outcome, RateLimited)


# --- Addresses ----------------------------------------------------------------------


def refuse(limits, count, *, address=HERE, now=NOW):
    """Have an address refused up to so many times; return how many got that far."""
    for done in range(count):
        try:
            limits.refuse_spent(address, now=now)
        except RateLimited:
            limits.tell(now=now)
            return done
        limits.count(address, now=now)
        limits.tell(now=now)
    return count


def test_until_it_has_told_a_process_gives_away_its_share_alone(store):
    limits = limits_of(store)
    refuse(limits, 1)  # told at once

    assert refuse(limits, 100, now=NOW + seconds(0.5)) == 5
    assert refuse(limits, 100, address=THERE, now=NOW + seconds(0.5)) == 5


def test_an_address_is_refused_no_more_often_than_allowed_whoever_it_asks(database):
    stores = [
        Store.open(database.url, password_file=database.password_file) for _ in "ab"
    ]
    both = [limits_of(store) for store in stores]
    got = 0
    for tenth in range(50):
        got += sum(refuse(limits, 3, now=NOW + seconds(tenth / 10)) for limits in both)

    assert 10 <= got <= 10 + 1 + 5
    assert refuse(both[0], 1, now=NOW + seconds(5)) == 0
    assert refuse(both[0], 1, address=THERE, now=NOW + seconds(5)) == 1
    assert refuse(both[0], 1, now=NOW + seconds(60)) == 1
    for store in stores:
        store.close()


def test_a_process_that_was_never_asked_learns_from_the_others(store):
    one, other = limits_of(store, processes=1), limits_of(store, processes=1)
    assert refuse(one, 20) == 10
    refuse(one, 1, now=NOW + seconds(1))

    refuse(other, 1, now=NOW + seconds(1))

    assert refuse(other, 1, now=NOW + seconds(1.1)) == 0


def test_a_network_of_ipv6_is_one_address(store):
    limits = limits_of(store, processes=1)
    for number in range(10):
        refuse(limits, 1, address=ip_address(f"2001:db8::{number}"))

    assert refuse(limits, 1, address=ip_address("2001:db8::ffff")) == 0
    assert refuse(limits, 1, address=ip_address("2001:db8:0:1::")) == 1


class Unreachable(Store):
    """A database that is gone."""

    def __init__(self):
        self.asked = 0

    def take_all(self, takes):
        self.asked += 1
        raise StoreUnavailable("gone")


def test_without_a_database_each_process_counts_for_itself():
    store = Unreachable()
    limits = limits_of(store, processes=1)

    assert refuse(limits, 20) == 10
    assert refuse(limits, 20, now=NOW + seconds(2)) == 0
    assert refuse(limits, 20, now=NOW + seconds(6)) == 1
    assert store.asked <= 3


class Counting(Store):
    """A database that is told."""

    def __init__(self):
        self.told = 0

    def take_all(self, takes):
        self.told += 1
        return {}


def test_the_database_is_told_once_a_second_at_most():
    store = Counting()
    limits = limits_of(store)

    for hundredth in range(300):
        refuse(limits, 1, now=NOW + seconds(hundredth / 100))

    assert store.told == 3


def test_strangers_without_number_fill_no_memory(store):
    limits = Limits(store, requests=10, refusals=10, processes=1, remembers=3)
    for number in range(20):
        limits.count(ip_address(number), now=NOW)
        limits.tell(now=NOW + seconds(2 * number))
        limits.remember(bytes([number]), seconds=1, now=NOW)

    assert len(limits._full_at) <= 4  # noqa: SLF001
    assert len(limits._blocked) <= 4  # noqa: SLF001


def test_full_buckets_are_forgotten(tmp_path):
    database = make_sqlite(tmp_path)
    store = Store.open(database.url)
    refuse(limits_of(store), 1)
    at = int(NOW.timestamp() * 1_000_000)

    rows = "SELECT count(*) FROM rate_buckets"
    store.forget(tokens_before=0, now=at)
    assert database.ask(rows) == [(1,)]
    store.forget(tokens_before=0, now=at + MINUTE)
    assert database.ask(rows) == [(0,)]
    store.close()
