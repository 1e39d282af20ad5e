"""What `ca-admin policy check` warns of, and what it leaves alone."""

import pytest

from ca.policy.suspicions import suspicions
from tests.policies import deny, load, rule

ROOT_SAFELY = {"require": {"reason": True}, "principals": ["root"]}
OPEN = ["admin", "backup", "debian", "ec2-user"]
OPEN += ["git", "postgres", "ubuntu", "www-data"]


def warned(policy, *, unbound=None, tests=1):
    found = suspicions(policy, unbound=unbound or {}, tests=tests)
    assert all(one.hint for one in found)
    return [(one.where, one.what) for one in found]


def test_an_ordinary_policy_is_not_suspicious():
    policy = load(
        rule(),
        rule(name="on call", on_request=True, **ROOT_SAFELY),
        rule(name="ci", issuer="ci", match={"subject": "robot"}, principals=["web"]),
        deny=[deny()],
    )

    assert warned(policy) == []


def test_a_policy_without_tests():
    ((where, what),) = warned(load(), tests=0)

    assert (where, what[:15]) == ("policy", "has no [[test]]")


# --- Rules that reach nobody --------------------------------------------------------


def test_addresses_outside_the_domain_that_must_match_too():
    match = {"email": "ada@example.com", "email_domain": "example.org"}

    ((where, what),) = warned(load(rule(match=match)))

    assert where == 'rule "developers"'
    assert "matches nobody" in what


def test_addresses_inside_the_domain_are_fine():
    match = {"email": ["ada@example.com", "x@y.org"], "email_domain": "example.com"}

    assert warned(load(rule(match=match))) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"match": {"groups": ["dev", "ops"]}}, {}),
        ({}, {"match": {"groups": ["dev"], "amr": "hwk"}}),
        ({"match": {"staff": True}}, {"match": {"staff": True, "groups": ["dev"]}}),
        ({"principals": ["deploy", "web"]}, {}),
        ({}, {"on_request": True}),
        ({"on_request": True}, {"on_request": True}),
        ({}, {"require": {"reason": True}}),
        ({"require": {"reason": True}}, {"require": {"reason": True}}),
    ],
    ids=str,
)
def test_a_rule_that_another_one_always_answers_before(first, second):
    policy = load(rule(name="first", **first), rule(name="second", **second))

    ((where, what),) = warned(policy)

    assert where == 'rule "second"'
    assert 'rule "first", above it' in what


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"issuer": "ci"}, {}),
        ({"match": {"groups": ["ops"]}}, {}),
        ({"match": {"amr": "hwk"}}, {}),
        ({"match": {"staff": True}}, {"match": {"staff": False}}),
        ({"match": {"staff": True}}, {"match": {"staff": "true"}}),
        ({"principals": ["web"]}, {"principals": ["deploy", "web"]}),
        ({"on_request": True}, {}),
        ({"require": {"reason": True}}, {}),
        ({"canary": True, "validity": "1m"}, {}),
    ],
    ids=str,
)
def test_a_rule_that_may_answer_after_another_one(first, second):
    policy = load(rule(name="first", **first), rule(name="second", **second))

    assert warned(policy) == []


def test_a_rule_all_of_whose_principals_are_denied():
    denies = [
        deny(name="a", match={"groups": ["dev", "ops"]}, principals=["deploy"]),
        deny(name="b", issuer="corp", match={"groups": "dev"}, principals=["web"]),
    ]
    policy = load(rule(principals=["deploy", "web"]), deny=denies)

    ((where, what),) = warned(policy)

    assert where == 'rule "developers"'
    assert "gives nothing" in what


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": "ci"},
        {"match": {"groups": ["dev"], "contractor": True}},
        {"match": {"groups": ["contractors"]}},
        {"principals": ["root"]},
    ],
    ids=str,
)
def test_a_deny_that_leaves_something_over(changes):
    table = deny(**{"match": {"groups": ["dev"]}, "principals": ["deploy"]} | changes)

    assert warned(load(rule(), deny=[table])) == []


# --- Rules that give much -----------------------------------------------------------


@pytest.mark.parametrize("on_request", [False, True])
def test_root_for_nothing_but_a_sign_in(on_request):
    policy = load(rule(principals=["root"], on_request=on_request))

    ((where, what),) = warned(policy)

    assert where == 'rule "developers"'
    assert "requires nothing but a sign-in" in what


def test_root_for_a_canary_is_what_canaries_are_for():
    policy = load(rule(principals=["root"], canary=True, validity="10m"))

    assert warned(policy) == []


def test_a_template_that_opens_the_accounts_of_services():
    match = {"email_domain": "example.com"}
    table = rule(match=match, principals=["{email_local}"])

    ((_, what),) = warned(load(table))
    assert what.endswith(f"its name: {', '.join(OPEN)}")

    most = deny(principals=OPEN[1:])
    ((_, what),) = warned(load(table, deny=[most]))
    assert what.endswith("its name: admin")

    assert warned(load(table, deny=[deny(principals=OPEN)])) == []


def test_a_rule_that_answers_tokens_that_are_bound_to_no_key():
    unbound = {"corp": ["robot", "bot"], "ci": ["job"]}

    ((where, what),) = warned(load(rule()), unbound=unbound)

    assert where == 'rule "developers"'
    assert "bound to no key, of bot, robot:" in what


@pytest.mark.parametrize("clients", ["ca-login", ["robot"]])
def test_a_rule_that_names_its_clients_says_whom_it_means(clients):
    policy = load(rule(match={"groups": ["dev"], "client": clients}))

    assert warned(policy, unbound={"corp": ["robot"]}) == []
