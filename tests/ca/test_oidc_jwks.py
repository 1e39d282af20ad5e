"""An issuer's keys stay fresh, outages are survived, and nobody makes us ask often.

Time is a number that the test moves; everything else is real.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ca.errors import IssuerUnavailable, TokenKeyUnknown
from ca.oidc import Verifier
from tests.fakes import NOW, Answer, FakeIdP
from tests.jose import dump
from tests.tokens import ORIGIN, Desk

JWKS = "/jwks"
DISCOVERY = "/.well-known/openid-configuration"


class MovedByHand:
    """A clock that stands still but for `forward`."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds

    def forward(self, seconds):
        self.seconds += seconds


@pytest.fixture
def clock():
    return MovedByHand()


@pytest.fixture
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture
def desk(idp, clock):
    desk = Desk(idp)
    desk.verifier = Verifier([desk.issuer], origin=ORIGIN, clock=clock)
    return desk


def test_keys_are_fetched_once_while_they_are_fresh(desk, idp, clock):
    for _ in range(20):
        desk.verify(desk.token())
        clock.forward(29)

    assert idp.hits == {DISCOVERY: 1, JWKS: 1}


def test_nothing_is_fetched_before_it_is_needed(desk, idp):
    assert idp.hits == {}


def test_a_new_key_is_found_at_once(desk, idp):
    desk.verify(desk.token())
    idp.rotate()

    assert desk.verify(desk.token()).identity.subject == "ada"
    assert idp.hits[JWKS] == 2


def test_a_withdrawn_key_is_refused_once_keys_are_no_longer_fresh(desk, idp, clock):
    stolen = desk.token()
    desk.verify(stolen)
    idp.rotate()

    clock.forward(599)
    desk.verify(stolen)
    clock.forward(1)
    with pytest.raises(TokenKeyUnknown):
        desk.verify(stolen)


def test_a_withdrawn_key_is_refused_as_soon_as_its_successor_is_seen(desk, idp):
    stolen = desk.token()
    desk.verify(stolen)
    idp.rotate()
    desk.verify(desk.token())

    with pytest.raises(TokenKeyUnknown):
        desk.verify(stolen)


@pytest.mark.parametrize(
    "outage",
    [
        Answer(status=500),
        Answer(status=429),
        Answer(status=204),
        Answer(status=302, headers={"Location": "/elsewhere"}),
        Answer(body=b"<html>We'll be back"),
        Answer(body=b"{}"),
        Answer(body=dump({"keys": "soon"})),
        Answer(body=b'{"keys":[],"keys":[]}'),
    ],
    ids=lambda outage: f"{outage.status} {outage.body.decode()}",
)
def test_an_outage_is_survived_for_an_hour_and_no_longer(desk, idp, clock, outage):
    token = desk.token()
    desk.verify(token)
    idp.answers[JWKS] = outage

    for _ in range(59):
        clock.forward(60)
        desk.verify(token)
    clock.forward(60)
    with pytest.raises(IssuerUnavailable, match="issuer corp"):
        desk.verify(token)
    assert idp.hits["/elsewhere"] == 0


def test_sign_ins_work_again_right_after_an_outage(desk, idp, clock):
    idp.answers[JWKS] = Answer(status=500)
    with pytest.raises(IssuerUnavailable, match="HTTP status 500"):
        desk.verify(desk.token())
    del idp.answers[JWKS]

    clock.forward(1)

    assert desk.verify(desk.token()).identity.subject == "ada"


def test_an_issuer_that_is_down_is_asked_once_a_second_at_most(desk, idp, clock):
    idp.answers[DISCOVERY] = Answer(status=503)
    for _ in range(100):
        with pytest.raises(IssuerUnavailable, match="HTTP status 503"):
            desk.verify(desk.token())
        clock.forward(0.1)

    assert idp.hits[DISCOVERY] <= 11


def test_a_failing_renewal_is_tried_every_ten_seconds_at_most(desk, idp, clock):
    desk.verify(desk.token())
    idp.answers[JWKS] = Answer(status=500)
    clock.forward(600)
    for _ in range(100):
        desk.verify(desk.token())
        clock.forward(1)

    assert idp.hits[JWKS] <= 1 + 10


def test_ten_thousand_invented_key_ids_cause_few_fetches(desk, idp, clock):
    for number in range(10_000):
        with pytest.raises(TokenKeyUnknown):
            desk.verifier._issuers[idp.url][1].find(str(number), "RS256")  # noqa: SLF001
        clock.forward(0.01)  # 100 seconds in all

    assert idp.hits[JWKS] <= 1 + 11
    assert idp.hits[DISCOVERY] == 1


def test_an_unknown_key_id_in_an_outage_leaves_the_cached_keys_alone(desk, idp):
    desk.verify(desk.token())
    idp.answers[JWKS] = Answer(status=500)
    with pytest.raises(TokenKeyUnknown):
        desk.verify(desk.token(header={"kid": "new"}))

    assert desk.verify(desk.token()).identity.subject == "ada"


def test_many_threads_share_one_fetch_though_it_takes_longer_than_a_pause(desk, idp):
    desk.verifier = Verifier([desk.issuer], origin=ORIGIN)  # its clock runs
    idp.delay_seconds = 0.7
    with ThreadPoolExecutor(16) as pool:
        sign_ins = list(pool.map(desk.verify, [desk.token()] * 16))

    assert len(sign_ins) == 16
    assert idp.hits == {DISCOVERY: 1, JWKS: 1}


def test_many_threads_share_one_failure(desk, idp, clock):
    idp.delay_seconds = 0.2
    idp.answers[DISCOVERY] = Answer(status=500)

    def attempt(token):
        with pytest.raises(IssuerUnavailable):
            desk.verify(token)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attempt, [desk.token()] * 16))

    assert idp.hits == {DISCOVERY: 1}


def test_many_threads_with_a_new_key_share_one_fetch(desk, idp):
    desk.verify(desk.token())
    idp.rotate()
    idp.delay_seconds = 0.2
    with ThreadPoolExecutor(16) as pool:
        sign_ins = list(pool.map(desk.verify, [desk.token()] * 16))

    assert len(sign_ins) == 16
    assert idp.hits[JWKS] == 2


def test_while_one_renews_stale_keys_the_others_go_on(desk, idp, clock):
    token = desk.token()
    desk.verify(token)
    clock.forward(600)
    idp.delay_seconds = 1
    renewing = threading.Thread(target=desk.verify, args=(token,))
    renewing.start()
    while idp.hits[JWKS] < 2:
        time.sleep(0.01)

    desk.verify(token)

    assert renewing.is_alive()
    renewing.join()
    assert idp.hits[JWKS] == 2


def test_the_address_of_the_keys_is_read_again_each_hour(desk, idp, clock):
    for _ in range(12):
        desk.verify(desk.token())
        clock.forward(601)

    assert idp.hits[DISCOVERY] == 2


def test_keys_that_have_moved_are_found(desk, idp, clock):
    desk.verify(desk.token())
    idp.answers[JWKS] = Answer(status=404)
    idp.answers["/moved"] = Answer(body=dump({"keys": idp.jwks()}))
    discovery = {"issuer": idp.url, "jwks_uri": f"{idp.url}/moved"}
    idp.answers[DISCOVERY] = Answer(body=dump(discovery))

    clock.forward(600)
    desk.verify(desk.token())
    clock.forward(10)
    desk.verify(desk.token())

    assert idp.hits["/moved"] == 1


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"issuer": "https://id.example.com"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"issuer": ["{url}"]}, "another issuer"),
        ({"issuer": "{url}/"}, "another issuer"),
        ({"jwks_uri": None}, "no key set"),
        ({"jwks_uri": ["{url}/jwks"]}, "no key set"),
        ({"jwks_uri": ""}, "characters"),
        ({"jwks_uri": "/jwks"}, "https://"),
        ({"jwks_uri": "file:///etc/passwd"}, "https://"),
        ({"jwks_uri": "http://keys.example.com/jwks"}, "only for loopback"),
        ({"jwks_uri": "http://ada@127.0.0.1/jwks"}, "user name"),
        ({"jwks_uri": "http://127.0.0.1:99999/jwks"}, "ort"),
        ({"jwks_uri": "http://127.0.0.1/a b"}, "characters"),
    ],
)
def test_a_discovery_document_that_lies_is_not_believed(desk, idp, document, why):
    filled = {
        name: value.replace("{url}", idp.url) if isinstance(value, str) else value
        for name, value in document.items()
    }
    good = {"issuer": idp.url, "jwks_uri": f"{idp.url}/jwks"}
    idp.answers[DISCOVERY] = Answer(body=dump(good | filled))

    with pytest.raises(IssuerUnavailable, match=why):
        desk.verify(desk.token())
    assert idp.hits[JWKS] == 0


# Readiness


def test_a_verifier_whose_issuers_answer_has_no_problems(desk, idp):
    assert desk.verifier.problems() == []
    desk.verify(desk.token())
    assert idp.hits[JWKS] == 1


def test_an_issuer_that_never_answered_is_a_problem(desk, idp):
    idp.answers[JWKS] = Answer(status=500)

    (problem,) = desk.verifier.problems()

    assert problem.startswith(f"issuer corp: {idp.url}/jwks ")


def test_an_outage_is_a_problem_only_when_the_keys_are_too_old(desk, idp, clock):
    desk.verify(desk.token())
    idp.answers[JWKS] = Answer(status=500)
    clock.forward(3599)
    assert desk.verifier.problems() == []
    clock.forward(1)
    assert len(desk.verifier.problems()) == 1


def test_an_issuer_without_usable_keys_is_a_problem(desk, idp):
    idp.published = []

    assert desk.verifier.problems() == ["issuer corp: publishes no usable key"]
