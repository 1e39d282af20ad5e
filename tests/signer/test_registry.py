"""Over HTTP: hosts are registered, report, renew and are forgotten; by nobody else."""

import json
import sqlite3
from datetime import timedelta

import msgspec
import pytest

from ca.administration import Person, RevocationRequest
from ca.authorization import Call
from ca.certificate import CertificateType, parse_certificate, parse_line
from ca.hosts import make_join_token, register_host
from ca.ledger import EntryKind
from ca.messages import HostList, HostRegistration, HostStatus
from ca.policy import load_policy
from ca.revoke import lift, operator, revoke
from ca.store import MINUTE
from signer.app import create_app
from tests.authority import make_ca, opened
from tests.fakes import NOW, FakeIdP
from tests.hosts import FakeHost, empty_registry, publish
from tests.signer.test_hosts import POLICY, refusal, sign_in

HOSTS, REPORTS = "/v1/hosts", "/v1/host-reports"
RENEW = "/v1/host-certificates/renew"
WEB = "web1.prod.example.com"


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def opened_authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        yield authority


@pytest.fixture
def authority(opened_authority):
    take_policy(opened_authority, POLICY)
    empty_registry(opened_authority)
    return opened_authority


def take_policy(authority, text):
    authority.policy = load_policy(text.encode(), issuers=frozenset({"corp"}))


@pytest.fixture
def client(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


def ask(client, somebody, method, path, message=None, **changes):
    body = b"" if message is None else msgspec.json.encode(message)
    header = somebody.sign(Call(method, path, body), at=NOW, **changes)
    return client.open(
        path,
        method=method,
        data=body,
        content_type="application/json",
        headers={"Authorization": header},
    )


def register(client, somebody, host, **changes):
    new = HostRegistration(
        **({"id": host.id, "names": host.names, "keys": (host.key.line,)} | changes)
    )
    return ask(client, somebody, "POST", HOSTS, new)


def say(client, path, document):
    return client.post(path, data=document, content_type="text/plain")


def join_token(authority, **changes):
    given = {"host": None, "names": (), "life": NOW - NOW.replace(year=2025)}
    by = {"identity": None, "by": "ada"}
    return make_join_token(authority, **(given | changes), by=by, now=NOW)


def report(authority, host, **changes):
    published, roots_version = publish(authority, now=NOW)
    says = {"at": NOW, "roots_version": roots_version}
    return host.report(published, **(says | changes))


# --- Registering and forgetting -----------------------------------------------------


def test_a_provisioner_registers_lists_and_forgets_a_host(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))

    answer = register(client, grace, web)

    assert answer.status_code == 201, answer.data
    status = msgspec.json.decode(answer.data, type=HostStatus)
    assert (status.id, status.names, status.state) == ("web1", (WEB,), "active")
    host = authority.store.hosts.find("web1")
    (entry,) = authority.store.entries(host.entry_index, 1)
    record = json.loads(entry.record)
    assert (record["identity"]["subject"], record["signed_with"]) == (
        "grace",
        str(grace.says.serial),
    )

    assert say(client, REPORTS, report(authority, web)).status_code == 204
    listed = ask(client, grace, "GET", HOSTS)
    (known,) = msgspec.json.decode(listed.data, type=HostList).hosts
    newest = authority.store.newest_current().version
    assert (known.current_version, known.alarms) == (newest, ())
    assert msgspec.json.decode(listed.data, type=HostList).current_version == newest

    assert ask(client, grace, "DELETE", f"{HOSTS}/web1").status_code == 204
    listed = ask(client, grace, "GET", HOSTS)
    assert msgspec.json.decode(listed.data, type=HostList).hosts == ()
    refusal(ask(client, grace, "DELETE", f"{HOSTS}/web1"), 404, "not_found")
    refusal(say(client, REPORTS, report(authority, web)), 401, "host_unknown")
    refusal(say(client, RENEW, web.renewal(at=NOW)), 401, "host_unknown")


def test_nobody_else_registers_or_forgets(client, authority, idp):
    ada, grace = sign_in(client, idp, "ada"), sign_in(client, idp, "grace")
    web = FakeHost("web1")
    register(client, grace, web)
    before = authority.store.log_head().tree.size

    words = refusal(register(client, ada, FakeHost("web2")), 403, "denied")
    assert words == "only provisioners may register hosts"
    refusal(ask(client, ada, "DELETE", f"{HOSTS}/web1"), 403, "denied")
    for method, path in (("POST", HOSTS), ("GET", HOSTS), ("DELETE", f"{HOSTS}/web1")):
        answer = client.open(path, method=method)
        refusal(answer, 401, "authorization_malformed")

    assert authority.store.log_head().tree.size == before


def test_admins_and_auditors_may_look(client, authority, idp):
    ada, grace = sign_in(client, idp, "ada"), sign_in(client, idp, "grace")
    assert ask(client, ada, "GET", HOSTS).status_code == 200  # an admin

    take_policy(authority, POLICY.replace("admin =", "auditor ="))
    assert ask(client, ada, "GET", HOSTS).status_code == 200

    take_policy(authority, POLICY.partition("[roles]")[0])
    for somebody in (ada, grace):
        refusal(ask(client, somebody, "GET", HOSTS), 403, "denied")


def test_the_list_is_shown_while_the_ledger_is_stopped(client, authority, idp):
    grace = sign_in(client, idp, "grace")
    long_ago = NOW - authority.config.hosts.forget_after - timedelta(days=1)
    by = {"identity": None, "by": "ada"}
    register_host(authority, FakeHost("web1").new(), by, now=long_ago)
    database = sqlite3.connect(authority.config.file.with_name("daypass.db"))

    def stop(why):
        with database:
            database.execute("UPDATE ledger_head SET stopped = ?", [why])

    stop("for a test")
    listed = ask(client, grace, "GET", HOSTS)
    stop(None)
    database.close()

    assert [host["id"] for host in listed.json["hosts"]] == ["web1"]
    assert ask(client, grace, "GET", HOSTS).json["hosts"] == []


def test_an_id_is_not_taken_over(client, idp):
    grace = sign_in(client, idp, "grace")
    register(client, grace, FakeHost("web1"))

    refusal(register(client, grace, FakeHost("web1")), 409, "conflict")


@pytest.mark.parametrize(
    "changes",
    [{"id": "Web 1"}, {"keys": ()}, {"names": ("*",)}, {"names": ("a",) * 300}],
    ids=str,
)
def test_what_is_no_host_is_refused(client, idp, changes):
    grace = sign_in(client, idp, "grace")

    refusal(register(client, grace, FakeHost("web1"), **changes), 400, "bad_request")


# --- Joining ------------------------------------------------------------------------


def test_a_machine_joins_and_has_itself_certified(client, authority):
    web = FakeHost("web1", names=(WEB,))
    secret = join_token(authority, names=(WEB,))

    joined = say(client, HOSTS, web.join(secret, at=NOW))
    renewed = say(client, RENEW, web.renewal(at=NOW))

    assert joined.status_code == 201, joined.data
    assert renewed.status_code == 200, renewed.data
    assert renewed.mimetype == "text/plain"
    says = parse_certificate(parse_line(renewed.text))[0]
    assert renewed.text.endswith(f" host:{WEB}\n")
    assert (says.type, says.principals) == (CertificateType.HOST, (WEB,))
    assert (says.subject_key, says.ca_key) == (web.key.key, authority.host_ca_key.blob)
    entry = authority.store.entry_by_serial(says.serial)
    record = json.loads(entry.record)
    assert entry.kind == EntryKind.HOST_CERTIFICATE
    assert (record["identity"], record["host"]["id"]) == (None, "web1")
    assert record["grant"]["rules"] == ["production"]


def test_a_token_that_is_used_up_is_refused(client, authority):
    secret = join_token(authority)
    say(client, HOSTS, FakeHost("web1").join(secret, at=NOW))

    answer = say(client, HOSTS, FakeHost("web2").join(secret, at=NOW))

    assert "already" in refusal(answer, 401, "join_token_refused")
    assert secret.encode() not in answer.data


# --- What hosts send ----------------------------------------------------------------


@pytest.mark.parametrize("path", [HOSTS, REPORTS, RENEW])
def test_what_is_no_document_is_refused(client, path):
    for document in (b"daypass", b"\xff" * 99, b"x" * 30_000):
        refusal(say(client, path, document), 400, "malformed")
    too_much = say(client, path, b"x" * 33_000)
    refusal(too_much, 413, "body_too_large")


@pytest.mark.parametrize("path", [REPORTS, RENEW])
def test_documents_are_sent_as_text(client, path):
    answer = client.post(path, data=b"{}", content_type="application/json")

    assert "text" in refusal(answer, 400, "bad_request")
    packed = {"Content-Encoding": "gzip"}
    answer = client.post(path, data=b"", content_type="text/plain", headers=packed)
    assert "compressed" in refusal(answer, 400, "bad_request")


def test_a_bundle_that_was_never_published_is_refused(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1")
    register(client, grace, web)

    answer = say(client, REPORTS, report(authority, web, current_version=7))
    refusal(answer, 409, "bundle_unknown")
    (known,) = ask(client, grace, "GET", HOSTS).json["hosts"]
    assert "never published" in known["alarms"][0]

    say(client, REPORTS, report(authority, web))
    refusal(
        say(client, REPORTS, report(authority, web, roots_version=1)),
        409,
        "report_outdated",
    )


# --- Renewing -----------------------------------------------------------------------


def test_a_host_is_judged_by_todays_policy_for_who_registered_it(
    client, authority, idp
):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))
    register(client, grace, web)

    first = say(client, RENEW, web.renewal(at=NOW))
    says = parse_certificate(parse_line(first.text))[0]
    entry = authority.store.entry_by_serial(says.serial)
    record = json.loads(entry.record)
    assert record["identity"] is None, "who revokes grace does not mean her hosts"
    assert record["host"]["vouched_by"]["subject"] == "grace"

    second = NOW.replace(second=1)
    take_policy(authority, POLICY.replace('"30d"', '"1d"'))
    shorter = say(client, RENEW, web.renewal(at=second))
    says = parse_certificate(parse_line(shorter.text))[0]
    assert says.valid_before == NOW.timestamp() + 86400

    for number, change in enumerate(
        [
            ('names    = ["*.prod.example.com"]', 'names = ["other.example.com"]'),
            (
                'match    = { groups = ["dev"] }\nnames',
                'match = { groups = ["dba"] }\nnames',
            ),
        ]
    ):
        take_policy(authority, POLICY.replace(*change))
        document = web.renewal(at=NOW.replace(second=2 + number))
        refusal(say(client, RENEW, document), 403, "denied")


def test_a_host_that_joined_is_judged_by_its_names_alone(client, authority):
    web = FakeHost("web1", names=(WEB,))
    say(client, HOSTS, web.join(join_token(authority, names=(WEB,)), at=NOW))
    narrow = 'names    = ["*.prod.example.com"]', 'names = ["other.example.com"]'

    take_policy(authority, POLICY.replace(*narrow))

    refusal(say(client, RENEW, web.renewal(at=NOW)), 403, "denied")


def test_a_renewal_is_good_once(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))
    register(client, grace, web)
    document = web.renewal(at=NOW)
    say(client, RENEW, document)
    before = authority.store.log_head().tree.size

    refusal(say(client, RENEW, document), 409, "request_replayed")

    assert authority.store.log_head().tree.size == before


def test_a_host_gets_its_own_keys_certified_and_no_other(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))
    register(client, grace, web)
    other, nameless = FakeHost("web2", names=(WEB,)), FakeHost("web3")
    register(client, grace, nameless)
    before = authority.store.log_head().tree.size

    stolen = web.renewal(at=NOW, key=other.key.line)
    assert "this key" in refusal(say(client, RENEW, stolen), 403, "denied")
    unnamed = nameless.renewal(at=NOW)
    assert "without names" in refusal(say(client, RENEW, unnamed), 403, "denied")
    posing = web.renewal(at=NOW, host="web3")
    refusal(say(client, RENEW, posing), 401, "host_unknown")
    refusal(say(client, RENEW, other.renewal(at=NOW)), 401, "host_unknown")
    forged = web.renewal(at=NOW, signer=other.key)
    refusal(say(client, RENEW, forged), 401, "signature_invalid")
    old = web.renewal(at=NOW.replace(year=2025))
    refusal(say(client, RENEW, old), 401, "request_time_wrong")

    assert authority.store.log_head().tree.size == before


def test_a_blocked_host_key_is_certified_no_more(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))
    register(client, grace, web)
    first = say(client, RENEW, web.renewal(at=NOW))
    serial = parse_certificate(parse_line(first.text))[0].serial

    stolen = RevocationRequest(reason="stolen disk", key=web.key.line)
    revoke(authority, stolen, operator(), now=NOW)

    assert authority.store.revoked_among([serial]) == {serial}
    again = web.renewal(at=NOW.replace(second=1))
    refusal(say(client, RENEW, again), 403, "blocked")


def test_who_is_revoked_leaves_their_hosts_alone(client, authority, idp):
    grace, web = sign_in(client, idp, "grace"), FakeHost("web1", names=(WEB,))
    register(client, grace, web)
    first = say(client, RENEW, web.renewal(at=NOW))
    serial = parse_certificate(parse_line(first.text))[0].serial

    person = Person(issuer="corp", subject="grace")
    request = RevocationRequest(reason="stolen laptop", person=person)
    revoke(authority, request, operator(), now=NOW)

    assert authority.store.revoked_among([serial]) == set()
    refusal(register(client, grace, FakeHost("web2")), 403, "blocked")
    again = web.renewal(at=NOW.replace(second=1))
    assert say(client, RENEW, again).status_code == 200
    for block in authority.store.blocks():
        lift(authority, block.id, "found it", operator(), now=NOW)


def test_a_host_that_asks_too_often_waits(authority, monkeypatch):
    monkeypatch.setattr(authority.limits, "_identity_cost", MINUTE)
    client = create_app(authority, clock=lambda: NOW).test_client()
    web = FakeHost("slow1", names=(WEB,))
    say(client, HOSTS, web.join(join_token(authority, names=(WEB,)), at=NOW))

    assert say(client, RENEW, web.renewal(at=NOW)).status_code == 200
    again = say(client, RENEW, web.renewal(at=NOW.replace(second=1)))

    refusal(again, 429, "rate_limited")
