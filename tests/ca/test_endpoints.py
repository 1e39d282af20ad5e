"""No secret is in an address, and none crosses a network in the clear."""

from pathlib import Path

import pytest

from ca.endpoints import database_url, refuse_exposed_listener
from ca.errors import Misconfigured

FOLDER = Path("/etc/daypass")
SECRET = "hunter2"  # noqa: S105 (of nobody)


@pytest.mark.parametrize(
    ("url", "is_"),
    [
        ("sqlite:///daypass.db", "sqlite:////etc/daypass/daypass.db"),
        ("sqlite:////var/d.db", "sqlite:////var/d.db"),
    ],
)
def test_a_file_is_beside_the_configuration(url, is_):
    assert database_url(url, FOLDER) == is_


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg:///daypass",
        "postgresql+psycopg://daypass@/daypass?host=/run/postgresql",
        "postgresql+psycopg://daypass@127.0.0.1:5432/daypass",
        "postgresql+psycopg://daypass@localhost/daypass",
        "postgresql+psycopg://daypass@[::1]/daypass",
        "postgresql+psycopg://d@/d?host=127.0.0.1:5432&host=[::1]:5433",
        "postgresql+psycopg://d@db.example.com/d?sslmode=verify-full",
        "postgresql+psycopg://d@/d?host=db1:5432&host=db2:5432&sslmode=verify-full",
        "postgresql+psycopg://d@db.example.com/d?sslmode=disable",
    ],
)
def test_a_server_is_taken_as_it_is_written(url):
    assert database_url(url, FOLDER) == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sqlite:///", "not a database we know"),
        ("sqlite://", "not a database we know"),
        ("mysql://d/d", "not a database we know"),
        ("postgresql://d@localhost/d", "not a database we know"),
        ("postgresql+psycopg2://d@localhost/d", "not a database we know"),
        ("postgresql+psycopg://d@localhost", "not a database we know"),
        ("postgresql+psycopg://d@localhost/", "not a database we know"),
        (f"postgresql+psycopg://d:{SECRET}@[bad/d", "not a database we know"),
        (f"postgresql+psycopg://d:{SECRET}@localhost/d", "no secret"),
        (f"postgresql+psycopg://d@localhost/d?password={SECRET}", "no secret"),
        (f"postgresql+psycopg://d@localhost/d?sslpassword={SECRET}", "no secret"),
        ("postgresql+psycopg://d@localhost/d?options=-cfsync%3Doff", "options"),
        ("postgresql+psycopg://d@db.example.com/d", "protected"),
        ("postgresql+psycopg://d@localhost.example.com/d", "protected"),
        ("postgresql+psycopg://d@/d?host=127.0.0.1:1&host=db2:5432", "protected"),
    ],
)
def test_other_databases_are_refused_without_their_secrets(url, says):
    with pytest.raises(Misconfigured, match=says) as caught:
        database_url(url, FOLDER)

    assert SECRET not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("listen", ["127.0.0.1:8440", "[::1]:8440", "localhost:80"])
def test_loopback_may_be_served_in_the_clear(listen):
    refuse_exposed_listener(listen, encrypted=False, proxies=())


EXPOSED = ["0.0.0.0:8440", "[::]:443", "192.0.2.1:80", "ca.example.com:80", ":8440"]


@pytest.mark.parametrize("listen", EXPOSED)
def test_other_addresses_need_tls_or_a_proxy_that_has_it(listen):
    refuse_exposed_listener(listen, encrypted=True, proxies=())
    refuse_exposed_listener(listen, encrypted=False, proxies=("10.0.0.1/32",))

    with pytest.raises(Misconfigured, match="in the clear"):
        refuse_exposed_listener(listen, encrypted=False, proxies=())


@pytest.mark.parametrize("listen", ["8440", "localhost", "127.0.0.1:http", ""])
def test_a_listener_is_an_address_and_a_port(listen):
    with pytest.raises(Misconfigured, match="not an address and a port"):
        refuse_exposed_listener(listen, encrypted=True, proxies=())
