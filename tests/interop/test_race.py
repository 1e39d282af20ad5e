"""One token, many hands: whoever comes first gets the one certificate it is worth.

Bound or unbound, it is sent 32 times at once to two signers, two separate programs that
share nothing but the database, SQLite or PostgreSQL.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from msgspec.structs import replace

from tests.authority import (
    UNBOUND,
    Signer,
    make_ca,
    request_of,
    rewrite,
    subject_key,
    to_be_signed_in,
)
from tests.databases import put_into
from tests.fakes import FakeIdP

AT_ONCE = 32
KEYS = [subject_key(n) for n in range(AT_ONCE)]


@pytest.fixture
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def config_file(idp, tmp_path, database):
    config_file = make_ca(tmp_path / "ca", idp)
    put_into(config_file, database)
    return config_file


@pytest.fixture
def signers(config_file):
    with Signer(config_file) as one, Signer(config_file) as other:
        yield (one, other)


@pytest.fixture
def pool():
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield pool


def send_at_once(pool, signers, requests):
    """Send all requests at the same moment, in turn to one signer and the other."""
    start = threading.Barrier(len(requests))

    def send(number):
        start.wait()
        return signers[number % len(signers)].sign(requests[number])

    return list(pool.map(send, range(len(requests))))


def recorded(database):
    rows = database.ask('SELECT to_be_signed FROM entries ORDER BY "index"')
    return [to_be_signed for (to_be_signed,) in rows]


class TestUnbound:
    @pytest.fixture
    def config_file(self, config_file):
        rewrite(config_file, UNBOUND)
        return config_file

    def test_an_unbound_token_buys_one_certificate_however_often_it_is_sent(
        self, idp, database, signers, pool, rounds
    ):
        bought = []
        for _ in range(rounds(20)):
            request = replace(request_of(idp), salt=None)
            requests = [replace(request, public_key=key) for key in KEYS]

            answers = send_at_once(pool, signers, requests)

            bought.append(to_be_signed_in(the_winner(answers)))
        assert recorded(database) == bought

    def test_a_token_of_five_uses_buys_five(self, idp, config_file, database, pool):
        rewrite(config_file, {"max_uses = 1": "max_uses = 5"})
        request = replace(request_of(idp), salt=None)
        requests = [replace(request, public_key=key) for key in KEYS]

        with Signer(config_file) as one, Signer(config_file) as other:
            answers = send_at_once(pool, (one, other), requests)

        statuses = sorted(answer.status for answer in answers)
        assert statuses == [200] * 5 + [409] * 27
        assert len(recorded(database)) == 5


def the_winner(answers):
    """Return the certificate of the one who won; the others were told why not."""
    (winner,) = (answer for answer in answers if answer.status == 200)
    losers = [answer for answer in answers if answer is not winner]
    assert {answer.status for answer in losers} == {409}
    assert {answer.json["code"] for answer in losers} == {"token_spent"}
    return winner.certificate


def test_a_bound_token_buys_one_certificate_whatever_is_asked_with_it(
    idp, database, signers, pool, rounds
):
    bought = []
    for _ in range(rounds(20)):
        request = request_of(idp)
        requests = [
            replace(request, validity_seconds=600 + number) for number in range(AT_ONCE)
        ]

        answers = send_at_once(pool, signers, requests)

        bought.append(to_be_signed_in(the_winner(answers)))
    assert recorded(database) == bought


def test_one_request_sent_many_times_at_once_gets_one_certificate(
    idp, database, signers, pool
):
    request = request_of(idp)

    answers = send_at_once(pool, signers, [request] * AT_ONCE)

    (certificate,) = {answer.certificate.certificate for answer in answers}
    assert certificate
    assert len(recorded(database)) == 1


def test_many_people_at_once_get_a_serial_each(idp, database, signers, pool):
    requests = [request_of(idp, key=key) for key in KEYS]

    answers = send_at_once(pool, signers, requests)

    serials = sorted(int(answer.certificate.serial) for answer in answers)
    assert serials == list(range(1, AT_ONCE + 1))
    assert sorted(recorded(database)) == sorted(
        to_be_signed_in(answer.certificate) for answer in answers
    )
