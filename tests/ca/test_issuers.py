"""Settings of an issuer that could not work, or would be unsafe, do not come to be."""

import pytest

from ca.errors import Misconfigured
from ca.identity import Binding
from ca.issuers import (
    RESERVED_PARAMETERS,
    ClientSettings,
    Flow,
    IssuerSettings,
    refuse_insecure_url,
)


def client(id_="ca-login", flow=Flow.BROWSER, binding=Binding.NONCE, **others):
    return ClientSettings(id=id_, flow=flow, binding=binding, **others)


def job(binding=Binding.NONE, **others):
    return client("ci", Flow.CI, binding, **others)


def issuer(url="https://id.example.com", name="corp", clients=None, **others):
    clients = (client(),) if clients is None else clients
    return IssuerSettings(name=name, url=url, clients=clients, **others)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example.com",
        "https://id.example.com/",
        "https://id.example.com:8443/realms/corp",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "http://localhost:9000/a",
    ],
)
def test_https_anywhere_and_http_on_loopback_are_issuers(url):
    assert issuer(url).url == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "characters"),
        ("id.example.com", "https://"),
        ("ftp://id.example.com", "https://"),
        ("https://", "host"),
        ("https:///path", "host"),
        ("https://:443", "host"),
        ("http://id.example.com", "only on loopback"),
        ("http://127.0.0.1.example.com", "only on loopback"),
        ("http://10.0.0.1", "only on loopback"),
        ("https://ada@id.example.com", "user name"),
        ("https://id.example.com@example.org", "user name"),
        ("https://id.example.com#part", "fragment"),
        ("https://id.example.com#", "fragment"),
        ("https://id.example.com/?a=b", "query"),
        ("https://id.example.com?", "query"),
        ("https://id.example.com:0", "port"),
        ("https://id.example.com:70000", "ort"),
        ("https://id.example.com:x", "ort"),
        ("https://[::1", "IPv6"),
        ("https://id.example.com/a b", "characters"),
        ("https://id.example.com\\@example.org", "characters"),
        ("https://id.example.com\n", "characters"),
        ("https://\N{LATIN SMALL LETTER DOTLESS I}d.example.com", "characters"),
    ],
)
def test_any_other_url_is_refused_with_the_reason(url, why):
    with pytest.raises(Misconfigured, match=why):
        issuer(url)


def test_an_origin_has_no_path():
    refuse_insecure_url("https://ca.example.com", what="origin", bare=True)

    with pytest.raises(Misconfigured, match="origin must end"):
        refuse_insecure_url("https://ca.example.com/", what="origin", bare=True)


@pytest.mark.parametrize("name", ["", "Corp", "co:rp", "co rp", "-corp", "c" * 33])
def test_a_name_that_could_not_begin_a_key_id_is_refused(name):
    with pytest.raises(Misconfigured, match="name"):
        issuer(name=name)


@pytest.mark.parametrize(
    "algorithms", [(), ("none",), ("HS256",), ("RS256", "HS256"), ("rs256",), ("",)]
)
def test_only_asymmetric_algorithms_can_be_named(algorithms):
    with pytest.raises(Misconfigured, match="algorithms"):
        issuer(algorithms=algorithms)


def test_an_issuer_without_clients_is_refused():
    with pytest.raises(Misconfigured, match="no clients"):
        issuer(clients=())


def test_a_client_named_twice_is_refused():
    with pytest.raises(Misconfigured, match="twice"):
        issuer(clients=(client(), client(flow=Flow.DEVICE)))


@pytest.mark.parametrize("id_", ["", "a b", "a\n", "ä", "a" * 256])
def test_a_client_id_that_is_not_short_ascii_is_refused(id_):
    with pytest.raises(Misconfigured, match="client id"):
        client(id_)


@pytest.mark.parametrize(
    ("flow", "binding", "max_uses"),
    [
        (Flow.BROWSER, Binding.NONCE, 0),
        (Flow.BROWSER, Binding.NONCE, 2),
        (Flow.DEVICE, Binding.NONE, 2),
        (Flow.CI, Binding.AUDIENCE, 2),
        (Flow.CI, Binding.NONE, 0),
        (Flow.CI, Binding.NONE, -1),
    ],
)
def test_only_a_job_s_token_that_is_bound_to_nothing_has_several_uses(
    flow, binding, max_uses
):
    with pytest.raises(Misconfigured, match="max_uses"):
        client(flow=flow, binding=binding, max_uses=max_uses)


def test_a_job_s_token_bound_to_nothing_may_have_several_uses():
    assert job(max_uses=5).max_uses == 5


@pytest.mark.parametrize(
    ("flow", "bindings"),
    [
        (Flow.BROWSER, {Binding.NONCE}),
        (Flow.DEVICE, {Binding.NONCE, Binding.NONE}),
        (Flow.CI, {Binding.AUDIENCE, Binding.NONE}),
    ],
)
def test_each_flow_has_the_bindings_that_its_tokens_can_carry(flow, bindings):
    for binding in bindings:
        assert client(flow=flow, binding=binding).binding is binding
    for binding in set(Binding) - bindings:
        with pytest.raises(Misconfigured, match=f"flow = '{flow}' needs binding"):
            client(flow=flow, binding=binding)


@pytest.mark.parametrize("flow", [Flow.BROWSER, Flow.DEVICE])
def test_a_sign_in_without_the_openid_scope_would_give_no_id_token(flow):
    with pytest.raises(Misconfigured, match="openid"):
        client(flow=flow, scopes=("email",))


@pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\", "ä", "a\n", "a" * 256])
def test_a_scope_that_would_be_two_is_refused(scope):
    with pytest.raises(Misconfigured, match="scope"):
        client(scopes=("openid", scope))


@pytest.mark.parametrize("host", ["", "example.com", "::1", "0.0.0.0", "127.0.0.2"])  # noqa: S104
def test_a_browser_is_sent_back_to_this_machine_alone(host):
    with pytest.raises(Misconfigured, match="redirect_host"):
        client(redirect_host=host)


@pytest.mark.parametrize("port", [-1, 0, 1023, 65536])
def test_a_port_that_a_laptop_could_not_listen_on_is_refused(port):
    assert client(redirect_ports=(1024, 65535)).redirect_ports == (1024, 65535)

    with pytest.raises(Misconfigured, match="redirect_ports"):
        client(redirect_ports=(8765, port))


@pytest.mark.parametrize("secret", ["", "a b", "ä", "a\n", "a" * 256])
def test_a_public_secret_is_short_ascii(secret):
    with pytest.raises(Misconfigured, match="public_secret"):
        client(public_secret=secret)


@pytest.mark.parametrize("name", sorted(RESERVED_PARAMETERS))
def test_no_parameter_replaces_what_ca_login_says(name):
    with pytest.raises(Misconfigured, match=f"{name} is for ca-login"):
        client(parameters={"prompt": "login", name: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        ("State", "x"),
        ("state ", "x"),
        ("a&b", "x"),
        ("a\n", "x"),
        ("a" * 65, "x"),
        ("prompt", ""),
        ("prompt", "a\nb"),
        ("prompt", "a" * 513),
    ],
)
def test_a_parameter_that_has_no_one_clear_reading_is_refused(name, value):
    with pytest.raises(Misconfigured, match="parameters"):
        client(parameters={name: value})


@pytest.mark.parametrize(
    "settings",
    [{"public_secret": "x"}, {"parameters": {"prompt": "login"}}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_job_that_asks_nobody_has_nothing_to_say(settings):
    with pytest.raises(Misconfigured, match="no sign-in"):
        job(**settings)


@pytest.mark.parametrize("flow", [Flow.CI, Flow.DEVICE])
def test_only_a_browser_is_sent_back(flow):
    with pytest.raises(Misconfigured, match="redirect_ports"):
        client(flow=flow, binding=Binding.NONE, redirect_ports=(8765,))
