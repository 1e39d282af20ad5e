"""A provisioner has hosts certified, with signed requests; nobody else does."""

import json
from typing import Any

import msgspec
import pytest

from ca.authorization import Call
from ca.certificate import CertificateType
from ca.messages import HostCertificateRequest, SignResponse
from ca.policy import load_policy
from signer.app import create_app
from tests.authority import (
    certificate_in,
    make_ca,
    opened,
    request_of,
    rewrite,
    subject_key,
)
from tests.fakes import NOW, FakeIdP
from tests.policies import Reloading
from tests.signing import holder

PATH = "/v1/host-certificates"
WEB = "web1.prod.example.com"

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"] }
principals = ["deploy"]
validity   = "10h"

[[host]]
name     = "production"
issuer   = "corp"
match    = { groups = ["dev"] }
names    = ["*.prod.example.com"]
validity = "30d"

[roles]
provisioner = { issuer = "corp", groups = ["oncall"] }
admin = { issuer = "corp", groups = ["dev"] }
"""


NO_HOST_CA_KEY = {
    """\
[host_ca_key]
# Signs hosts' certificates. Who holds it can be any host; without it there are none.
file = "keys/host_ca"
passphrase_file = "keys/passphrase"
""": ""
}


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        authority.policy = load_policy(POLICY.encode(), issuers=frozenset({"corp"}))
        yield authority


@pytest.fixture
def client(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


def sign_in(client, idp, user):
    somebody = holder()
    answer = client.post(
        "/v1/user-certificates",
        data=msgspec.json.encode(request_of(idp, user, key=somebody.line)),
        content_type="application/json",
    )
    return somebody.with_certificate(
        msgspec.json.decode(answer.data, type=SignResponse)
    )


def ask(client, somebody, *names, key=None):
    wanted = HostCertificateRequest(public_key=key or subject_key(), principals=names)
    body = msgspec.json.encode(wanted)
    header = somebody.sign(Call("POST", PATH, body), at=NOW)
    return client.post(
        PATH,
        data=body,
        content_type="application/json",
        headers={"Authorization": header},
    )


def refusal(answer, status, code):
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.data
    return answer.json["detail"]


def test_a_provisioner_gets_a_host_certificate(client, authority, idp):
    grace = sign_in(client, idp, "grace")

    answer = ask(client, grace, WEB)

    assert answer.status_code == 200, answer.data
    signed = msgspec.json.decode(answer.data, type=SignResponse)
    says = certificate_in(signed)
    assert (says.type, says.principals) == (CertificateType.HOST, (WEB,))
    assert says.ca_key == authority.host_ca_key.blob != authority.user_ca_key.blob
    record = json.loads(authority.store.entry_by_serial(says.serial).record)
    assert record["identity"]["subject"] == "grace"


def test_nobody_else_does_whatever_the_host_rules_say(client, idp):
    ada = sign_in(client, idp, "ada")

    assert "only provisioners" in refusal(ask(client, ada, WEB), 403, "denied")


def test_a_provisioner_gets_what_a_host_rule_gives(client, idp):
    grace = sign_in(client, idp, "grace")

    refusal(ask(client, grace, "db.example.org"), 403, "denied")
    refusal(ask(client, grace, WEB, "db.example.org"), 403, "denied")
    refusal(ask(client, grace, "*.prod.example.com"), 400, "bad_request")
    refusal(ask(client, grace, WEB, key="ssh-dss AAAA"), 400, "malformed")


def test_without_a_signature_nothing_is_said(client):
    for body in (b"{", b'{"public_key": "", "principals": ["a"]}'):
        answer = client.post(PATH, data=body, content_type="application/json")

        refusal(answer, 401, "authorization_malformed")


def test_a_host_certificate_signs_no_requests(client, idp):
    grace, web = sign_in(client, idp, "grace"), holder()
    answer = ask(client, grace, WEB, key=web.line)
    web = web.with_certificate(msgspec.json.decode(answer.data, type=SignResponse))

    refusal(ask(client, web, WEB), 401, "certificate_foreign")


def test_a_signer_without_a_host_ca_key_certifies_no_host(idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, NO_HOST_CA_KEY)
    with opened(config_file) as authority:
        authority.policy = load_policy(POLICY.encode(), issuers=frozenset({"corp"}))
        client = create_app(authority, clock=lambda: NOW).test_client()
        grace = sign_in(client, idp, "grace")

        refusal(ask(client, grace, WEB), 404, "not_found")


def test_one_policy_says_who_may_ask_and_what_they_get(authority, client, idp):
    grace = sign_in(client, idp, "grace")
    without_role = POLICY.replace("provisioner =", "auditor =").replace("30d", "1d")
    later = load_policy(without_role.encode(), issuers=frozenset({"corp"}))
    reloading: Any = Reloading(authority, authority.policy, later)
    client = create_app(reloading, clock=lambda: NOW).test_client()

    answer = ask(client, grace, WEB)

    assert answer.status_code == 200, answer.data
    says = certificate_in(msgspec.json.decode(answer.data, type=SignResponse))
    assert says.valid_before - int(NOW.timestamp()) == 30 * 86400
