"""Who gets what: `decide` and `roles` over policies written for one question each."""

from datetime import timedelta

import pytest

from ca.certificate import EXTENSIONS
from ca.errors import BadRequest, CAError, Denied
from ca.identity import Binding
from ca.messages import LeftOut
from ca.policy import Role, roles
from tests.policies import ADA, NOW, ask, deny, load, rule, somebody


def test_a_matching_rule_gives_its_principals_validity_and_extensions():
    policy = load(rule(extensions=["permit-pty", "permit-agent-forwarding"]))

    grant = ask(policy)

    assert grant.principals == ("deploy",)
    assert grant.validity == timedelta(hours=10)
    assert grant.extensions == ("permit-agent-forwarding", "permit-pty")
    assert grant.critical_options == {}
    assert grant.rules == ("developers",)
    assert grant.left_out == ()


# --- Matching -----------------------------------------------------------------------

CLAIMS = {
    "amr": ["hwk", "pwd"],
    "team": "core",
    "staff": True,
    "level": 3,
    "nothing": None,
    "mixed": ["core", 1],
    "none": [],
}


@pytest.mark.parametrize(
    "match",
    [
        {"groups": "dev"},
        {"groups": ["ops", "dev"]},
        {"email": "ada@example.com"},
        {"email_domain": "example.com"},
        {"subject": "1001"},
        {"client": ["ca-login"]},
        {"amr": "hwk"},
        {"team": ["core"]},
        {"staff": True},
        {"groups": ["dev"], "staff": True, "team": "core"},
    ],
)
def test_a_rule_answers_when_all_keys_hold(match):
    policy = load(rule(match=match))

    assert ask(policy, identity=somebody(claims=CLAIMS)).principals == ("deploy",)


NEAR_MISSES = [
    {"groups": "Dev"},
    {"groups": "de"},
    {"groups": ["dev "]},
    {"email_domain": "ample.com"},
    {"email_domain": "mail.example.com"},
    {"subject": "100"},
    {"client": "ca"},
    {"amr": "hw"},
    {"team": "Core"},
    {"staff": False},
    {"groups": ["dev"], "team": "other"},
    {"none": "core"},
]
NOT_SAID = [
    {"email": "Ada@example.com"},
    {"absent": "core"},
    {"staff": "true"},
    {"team": True},
    {"level": "3"},
    {"nothing": "None"},
    {"mixed": "core"},
]


@pytest.mark.parametrize("match", NEAR_MISSES + NOT_SAID)
def test_a_rule_is_silent_unless_every_key_is_known_to_hold(match):
    policy = load(rule(match=match))

    with pytest.raises(Denied, match="no rule gives you anything"):
        ask(policy, identity=somebody(claims=CLAIMS))


@pytest.mark.parametrize("match", NEAR_MISSES)
def test_a_deny_is_silent_when_a_key_is_known_not_to_hold(match):
    policy = load(deny=[deny(match=match, principals=["deploy"])])

    assert ask(policy, identity=somebody(claims=CLAIMS)).principals == ("deploy",)


@pytest.mark.parametrize("match", NOT_SAID)
def test_a_deny_applies_when_the_issuer_did_not_say(match):
    policy = load(deny=[deny(match=match, principals=["deploy"])])

    with pytest.raises(Denied, match="the issuer does not say"):
        ask(policy, identity=somebody(claims=CLAIMS))


@pytest.mark.parametrize(
    "match", [{"email": "x@example.com"}, {"email_domain": "x.com"}]
)
def test_a_deny_by_email_applies_to_whoever_has_no_verified_one(match):
    policy = load(deny=[deny(match=match, principals=["deploy"])])

    with pytest.raises(Denied, match=r'deploy: denied by "never" \(the issuer does'):
        ask(policy, identity=somebody(email=None))


def test_a_deny_needs_only_its_unknown_keys_to_be_unknown():
    policy = load(
        deny=[deny(match={"absent": "x", "groups": ["ops"]}, principals=["deploy"])]
    )

    assert ask(policy).principals == ("deploy",)


def test_an_unverified_email_matches_no_rule():
    policy = load(rule(match={"email_domain": "example.com"}))

    with pytest.raises(Denied):
        ask(policy, identity=somebody(email=None, claims={"email": "ada@example.com"}))


def test_a_claim_cannot_pose_as_a_field_of_the_identity():
    policy = load(rule(match={"groups": ["admins"]}))

    with pytest.raises(Denied):
        ask(policy, identity=somebody(groups=None, claims={"groups": ["admins"]}))


def test_another_issuers_identity_matches_no_rule():
    with pytest.raises(Denied):
        ask(load(), identity=somebody(issuer="ci"))


def test_a_deny_without_an_issuer_is_for_all_and_one_with_for_its_own():
    both = [rule(), rule(name="ci", issuer="ci")]
    anyone = deny(match={"groups": "dev"}, principals=["deploy"])

    for_all = load(*both, deny=[anyone])
    for_ci = load(*both, deny=[anyone | {"issuer": "ci"}])

    with pytest.raises(Denied):
        ask(for_all)
    assert ask(for_ci).principals == ("deploy",)
    with pytest.raises(Denied):
        ask(for_ci, identity=somebody(issuer="ci"))


# --- The template -------------------------------------------------------------------

TEMPLATED = rule(
    match={"email_domain": "example.com"}, principals=["{email_local}", "web"]
)


@pytest.mark.parametrize("local", ["ada", "ada.l", "ada+tag", "a1", "_x"])
def test_the_local_part_of_the_email_becomes_a_principal(local):
    grant = ask(load(TEMPLATED), identity=somebody(email=f"{local}@example.com"))

    assert grant.principals == (local, "web")


@pytest.mark.parametrize(
    ("local", "reason"),
    [
        ("root", "account of its own"),
        ("web", "account of its own"),
        ("backup", "account of its own"),
        ("canary", "account of its own"),
        ("Ada", "not all lower case"),
        ("ada,root", "cannot be a principal"),
        ("*", "cannot be a principal"),
        ("-ada", "cannot be a principal"),
        ("{email_local}", "cannot be a principal"),
        ("a" * 65, "cannot be a principal"),
        ("", "cannot be a principal"),
    ],
)
def test_a_local_part_that_is_no_own_account_is_left_out_with_the_reason(local, reason):
    policy = load(
        TEMPLATED,
        rule(name="c", principals=["canary"], canary=True, validity="5m"),
        deny=[deny(principals=["backup"], match={"groups": "nobody"})],
    )

    grant = ask(policy, identity=somebody(email=f"{local}@example.com"))

    assert grant.principals == ("web",)
    (left_out,) = grant.left_out
    assert left_out.what == "{email_local}"
    assert reason in left_out.reason


def test_asking_for_what_the_template_may_not_give_is_refused_with_the_reason():
    with pytest.raises(Denied, match="root: 'root' is an account of its own"):
        ask(load(TEMPLATED), "root", identity=somebody(email="root@example.com"))


def test_a_deny_holds_for_what_comes_out_of_the_template():
    policy = load(TEMPLATED, deny=[deny(match={"groups": "dev"}, principals=["ada"])])

    with pytest.raises(Denied, match='ada: denied by "never"'):
        ask(policy, "ada")


# --- Unasked ------------------------------------------------------------------------

TWO = [
    rule(
        name="first",
        principals=["deploy", "web"],
        validity="8h",
        extensions=["permit-pty", "permit-user-rc"],
        critical_options={"verify-required": True},
    ),
    rule(
        name="second",
        principals=["web", "db"],
        validity="2h",
        extensions=["permit-pty", "permit-port-forwarding"],
        critical_options={"force-command": "uptime"},
    ),
]


def test_the_grant_is_the_strictest_of_what_the_answering_rules_say():
    grant = ask(load(*TWO))

    assert grant.principals == ("deploy", "web", "db")
    assert grant.validity == timedelta(hours=2)
    assert grant.extensions == ("permit-pty",)
    assert grant.critical_options == {"verify-required": "", "force-command": "uptime"}
    assert grant.rules == ("first", "second")


def test_a_rule_that_answers_for_nothing_does_not_make_the_grant_stricter():
    shadowed = TWO[1] | {"principals": ["web"]}

    grant = ask(load(TWO[0], shadowed))

    assert grant.rules == ("first",)
    assert grant.validity == timedelta(hours=8)
    assert "force-command" not in grant.critical_options


def test_rules_on_request_are_silent_when_nothing_is_asked():
    policy = load(rule(), rule(name="ops", principals=["root"], on_request=True))

    grant = ask(policy)

    assert grant.principals == ("deploy",)
    assert grant.left_out == ()


def test_rules_that_do_not_match_are_not_mentioned():
    policy = load(rule(), rule(name="ops", match={"groups": "ops"}, principals=["db"]))

    assert ask(policy).left_out == ()


def test_what_is_denied_or_lacks_a_requirement_is_left_out_with_the_reason():
    policy = load(
        rule(principals=["deploy", "root"]),
        rule(name="again", principals=["root"]),
        rule(name="careful", principals=["db", "web"], require={"reason": True}),
        deny=[deny(match={"groups": "dev"})],
    )

    grant = ask(policy)

    assert grant.principals == ("deploy",)
    assert grant.left_out == (
        LeftOut("root", 'denied by "never"'),
        LeftOut("careful", "needs a reason"),
    )


def test_a_principal_comes_from_the_next_rule_when_the_first_lacks_a_requirement():
    policy = load(
        rule(name="careful", validity="12h", require={"reason": True}),
        rule(name="plain", validity="1h"),
    )

    assert ask(policy).rules == ("plain",)
    assert ask(policy, reason="INC-1").rules == ("careful",)
    assert ask(policy, "deploy").rules == ("plain",)


def test_when_nothing_is_left_the_refusal_names_the_reasons():
    policy = load(
        rule(require={"reason": True}),
        *(
            rule(name=f"r{number}", require={"reason": True, "max_auth_age": "1m"})
            for number in range(9)
        ),
    )

    with pytest.raises(Denied) as refusal:
        ask(policy)

    assert refusal.value.detail.startswith("developers: needs a reason; r0: needs a ")
    assert refusal.value.detail.count(";") == 4
    assert refusal.value.hint is not None


def test_options_that_cannot_be_joined_leave_the_first_rule_alone():
    policy = load(
        rule(name="first", principals=["a"], validity="9h"),
        rule(name="second", principals=["b"], critical_options={"force-command": "x"}),
        rule(
            name="third",
            principals=["c"],
            validity="1h",
            critical_options={"force-command": "y"},
        ),
    )

    grant = ask(policy)

    reason = "the rules disagree about force-command: ask for them separately"
    assert grant.principals == ("a",)
    assert grant.rules == ("first",)
    assert grant.validity == timedelta(hours=9)
    assert grant.critical_options == {}
    assert grant.left_out == (LeftOut("b", reason), LeftOut("c", reason))


def test_more_principals_than_a_certificate_holds_are_left_out():
    names = [f"u{number}" for number in range(300)]
    policy = load(
        rule(name="a", principals=names[:200]), rule(name="b", principals=names[200:])
    )

    grant = ask(policy)

    assert grant.principals == tuple(names[:256])
    assert len(grant.left_out) == 44
    assert "256" in grant.left_out[0].reason
    with pytest.raises(Denied, match="256"):
        ask(policy, *names)


# --- Asked --------------------------------------------------------------------------


def test_asking_by_name_reaches_rules_on_request_and_takes_only_what_is_asked():
    policy = load(
        rule(principals=["deploy", "web"]),
        rule(name="ops", principals=["root"], on_request=True, validity="30m"),
    )

    grant = ask(policy, "root", "web")

    assert grant.principals == ("root", "web")
    assert grant.validity == timedelta(minutes=30)
    assert grant.rules == ("ops", "developers")


@pytest.mark.parametrize("asked", [("deploy", "root"), ("root", "deploy"), ("root",)])
def test_one_refused_principal_refuses_the_request(asked):
    with pytest.raises(Denied, match="root: no rule gives it to you"):
        ask(load(), *asked)


def test_asking_for_a_denied_principal_names_the_deny():
    policy = load(
        rule(principals=["root"]), deny=[deny(match={"groups": "dev"}, name="no root")]
    )

    with pytest.raises(Denied, match='root: denied by "no root"'):
        ask(policy, "root")


def test_asking_names_each_rules_unmet_requirement():
    policy = load(
        rule(name="a", require={"reason": True}),
        rule(name="b", require={"max_auth_age": "1m"}),
    )

    with pytest.raises(
        Denied, match='deploy: rule "a" needs a reason; rule "b" needs a sign-in of'
    ):
        ask(policy, "deploy")


def test_options_that_cannot_be_joined_refuse_what_is_asked():
    policy = load(
        rule(critical_options={"force-command": "x"}),
        rule(name="b", principals=["web"], critical_options={"force-command": "y"}),
    )

    assert ask(policy, "web").critical_options == {"force-command": "y"}
    with pytest.raises(Denied, match="ask for them separately"):
        ask(policy, "deploy", "web")


@pytest.mark.parametrize(
    "asked",
    [("deploy", "deploy"), ("deploy,root",), ("",), ("*",), ("deploy", "a\nb"), ("é",)],
)
def test_asking_for_what_is_no_principal_or_twice_makes_no_sense(asked):
    with pytest.raises(BadRequest):
        ask(load(), *asked)


# --- Requirements -------------------------------------------------------------------

FRESH = rule(require={"max_auth_age": "1h"})


@pytest.mark.parametrize("seconds_ago", [0, 3600, -60])
def test_a_sign_in_that_is_recent_enough_is_accepted(seconds_ago):
    auth_time = NOW - timedelta(seconds=seconds_ago)

    grant = ask(load(FRESH), identity=somebody(auth_time=auth_time))

    assert grant.principals == ("deploy",)


@pytest.mark.parametrize("seconds_ago", [3601, -61, None])
def test_a_sign_in_that_is_old_unknown_or_in_the_future_is_not(seconds_ago):
    auth_time = None if seconds_ago is None else NOW - timedelta(seconds=seconds_ago)

    with pytest.raises(Denied, match="needs a sign-in of the last 1h"):
        ask(load(FRESH), identity=somebody(auth_time=auth_time))


SOURCED = rule(require={"source": ["2001:DB8::/32", "10.9.0.0/16", "10.0.0.0/8"]})


@pytest.mark.parametrize(
    "source", ["10.0.0.0", "10.255.255.255", "2001:db8::1", "::ffff:10.1.2.3"]
)
def test_a_request_from_inside_is_tied_to_the_networks(source):
    grant = ask(load(SOURCED), source=source)

    assert grant.critical_options == {
        "source-address": "10.0.0.0/8,10.9.0.0/16,2001:db8::/32"
    }


@pytest.mark.parametrize(
    "source", ["11.0.0.0", "9.255.255.255", "::1", "::ffff:9.0.0.1"]
)
def test_a_request_from_outside_lacks_the_requirement(source):
    with pytest.raises(Denied, match="needs a request from"):
        ask(load(SOURCED), source=source)


def test_different_source_addresses_cannot_be_joined_and_equal_ones_can():
    def tied(*networks: str) -> dict[str, object]:
        return rule(name="b", principals=["web"], require={"source": networks})

    one = rule(require={"source": ["10.0.0.0/8", "10.9.0.0/16"]})
    same = load(one, tied("10.9.0.0/16", "10.0.0.0/8"))
    other = load(one, tied("10.0.0.0/8"))

    assert ask(same, "deploy", "web", source="10.9.0.1").principals == ("deploy", "web")
    with pytest.raises(Denied, match="disagree about source-address"):
        ask(other, "deploy", "web", source="10.9.0.1")


@pytest.mark.parametrize("reason", [None, "", "  ", "\n"])
def test_a_blank_reason_is_none(reason):
    with pytest.raises(Denied, match="needs a reason"):
        ask(load(rule(require={"reason": True})), reason=reason)


def test_all_unmet_requirements_are_named_at_once():
    policy = load(
        rule(require={"reason": True, "max_auth_age": "1m", "source": ["10.0.0.0/8"]})
    )

    with pytest.raises(
        Denied, match=r"sign-in .* and needs a request .* and needs a r"
    ):
        ask(policy)


# --- Wishes -------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 36_000])
def test_a_validity_within_the_grant_is_taken(seconds):
    wished = timedelta(seconds=seconds)

    assert ask(load(), validity=wished).validity == wished


def test_a_longer_validity_is_denied_not_cut():
    with pytest.raises(Denied, match="validity: at most 10h"):
        ask(load(), validity=timedelta(hours=10, seconds=1))


@pytest.mark.parametrize("seconds", [0, -1, 0.5])
def test_a_validity_of_nothing_makes_no_sense(seconds):
    with pytest.raises(BadRequest):
        ask(load(), validity=timedelta(seconds=seconds))


@pytest.mark.parametrize("wished", [(), ("permit-pty",), ("permit-pty", "permit-pty")])
def test_extensions_are_narrowed_to_the_wish(wished):
    policy = load(rule(extensions=["permit-pty", "permit-user-rc"]))

    assert ask(policy, extensions=wished).extensions == tuple(sorted(set(wished)))


@pytest.mark.parametrize("wished", [*sorted(EXTENSIONS - {"permit-pty"}), "x\n", ""])
def test_an_extension_beyond_the_grant_is_denied(wished):
    policy = load(rule(extensions=["permit-pty"]))

    with pytest.raises(Denied, match="is not granted, but permit-pty"):
        ask(policy, extensions=("permit-pty", wished))
    with pytest.raises(Denied, match="is not granted, but none"):
        ask(load(), extensions=(wished,))


def test_what_policy_forces_no_wish_sheds():
    forced = {"force-command": "uptime", "verify-required": True}
    policy = load(
        rule(
            critical_options=forced,
            require={"source": ["192.0.2.0/24"]},
            extensions=["permit-pty"],
        )
    )

    for asked in [(), ("deploy",)]:
        for extensions in [None, (), ("permit-pty",)]:
            grant = ask(
                policy, *asked, extensions=extensions, validity=timedelta(minutes=1)
            )

            assert grant.critical_options == {
                "force-command": "uptime",
                "verify-required": "",
                "source-address": "192.0.2.0/24",
            }


# --- Roles and people ---------------------------------------------------------------

ROLES = {
    "admin": {"issuer": "corp", "groups": ["security"]},
    "auditor": {"issuer": "corp", "groups": ["security", "audit"]},
    "provisioner": {"issuer": "ci", "project": "infra"},
}


def test_roles_are_those_whose_match_holds():
    policy = load(roles=ROLES)
    ci = somebody(issuer="ci", claims={"project": "infra"}, binding=Binding.AUDIENCE)

    assert roles(policy, ADA) == frozenset()
    assert roles(policy, somebody(groups=("audit",))) == {Role.AUDITOR}
    assert roles(policy, somebody(groups=("security",))) == {Role.ADMIN, Role.AUDITOR}
    assert roles(policy, ci) == {Role.PROVISIONER}


def test_no_role_is_reached_through_a_token_that_is_bound_to_no_key():
    unbound = somebody(groups=("security",), binding=Binding.NONE)

    assert roles(load(roles=ROLES), unbound) == frozenset()


def test_without_a_roles_table_nobody_has_a_role():
    assert roles(load(), ADA) == frozenset()


PEOPLE = {"corp:ada@example.com": ["dev", "security"]}


def test_people_puts_in_groups_whom_the_issuer_puts_in_none():
    policy = load(people=PEOPLE, roles=ROLES, deny=[deny(principals=["deploy"])])
    ada = somebody(groups=None)

    assert ask(policy, identity=ada).principals == ("deploy",)
    assert Role.ADMIN in roles(policy, ada)


@pytest.mark.parametrize(
    "changes",
    [
        {"groups": ()},
        {"groups": ("ops",)},
        {"groups": None, "email": "grace@example.com"},
        {"groups": None, "email": "Ada@example.com"},
        {"groups": None, "email": None},
        {"groups": None, "issuer": "ci"},
    ],
)
def test_people_touches_nobody_else(changes):
    policy = load(people=PEOPLE, roles=ROLES)

    with pytest.raises(CAError):
        ask(policy, identity=somebody(**changes))
    assert roles(policy, somebody(**changes)) == frozenset()
