"""Each worked configuration in docs/identity-providers.md loads, and keeps its tests.

The blocks of a section are taken together: its `daypass.toml` in the place of the
issuer that `ca-admin init` writes, its `policy.toml` under the names of those issuers.
"""

import re
from pathlib import Path

import pytest

from ca.admin import templates
from ca.binding import audience_for
from ca.config import Config, load_config
from ca.identity import Binding
from ca.issuers import Flow
from ca.oidc import Verifier
from ca.policy import load_policy

PAGE = (Path(__file__).parent.parent / "docs/identity-providers.md").read_text()
PROVIDERS = (
    *("Okta", "Entra ID", "Google", "Keycloak"),
    *("GitHub Actions", "GitLab", "Kubernetes"),
)
ORIGIN = "https://ca.example.com"

_WRITTEN = templates.configuration(
    templates.Answers(ORIGIN, "https://login.example.com", "daypass", "example.com")
)


def section(provider: str) -> str:
    """Return what the page says about a provider."""
    found = re.search(rf"^## {provider}\n(.*?)(?=^## )", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def block(provider: str, file: str) -> str:
    """Return the one block of a provider that belongs into a file."""
    (code,) = re.findall(rf"```toml\n(# {file}\n.*?)```", section(provider), re.DOTALL)
    return str(code)


@pytest.fixture
def load(tmp_path):
    def load(provider: str) -> Config:
        file = tmp_path / "daypass.toml"
        before, marker, _ = _WRITTEN.partition("# An identity provider. Whoever")
        assert marker
        file.write_text(before + block(provider, "daypass.toml"))
        return load_config(file)

    return load


def test_every_section_is_a_provider_that_is_tested():
    assert re.findall(r"^## (.*)$", PAGE, re.MULTILINE) == [*PROVIDERS, "Any other"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_configuration_loads_and_the_policy_passes_its_own_tests(load, provider):
    config = load(provider)
    issuers = frozenset(issuer.name for issuer in config.issuers)

    policy = load_policy(block(provider, "policy.toml").encode(), issuers=issuers)

    assert policy.rules
    Verifier(config.issuers, origin=ORIGIN)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_section_says_what_to_set_and_names_the_trap(provider):
    text = section(provider)

    assert re.search(r"^\*At [^*]+:\*", text, re.MULTILINE)
    assert re.search(r"^\*The trap:\*", text, re.MULTILINE)
    tests = block(provider, "policy.toml").count("[[test]]")
    assert tests >= 2
    assert "gets     = []" in block(provider, "policy.toml")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_rules_name_only_clients_that_are_configured(load, provider):
    ids = {client.id for issuer in load(provider).issuers for client in issuer.clients}

    named = re.findall(r'client = "([^"]+)"', block(provider, "policy.toml"))

    assert set(named) <= ids


@pytest.mark.parametrize("provider", PROVIDERS)
def test_people_and_jobs_come_in_by_the_flows_that_are_theirs(load, provider):
    (issuer,) = load(provider).issuers
    flows = {client.flow for client in issuer.clients}

    assert flows in ({Flow.BROWSER, Flow.DEVICE}, {Flow.CI})
    for client in issuer.clients:
        if client.binding is Binding.AUDIENCE:
            assert audience_for(ORIGIN, b"key").startswith(f"{client.id}#")
