"""`ca-admin hosts`, and waiting until every host has applied what was published."""

import json
import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ca.admin.__main__ import main
from ca.admin.command import Output
from ca.admin.waiting import wait_for_hosts
from ca.hosts import join_host, register_host, take_report
from tests.authority import make_ca, opened
from tests.fakes import FakeIdP
from tests.hosts import FakeHost, empty_registry, publish

BY = {"identity": None, "by": "ada"}


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    with FakeIdP() as idp:
        yield make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)


@pytest.fixture(scope="module")
def opened_authority(config_file):
    with opened(config_file) as authority:
        yield authority


@pytest.fixture
def authority(opened_authority):
    empty_registry(opened_authority)
    return opened_authority


@pytest.fixture
def admin(authority, config_file, capsys):
    """Run `ca-admin hosts …`; return its status and what it wrote."""

    def run(*words):
        status = main(["hosts", *words, "--config", str(config_file)])
        return status, *capsys.readouterr()

    return run


def ago(**length):
    return datetime.now(UTC) - timedelta(**length)


def register(authority, host, *, at=None, **changes):
    at = at or datetime.now(UTC)
    return register_host(authority, replace(host.new(), **changes), BY, now=at)


def report(authority, host):
    now = datetime.now(UTC)
    published, roots_version = publish(authority, now=now)
    document = host.report(published, at=now, roots_version=roots_version)
    take_report(authority, document, now=now)
    return published.version


# --- The command --------------------------------------------------------------------


def test_the_list_has_state_version_age_names_and_alarms(authority, admin):
    web = FakeHost("web1", names=("web1.example.com", "www"))
    register(authority, web, at=ago(minutes=3))
    version = report(authority, web)
    register(authority, FakeHost("web2"), at=ago(hours=5))
    register(authority, FakeHost("web3"), at=ago(days=3), pulls=False)

    status, out, err = admin("list")

    assert (status, err) == (0, "")
    out = re.sub(r"  \d+s  ", "  0s  ", out)
    assert [line.split("  ") for line in out.splitlines()] == [
        ["web1", "active", str(version), "0s", "web1.example.com,www", "-"],
        ["web2", "stale", "never", "5h", "-", "has not reported for too long"],
        ["web3", "active", "never", "3d", "-", "does not pull"],
    ]


def test_a_program_reads_the_list_as_json(authority, admin):
    web = FakeHost("web1")
    register(authority, web, at=ago(minutes=3))

    _, out, _ = admin("list", "--json")

    (line,) = map(json.loads, out.splitlines())
    assert (line["v"], line["id"], line["state"], line["pulls"]) == (
        1,
        "web1",
        "active",
        True,
    )


def test_one_host_is_shown_with_its_keys(authority, admin):
    web = FakeHost("web1", names=("web1.example.com",))
    register(authority, web, at=ago(hours=9))

    status, out, _ = admin("show", "web1")

    assert status == 0
    assert "host        web1, stale\n" in out
    assert re.search(r"^registered  .*Z, entry \d+ of the ledger$", out, re.MULTILINE)
    assert "current     version never reported\n" in out
    assert "pulls       yes\n" in out
    assert "name        web1.example.com\n" in out
    assert "key         SHA256:" in out
    assert "alarm       has not reported for too long\n" in out
    status, out, err = admin("show", "web9")
    assert (status, out) == (1, "")
    assert "no host web9 is registered" in err


def test_hosts_are_forgotten_all_or_none(authority, admin):
    for number in range(3):
        register(authority, FakeHost(f"web{number}"))

    status, _, err = admin("forget", "web0", "web9")
    assert (status, "no such host" in err) == (1, True)
    assert len(authority.store.hosts.every()) == 3

    status, out, _ = admin("forget", "web1", "web0", "web1")
    assert (status, out) == (0, "forgotten: web0, web1\n")
    assert [host.id for host in authority.store.hosts.every()] == ["web2"]
    assert len(admin("list")[1].splitlines()) == 1
    assert len(admin("list", "--all")[1].splitlines()) == 3
    assert "web0, forgotten" in admin("show", "web0")[1]


def test_a_join_token_is_printed_alone(authority, admin):
    status, out, err = admin(
        "join-token", "--id", "web1", "--name", "a", "--name", "b", "--expires", "5m"
    )

    assert status == 0
    assert "good for one host, until" in err
    now = datetime.now(UTC)
    host = join_host(
        authority, FakeHost("web1").join(out.rstrip("\n"), at=now), {}, now=now
    )
    assert host.names == ("a", "b")


@pytest.mark.parametrize("expires", ["soon", "31d", "0h"])
def test_a_join_token_ends_in_a_month_at_most(admin, expires):
    status, out, err = admin("join-token", "--expires", expires)

    assert (status, out) == (2, "")
    assert "--expires" in err


# --- Waiting ------------------------------------------------------------------------


def wait(authority, version, *, seconds=0.0, ends=None, as_json=False):
    return wait_for_hosts(
        authority, version, seconds=seconds, ends=ends, output=Output(as_json=as_json)
    )


def test_waiting_ends_when_the_last_host_reports(authority, capsys):
    hosts = [FakeHost(f"web{number}") for number in range(3)]
    for host in hosts:
        register(authority, host)
    version = report(authority, hosts[0])

    def later():
        for host in hosts[1:]:
            time.sleep(0.3)
            report(authority, host)

    thread = threading.Thread(target=later)
    thread.start()
    status = wait(authority, version, seconds=60)
    thread.join()

    assert status == 0
    said = capsys.readouterr().out
    assert said == f"applied everywhere: 3 of 3 hosts report version {version}\n"


def test_whoever_has_not_reported_is_named(authority, capsys):
    web = FakeHost("web1")
    for host in (web, FakeHost("web2"), FakeHost("web3")):
        register(authority, host)
    register(authority, FakeHost("off1"), at=ago(days=1))
    register(authority, FakeHost("old1"), pulls=False)
    version = report(authority, web)

    status = wait(authority, version, ends=1795330000)

    assert status == 1
    assert capsys.readouterr().out.splitlines() == [
        f"not everywhere: 1 of 5 hosts report version {version}",
        "have not reported it: web2, web3",
        "are stale: off1",
        "do not pull: old1",
        "access ends there by itself at 2026-11-22T06:46:40Z",
    ]
    assert wait(authority, version, as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {
        "v": 1,
        "version": version,
        "everywhere": False,
        "applied": ["web1"],
        "waiting": ["web2", "web3"],
        "stale": ["off1"],
        "not_pulling": ["old1"],
        "ends": None,
    }


def test_nobody_waits_for_hosts_that_will_not_report(authority, capsys):
    web = FakeHost("web1")
    register(authority, web)
    register(authority, FakeHost("old1"), pulls=False)
    version = report(authority, web)
    began = time.monotonic()

    assert wait(authority, version, seconds=60) == 1

    assert time.monotonic() - began < 30
    assert "do not pull: old1" in capsys.readouterr().out


def test_without_hosts_nobody_knows(authority, capsys):
    assert wait(authority, 1, seconds=60) == 1

    assert "no host is registered" in capsys.readouterr().out


def test_an_older_version_is_not_enough_and_a_newer_one_is(authority):
    web = FakeHost("web1")
    register(authority, web)
    version = report(authority, web)

    assert wait(authority, version - 1) == 0
    assert wait(authority, version + 1) == 1
