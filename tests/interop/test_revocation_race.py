"""A person revoked on one signer gets nothing from another one afterwards.

Two signers, separate programs that share nothing but PostgreSQL, are asked at the same
moment: for certificates with tokens, for narrower ones with a certificate, and to
revoke whoever asks. Each certificate is then in the KRL or was never recorded.
"""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import msgspec
import pytest

from ca.authorization import Call
from ca.bundle import parse_current, split_signed
from ca.krl import parse_krl
from ca.messages import NarrowerRequest
from tests.authority import (
    Signer,
    certificate_in,
    make_ca,
    request_of,
    subject_key,
)
from tests.databases import put_into
from tests.fakes import FakeIdP
from tests.signing import holder

SIGN, REVOKE = "/v1/user-certificates", "/v1/revocations"
FIRST, NARROWER = 3, 3
"""How many ask for each kind while they are revoked."""

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"] }
principals = ["deploy"]
validity   = "10h"

[roles]
admin = { issuer = "corp", groups = ["security"] }
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP() as idp:
        yield idp


@pytest.fixture(scope="module")
def database(postgres):
    return postgres.make_database()


@pytest.fixture(scope="module")
def signers(idp, tmp_path_factory, database):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    config_file.with_name("policy.toml").write_text(POLICY)
    put_into(config_file, database)
    with Signer(config_file) as one, Signer(config_file) as other:
        yield one, other


@pytest.fixture(scope="module")
def grace(idp, signers):
    """Return the holder of an admin's certificate."""
    claims = {"groups": ["dev", "security"]}
    idp.people["grace"] = {**idp.people["ada"], "email": "grace@example.com", **claims}
    return sign_in(idp, signers[0], "grace")


def sign_in(idp, signer, user):
    somebody = holder()
    answer = signer.sign(request_of(idp, user, key=somebody.line))
    return somebody.with_certificate(answer.certificate)


def buy(idp, signer, user):
    return signer.sign(request_of(idp, user))


def ask(somebody, method, path, signer, wanted):
    """Send a request that somebody signs."""
    body = msgspec.json.encode(wanted)
    call = Call(method, path, body)
    header = somebody.sign(call, at=datetime.now(UTC))
    return signer.ask(method, path, body, headers={"Authorization": header})


def narrower():
    return NarrowerRequest(public_key=subject_key(), principals=("deploy",))


def at_once(asks):
    start = threading.Barrier(len(asks))

    def run(one):
        start.wait()
        return one()

    with ThreadPoolExecutor(len(asks)) as pool:
        return list(pool.map(run, asks))


def on_record(database, subject):
    """Return index and serial of all that was recorded for somebody."""
    rows = database.ask(
        'SELECT "index", serial, record FROM entries'
        " WHERE kind = 'user-certificate' ORDER BY \"index\""
    )
    return {
        index: int(serial)
        for index, serial, record in rows
        if json.loads(bytes(record))["identity"]["subject"] == subject
    }


def revoked(database):
    return {
        int(serial) for (serial,) in database.ask("SELECT serial FROM revoked_serials")
    }


def test_who_is_revoked_on_one_signer_gets_nothing_from_another(
    idp, signers, database, grace, rounds
):
    given, spared = [], sign_in(idp, signers[0], "ada")
    for number in range(rounds(20)):
        user = f"ada-{number}"
        idp.people[user] = {**idp.people["ada"], "email": f"{user}@example.com"}
        parent = sign_in(idp, signers[0], user)
        person = {"issuer": "corp", "subject": user}
        wanted = {"person": person, "reason": "a race"}
        narrow = partial(ask, parent, "POST", SIGN)
        asks = [
            *(partial(buy, idp, signers[n % 2], user) for n in range(FIRST)),
            *(partial(narrow, signers[n % 2], narrower()) for n in range(NARROWER)),
            partial(ask, grace, "POST", REVOKE, signers[number % 2], wanted),
        ]

        *answers, done = at_once(asks)

        assert done.status == 200, done.body
        refused = [answer for answer in answers if answer.status != 200]
        codes = {(answer.status, answer.json["code"]) for answer in refused}
        assert codes <= {(403, "blocked"), (401, "certificate_revoked")}
        recorded = on_record(database, user)
        assert max(recorded) < done.json["index"]
        assert set(recorded.values()) <= revoked(database)
        for signer in signers:
            assert signer.sign(request_of(idp, user)).json["code"] == "blocked"
            late = narrow(signer, narrower())
            assert late.json["code"] == "blocked"
        assert on_record(database, user) == recorded
        given += [answer.certificate for answer in answers if answer.status == 200]

    krl = published(signers[1])
    assert all(krl.revokes(certificate_in(answer)) for answer in given)
    assert not krl.revokes(spared.says)


def test_a_child_of_a_revoked_parent_is_revoked_also_when_the_two_raced(
    idp, signers, database, grace, rounds
):
    """Only a serial is revoked: nobody is blocked, so the parent alone keeps it out."""
    children = []
    for number in range(rounds(5)):
        user = f"eve-{number}"
        idp.people[user] = {**idp.people["ada"], "email": f"{user}@example.com"}
        parent = sign_in(idp, signers[0], user)
        narrow = partial(ask, parent, "POST", SIGN)
        wanted = {"serial": str(parent.says.serial), "reason": "a race"}
        asks = [
            *(partial(narrow, signers[n % 2], narrower()) for n in range(2 * NARROWER)),
            partial(ask, grace, "POST", REVOKE, signers[number % 2], wanted),
        ]

        *answers, done = at_once(asks)

        assert done.status == 200, done.body
        refused = [answer for answer in answers if answer.status != 200]
        codes = {(answer.status, answer.json["code"]) for answer in refused}
        assert codes <= {(401, "certificate_revoked")}
        recorded = on_record(database, user)
        assert set(recorded.values()) <= revoked(database)
        for signer in signers:
            assert narrow(signer, narrower()).json["code"] == "certificate_revoked"
        assert on_record(database, user) == recorded
        children += [answer.certificate for answer in answers if answer.status == 200]

    for signer in signers:
        krl = published(signer)
        assert all(krl.revokes(certificate_in(answer)) for answer in children)


def published(signer):
    text, _ = split_signed(signer.get("/v1/trust/current").body)
    return parse_krl(
        signer.get(f"/v1/trust/blob/{parse_current(text).krl_sha256}").body
    )
