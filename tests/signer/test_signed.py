"""Signed requests over HTTP: who is let in, what is said to who is not.

The application runs without a server around it, at a constant time; `tests/interop` has
real servers, real signatures of ssh-keygen and a real sshd.
"""

import json
import logging
import sqlite3
from base64 import b64decode
from datetime import timedelta

import msgspec
import pytest

from ca.authorization import Call
from ca.messages import (
    ExplainRequest,
    NarrowerRequest,
    RecordResponse,
    SignResponse,
)
from ca.policy import Explanation, load_policy
from signer.app import create_app
from signer.request_log import JSONFormatter
from tests.authority import certificate_in, make_ca, opened, request_of, subject_key
from tests.certificates import ThrowawayCA
from tests.fakes import NOW, FakeIdP
from tests.signing import holder

SIGN, EXPLAIN = "/v1/user-certificates", "/v1/explain"

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"], email_domain = "example.com" }
principals = ["deploy", "{email_local}"]
validity   = "10h"
extensions = ["permit-pty"]

[[rule]]
name       = "root in production"
issuer     = "corp"
on_request = true
match      = { groups = ["oncall"] }
require    = { source = ["192.0.2.0/24"], reason = true }
principals = ["root"]
validity   = "30m"

[[rule]]
name       = "the founder"
issuer     = "corp"
match      = { email = "founder@example.com" }
principals = ["vault"]
validity   = "1h"

[[deny]]
name       = "mallory"
issuer     = "corp"
match      = { email = "mallory@example.com" }
principals = ["deploy"]

[[deny]]
name       = "ada is no operator"
issuer     = "corp"
match      = { email = "ada@example.com" }
principals = ["operator"]

[roles]
admin = { issuer = "corp", groups = ["oncall"] }
auditor = { issuer = "corp", groups = ["dev"] }
"""


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


def post(client, path, body, **headers):
    return client.post(
        path, data=body, content_type="application/json", headers=headers
    )


def sign_in(client, idp, user="ada"):
    somebody = holder()
    request = request_of(idp, user, key=somebody.line)
    answer = post(client, SIGN, msgspec.json.encode(request))
    return somebody.with_certificate(
        msgspec.json.decode(answer.data, type=SignResponse)
    )


@pytest.fixture(scope="module")
def people(authority, idp):
    client = create_app(authority, clock=lambda: NOW).test_client()
    return {name: sign_in(client, idp, name) for name in ("ada", "grace")}


def send(client, somebody, path, request, *, at=NOW, **changes):
    """Send a request that somebody signs."""
    body = request if isinstance(request, bytes) else msgspec.json.encode(request)
    header = somebody.sign(Call("POST", path, body), at=at, **changes)
    return post(client, path, body, Authorization=header)


def refusal(answer, status, code):
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.data
    return answer.json["detail"]


# --- A narrower certificate -----------------------------------------------------------


def test_a_signed_request_buys_a_narrower_certificate(client, people):
    request = NarrowerRequest(public_key=subject_key(), principals=("ada",))

    answer = send(client, people["ada"], SIGN, request)

    assert answer.status_code == 200
    signed = msgspec.json.decode(answer.data, type=SignResponse)
    assert certificate_in(signed).principals == ("ada",)
    assert signed.valid_before == people["ada"].says.valid_before


def test_the_same_signed_request_again_is_refused(client, people):
    body = msgspec.json.encode(
        NarrowerRequest(public_key=subject_key(), principals=("ada",))
    )
    header = people["ada"].sign(Call("POST", SIGN, body), at=NOW)
    assert post(client, SIGN, body, Authorization=header).status_code == 200

    refusal(post(client, SIGN, body, Authorization=header), 409, "request_replayed")


def test_a_signed_request_has_no_token_in_it(client, idp, people):
    answer = send(client, people["ada"], SIGN, request_of(idp))

    assert "id_token" in refusal(answer, 400, "bad_request")


@pytest.mark.parametrize("header", ["Basic eDp5", "Bearer x", ""])
def test_a_header_of_another_scheme_is_not_a_signed_request(client, idp, header):
    body = msgspec.json.encode(request_of(idp))

    assert post(client, SIGN, body, Authorization=header).status_code == 200


# --- A record -------------------------------------------------------------------------


def test_a_signed_request_reads_a_record_and_no_other_request_does(client, people):
    ada = people["ada"]
    path = f"/v1/log/records/{ada.says.serial - 1}"
    header = ada.sign(Call("GET", path, b""), at=NOW)

    answer = client.get(path, headers={"Authorization": header})

    assert answer.status_code == 200
    shown = msgspec.json.decode(answer.data, type=RecordResponse)
    record = json.loads(b64decode(shown.record or ""))
    assert record["identity"]["email"] == "ada@example.com"
    refusal(client.get(path), 401, "authorization_malformed")
    again = client.get(path, headers={"Authorization": header})
    refusal(again, 409, "request_replayed")


def test_a_record_that_is_none_is_not_found(client, people):
    path = "/v1/log/records/1000000"
    header = people["ada"].sign(Call("GET", path, b""), at=NOW)

    answer = client.get(path, headers={"Authorization": header})

    refusal(answer, 404, "not_found")


# --- Refusals -------------------------------------------------------------------------


def test_who_proves_nothing_is_told_nothing_about_the_body(client, people):
    for body in (b"{", b"{}", msgspec.json.encode(ExplainRequest())):
        refusal(post(client, EXPLAIN, body), 401, "authorization_malformed")
        stale = send(client, people["ada"], EXPLAIN, body, at=NOW - timedelta(hours=1))
        refusal(stale, 401, "request_time_wrong")


def test_each_refusal_has_its_own_code(client, authority, idp, people):
    ada, body = people["ada"], msgspec.json.encode(ExplainRequest())
    call = Call("POST", EXPLAIN, body)

    def code(header, *, path=EXPLAIN, at=NOW):
        app = create_app(authority, clock=lambda: at)
        answer = post(app.test_client(), path, body, Authorization=header)
        assert answer.status_code == 401, answer.data
        return answer.json["code"]

    late = NOW + timedelta(hours=11)
    foreign = ThrowawayCA().certify(ada.says)
    assert code("Daypass-SSHSIG x") == "authorization_malformed"
    assert code(ada.sign(call, at=late)) == "request_time_wrong"
    assert code(ada.sign(call, at=late), at=late) == "certificate_not_live"
    assert code(ada.sign(call, at=NOW, origin="https://x")) == "signature_invalid"
    assert code(ada.sign(call, at=NOW), path=f"{EXPLAIN}?x") == "signature_invalid"
    assert code(ada.sign(call, at=NOW, signer=holder())) == "signature_invalid"
    changed = sign_in(client, idp).with_blob(foreign).sign(call, at=NOW)
    assert code(changed) == "certificate_foreign"

    phone = holder()
    bought = send(
        client, ada, SIGN, NarrowerRequest(public_key=phone.line, principals=("ada",))
    )
    derived = phone.with_certificate(
        msgspec.json.decode(bought.data, type=SignResponse)
    )
    assert code(derived.sign(call, at=NOW)) == "certificate_derived"

    erased = sign_in(client, idp)
    with sqlite3.connect(authority.config.file.with_name("daypass.db")) as database:
        database.execute(
            "UPDATE entries SET record = NULL WHERE serial = ?",
            (str(erased.says.serial),),
        )
    assert code(erased.sign(call, at=NOW)) == "certificate_unrecorded"


@pytest.mark.parametrize("path", ["/v1/explain?x", "/v1/explain?a=%20b"])
def test_the_path_is_signed_as_it_was_sent(client, people, path):
    body = msgspec.json.encode(ExplainRequest())

    as_sent = people["ada"].sign(Call("POST", path, body), at=NOW)
    tidied = people["ada"].sign(Call("POST", EXPLAIN, body), at=NOW)

    assert post(client, path, body, Authorization=as_sent).status_code == 200
    refusal(post(client, path, body, Authorization=tidied), 401, "signature_invalid")


def test_the_log_says_who_signed_and_nothing_of_the_header(client, people, caplog):
    caplog.set_level(logging.INFO)

    send(client, people["ada"], EXPLAIN, ExplainRequest())

    (record,) = [r for r in caplog.records if r.message == "request"]
    line = JSONFormatter().format(record)
    assert json.loads(line)["signed_by"] == str(people["ada"].says.serial)
    assert "Daypass-SSHSIG" not in line


# --- Explanations ---------------------------------------------------------------------


def explained(answer):
    assert answer.status_code == 200, answer.data
    return msgspec.json.decode(answer.data, type=Explanation)


def outcomes(explanation):
    return {rule.name: str(rule.outcome) for rule in explanation.rules}


def test_somebody_is_told_what_each_rule_makes_of_them(client, people):
    explanation = explained(send(client, people["ada"], EXPLAIN, ExplainRequest()))

    assert explanation.key_id == "corp:ada@example.com"
    assert explanation.granted.principals == ("deploy", "ada")
    assert outcomes(explanation) == {
        "developers": "answers",
        "root in production": "no-match",
        "the founder": "no-match",
    }


def test_somebody_is_told_why_they_may_not(client, people):
    wish = ExplainRequest(principals=("root",))

    explanation = explained(send(client, people["grace"], EXPLAIN, wish))

    assert explanation.granted is None
    assert "needs a request from 192.0.2.0/24" in explanation.refusal
    assert "needs a reason" in explanation.refusal


def test_another_address_can_be_asked_about(client, people):
    wish = ExplainRequest(principals=("root",), reason="x", source="192.0.2.7")

    explanation = explained(send(client, people["grace"], EXPLAIN, wish))

    assert explanation.granted.principals == ("root",)
    refusal(
        send(client, people["grace"], EXPLAIN, ExplainRequest(source="here")),
        400,
        "bad_request",
    )


def test_nobody_but_an_admin_is_told_who_other_people_are(client, people):
    answer = send(client, people["ada"], EXPLAIN, ExplainRequest())

    assert b"founder@" not in answer.data
    assert b"mallory" not in answer.data
    explanation = explained(answer)
    assert [deny.name for deny in explanation.denies] == ["ada is no operator"]
    root, founder = explanation.rules[1:]
    assert "oncall" in root.reason
    assert founder.reason == "means certain people"
    told = send(client, people["grace"], EXPLAIN, ExplainRequest()).data
    assert b"founder@example.com" in told
    assert b"mallory@example.com" in told


ADA = {
    "issuer": "corp",
    "groups": ["dev"],
    "email": "ada@example.com",
    "email_verified": True,
}


def test_an_admin_may_ask_about_anybody(client, people):
    about = ExplainRequest(identity=ADA)

    explanation = explained(send(client, people["grace"], EXPLAIN, about))

    assert explanation.key_id == "corp:ada@example.com"
    assert explanation.granted.principals == ("deploy", "ada")


def test_others_may_not_not_even_about_themselves_as_others(client, people):
    answer = send(client, people["ada"], EXPLAIN, ExplainRequest(identity=ADA))

    assert "only admins" in refusal(answer, 403, "denied")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issuer": "elsewhere"}, "no issuer"),
        ({"issuer": None}, "issuer"),
        ({"groups": "dev"}, "groups"),
        ({"email": "ada"}, "email"),
        ({"auth_age": "long"}, "auth_age"),
    ],
)
def test_an_identity_that_nobody_could_have_is_refused(client, people, change, words):
    about = ExplainRequest(identity=ADA | change)

    answer = send(client, people["grace"], EXPLAIN, about)

    assert words in refusal(answer, 400, "bad_request")


def test_nothing_is_recorded_of_an_explanation(client, authority, people):
    file = authority.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        before = connection.execute("SELECT count(*) FROM entries").fetchone()
        send(client, people["ada"], EXPLAIN, ExplainRequest(principals=("deploy",)))
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == before


def test_json_of_an_explanation_has_only_what_is_described(client, people):
    answer = send(client, people["ada"], EXPLAIN, ExplainRequest())

    assert set(json.loads(answer.data)) <= set(Explanation.__struct_fields__)
