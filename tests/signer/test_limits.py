"""Two signers of one CA, and clients that ask too often: they wait, others do not."""

import math
import threading
import time

import msgspec
import pytest
from msgspec.structs import replace

from ca.errors import RateLimited
from client.failure import exit_code
from tests.authority import (
    Answer,
    Signer,
    make_ca,
    request_of,
    rewrite,
    subject_key,
    wait_until,
)
from tests.databases import put_into
from tests.fakes import FakeIdP

ALLOWED = 10
PROCESSES = 2
PROXY = {"trusted_proxies = []": 'trusted_proxies = ["127.0.0.1/32"]'}


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture
def signers(idp, tmp_path, database):
    config_file = make_ca(tmp_path / "ca", idp)
    put_into(config_file, database)
    limits = {
        f"{name} = 60000\n": f"{name} = {ALLOWED}\n"
        for name in ("requests_per_minute", "refusals_per_minute")
    }
    rewrite(config_file, {**PROXY, **limits})
    with (
        Signer(config_file, processes=PROCESSES) as one,
        Signer(config_file, processes=PROCESSES) as other,
    ):
        yield (one, other)


def ask(signer: Signer, request: object, *, address: str = "192.0.2.1") -> Answer:
    return signer.ask(
        "POST",
        "/v1/user-certificates",
        msgspec.json.encode(request),
        headers={"X-Forwarded-For": address},
    )


def test_an_address_that_is_refused_too_often_is_not_listened_to(idp, signers):
    wrong = replace(request_of(idp), id_token="e30.e30.AA")  # noqa: S106 (none)

    answers = [ask(signers[number % 2], wrong) for number in range(5 * ALLOWED)]

    # Within the first second neither machine knows of the other.
    listened = [answer for answer in answers if answer.status == 401]
    assert ALLOWED / 2 <= len(listened) <= len(signers) * (ALLOWED + PROCESSES)
    began = time.monotonic()
    time.sleep(1)
    later = [ask(signers[number % 2], wrong) for number in range(2 * ALLOWED)]
    # Each process hears one before it learns of the others', and may think that it has
    # what the bucket has refilled since.
    refilled = math.ceil((time.monotonic() - began) * ALLOWED / 60)
    heard = [answer.status for answer in later].count(401)
    assert heard <= len(signers) * PROCESSES * (1 + refilled)
    last = [answer for answer in later if answer.status != 401][-1]
    assert (last.status, last.json["code"]) == (429, "rate_limited")
    assert 1 <= int(last.headers["Retry-After"]) <= 60
    assert exit_code(RateLimited("")) == 7
    # Between any two of these the bucket may have refilled by one.
    wait_until(
        lambda: (
            {ask(signers[0], request).status for request in (wrong, request_of(idp))}
            == {429}
        )
    )
    assert ask(signers[0], request_of(idp), address="192.0.2.2").status == 200


def test_who_sends_the_same_again_and_again_starves_nobody(idp, signers):
    replayed = request_of(idp, "ada")
    first = ask(signers[0], replayed).certificate
    done = threading.Event()
    answers: list[Answer] = []

    def replay(signer: Signer) -> None:
        while not done.is_set():
            answers.append(ask(signer, replayed))

    threads = [threading.Thread(target=replay, args=[s]) for s in signers * 2]
    for thread in threads:
        thread.start()
    try:
        others = [
            ask(signers[number % 2], request_of(idp, "grace", key=subject_key(number)))
            for number in range(ALLOWED)
        ]
    finally:
        done.set()
        for thread in threads:
            thread.join()

    assert [other.status for other in others] == [200] * ALLOWED
    assert {answer.status for answer in answers} <= {200, 429}
    bought = {a.certificate.certificate for a in answers if a.status == 200}
    assert bought <= {first.certificate}
    refused = [answer for answer in answers if answer.status == 429]
    assert refused
    assert {answer.json["code"] for answer in refused} == {"rate_limited"}
    # The address that they share has nothing held against it.
    malformed = ask(signers[0], replace(replayed, public_key="none"))
    assert malformed.status == 400
