"""A real OpenID provider that rotates, stops, hangs, or withdraws a key.

Its processes are killed and stopped for real; only the age of keys is a number that the
test moves. `tests/ca/test_oidc_jwks.py` has a provider that lies and redirects.
"""

import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from ca.binding import encode_base64url, nonce_for
from ca.certificate import parse_line
from ca.errors import IssuerUnavailable, TokenKeyUnknown
from ca.identity import Binding, SignIn
from ca.issuers import ClientSettings, Flow, IssuerSettings
from ca.messages import SignRequest
from ca.oidc import Verifier
from tests.authority import subject_key
from tests.certificates import ed25519_blob
from tests.laptop import open_house
from tests.real_provider import CLIENT, OIDCProvider

pytestmark = pytest.mark.openssh

KEY = ed25519_blob()
SALT = secrets.token_bytes(32)
NONCE = nonce_for(KEY, SALT)

JWKS = "/jwks"
USABLE = 3600
"""Seconds for which keys are used when the provider does not answer."""

SLOWEST = 3.5
"""Seconds that one attempt to fetch a document may take, on a busy machine."""


class MovedByHand:
    """A clock that stands still until it is put forward."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def provider() -> Iterator[OIDCProvider]:
    with OIDCProvider() as provider:
        yield provider


@pytest.fixture
def clock() -> MovedByHand:
    return MovedByHand()


@pytest.fixture
def verifier(provider: OIDCProvider, clock: MovedByHand) -> Verifier:
    client = ClientSettings(CLIENT, Flow.BROWSER, Binding.NONCE)
    issuer = IssuerSettings("corp", provider.issuer, (client,))
    return Verifier([issuer], origin="https://ca.example.com", clock=clock)


def verify(verifier: Verifier, token: str) -> SignIn:
    salt = encode_base64url(SALT)
    return verifier.verify(token, key_blob=KEY, salt=salt, now=datetime.now(UTC))


def unknown(token: str) -> str:
    """Return a token like this one, of a key that nobody knows."""
    header, payload, signature = token.split(".")
    head = encode_base64url(
        msgspec.json.encode({"alg": "RS256", "kid": secrets.token_hex(8)})
    )
    assert header != head
    return f"{head}.{payload}.{signature}"


@pytest.mark.parametrize("fault", ["stop", "freeze"])
def test_sign_ins_go_on_for_an_hour_without_the_provider_and_no_longer(
    provider, verifier, clock, fault
):
    token = provider.id_token("ada", nonce=NONCE)
    verify(verifier, token)
    getattr(provider, fault)()

    clock.seconds = USABLE - 1
    verify(verifier, token)
    clock.seconds = USABLE
    with pytest.raises(IssuerUnavailable) as caught:
        verify(verifier, token)

    assert caught.value.detail.startswith(f"issuer corp: {provider.issuer}/")
    why = "refused" if fault == "stop" else "does not answer within 3 s"
    assert why in caught.value.detail


def test_a_provider_that_hangs_holds_up_one_sign_in_and_no_other(
    provider, verifier, clock
):
    token = provider.id_token("ada", nonce=NONCE)
    verify(verifier, token)
    provider.freeze()
    clock.seconds = USABLE / 2
    renewing = threading.Thread(target=verify, args=(verifier, token))
    began = time.monotonic()
    renewing.start()
    while not verifier._issuers[provider.issuer][1]._lock.locked():  # noqa: SLF001
        time.sleep(0.001)

    for _ in range(100):
        verify(verifier, token)

    assert renewing.is_alive()
    renewing.join()
    assert time.monotonic() - began < SLOWEST


def test_a_hanging_provider_is_asked_once_for_many_unknown_keys(provider, verifier):
    token = provider.id_token("ada", nonce=NONCE)
    verify(verifier, token)
    provider.freeze()
    began = time.monotonic()

    def attempt(_: int) -> None:
        with pytest.raises(TokenKeyUnknown):
            verify(verifier, unknown(token))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(attempt, range(200)))

    # Two hundred questions, even sixteen at a time, would take longer.
    assert time.monotonic() - began < SLOWEST


def test_ten_thousand_unknown_keys_cause_few_fetches(provider, verifier, clock):
    token = provider.id_token("ada", nonce=NONCE)
    verify(verifier, token)

    for _ in range(10_000):
        with pytest.raises(TokenKeyUnknown):
            verify(verifier, unknown(token))
        clock.seconds += 0.01  # 100 seconds in all

    assert provider.asked(JWKS) <= 1 + 11
    assert provider.asked("/.well-known/openid-configuration") == 1
    verify(verifier, token)


def test_a_provider_that_is_back_is_believed_at_once(provider, verifier, clock):
    verify(verifier, provider.id_token("ada", nonce=NONCE))
    provider.stop()
    clock.seconds = USABLE
    assert len(verifier.problems()) == 1

    provider.start()  # with new keys
    clock.seconds += 1

    verify(verifier, provider.id_token("ada", nonce=NONCE))
    assert verifier.problems() == []


def test_a_withdrawn_key_is_trusted_no_longer_than_its_age(provider, verifier, clock):
    stolen = provider.id_token("ada", nonce=NONCE)
    verify(verifier, stolen)
    provider.rotate_keys()
    provider.rotate_keys()

    clock.seconds = 599
    verify(verifier, stolen)
    clock.seconds = 600
    with pytest.raises(TokenKeyUnknown):
        verify(verifier, stolen)


def test_who_keeps_us_from_asking_keeps_a_withdrawn_key_for_an_hour_at_most(
    provider, verifier, clock
):
    stolen = provider.id_token("ada", nonce=NONCE)
    verify(verifier, stolen)
    provider.rotate_keys()
    provider.rotate_keys()
    provider.stop()

    for minute in range(10, 60):
        clock.seconds = minute * 60
        verify(verifier, stolen)
    clock.seconds = USABLE
    with pytest.raises(IssuerUnavailable):
        verify(verifier, stolen)


def test_certificates_are_issued_while_the_provider_rotates_its_keys(
    provider, tmp_path: Path
):
    with open_house(tmp_path / "ca", provider.issuer) as house:

        def sign_in() -> tuple[int, str]:
            key, salt = subject_key(), secrets.token_bytes(32)
            token = provider.id_token("ada", nonce=nonce_for(parse_line(key), salt))
            request = SignRequest(
                public_key=key, id_token=token, salt=encode_base64url(salt)
            )
            return house.signer.sign(request).status, token.partition(".")[0]

        with ThreadPoolExecutor(3) as pool:
            working = [pool.submit(sign_in) for _ in range(24)]
            working[6].result(60)
            provider.rotate_keys()
            done = [one.result(60) for one in working]

    assert {status for status, _ in done} == {200}
    assert len({header for _, header in done}) == 2
