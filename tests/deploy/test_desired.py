"""`deploy.toml` is read strictly, and merged for a host by its groups."""

import pytest

from client.api import Misuse
from deploy.desired import DesiredHost, Source, Taken, load

WHOLE = """\
version = 1
ca = "https://ca.example.com"
pin = "SHA256:{pin}"

[host]
accounts = {{ root = ["root"], deploy = ["ops", "dev"] }}

[group.db]
accounts = {{ postgres = ["dba"], deploy = ["dba"] }}
taken = "replace"

[group.old]
krl = false
drop_in = "00-daypass.conf"
pull = false
host_certificate = true
""".format(pin="A" * 43)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "deploy.toml"
    path.write_text(WHOLE)
    return path


def test_every_host_gets_what_is_for_all(file):
    assert load(file).for_host(["all"]) == DesiredHost(
        {"deploy": ("dev", "ops"), "root": ("root",)},
        source=Source("https://ca.example.com", f"SHA256:{'A' * 43}"),
    )


def test_groups_add_accounts_and_principals(file):
    merged = load(file).for_host(["all", "old", "db"])

    assert merged.accounts == {
        "deploy": ("dba", "dev", "ops"),
        "postgres": ("dba",),
        "root": ("root",),
    }
    assert merged.taken is Taken.REPLACE
    assert merged.krl is False
    assert merged.source is None
    assert merged.host_certificate
    assert merged.drop_in == "00-daypass.conf"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("version = 1", "version = 2", "version"),
        ("krl = false", "krll = false", "krll"),
        ('["dba"]', "[]", "postgres"),
        ('["dba"]', '["d ba"]', "postgres"),
        ('["dba"]', '["#dba"]', "postgres"),
        ("00-daypass.conf", "../x.conf", "drop_in"),
        ("postgres", '"../etc"', "cannot name an account"),
        ('"replace"', '"ignore"', "taken"),
        ("SHA256:A", "SHA256:", "43 characters"),
        ("[host]", "[host", "deploy.toml"),
    ],
)
def test_what_is_wrong_is_named(file, old, new, said):
    file.write_text(WHOLE.replace(old, new, 1))

    with pytest.raises(Misuse, match=said):
        load(file)


def test_a_file_that_is_not_there_is_misuse(tmp_path):
    with pytest.raises(Misuse, match="cannot read"):
        load(tmp_path / "deploy.toml")
