"""Sign-ins by code at a real OpenID provider, through its own pages, up to a login.

The provider is npm's `oidc-provider`. One client gets its nonce back there, as at some
providers, and one does not, as RFC 8628 has it.
"""

import getpass
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browsing import enter_code
from tests.laptop import House, Laptop, open_house
from tests.real_provider import DEVICE_CLIENT, UNBOUND_DEVICE_CLIENT, OIDCProvider
from tests.sshd import Sshd

pytestmark = pytest.mark.openssh

CLIENT = """
[[issuer.client]]
id = "{id}"
flow = "device"
binding = "{binding}"
"""
BOUND = CLIENT.replace("{id}", DEVICE_CLIENT).replace("{binding}", "nonce")
UNBOUND = CLIENT.replace("{id}", UNBOUND_DEVICE_CLIENT).replace("{binding}", "none")

RULES = f"""
[[rule]]
name = "less without a browser"
issuer = "corp"
match = {{ client = "{DEVICE_CLIENT}" }}
principals = ["by-code"]
validity = "1h"

[[deny]]
name = "nobody is himself by a code"
match = {{ client = ["{DEVICE_CLIENT}", "{UNBOUND_DEVICE_CLIENT}"] }}
principals = ["somebody"]
"""


@pytest.fixture(scope="module")
def provider() -> Iterator[OIDCProvider]:
    with OIDCProvider() as provider:
        yield provider


@pytest.fixture
def house(provider: OIDCProvider, tmp_path: Path) -> Iterator[House]:
    """Serve a CA that takes sign-ins by code, bound ones."""
    folder = tmp_path / "ca"
    with open_house(folder, provider.issuer, clients=BOUND, rules=RULES) as house:
        yield house


class Asked:
    """`ca-login`, waiting for somebody to enter its code elsewhere."""

    def __init__(self, laptop: Laptop, *arguments: str) -> None:
        self.process = laptop.start(*arguments)
        assert self.process.stderr is not None
        said = "".join(self.process.stderr.readline() for _ in range(4))
        (self.address,) = re.findall(r"on any device, open (\S+)\n", said)
        (self.code,) = re.findall(r"enter the code (\S+)\n", said)
        (self.complete,) = re.findall(r": or open (\S+)\n", said)

    def end(self) -> tuple[int, str]:
        """Return its exit code, and what it said after it had asked."""
        with self.process as process:
            _, err = process.communicate(timeout=60)
        return self.process.returncode, err


def test_the_code_is_typed_in_on_another_device_and_reaches_the_host(house, tmp_path):
    laptop = house.laptop()
    asked = Asked(laptop)
    assert re.fullmatch(r"[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}", asked.code)

    page = enter_code("ada", asked.address, asked.code)

    assert "Sign-in Success" in page
    status, err = asked.end()
    assert status == 0, err
    assert "signed in as corp:ada@example.com for ada, by-code until" in err
    (tmp_path / "by-code").write_text("by-code\n")
    (tmp_path / "sshd").mkdir()
    trust = (
        f"TrustedUserCAKeys {house.folder}/keys/user_ca.pub",
        f"AuthorizedPrincipalsFile {tmp_path}/by-code",
    )
    with Sshd(tmp_path / "sshd", trust) as sshd:
        login = sshd.login(laptop.key, laptop.certificate, command="id -un")
    assert login.stdout.strip() == getpass.getuser()


def test_the_whole_address_needs_no_typing(house):
    asked = Asked(house.laptop(), "--device")

    enter_code("ada", asked.complete)

    assert asked.end()[0] == 0


def test_who_says_that_the_code_is_not_theirs_ends_the_sign_in(house):
    laptop = house.laptop()
    asked = Asked(laptop, "--device")

    enter_code("ada", asked.complete, abort=True)

    status, err = asked.end()
    assert status == 4
    assert "refused at the other device" in err
    assert not laptop.certificate.exists()


def test_where_the_nonce_is_forgotten_a_bound_client_gets_nothing(provider, tmp_path):
    forgetful = BOUND.replace(DEVICE_CLIENT, UNBOUND_DEVICE_CLIENT)
    with open_house(tmp_path / "ca", provider.issuer, clients=forgetful) as house:
        asked = Asked(house.laptop(), "--device")
        enter_code("ada", asked.complete)

        status, err = asked.end()

    assert status == 4
    assert "token_binding_wrong" in err


def test_an_unbound_client_works_where_the_nonce_is_forgotten(provider, tmp_path):
    with open_house(tmp_path / "ca", provider.issuer, clients=UNBOUND) as house:
        asked = Asked(house.laptop(), "--device")
        enter_code("ada", asked.complete)

        status, err = asked.end()

    assert status == 0, err


def test_over_ssh_a_code_is_asked_for_though_there_is_a_screen(house):
    laptop = house.laptop(DISPLAY=":0", SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22")

    asked = Asked(laptop)
    enter_code("ada", asked.complete)

    assert asked.end()[0] == 0
