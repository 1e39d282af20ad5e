"""`daypass.toml` is read strictly: what is wrong is named, and nothing is guessed."""

import re
from ipaddress import ip_network
from itertools import combinations
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ca import config
from ca.admin import templates
from ca.config import AgentLocation, ConfigFile, FileLocation, load_config
from ca.endpoints import TLSFiles
from ca.errors import CAError, Misconfigured
from ca.identity import Binding
from ca.issuers import Flow

ANSWERS = templates.Answers(
    origin="https://ca.example.com",
    issuer_url="https://login.example.com",
    client_id="daypass",
    email_domain="example.com",
)
TEXT = templates.configuration(ANSWERS)


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "daypass.toml"
        file.write_text(text)
        return load_config(file)

    return load


def test_what_init_writes_is_read(load, tmp_path):
    loaded = load(TEXT)

    assert loaded.origin == "https://ca.example.com"
    assert loaded.policy_file == tmp_path / "policy.toml"
    assert loaded.database_url == f"sqlite:///{tmp_path}/daypass.db"
    assert loaded.user_ca_key.file == tmp_path / "keys/user_ca"
    (issuer,) = loaded.issuers
    assert (issuer.name, issuer.url) == ("corp", "https://login.example.com")
    assert [client.id for client in issuer.clients] == ["daypass"]
    assert loaded.host_patterns == ("*.example.com",)


def test_files_are_beside_the_configuration(load, tmp_path):
    text = re.sub(r"# (tls_certificate|tls_key|password_file) =", r"\1 =", TEXT)

    loaded = load(text)

    assert loaded.tls == TLSFiles(
        tmp_path / "tls/certificate.pem", tmp_path / "tls/key.pem"
    )
    assert loaded.database_password_file == tmp_path / "database_password"
    assert (load(TEXT).tls, load(TEXT).database_password_file) == (None, None)


def test_trusted_proxies_are_networks(load):
    loaded = load(TEXT.replace("proxies = []", 'proxies = ["10.1.0.0/24", "::1"]'))

    assert loaded.trusted_proxies == (ip_network("10.1.0.0/24"), ip_network("::1"))


USER_CA_KEY = 'file = "keys/user_ca"\npassphrase_file = "keys/passphrase"\n'
BOTH = {
    "file": 'file = "keys/user_ca"\n',
    "passphrase_file": 'passphrase_file = "keys/passphrase"\n',
    "agent": 'agent = "/run/daypass/agent"\n',
    "public_key": 'public_key = "keys/user_ca.pub"\n',
}


def test_a_key_is_in_a_file_or_in_an_agent(load, tmp_path):
    agent = BOTH["agent"] + BOTH["public_key"]
    loaded = load(TEXT.replace(USER_CA_KEY, agent))

    assert loaded.online_key == FileLocation(
        tmp_path / "keys/online", tmp_path / "keys/passphrase"
    )
    assert loaded.user_ca_key == AgentLocation(
        Path("/run/daypass/agent"), tmp_path / "keys/user_ca.pub"
    )


@pytest.mark.parametrize(
    "named",
    [
        named
        for count in range(5)
        for named in combinations(BOTH, count)
        if named not in {("file", "passphrase_file"), ("agent", "public_key")}
    ],
    ids=" ".join,
)
def test_a_key_is_in_no_other_place_nor_in_both(load, named):
    text = "".join(BOTH[name] for name in named)
    assert TEXT.count(USER_CA_KEY) == 1

    with pytest.raises(Misconfigured, match="user_ca_key: a key is in a file") as wrong:
        load(TEXT.replace(USER_CA_KEY, text))

    assert "or agent and public_key" in str(wrong.value.hint)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[server]", "[server]\nfrobnicate = 1", "frobnicate"),
        ("threads = 16", "threads = 0", r"server\.threads"),
        ("# tls_key", "tls_key", "go together"),
        ("# tls_certificate", "tls_certificate", "go together"),
        ("127.0.0.1:8440", "0.0.0.0:8440", r"server\.listen: .* in the clear"),
        ("threads = 16", 'threads = "16"', r"server\.threads"),
        ('listen = "127.0.0.1:8440"\n', "", "listen"),
        ("origin = ", "origins = ", "origin"),
        ('"https://ca.example.com"', '"http://ca.example.com"', "origin must be https"),
        (
            '"https://ca.example.com"',
            '"https://ca.example.com/"',
            "must end with its host",
        ),
        ('"https://ca.example.com"', '"ca.example.com"', "origin must begin"),
        ('"https://login.example.com"', '"http://login.example.com"', "https"),
        ("sqlite:///daypass.db", "sqlite://", r"database\.url"),
        ("sqlite:///daypass.db", "mysql://x/y", r"database\.url"),
        ('flow = "browser"\n', "", "flow"),
        ('flow = "browser"', 'flow = "implicit"', "flow"),
        ('flow = "browser"', 'flow = "ci"', "needs binding = 'audience' or 'none'"),
        ("redirect_ports = []", "redirect_ports = [22]", "from 1024"),
        ("redirect_ports = []", 'redirect_ports = ["8765"]', "redirect_ports"),
        ('redirect_host = "127.0.0.1"', 'redirect_host = "ca.test"', "redirect_host"),
        ('public_secret = ""', 'public_secret = "a b"', "public_secret"),
        ("parameters = {}", 'parameters = { state = "x" }', "state is for ca-login"),
        ("parameters = {}", "parameters = { max_age = 0 }", "parameters"),
        ('binding = "nonce"', "", "binding"),
        ('binding = "nonce"', 'binding = "any"', "binding"),
        ('binding = "nonce"\n', 'binding = "nonce"\nmax_uses = 5\n', "max_uses"),
        ('algorithms = ["RS256"]', 'algorithms = ["HS256"]', "algorithms"),
        ('algorithms = ["RS256"]', "algorithms = []", "algorithms"),
        ("least_rsa_bits = 3072", "least_rsa_bits = 1024", "least_rsa_bits"),
        ("trusted_proxies = []", 'trusted_proxies = ["10.1.2.3/8"]', "trusted_proxies"),
        ('name = "corp"', 'name = "Corp Inc"', "name"),
        ("[server]", "[server", "Expected|Unclosed|Invalid|line"),
    ],
)
def test_a_mistake_is_named_with_the_file(load, tmp_path, old, new, says):
    assert old in TEXT
    text = re.sub(r"\nmax_uses = 1\n", "\n", TEXT).replace(old, new)

    with pytest.raises(Misconfigured, match=says) as caught:
        load(text)
    assert str(tmp_path / "daypass.toml") in caught.value.detail


def test_several_issuers_each_have_several_clients(load):
    loaded = load(
        TEXT.replace('public_secret = ""', 'public_secret = "GOCSPX-x"').replace(
            "parameters = {}", 'parameters = { prompt = "login", hd = "example.com" }'
        )
        + """
[[issuer.client]]
id = "daypass-device"
flow = "device"
binding = "none"
parameters = { acr_values = "phr" }

[[issuer]]
name = "github"
url = "https://token.actions.githubusercontent.com"

[[issuer.client]]
id = "https://ca.example.com"
flow = "ci"
binding = "audience"

[[issuer.client]]
id = "daypass-unbound"
flow = "ci"
binding = "none"
max_uses = 3
"""
    )

    people, github = loaded.issuers
    browser, device = people.clients
    assert (browser.flow, device.flow) == (Flow.BROWSER, Flow.DEVICE)
    assert browser.public_secret == "GOCSPX-x"  # noqa: S105 of the kind that is none
    assert browser.parameters == {"prompt": "login", "hd": "example.com"}
    assert device.public_secret is None
    assert device.parameters == {"acr_values": "phr"}
    assert [(client.binding, client.max_uses) for client in github.clients] == [
        (Binding.AUDIENCE, 1),
        (Binding.NONE, 3),
    ]


def test_two_issuers_of_one_name_or_url_are_refused(load):
    issuer = TEXT[TEXT.index("[[issuer]]") :]

    with pytest.raises(Misconfigured, match="same name"):
        load(TEXT + issuer)
    with pytest.raises(Misconfigured, match="same url"):
        load(TEXT + issuer.replace('"corp"', '"other"'))


def test_no_issuer_at_all_is_refused(load):
    with pytest.raises(Misconfigured, match="issuer"):
        load(TEXT[: TEXT.index("[[issuer]]")])


def test_an_empty_file_configures_nothing(load):
    with pytest.raises(Misconfigured):
        load("")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(Misconfigured, match="cannot read") as caught:
        load_config(tmp_path / "none.toml")
    assert "ca-admin init" in str(caught.value.hint)


def test_bytes_that_are_not_text_are_refused(tmp_path):
    (tmp_path / "daypass.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(Misconfigured):
        load_config(tmp_path / "daypass.toml")


def settings_of(struct):
    for field in msgspec.structs.fields(struct):
        yield field.encode_name
        for inner in re.findall(r"ca\.config\.(\w+Table)", str(field.type)):
            yield from settings_of(getattr(config, inner))


def test_every_setting_is_in_what_init_writes():
    # What cannot stand beside another setting is written out as a comment.
    written = set(re.findall(r"^(?:# )?(\w+) = ", TEXT, re.MULTILINE)) | set(
        re.findall(r"^\[+([\w.]+?)\]+$", TEXT, re.MULTILINE)
    )

    documented = {name.rpartition(".")[2] for name in written}

    assert documented == set(settings_of(ConfigFile))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.sampled_from(TEXT.split("\n")).map(lambda line: TEXT + line))
def test_any_text_is_a_configuration_or_a_clean_refusal(load, text):
    try:
        load(text.replace("\ud800", ""))
    except CAError:
        return
