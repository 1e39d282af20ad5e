"""The sign-in by code (RFC 8628): polite to the issuer, plain to people, finite."""

import json
import socket
from typing import Any

import pytest

from ca.binding import decode_base64url, nonce_for
from ca.certificate import parse_line
from client import device, oidc
from client.failure import BadAnswer, SignInFailed
from client.messages import Client, Issuer
from tests.fakes import Answer, FakeIdP

JSON = {"Content-Type": "application/json"}


def claims(token: str) -> dict[str, object]:
    payload: dict[str, object] = json.loads(decode_base64url(token.split(".")[1]))
    return payload


class Patience:
    """A clock that only pauses move; knows how long each was."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Desk:
    """A person's side of one issuer."""

    def __init__(self, idp: FakeIdP) -> None:
        self.idp = idp
        self.client = Client("ca-login-device", "device", "nonce", ("openid", "email"))
        self.patience = Patience()

    def discover(self) -> oidc.Endpoints:
        return oidc.discover(Issuer("corp", self.idp.url, (self.client,)))

    def begin(self) -> device.Begun:
        return device.begin(self.discover(), self.client, nonce="n")

    def wait(self, begun: device.Begun | None = None) -> str:
        return device.wait(
            self.discover(),
            self.client,
            begun or self.begin(),
            pause=self.patience.pause,
            clock=self.patience,
        )


@pytest.fixture
def desk():
    with FakeIdP() as idp:
        yield Desk(idp)


def test_the_request_is_what_the_standard_says(desk):
    desk.client = Client(
        "ca-login-device",
        "device",
        "nonce",
        ("email",),
        public_secret="not-one",  # noqa: S106 as it says
        parameters={"acr_values": "phr", "client_id": "evil", "nonce": "evil"},
    )

    desk.wait()

    begun, asked = desk.idp.forms
    assert begun == {
        "client_id": "ca-login-device",
        "client_secret": "not-one",
        "scope": "openid email",
        "nonce": "n",
        "acr_values": "phr",
    }
    assert asked.pop("device_code")
    assert asked == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "client_id": "ca-login-device",
        "client_secret": "not-one",
    }


def test_the_first_question_comes_after_the_interval(desk):
    desk.idp.device["interval"] = 7

    assert claims(desk.wait())["nonce"] == "n"

    assert desk.patience.pauses == [7]


def test_without_an_interval_it_is_five_seconds(desk):
    del desk.idp.device["interval"]
    desk.idp.device_errors = ["authorization_pending"] * 3

    desk.wait()

    assert desk.patience.pauses == [5, 5, 5, 5]


def test_no_issuer_is_asked_without_a_pause(desk):
    desk.idp.device["interval"] = 0
    desk.idp.device_errors = ["authorization_pending"]

    desk.wait()

    assert desk.patience.pauses == [1, 1]


def test_who_is_told_to_slow_down_does_so_from_then_on(desk):
    desk.idp.device_errors = ["slow_down", "authorization_pending", "slow_down"]

    desk.wait()

    assert desk.patience.pauses == [1, 6, 6, 11]


def test_nobody_is_waited_for_longer_than_the_code_is_good(desk):
    desk.idp.device |= {"expires_in": 12, "interval": 5}
    desk.idp.device_errors = ["authorization_pending"] * 100

    with pytest.raises(SignInFailed, match="nobody signed in within 0 minutes"):
        desk.wait()
    assert desk.patience.pauses == [5, 5, 2]


def test_nobody_is_waited_for_longer_than_half_an_hour(desk):
    desk.idp.device |= {"expires_in": 1 << 50, "interval": 1 << 50}
    desk.idp.device_errors = ["authorization_pending"] * 100

    with pytest.raises(SignInFailed, match="within 30 minutes"):
        desk.wait()
    assert sum(desk.patience.pauses) == 1800


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("expired_token", "nobody signed in"),
        ("access_denied", "refused at the other device"),
        ("invalid_grant", "refused: invalid_grant"),
    ],
)
def test_a_refusal_ends_it(desk, error, why):
    desk.idp.device_errors = ["authorization_pending", error, "authorization_pending"]

    with pytest.raises(SignInFailed, match=why):
        desk.wait()
    assert len(desk.patience.pauses) == 2


def test_an_issuer_out_of_reach_is_asked_less_often_and_not_given_up(desk):
    endpoints, begun = desk.discover(), desk.begin()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        nobody = f"http://127.0.0.1:{listening.getsockname()[1]}/"
    gone = oidc.Endpoints(
        endpoints.issuer,
        endpoints.authorization,
        nobody,
        endpoints.device,
        names_itself=False,
    )

    with pytest.raises(SignInFailed, match="nobody signed in"):
        device.wait(
            gone,
            desk.client,
            begun,
            pause=desk.patience.pause,
            clock=desk.patience,
        )

    assert desk.patience.pauses[:5] == [2**n for n in range(5)]


@pytest.mark.parametrize(
    ("spelled", "shown"),
    [
        ("WDJBMJHT", "WDJB-MJHT"),
        ("WDJB-MJHT", "WDJB-MJHT"),
        ("C7X9R2K4Q", "C7X9R2K4Q"),
        ("12345678", "12345678"),
    ],
)
def test_a_code_is_easy_to_read_and_as_the_issuer_spells_it(desk, spelled, shown):
    desk.idp.device["user_code"] = spelled

    assert desk.begin().user_code == shown


def test_the_address_may_have_its_older_name(desk):
    address = desk.idp.device.pop("verification_uri")
    desk.idp.device["verification_url"] = address

    assert desk.begin().address == address


@pytest.mark.parametrize(
    "wrong",
    [
        {"verification_uri": "http://login.example.com/device"},
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri_complete": "file:///etc/passwd"},
        {"verification_uri": None},
        {"user_code": 12345678},
        {"expires_in": "600"},
        {"interval": "5"},
        {"device_code": None},
    ],
    ids=str,
)
def test_a_beginning_that_makes_no_sense_is_a_clean_error(desk, wrong):
    desk.idp.device |= wrong

    with pytest.raises(BadAnswer):
        desk.begin()


def test_an_issuer_without_sign_ins_by_code_says_so(desk):
    document = json.loads(desk.idp.discovery({}).body)
    del document["device_authorization_endpoint"]
    body = json.dumps(document).encode()
    desk.idp.answers["/.well-known/openid-configuration"] = Answer(200, body, JSON)

    with pytest.raises(SignInFailed, match="no sign-in by code"):
        desk.begin()


def test_an_issuer_that_gives_no_code_says_why(desk):
    answer = {"error": "unauthorized_client", "error_description": "no such grant"}
    desk.idp.answers["/device_authorization"] = Answer(
        400, json.dumps(answer).encode(), JSON
    )

    with pytest.raises(SignInFailed, match="refused: no such grant"):
        desk.begin()


def test_an_answer_without_an_id_token_is_a_clean_error(desk):
    begun = desk.begin()
    desk.idp.answers["/token"] = Answer(200, b'{"access_token": "x"}', JSON)

    with pytest.raises(BadAnswer, match="id_token"):
        desk.wait(begun)


# --- As a command ------------------------------------------------------------------


@pytest.fixture
def trusted(run, ca, idp) -> dict[str, Any]:
    """Set a laptop up whose CA has a client for sign-ins by code; return it."""
    ca.issuers.clear()
    client = ca.trust_issuer(idp.url, flow="device", id="ca-login-device")
    assert run("setup", ca.url, "--pin", ca.pin).status == 0
    return dict(client)


def test_people_are_told_where_to_go_and_what_to_enter(trusted, run, idp, keys):
    complete = "https://login.example.com/device?user_code=WDJBMJHT"
    idp.device["verification_uri_complete"] = complete

    said = run()

    assert said.status == 0
    assert said.out == ""
    assert said.err.startswith(
        "ca-login: on any device, open https://login.example.com/device\n"
        "ca-login: and enter the code WDJB-MJHT\n"
        f"ca-login: or open {complete}\n"
        "ca-login: never enter a code that somebody sent you: they would sign in as"
        " you\n"
        "ca-login: signed in as "
    )
    assert keys.held().key_matches


def test_the_token_is_bound_to_the_key_where_the_issuer_can(trusted, run, ca, idp):
    run()

    (asked,) = ca.requests
    nonce = nonce_for(parse_line(asked["public_key"]), decode_base64url(asked["salt"]))
    assert claims(asked["id_token"])["nonce"] == nonce


def test_an_unbound_client_sends_no_nonce_and_no_salt(trusted, run, ca, idp):
    ca.issuers[0]["clients"][0]["binding"] = "none"

    assert run().status == 0

    assert "nonce" not in idp.forms[0]
    assert "salt" not in ca.requests[0]


def test_what_the_issuer_writes_moves_no_cursor(trusted, run, idp):
    idp.device["user_code"] = "\x1b[2J12"

    assert "code \\x1b[2J12\n" in run().err


def test_no_browser_is_opened_for_a_code(trusted, run, monkeypatch, tmp_path):
    monkeypatch.setenv("BROWSER", f"touch {tmp_path / 'opened'}")

    assert run("--device").status == 0

    assert not (tmp_path / "opened").exists()
