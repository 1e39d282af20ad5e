"""Three kinds of inventory, and `ssh -G` as the one that knows how to reach a host."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from client.api import Misuse
from deploy.inventory import Host, Resolver, limit, read

ANSIBLE = {
    "_meta": {
        "hostvars": {
            "db1": {
                "ansible_host": "192.0.2.7",
                "ansible_port": 2222,
                "ansible_user": "admin",
                "ansible_ssh_common_args": '-o ProxyJump="bastion"',
            },
            "web1": {"ansible_ssh_common_args": "-J jump1,jump2"},
        }
    },
    "all": {"children": ["ungrouped", "servers"]},
    "servers": {"children": ["db", "web"]},
    "db": {"hosts": ["db1"]},
    "web": {"hosts": ["web1"]},
}


def write(tmp_path, text):
    path = tmp_path / "hosts"
    path.write_text(text)
    return path


def names(hosts):
    return [host.name for host in hosts]


def test_a_list_has_one_host_a_line_and_groups_in_brackets(tmp_path):
    hosts = read(write(tmp_path, "b.example.com # old\n\n[db]\na\nb.example.com\n"))

    assert hosts == (
        Host("a", frozenset({"all", "db"})),
        Host("b.example.com", frozenset({"all", "db"})),
    )


def test_an_ssh_config_names_its_hosts(tmp_path):
    text = "Host a b *.example.com\n  User root\nhost=c\nHost *\n  Port 22\n"

    assert names(read(write(tmp_path, text))) == ["a", "b", "c"]


def test_ansible_s_inventory_has_groups_within_groups_and_variables(tmp_path):
    db1, web1 = read(write(tmp_path, json.dumps(ANSIBLE)))

    assert db1.groups == {"all", "servers", "db"}
    assert db1.options == (
        "HostName=192.0.2.7",
        "Port=2222",
        "User=admin",
        "ProxyJump=bastion",
    )
    assert web1.options == ("ProxyJump=jump1,jump2",)


INI = """\
[web]
web1 ansible_host=192.0.2.7 ansible_port=2222
[db]
db1 ansible_user=admin ansible_ssh_common_args='-o ProxyJump="bastion"'
[prod:children]
web
db
"""


def test_what_ansible_s_own_program_prints_is_read(tmp_path):
    (tmp_path / "inventory.ini").write_text(INI)
    program = Path(sys.executable).with_name("ansible-inventory")
    said = subprocess.run(
        [program, "--list", "-i", "inventory.ini"],
        cwd=tmp_path,
        env=os.environ | {"ANSIBLE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    db1, web1 = read(write(tmp_path, said.stdout))

    assert db1.groups == {"all", "prod", "db"}
    assert db1.options == ("User=admin", "ProxyJump=bastion")
    assert web1.options == ("HostName=192.0.2.7", "Port=2222")
    assert names(limit((db1, web1), ["prod", "!web"])) == ["db1"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a b\n",
        "-oProxyCommand=x\n",
        "{not json",
        '{"all": []}',
        '{"all": {"hosts": ["-x"]}}',
    ],
)
def test_what_is_no_inventory_is_misuse(tmp_path, text):
    with pytest.raises(Misuse):
        read(write(tmp_path, text))


def test_an_inventory_that_is_not_there_is_misuse(tmp_path):
    with pytest.raises(Misuse, match="cannot read"):
        read(tmp_path / "hosts")


HOSTS = (
    Host("db1", frozenset({"all", "db"})),
    Host("db2", frozenset({"all", "db"})),
    Host("web1", frozenset({"all", "web"})),
)


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (["db"], ["db1", "db2"]),
        (["*1"], ["db1", "web1"]),
        (["!web"], ["db1", "db2"]),
        (["db", "!db2"], ["db1"]),
    ],
)
def test_hosts_are_limited_by_name_and_group(patterns, chosen):
    assert names(limit(HOSTS, patterns)) == chosen


def test_a_limit_that_names_nothing_is_misuse():
    with pytest.raises(Misuse, match="no host and no group"):
        limit(HOSTS, ["dbb"])


def test_ssh_says_how_a_host_is_reached(tmp_path):
    config = tmp_path / "config"
    config.write_text(
        "Host db1\n  HostName 192.0.2.7\n  User admin\n  ProxyJump bastion\n"
        "  CertificateFile ~/x-cert.pub\n  HostKeyAlias db\n"
        "Host *\n  IdentityAgent none\n  GlobalKnownHostsFile /etc/x\n"
    )

    async def resolve():
        return await Resolver(config).resolve("db1", ["Port=2222"])

    endpoint = asyncio.run(resolve())

    assert (endpoint.address, endpoint.port) == ("192.0.2.7", 2222)
    assert (endpoint.user, endpoint.jump, endpoint.alias) == ("admin", "bastion", "db")
    assert endpoint.agent is None
    assert [path.name for path in endpoint.certificates] == ["x-cert.pub"]
    assert [path.name for path in endpoint.known_hosts][-1] == "x"


def test_what_ssh_does_not_understand_is_misuse(tmp_path):
    config = tmp_path / "config"
    config.write_text("Prot 22\n")

    async def resolve():
        return await Resolver(config).resolve("db1")

    with pytest.raises(Misuse, match="ssh -G db1"):
        asyncio.run(resolve())
