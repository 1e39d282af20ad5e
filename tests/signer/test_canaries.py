"""Canaries over HTTP: for provisioners, for what policy marks, and on record."""

import json
from typing import Any

import msgspec
import pytest

from ca.authorization import Call
from ca.messages import Canary, CanaryRequest, CanaryResponse
from ca.policy import load_policy
from signer.app import create_app
from tests.authority import certificate_in, make_ca, opened, subject_key
from tests.fakes import NOW, FakeIdP
from tests.policies import Reloading
from tests.signer.test_hosts import POLICY, refusal, sign_in
from tests.signing import holder

PATH = "/v1/canary-certificates"
NONCE = "0123456789abcdef"
CANARIES = """
[[rule]]
name       = "canaries"
issuer     = "corp"
canary     = true
match      = { groups = ["oncall"] }
principals = ["deploy", "root"]
validity   = "10m"
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        text = (CANARIES + POLICY).encode()
        authority.policy = load_policy(text, issuers=frozenset({"corp"}))
        yield authority


@pytest.fixture
def client(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


def canary(principal, nonce=NONCE, **changes):
    return Canary(principal=principal, nonce=nonce, **changes)


def ask(client, somebody, *canaries, source="192.0.2.9", key=None, body=None):
    wanted = CanaryRequest(
        public_key=key or subject_key(), source=source, canaries=canaries
    )
    body = body or msgspec.json.encode(wanted)
    return client.post(
        PATH,
        data=body,
        content_type="application/json",
        headers={"Authorization": somebody.sign(Call("POST", PATH, body), at=NOW)},
    )


def test_a_provisioner_gets_canaries_and_each_is_on_record(client, authority, idp):
    grace, key = sign_in(client, idp, "grace"), subject_key()
    before = authority.store.log_head().tree.size

    answer = ask(
        client,
        grace,
        canary("deploy"),
        canary("root", "f" * 32, source="2001:db8::1"),
        key=key,
    )

    assert answer.status_code == 200, answer.data
    answers = msgspec.json.decode(answer.data, type=CanaryResponse).certificates
    said = [certificate_in(one) for one in answers]
    assert [says.principals for says in said] == [("deploy",), ("root",)]
    assert [dict(says.critical_options) for says in said] == [
        {"force-command": f"echo {NONCE}", "source-address": "192.0.2.9/32"},
        {"force-command": f"echo {'f' * 32}", "source-address": "2001:db8::1/128"},
    ]
    for says in said:
        assert says.extensions == ()
        assert says.valid_before <= NOW.timestamp() + 600
        assert says.key_id == grace.says.key_id
    entries = authority.store.entries(before, 9)
    assert [entry.serial for entry in entries] == [says.serial for says in said]
    for entry in entries:
        record = json.loads(entry.record)
        assert record["canary"] is True
        assert record["parent_serial"] == str(grace.says.serial)
        assert record["identity"]["subject"] == "grace"
    proofs = {one.ledger.checkpoint_signature for one in answers}
    assert len(proofs) == 1, "one batch, one checkpoint"


def test_a_canary_signs_no_requests(client, idp):
    grace, bird = sign_in(client, idp, "grace"), holder()
    answer = ask(client, grace, canary("deploy"), key=bird.line, source="127.0.0.1")
    (first,) = msgspec.json.decode(answer.data, type=CanaryResponse).certificates

    refused = ask(client, bird.with_certificate(first), canary("root"))

    refusal(refused, 401, "certificate_derived")


def test_nobody_else_gets_one_and_nothing_is_on_record(client, authority, idp):
    ada, grace = sign_in(client, idp, "ada"), sign_in(client, idp, "grace")
    before = authority.store.log_head().tree.size

    words = refusal(ask(client, ada, canary("deploy")), 403, "denied")
    assert words == "only provisioners may have canaries"
    # One that is refused refuses them all.
    refusal(ask(client, grace, canary("deploy"), canary("ada")), 403, "denied")
    refusal(client.post(PATH, data=b"{}"), 401, "authorization_malformed")

    assert authority.store.log_head().tree.size == before


@pytest.mark.parametrize(
    ("birds", "source"),
    [
        ([canary("deploy", "short")], "192.0.2.9"),
        ([canary("deploy", "$(reboot)0123456789")], "192.0.2.9"),
        ([canary("deploy")], "everywhere"),
        ([canary("deploy")], "0.0.0.0/0"),
        ([canary("deploy", source="fe80::1%eth0")], "192.0.2.9"),
        ([canary("*")], "192.0.2.9"),
        ([], "192.0.2.9"),
        ([canary("deploy")] * 257, "192.0.2.9"),
    ],
)
def test_what_is_no_canary_is_refused(client, idp, birds, source):
    grace = sign_in(client, idp, "grace")

    refusal(ask(client, grace, *birds, source=source), 400, "bad_request")


def test_weak_keys_are_refused(client, idp):
    grace = sign_in(client, idp, "grace")
    answer = ask(client, grace, canary("deploy"), key="ssh-dss AAAAB3NzaC1kc3M=")

    refusal(answer, 422, "unacceptable_key")


def test_one_policy_says_who_may_ask_and_what_they_get(authority, client, idp):
    grace = sign_in(client, idp, "grace")
    without_role = (CANARIES + POLICY).replace("provisioner =", "auditor =")
    later = load_policy(without_role.encode(), issuers=frozenset({"corp"}))
    reloading: Any = Reloading(authority, authority.policy, later)
    client = create_app(reloading, clock=lambda: NOW).test_client()

    assert ask(client, grace, canary("deploy")).status_code == 200
