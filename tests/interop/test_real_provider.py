"""Sign-ins at a real OpenID provider prove what they should, up to a login.

The provider is npm's `oidc-provider`, which we did not write: code, PKCE and nonce go
over HTTP through its own pages. `tests/ca/test_oidc*.py` has the provider that lies.
"""

import getpass
import secrets
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ca.binding import encode_base64url, nonce_for
from ca.errors import (
    TokenAudienceWrong,
    TokenBindingWrong,
    TokenIssuerUnknown,
    TokenKeyUnknown,
)
from ca.identity import Binding, SignIn
from ca.issuers import ClientSettings, Flow, IssuerSettings
from ca.oidc import Verifier
from tests.certificates import ed25519_blob
from tests.laptop import House, open_house
from tests.real_provider import ANOTHER_CLIENT, CLIENT, OIDCProvider
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh

KEY = ed25519_blob()
SALT = secrets.token_bytes(32)
NONCE = nonce_for(KEY, SALT)


@pytest.fixture(scope="module")
def provider() -> Iterator[OIDCProvider]:
    with OIDCProvider() as provider:
        yield provider


class Clock:
    """A clock that stands still until it is put forward."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def verifier(provider: OIDCProvider, clock: Clock) -> Verifier:
    client = ClientSettings(CLIENT, Flow.BROWSER, Binding.NONCE)
    issuer = IssuerSettings(name="corp", url=provider.issuer, clients=(client,))
    return Verifier([issuer], origin="https://ca.example.com", clock=clock)


def verify(verifier: Verifier, token: str, *, key: bytes = KEY) -> SignIn:
    return verifier.verify(
        token, key_blob=key, salt=encode_base64url(SALT), now=datetime.now(UTC)
    )


def test_a_token_proves_who_signed_in_and_for_which_key(provider, verifier):
    before = datetime.now(UTC) - timedelta(seconds=2)

    proved = verify(verifier, provider.id_token("ada", nonce=NONCE))

    who = proved.identity
    assert (who.issuer, who.subject, who.client) == ("corp", "ada", CLIENT)
    assert who.key_id == "corp:ada@example.com"
    assert who.groups == ("dev", "oncall")
    assert who.binding is Binding.NONCE
    assert who.auth_time is not None
    assert before < who.auth_time < before + timedelta(minutes=1)
    ends = int((before + timedelta(minutes=5)).timestamp())
    assert ends <= proved.expires < ends + 60
    assert proved.max_uses == 1


def test_an_address_that_the_provider_did_not_verify_is_not_believed(
    provider, verifier
):
    who = verify(verifier, provider.id_token("grace", nonce=NONCE)).identity

    assert who.email is None
    assert who.key_id == "corp:grace"


def test_a_stolen_token_is_refused_for_the_thief_s_key(provider, verifier):
    token = provider.id_token("ada", nonce=NONCE)

    with pytest.raises(TokenBindingWrong):
        verify(verifier, token, key=ed25519_blob())


def test_a_token_with_a_nonce_of_no_key_is_refused(provider, verifier):
    token = provider.id_token("ada", nonce=secrets.token_urlsafe(32))

    with pytest.raises(TokenBindingWrong):
        verify(verifier, token)


def test_a_token_of_another_client_of_the_same_provider_is_refused(provider, verifier):
    token = provider.id_token("ada", nonce=NONCE, client=ANOTHER_CLIENT)

    with pytest.raises(TokenAudienceWrong):
        verify(verifier, token)


def test_a_token_of_another_provider_is_refused(verifier):
    with OIDCProvider() as elsewhere:
        token = elsewhere.id_token("ada", nonce=NONCE)

        with pytest.raises(TokenIssuerUnknown):
            verify(verifier, token)


def test_sign_ins_go_on_while_the_provider_rotates_its_keys(provider, verifier):
    old = provider.id_token("ada", nonce=NONCE)
    verify(verifier, old)

    provider.rotate_keys()

    new = provider.id_token("ada", nonce=NONCE)
    verify(verifier, new)
    verify(verifier, old)


def test_a_token_signed_with_a_withdrawn_key_is_refused(provider, verifier, clock):
    old = provider.id_token("ada", nonce=NONCE)
    verify(verifier, old)

    provider.rotate_keys()
    provider.rotate_keys()
    clock.seconds += 600

    with pytest.raises(TokenKeyUnknown):
        verify(verifier, old)


# --- from the browser to the host --------------------------------------------------


@pytest.fixture
def house(provider: OIDCProvider, tmp_path: Path) -> Iterator[House]:
    with open_house(tmp_path / "ca", provider.issuer) as house:
        yield house


@pytest.fixture
def sshd(house: House, tmp_path: Path) -> Iterator[Sshd]:
    """Run an sshd that lets ada in, whatever our account is called."""
    (tmp_path / "ada").write_text("ada\n")
    (tmp_path / "sshd").mkdir()
    trust = (
        f"TrustedUserCAKeys {house.folder}/keys/user_ca.pub",
        f"AuthorizedPrincipalsFile {tmp_path}/ada",
    )
    with Sshd(tmp_path / "sshd", trust) as sshd:
        yield sshd


def test_who_signs_in_reaches_the_host(house, sshd, provider):
    ada = house.person("ada")
    signed_in = ada.run()

    assert signed_in.returncode == 0, signed_in.stderr
    assert "signed in as corp:ada@example.com for ada until" in signed_in.stderr
    login = sshd.login(ada.key, ada.certificate, command="id -un")
    assert login.stdout.strip() == getpass.getuser()
    assert "ID corp:ada@example.com (serial 1)" in sshd.said

    provider.rotate_keys()

    again = ada.run()
    assert again.returncode == 0, again.stderr


def test_a_key_of_one_s_own_reaches_the_host_as_well(house, sshd, tmp_path):
    ada, own = house.person("ada"), tmp_path / "own"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", own], check=True)

    signed_in = ada.run("--key", str(own))

    assert signed_in.returncode == 0, signed_in.stderr
    login = sshd.login(ada.key, ada.certificate, command="id -un")
    assert login.stdout.strip() == getpass.getuser()
    assert "ECDSA-CERT" in sshd.said


def test_who_is_granted_nothing_gets_no_certificate(house):
    grace = house.person("grace")

    refused = grace.run()

    assert refused.returncode == 5
    assert not grace.certificate.exists()
