"""`deploy.toml` is read strictly, and merged for a host by its groups."""

import pytest

from client.api import Misuse
from deploy.desired import (
    DesiredHost,
    GroupTable,
    Password,
    Source,
    Taken,
    UserTable,
    load,
)

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
end_sessions = true
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
    assert merged.end_sessions
    assert merged.drop_in == "00-daypass.conf"


PEOPLE = """
[host.groups]
ops = {{ gid = 2500 }}
[host.users]
deploy = {{ uid = 2501, groups = ["ops"], password = "keep" }}
[group.db.users]
deploy = {{ groups = ["ops", "adm"] }}
old = {{ gone = true }}
""".replace("{{", "{").replace("}}", "}")


def test_users_groups_and_lines_for_sudo_are_merged(file):
    rules = "sudoers = [{}]\n"
    text = WHOLE.replace("[host]\n", "[host]\n" + rules.format('"a ALL=ALL"'))
    text = text.replace("[group.db]\n", "[group.db]\n" + rules.format('"b ALL=ALL"'))
    file.write_text(text + PEOPLE)

    merged = load(file).for_host(["all", "db"])

    assert merged.sudoers == ("a ALL=ALL", "b ALL=ALL")
    assert merged.groups == {"ops": GroupTable(2500)}
    assert merged.users == {
        "deploy": UserTable(groups=("ops", "adm")),
        "old": UserTable(gone=True),
    }
    assert load(file).for_host([]).users["deploy"].password is Password.KEEP
    assert merged.questions == (
        *("deploy", "postgres", "root"),
        *("user=deploy", "user=old", "group=adm", "group=ops", "gid=2500"),
    )


def test_nobody_is_to_be_gone_and_to_take_certificates(file):
    file.write_text(WHOLE + "[group.old.users]\nroots = {gone = true}\n")
    load(file).for_host(["old"])
    file.write_text(WHOLE + "[group.old.users]\ndeploy = {gone = true}\n")

    with pytest.raises(Misuse, match="deploy is to be gone, and to take certificates"):
        load(file).for_host(["old"])


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("users = { root = {} }", "stays as it is"),
        ("users = { '-x' = {} }", "users.-x: no name"),
        ("groups = { 'a b' = {} }", "groups.a b: no name"),
        ("users = { a = { groups = ['b,c'] } }", "'b,c': no name"),
        ("users = { a = { gone = true, uid = 7 } }", "nothing else can be said"),
        ("users = { a = { uid = 0 } }", "uid"),
        ("users = { a = { shell = 'sh' } }", "shell"),
        ("users = { a = { home = '/home/a b' } }", "home"),
        ("users = { a = { password = 'secret' } }", "password"),
        ('sudoers = ["a ALL=ALL\\nb ALL=ALL"]', "sudoers"),
        ('sudoers = ["a ALL=ALL \\\\"]', "sudoers"),
    ],
)
def test_what_is_wrong_with_users_is_named(file, table, said):
    file.write_text(f"{WHOLE}[group.x]\n{table}\n")

    with pytest.raises(Misuse, match=said):
        load(file)


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
