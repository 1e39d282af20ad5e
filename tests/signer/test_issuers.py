"""Several issuers with several clients each, from the token to the answer over HTTP."""

import secrets
from contextlib import contextmanager

import msgspec
import pytest

from ca.binding import audience_for, encode_base64url, nonce_for
from ca.certificate import parse_line
from ca.messages import Discovery, Problem, SignRequest, SignResponse
from signer.app import create_app
from tests.authority import make_ca, opened, request_of, subject_key, write_whole
from tests.fakes import NOW, FakeIdP

SIGN = "/v1/user-certificates"
ORIGIN = "http://127.0.0.1:8440"

CLIENTS = """
[[issuer.client]]
id = "by-code"
flow = "device"
binding = "nonce"
public_secret = "told-to-everybody"
parameters = { acr_values = "phr" }

[[issuer]]
name = "partner"
url = "{partner}"

[[issuer.client]]
id = "partner-login"
flow = "browser"
binding = "nonce"
redirect_host = "localhost"
redirect_ports = [8765, 8766]

[[issuer.client]]
id = "{origin}"
flow = "ci"
binding = "audience"
"""

POLICY = """
[people]
"corp:grace@example.com" = ["dev"]
"partner:ada@example.com" = ["guests"]

[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"], client = "ca-login" }
principals = ["deploy"]
validity   = "10h"

[[rule]]
name       = "developers by code"
issuer     = "corp"
match      = { groups = ["dev"], client = "by-code" }
principals = ["deploy"]
validity   = "1h"

[[rule]]
name       = "guests"
issuer     = "partner"
match      = { groups = ["guests"] }
principals = ["guest"]
validity   = "1h"
"""


@contextmanager
def a_partner():
    """Run an issuer whose keys are not those of the other."""
    with FakeIdP(now=NOW.timestamp) as partner:
        partner.generation = 1
        partner.published = [1]
        yield partner


@contextmanager
def a_ca(folder, idp, partner):
    """Open a CA that believes both issuers."""
    config_file = make_ca(folder / "ca", idp)
    clients = CLIENTS.replace("{partner}", partner.url).replace("{origin}", ORIGIN)
    write_whole(config_file, config_file.read_text() + clients)
    write_whole(config_file.with_name("policy.toml"), POLICY)
    with opened(config_file) as authority:
        yield authority


def client_of(authority):
    return create_app(authority, clock=lambda: NOW).test_client()


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def partner():
    with a_partner() as partner:
        yield partner


@pytest.fixture(scope="module")
def client(idp, partner, tmp_path_factory):
    with a_ca(tmp_path_factory.mktemp("ca"), idp, partner) as authority:
        yield client_of(authority)


def post(client, request):
    body = msgspec.json.encode(request)
    return client.post(SIGN, data=body, content_type="application/json")


def granted(answer):
    assert answer.status_code == 200, answer.data
    return msgspec.json.decode(answer.data, type=SignResponse)


def refused(answer, status, code):
    assert answer.status_code == status
    problem = msgspec.json.decode(answer.data, type=Problem)
    assert problem.code == code
    return problem


def request_at(idp, client_id, user="ada", **claims):
    """Return a request with a token of any client of an issuer."""
    return request_of(idp, user, claims={"aud": client_id} | claims)


def seconds(signed):
    return signed.valid_before - int(NOW.timestamp())


def test_discovery_names_every_issuer_and_client_with_its_flow(client, idp, partner):
    answer = client.get("/v1/discovery")

    corp, other = msgspec.json.decode(answer.data, type=Discovery).issuers
    assert (corp.name, corp.url) == ("corp", idp.url)
    assert [(one.id, one.flow) for one in corp.clients] == [
        ("ca-login", "browser"),
        ("by-code", "device"),
    ]
    assert corp.clients[1].public_secret == "told-to-everybody"  # noqa: S105 as it says
    assert corp.clients[1].parameters == {"acr_values": "phr"}
    assert (other.name, other.url) == ("partner", partner.url)
    assert other.clients[0].redirect_host == "localhost"
    assert other.clients[0].redirect_ports == (8765, 8766)
    assert other.clients[1].binding == "audience"


def test_policy_can_tell_a_sign_in_by_code_from_one_by_browser(client, idp):
    browser = granted(post(client, request_at(idp, "ca-login")))
    code = granted(post(client, request_at(idp, "by-code")))

    assert seconds(browser) == 36_000
    assert seconds(code) == 3_600


def test_a_client_of_one_issuer_is_none_of_another_s(client, idp, partner):
    refused(post(client, request_at(partner, "ca-login")), 401, "token_audience_wrong")
    refused(post(client, request_at(idp, "partner-login")), 401, "token_audience_wrong")


def test_a_key_of_one_issuer_signs_for_no_other(client, idp, partner):
    forged = request_at(partner, "ca-login", iss=idp.url)

    refused(post(client, forged), 401, "token_key_unknown")


def test_a_job_s_token_is_for_the_key_in_its_audience_alone(client, partner):
    key, another = subject_key(), subject_key()
    audience = audience_for(ORIGIN, parse_line(key))
    token = partner.token(aud=audience, **partner.people["ada"] | {"groups": None})

    problem = refused(
        post(client, SignRequest(public_key=another, id_token=token)),
        401,
        "token_binding_wrong",
    )
    signed = granted(post(client, SignRequest(public_key=key, id_token=token)))

    assert "ca-login --key FILE --print-audience" in str(problem.hint)
    assert signed.principals == ("guest",)


def test_people_are_put_into_groups_where_the_issuer_sends_none(client, idp):
    grace = request_at(idp, "ca-login", "grace", groups=None)
    nobody = request_at(idp, "ca-login", "ada", groups=None)

    assert granted(post(client, grace)).principals == ("deploy",)
    refused(post(client, nobody), 403, "denied")


def test_people_are_put_into_no_group_where_the_issuer_sends_some(client, idp):
    grace = request_at(idp, "ca-login", "grace", groups=[])

    refused(post(client, grace), 403, "denied")


@pytest.mark.parametrize(
    "claims",
    [
        {
            "_claim_names": {"groups": "src1"},
            "_claim_sources": {"src1": {"endpoint": "https://graph.example.com"}},
        },
        {"hasgroups": True},
    ],
    ids=["a link", "only that there are some"],
)
def test_groups_that_did_not_fit_are_an_error_and_not_no_groups(client, idp, claims):
    too_many = request_at(idp, "ca-login", "grace", groups=None, **claims)

    problem = refused(post(client, too_many), 401, "token_claim_invalid")

    assert "so many groups" in problem.detail
    assert "assigned to this client" in str(problem.hint)


def test_one_issuer_being_down_stops_only_its_own_people(idp, tmp_path):
    with a_partner() as down, a_ca(tmp_path, idp, down) as authority:
        client = client_of(authority)
        down.answers["/.well-known/openid-configuration"] = idp.discovery({})

        request = request_at(down, "partner-login")
        problem = refused(post(client, request), 503, "issuer_unavailable")
        granted(post(client, request_at(idp, "ca-login")))
        (said,) = client.get("/readyz").json["problems"]

    assert problem.detail == said
    assert said == "issuer partner: its discovery document names another issuer"


def test_a_stolen_sign_in_by_code_is_refused_for_another_key(client, idp):
    key, salt = subject_key(), secrets.token_bytes(32)
    nonce = nonce_for(parse_line(key), salt)
    token = idp.token(aud="by-code", nonce=nonce, **idp.people["ada"])
    request = SignRequest(
        public_key=subject_key(), id_token=token, salt=encode_base64url(salt)
    )

    refused(post(client, request), 401, "token_binding_wrong")
