"""An explanation says what a decision did, and never something else."""

from datetime import timedelta
from ipaddress import ip_address

import msgspec
import pytest

from ca.errors import BadRequest, Denied
from ca.policy import Explanation, Wishes, decide, explain
from tests.ca.test_policy_properties import Drawn, decided, drawn
from tests.policies import ADA, NOW, deny, load, rule, somebody


def explained(policy, *principals, identity=ADA, source="192.0.2.1", **wishes):
    wish = Wishes(principals=principals, source=ip_address(source), **wishes)
    return explain(policy, identity, wish, now=NOW)


def outcome_of(explanation: Explanation, name: str = "developers") -> tuple[str, str]:
    outcomes = [(o.name, o.outcome, o.reason) for o in explanation.rules]
    outcomes += [(o.name, o.outcome, o.reason) for o in explanation.denies]
    ((_, outcome, reason),) = (one for one in outcomes if one[0] == name)
    return str(outcome), reason


def test_what_is_granted_is_shown_as_the_certificate_would_say_it():
    policy = load(rule(extensions=["permit-pty"]))

    explanation = explained(policy)

    assert explanation.granted is not None
    assert explanation.granted.principals == ("deploy",)
    assert explanation.granted.validity_seconds == 36_000
    assert explanation.granted.extensions == ("permit-pty",)
    assert explanation.granted.rules == ("developers",)
    assert explanation.refusal == ""
    assert explanation.key_id == "corp:ada@example.com"
    assert explanation.policy_sha256 == policy.sha256
    assert outcome_of(explanation) == ("answers", "")


def test_what_is_refused_has_the_words_of_the_refusal():
    policy = load()
    with pytest.raises(Denied) as caught:
        decide(
            policy,
            ADA,
            Wishes(principals=("root",), source=ip_address("192.0.2.1")),
            now=NOW,
        )

    explanation = explained(policy, "root")

    assert explanation.granted is None
    assert explanation.refusal == caught.value.detail
    assert explanation.hint == caught.value.hint


def test_wishes_that_make_no_sense_are_not_explained():
    with pytest.raises(BadRequest):
        explained(load(), "*")


@pytest.mark.parametrize(
    ("changes", "wishes", "outcome", "reason"),
    [
        (
            {"match": {"groups": ["oncall", "ops"]}},
            {},
            "no-match",
            "groups is not oncall or ops",
        ),
        ({"issuer": "ci"}, {}, "no-match", "issuer is not ci"),
        ({"match": {"amr": "hwk"}}, {}, "no-match", "the issuer does not say amr"),
        ({"match": {"staff": False}}, {}, "no-match", "staff is not false"),
        (
            {"match": {"email_domain": "example.org", "amr": "hwk"}},
            {},
            "no-match",
            "email_domain is not example.org; the issuer does not say amr",
        ),
        (
            {"on_request": True},
            {},
            "on-request",
            "answers only for principals that are asked for by name",
        ),
        ({"require": {"reason": True}}, {}, "unmet", "needs a reason"),
        (
            {"require": {"max_auth_age": "1m"}},
            {},
            "unmet",
            "needs a sign-in of the last 1m",
        ),
        (
            {"canary": True, "validity": "10m"},
            {},
            "canary",
            "answers provisioners alone",
        ),
    ],
    ids=str,
)
def test_each_rule_that_gives_nothing_says_why(changes, wishes, outcome, reason):
    ada = somebody(claims={"staff": True})
    policy = load(rule(**changes), rule(name="other", principals=["web"]))

    explanation = explained(policy, identity=ada, **wishes)

    assert outcome_of(explanation) == (outcome, reason)
    assert outcome_of(explanation, "other")[0] == "answers"


@pytest.mark.parametrize(
    ("tables", "asked", "reason"),
    [
        (
            {"deny": [deny(match={"groups": ["dev"]}, principals=["deploy"])]},
            (),
            'denied by "never"',
        ),
        ({"rule": [rule(name="first")]}, (), 'rule "first" answers for it'),
        ({"rule": [rule(name="first", principals=["web"])]}, ("web",), "not asked for"),
        (
            {
                "rule": [
                    rule(
                        name="first",
                        principals=["web"],
                        critical_options={"force-command": "uptime"},
                    )
                ],
                "critical_options": {"force-command": "backup"},
            },
            (),
            "the rules disagree about force-command: ask for them separately",
        ),
    ],
    ids=["denied", "answered", "not asked", "set aside"],
)
def test_each_principal_that_a_matching_rule_does_not_give_says_why(
    tables, asked, reason
):
    options = tables.pop("critical_options", {})
    first = tables.pop("rule", [])
    policy = load(*first, rule(critical_options=options), **tables)

    explanation = explained(policy, *asked)

    assert outcome_of(explanation) == ("adds-nothing", "")
    (principal,) = explanation.rules[-1].principals
    assert (principal.principal, principal.given) == ("deploy", False)
    assert principal.reason == reason


def test_denies_that_apply_and_that_do_not_say_why():
    policy = load(
        deny=[
            deny(name="guests"),
            deny(name="untrained", match={"trained": False}, principals=["web", "db"]),
            deny(name="dev", match={"groups": ["dev"]}),
        ]
    )

    explanation = explained(policy)

    guests, untrained, dev = explanation.denies
    assert outcome_of(explanation, "guests") == (
        "no-match",
        "groups is not contractors",
    )
    assert (untrained.outcome, untrained.reason) == (
        "applies",
        "the issuer does not say trained",
    )
    assert untrained.principals == ("db", "web")
    assert (dev.outcome, dev.reason, guests.principals) == ("applies", "", ())


def test_groups_of_people_count():
    policy = load(people={"corp:ada@example.com": ["dev"]})

    explanation = explained(policy, identity=somebody(groups=None))

    assert outcome_of(explanation)[0] == "answers"


def test_an_explanation_is_json_with_every_rule_in_it():
    policy = load(rule(), rule(name="b", principals=["web"]), deny=[deny()])

    document = msgspec.to_builtins(explained(policy, validity=timedelta(hours=1)))

    assert [one["name"] for one in document["rules"]] == ["developers", "b"]
    assert [one["name"] for one in document["denies"]] == ["never"]
    assert document["granted"]["validity_seconds"] == 3600


@drawn
def test_explanations_agree_with_decisions(case: Drawn):
    policy, grant = decided(case)

    explanation = explain(policy, case.identity, case.wish, now=NOW)

    given = {
        (one.principal, rule.name)
        for rule in explanation.rules
        for one in rule.principals
        if one.given
    }
    if grant is None:
        assert explanation.granted is None
        assert explanation.refusal
    else:
        assert explanation.granted is not None
        assert explanation.granted.principals == grant.principals
        assert {principal for principal, _ in given} == set(grant.principals)
        assert {name for _, name in given} == set(grant.rules)
    assert len(given) == len({principal for principal, _ in given})
    for rule_outcome in explanation.rules:
        assert rule_outcome.reason or rule_outcome.principals
        assert all(one.given or one.reason for one in rule_outcome.principals)
