"""Admins revoke and block with signed requests, and nobody else does."""

import json

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca.authorization import Call
from ca.messages import SignResponse
from ca.policy import load_policy
from signer.app import create_app
from tests.authority import make_ca, opened, request_of, subject_key
from tests.fakes import NOW, FakeIdP
from tests.signing import holder

POLICY = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = {{ groups = ["dev"] }}
principals = ["deploy"]
validity   = "10h"

[roles]
{roles}
"""
ADMIN = 'admin = { issuer = "corp", groups = ["security"] }'

PERSON = {"person": {"issuer": "corp", "subject": "nobody"}, "reason": "why"}
CALLS = {
    "revoke": ("POST", "/v1/revocations", PERSON),
    "try": ("POST", "/v1/revocations", {**PERSON, "dry_run": True}),
    "block": ("POST", "/v1/blocks", PERSON),
    "lift": ("DELETE", "/v1/blocks/1", {"reason": "why"}),
    "blocks": ("GET", "/v1/blocks", None),
    "certificates": ("GET", "/v1/certificates", None),
    "certificate": ("GET", "/v1/certificates/1", None),
}


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        # Who was revoked in one test must not be somebody else in the next.
        idp.people |= {f"ada-{n}": idp.people["ada"] for n in range(1, 5)}
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        yield authority


@pytest.fixture(autouse=True)
def _policy(authority):
    follow(authority, ADMIN)


def follow(authority, roles):
    text = POLICY.format(roles=roles)
    authority.policy = load_policy(text.encode(), issuers=frozenset({"corp"}))


@pytest.fixture
def client(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


def sign_in(client, idp, user="grace", *, groups=("dev", "security")):
    somebody = holder()
    asked = request_of(idp, user, key=somebody.line, claims={"groups": list(groups)})
    answer = post(client, asked)
    assert answer.status_code == 200, answer.data
    return somebody.with_certificate(
        msgspec.json.decode(answer.data, type=SignResponse)
    )


def post(client, asked):
    return client.post(
        "/v1/user-certificates",
        data=msgspec.json.encode(asked),
        content_type="application/json",
    )


def ask(client, somebody, method, path, wanted=None):
    body = b"" if wanted is None else json.dumps(wanted).encode()
    header = somebody.sign(Call(method, path, body), at=NOW)
    kind = {} if wanted is None else {"content_type": "application/json"}
    return client.open(
        path, method=method, data=body, headers={"Authorization": header}, **kind
    )


def refusal(answer, status, code):
    assert (answer.status_code, answer.json["code"]) == (status, code), answer.data
    return answer.json["detail"]


def size(authority):
    return authority.store.log_head().tree.size


@pytest.fixture(scope="module")
def grace(authority, idp):
    follow(authority, ADMIN)
    client = create_app(authority, clock=lambda: NOW).test_client()
    return sign_in(client, idp)


def test_an_admin_revokes_a_person(client, authority, idp, grace):
    ada = sign_in(client, idp, "ada-1")
    who = {"issuer": "corp", "subject": "ada-1"}

    answer = ask(
        client, grace, "POST", "/v1/revocations", {"person": who, "reason": "stolen"}
    )

    assert answer.status_code == 200, answer.data
    assert (answer.json["certificates"], answer.json["people"]) == (1, 1)
    refusal(ask(client, ada, "GET", "/v1/blocks"), 403, "blocked")
    again = request_of(idp, "ada-1")
    refusal(post(client, again), 403, "blocked")
    (entry,) = authority.store.entries(answer.json["index"], 1)
    by = json.loads(entry.record)["by"]
    assert (by["issuer"], by["subject"]) == ("corp", "grace")
    assert by["serial"] == str(grace.says.serial)
    assert by["request_id"] == answer.headers["X-Request-Id"]


def test_a_revoked_certificate_is_told_so(client, idp, grace):
    ada = sign_in(client, idp, "ada-2")
    wanted = {"serial": str(ada.says.serial), "reason": "stolen"}
    assert ask(client, grace, "POST", "/v1/revocations", wanted).status_code == 200

    answer = ask(client, ada, "GET", "/v1/blocks")

    refusal(answer, 401, "certificate_revoked")


def test_a_block_is_made_listed_and_lifted(client, idp, grace):
    key = subject_key()
    made = ask(client, grace, "POST", "/v1/blocks", {"key": key, "reason": "old"})
    assert made.status_code == 200, made.data
    refusal(post(client, request_of(idp, "ada", key=key)), 403, "blocked")

    listed = ask(client, grace, "GET", "/v1/blocks").json["blocks"]
    (mine,) = (one for one in listed if one["index"] == made.json["index"])
    assert (mine["kind"], mine["reason"], mine["lifted"]) == ("key", "old", False)
    assert mine["by"]["subject"] == "grace"
    path = f"/v1/blocks/{mine['id']}"
    lifted = ask(client, grace, "DELETE", path, {"reason": "found"})
    assert lifted.status_code == 200, lifted.data

    assert post(client, request_of(idp, "ada", key=key)).status_code == 200
    refusal(ask(client, grace, "DELETE", path, {"reason": "x"}), 404, "not_found")


def test_an_admin_sees_certificates(client, authority, idp, grace):
    ada = sign_in(client, idp, "ada-3")
    serial = str(ada.says.serial)

    listed = ask(client, grace, "GET", "/v1/certificates").json
    one = ask(client, grace, "GET", f"/v1/certificates/{serial}").json

    assert listed["certificates"][0]["serial"] == serial
    assert "record" not in listed["certificates"][0]
    assert (one["state"], one["key_id"]) == ("live", ada.says.key_id)
    assert one["record"]["identity"]["subject"] == "ada-3"
    revoke = {"serial": serial, "reason": "x"}
    assert ask(client, grace, "POST", "/v1/revocations", revoke).status_code == 200
    one = ask(client, grace, "GET", f"/v1/certificates/{serial}").json
    assert one["state"] == "revoked"
    listed = ask(client, grace, "GET", "/v1/certificates").json
    assert serial not in {each["serial"] for each in listed["certificates"]}
    authority.store.erase(ada.says.serial - 1)
    one = ask(client, grace, "GET", f"/v1/certificates/{serial}").json
    assert one["state"] == "erased"
    absent = ask(client, grace, "GET", "/v1/certificates/999999")
    refusal(absent, 404, "not_found")


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "who", ["a developer", "an auditor", "a provisioner", "an admin by a free token"]
)
def test_nobody_but_an_admin_does_any_of_it(client, authority, idp, who, call):
    roles = {
        "a developer": ADMIN,
        "an auditor": ADMIN + '\nauditor = { issuer = "corp", groups = ["dev"] }',
        "a provisioner": ADMIN
        + '\nprovisioner = { issuer = "corp", groups = ["dev"] }',
        "an admin by a free token": ADMIN,
    }[who]
    follow(authority, roles)
    somebody = sign_in(client, idp, "ada", groups=["dev"])
    before = size(authority)

    detail = refusal(ask(client, somebody, *CALLS[call]), 403, "denied")

    assert "only admins may" in detail
    assert size(authority) == before


@pytest.mark.parametrize("call", CALLS)
def test_who_proves_nothing_learns_nothing(client, authority, call):
    method, path, wanted = CALLS[call]
    before = size(authority)

    for body in (wanted, {"nonsense": 1}):
        answer = client.open(path, method=method, json=body if wanted else None)
        refusal(answer, 401, "authorization_malformed")

    assert size(authority) == before


names = st.sampled_from(["dev", "security", "oncall", "audit"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.sets(names).map(lambda found: sorted({"dev", *found})),
    roles=st.dictionaries(st.sampled_from(["admin", "auditor", "provisioner"]), names),
    call=st.sampled_from(sorted(CALLS)),
)
def test_whoever_may_is_an_admin_by_the_policy_of_now(
    client, authority, idp, groups, roles, call
):
    lines = [f'{r} = {{ issuer = "corp", groups = ["{g}"] }}' for r, g in roles.items()]
    follow(authority, "\n".join(lines))
    somebody = sign_in(client, idp, "ada-4", groups=groups)

    answer = ask(client, somebody, *CALLS[call])

    is_admin = roles.get("admin") in groups
    assert (answer.status_code == 403) is not is_admin, answer.data
