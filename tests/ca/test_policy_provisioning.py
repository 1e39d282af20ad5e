"""Host certificates and canaries: who may ask, and how little a canary is worth."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Any

import pytest

from ca.errors import BadRequest, Denied
from ca.identity import Binding
from ca.policy import HostGrant, decide_canary, decide_host
from tests.policies import ADA, NOW, ask, deny, host, load, rule, somebody

OPERATOR = somebody(groups=("provisioners",))
ROLES = {"provisioner": {"issuer": "corp", "groups": ["provisioners"]}}
NONCE = "0123456789abcdef"


def decide_names(*names: str, identity=OPERATOR, hosts: Any = None) -> HostGrant:
    policy = load(host=hosts or [host()])
    return decide_host(policy, identity, names, now=NOW)


def test_names_under_a_wildcard_or_written_out_are_granted():
    grant = decide_names(
        "web1.prod.example.com",
        "bastion",
        hosts=[host(), host(name="single", names=["bastion"], validity="1d")],
    )

    assert grant == HostGrant(
        principals=("web1.prod.example.com", "bastion"),
        validity=timedelta(days=1),
        rules=("fleet", "single"),
    )


def test_the_first_host_rule_that_covers_a_name_answers():
    grant = decide_names(
        "a.prod.example.com",
        "b.prod.example.com",
        hosts=[host(), host(name="later", validity="1d")],
    )

    assert grant.rules == ("fleet",)
    assert grant.validity == timedelta(days=30)


@pytest.mark.parametrize(
    "name",
    [
        "prod.example.com",
        "a.b.prod.example.com",
        "a.evilprod.example.com",
        "a.prod.example.com.evil.example",
        "example.com",
        "bastion",
    ],
)
def test_one_name_that_no_rule_covers_refuses_them_all(name):
    with pytest.raises(Denied, match=r"no \[\[host\]\] rule gives it"):
        decide_names("web1.prod.example.com", name)


@pytest.mark.parametrize(
    "name",
    [
        "*.prod.example.com",
        "Web1.prod.example.com",
        "web1.prod.example.com.",
        ".prod.example.com",
        "-a.prod.example.com",
        "a-.prod.example.com",
        "a_b.prod.example.com",
        "a,b.prod.example.com",
        "a.prod.example.com\n",
        "wéb.prod.example.com",
        "x" * 64 + ".prod.example.com",
        "a" * 50 + ".prod.example.com",
        "",
    ],
)
def test_what_is_not_a_host_name_makes_no_sense(name):
    with pytest.raises(BadRequest, match="is not a host name"):
        decide_names(name)


@pytest.mark.parametrize(
    "names", [(), ("a.prod.example.com",) * 2, tuple(f"h{n}" for n in range(257))]
)
def test_no_name_a_name_twice_or_too_many_make_no_sense(names):
    with pytest.raises(BadRequest):
        decide_names(*names)


@pytest.mark.parametrize(
    "identity",
    [ADA, somebody(issuer="ci", groups=("provisioners",))],
)
def test_who_does_not_match_gets_no_host(identity):
    with pytest.raises(Denied):
        decide_names("web1.prod.example.com", identity=identity)


def test_no_host_is_reached_through_a_token_that_is_bound_to_no_key():
    unbound = somebody(groups=("provisioners",), binding=Binding.NONE)

    with pytest.raises(Denied, match="bound to no key"):
        decide_names("web1.prod.example.com", identity=unbound)


def test_people_counts_for_hosts_too():
    policy = load(host=[host()], people={"corp:ada@example.com": ["provisioners"]})

    grant = decide_host(policy, somebody(groups=None), ("a.prod.example.com",), now=NOW)

    assert grant.rules == ("fleet",)


# --- Canaries -----------------------------------------------------------------------

CANARY = rule(
    name="canaries",
    match={"groups": ["provisioners"]},
    principals=["deploy", "root"],
    validity="10m",
    canary=True,
)


def decide_one(*principals: str, policy=None, **changes: Any):
    arguments: dict[str, Any] = {
        "identity": OPERATOR,
        "source": "192.0.2.7",
        "nonce": NONCE,
    } | changes
    return decide_canary(
        policy or load(CANARY, roles=ROLES),
        arguments["identity"],
        principals,
        source=ip_address(arguments["source"]),
        nonce=arguments["nonce"],
        now=NOW,
    )


def test_a_canary_prints_its_nonce_from_one_address_and_nothing_else():
    grant = decide_one("root", "deploy")

    assert grant.principals == ("root", "deploy")
    assert grant.validity == timedelta(minutes=10)
    assert grant.extensions == ()
    assert grant.critical_options == {
        "force-command": f"echo {NONCE}",
        "source-address": "192.0.2.7/32",
    }
    assert grant.rules == ("canaries",)


@pytest.mark.parametrize(
    ("source", "option"),
    [("2001:db8::1", "2001:db8::1/128"), ("::ffff:192.0.2.7", "192.0.2.7/32")],
)
def test_a_canary_is_tied_to_the_address_as_sshd_sees_it(source, option):
    grant = decide_one("root", source=source)

    assert grant.critical_options["source-address"] == option


@pytest.mark.parametrize(
    "identity", [ADA, somebody(groups=("provisioners",), binding=Binding.NONE)]
)
def test_only_provisioners_get_canaries(identity):
    open_to_all = CANARY | {"match": {"client": "ca-login"}}

    with pytest.raises(Denied, match="only provisioners"):
        decide_one("root", policy=load(open_to_all, roles=ROLES), identity=identity)


def test_a_canary_comes_from_canary_rules_alone_and_they_answer_nothing_else():
    policy = load(CANARY, rule(match={"groups": ["provisioners"]}), roles=ROLES)

    with pytest.raises(Denied, match="no rule gives it to you"):
        decide_one("web", policy=policy)
    with pytest.raises(Denied, match="no rule gives it to you"):
        ask(policy, "root", identity=OPERATOR)
    assert ask(policy, identity=OPERATOR).rules == ("developers",)


def test_an_ordinary_rule_gives_no_canary():
    policy = load(rule(match={"groups": ["provisioners"]}), roles=ROLES)

    with pytest.raises(Denied, match="no rule gives it to you"):
        decide_one("deploy", policy=policy)


def test_denies_win_over_canary_rules():
    policy = load(CANARY, roles=ROLES, deny=[deny(match={"groups": "provisioners"})])

    with pytest.raises(Denied, match='root: denied by "never"'):
        decide_one("deploy", "root", policy=policy)


def test_a_canary_rule_may_require_where_it_is_asked_from():
    here = CANARY | {"require": {"source": ["192.0.2.0/24"]}}
    elsewhere = here | {
        "name": "b",
        "principals": ["web"],
        "require": {"source": ["192.0.2.0/25"]},
    }
    policy = load(here, elsewhere, roles=ROLES)

    grant = decide_one("deploy", "web", policy=policy)

    assert grant.critical_options["source-address"] == "192.0.2.7/32"
    with pytest.raises(Denied, match="needs a request from"):
        decide_one("deploy", policy=policy, source="198.51.100.1")


@pytest.mark.parametrize(
    "nonce",
    [
        "",
        "a" * 15,
        "a" * 65,
        "a" * 15 + ";",
        "a" * 16 + "\n",
        "$(reboot)aaaaaaaaaa",
        "é" * 16,
    ],
)
def test_a_nonce_that_is_not_letters_and_digits_makes_no_sense(nonce):
    with pytest.raises(BadRequest, match="nonce"):
        decide_one("root", nonce=nonce)


@pytest.mark.parametrize("principals", [(), ("root", "root"), ("a,b",)])
def test_a_canary_for_nobody_or_nonsense_makes_no_sense(principals):
    with pytest.raises(BadRequest):
        decide_one(*principals)


def test_a_canary_for_an_address_with_a_zone_makes_no_sense():
    with pytest.raises(BadRequest, match="zone"):
        decide_one("root", source="fe80::1%eth0")
