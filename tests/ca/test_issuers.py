"""Settings of an issuer that could not work, or would be unsafe, do not come to be."""

import pytest

from ca.errors import Misconfigured
from ca.identity import Binding
from ca.issuers import ClientSettings, IssuerSettings, refuse_insecure_url


def client(id_="ca-login", binding=Binding.NONCE, **others):
    return ClientSettings(id=id_, binding=binding, **others)


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
        issuer(clients=(client(), client(binding=Binding.NONE)))


@pytest.mark.parametrize("id_", ["", "a b", "a\n", "ä", "a" * 256])
def test_a_client_id_that_is_not_short_ascii_is_refused(id_):
    with pytest.raises(Misconfigured, match="client id"):
        client(id_)


@pytest.mark.parametrize(
    ("binding", "max_uses"),
    [
        (Binding.NONCE, 0),
        (Binding.NONCE, 2),
        (Binding.AUDIENCE, 2),
        (Binding.NONE, 0),
        (Binding.NONE, -1),
    ],
)
def test_only_a_token_that_is_bound_to_nothing_has_several_uses(binding, max_uses):
    with pytest.raises(Misconfigured, match="max_uses"):
        client(binding=binding, max_uses=max_uses)


def test_a_token_bound_to_nothing_may_have_several_uses():
    assert client(binding=Binding.NONE, max_uses=5).max_uses == 5


def test_a_sign_in_without_the_openid_scope_would_give_no_id_token():
    with pytest.raises(Misconfigured, match="openid"):
        client(scopes=("email",))
