"""What a policy file may say, and how what is wrong with it is named."""

import hashlib
from datetime import date, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from ca.errors import Misconfigured
from ca.policy import load_policy
from ca.policy.rules import EMAIL_LOCAL
from tests.policies import ISSUERS, deny, host, load, rule, toml


def complaint(**file: Any) -> str:
    with pytest.raises(Misconfigured) as wrong:
        load_policy(toml({"rule": [rule()]} | file), issuers=ISSUERS)
    return wrong.value.detail


def test_a_policy_knows_the_hash_of_its_file():
    text = toml({"rule": [rule()]})

    assert load_policy(text, issuers=ISSUERS).sha256 == hashlib.sha256(text).hexdigest()


def test_networks_are_read_into_one_order():
    (built,) = load(rule(require={"source": ["10.9.0.0/16", "10.0.0.0/8"]})).rules

    assert built.require.source == (ip_network("10.0.0.0/8"), ip_network("10.9.0.0/16"))


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("1s", timedelta(seconds=1)),
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("10h", timedelta(hours=10)),
        ("24h", timedelta(hours=24)),
        ("1d", timedelta(days=1)),
    ],
)
def test_a_validity_is_a_number_and_a_unit(text, length):
    (built,) = load(rule(validity=text)).rules

    assert built.validity == length


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0s",
        "-1h",
        "1",
        "h",
        "1.5h",
        "1e3s",
        " 1h",
        "1h ",
        "1H",
        "1h\n",
        "01h",
        "٣h",
    ],
)
def test_a_validity_that_is_no_length_of_time_is_refused(text):
    assert complaint(rule=[rule(validity=text)]).startswith(
        'rule "developers": validity: '
    )


@pytest.mark.parametrize(
    ("file", "most"),
    [
        ({"rule": [rule(validity="86401s")]}, "1d, the most"),
        ({"rule": [rule(validity="999999999d")]}, "1d, the most"),
        ({"rule": [rule(validity="601s", canary=True)]}, "10m, the most"),
        ({"host": [host(validity="91d")]}, "90d, the most"),
        ({"rule": [rule(require={"max_auth_age": "366d"})]}, "365d, the most"),
    ],
)
def test_nothing_in_the_file_goes_above_the_ceilings_in_code(file, most):
    assert most in complaint(**file)


def test_the_ceilings_themselves_are_allowed():
    policy = load(
        rule(validity="24h", require={"max_auth_age": "365d"}),
        rule(name="canary", validity="10m", canary=True),
        host=[host(validity="90d")],
    )

    assert [built.validity for built in policy.rules] == [
        timedelta(hours=24),
        timedelta(minutes=10),
    ]
    assert policy.hosts[0].validity == timedelta(days=90)


def test_a_rule_may_write_as_many_principals_as_a_certificate_holds():
    names = [f"u{number}" for number in range(256)]

    assert load(rule(principals=names)).rules[0].principals == tuple(names)


# --- Empty and missing, for every list and table there is ---------------------------

ADMIN = {"issuer": "corp", "groups": ["x"]}
EMPTY = {
    "rule": {"rule": []},
    "rule.match": {"rule": [rule(match={})]},
    "rule.match.groups": {"rule": [rule(match={"groups": []})]},
    "rule.match.email": {"rule": [rule(match={"email": []})]},
    "rule.match.email_domain": {"rule": [rule(match={"email_domain": []})]},
    "rule.match.subject": {"rule": [rule(match={"subject": []})]},
    "rule.match.client": {"rule": [rule(match={"client": []})]},
    "rule.match.amr": {"rule": [rule(match={"amr": []})]},
    "rule.principals": {"rule": [rule(principals=[])]},
    "rule.require": {"rule": [rule(require={})]},
    "rule.require.reason": {"rule": [rule(require={"reason": False})]},
    "rule.require.source": {"rule": [rule(require={"source": []})]},
    "deny.match": {"deny": [deny(match={})]},
    "deny.match.groups": {"deny": [deny(match={"groups": []})]},
    "deny.principals": {"deny": [deny(principals=[])]},
    "host.match": {"host": [host(match={})]},
    "host.match.groups": {"host": [host(match={"groups": []})]},
    "host.names": {"host": [host(names=[])]},
    "roles.admin": {"roles": {"admin": {"issuer": "corp"}}},
    "roles.admin.groups": {"roles": {"admin": ADMIN | {"groups": []}}},
    "people": {"people": {"corp:ada@example.com": []}},
}


@pytest.mark.parametrize("file", EMPTY.values(), ids=EMPTY.keys())
def test_an_empty_list_or_table_is_refused_and_never_means_everything(file):
    assert complaint(**file)


REQUIRED = [
    *(("rule", rule, key) for key in rule()),
    *(("deny", deny, key) for key in deny()),
    *(("host", host, key) for key in host()),
]


@pytest.mark.parametrize(("kind", "make", "key"), REQUIRED)
def test_a_missing_key_is_named(kind, make, key):
    table = make()
    del table[key]

    place = f"{kind} 1" if key == "name" else f'{kind} "{table["name"]}"'
    assert complaint(**{kind: [table]}) == f"{place}: {key}: is missing"


@pytest.mark.parametrize("key", ["extensions", "critical_options"])
def test_what_a_rule_adds_is_nothing_unless_written(key):
    (unsaid,) = load(rule()).rules
    (empty,) = load(rule(**{key: {} if key == "critical_options" else []})).rules

    assert not getattr(unsaid, key)
    assert not getattr(empty, key)


# --- Everything else that is wrong --------------------------------------------------

WRONG = [
    ({"rules": []}, "rules: no such key"),
    ({"rule": 1}, "rule: expected `array`, got `int`"),
    ({"rule": [1]}, "rule[0]: expected `object`, got `int`"),
    ({"rule": [rule(principal=["x"])]}, 'rule "developers": principal: no such key'),
    ({"rule": [rule(name=1)]}, "rule 1: name: expected `str`, got `int`"),
    ({"rule": [rule(name="")]}, 'rule "": name: must be printable'),
    ({"rule": [rule(name=" x")]}, 'rule " x": name: must be printable'),
    ({"rule": [rule(name="a\nb")]}, 'rule "a\\nb": name: must be printable'),
    ({"rule": [rule(name="a\u202eb")]}, 'rule "a\\u202eb": name: must be'),
    ({"rule": [rule(name="größe", issuer="x")]}, 'rule "größe": issuer: '),
    ({"rule": [rule(name="x" * 101)]}, "name: must be printable"),
    ({"rule": [rule(**{"a\nb": 1})]}, "a\\nb: no such key"),
    ({"rule": [rule(), rule()]}, 'rule "developers": name: another one has it'),
    ({"deny": [deny(), deny()]}, 'deny "never": name: another one has it'),
    ({"host": [host(), host()]}, 'host "fleet": name: another one has it'),
    (
        {"rule": [rule(issuer="Corp")]},
        "'Corp' is no issuer in the configuration (ci, corp)",
    ),
    ({"deny": [deny(issuer="x")]}, "deny \"never\": issuer: 'x' is no issuer"),
    ({"host": [host(issuer="x")]}, "host \"fleet\": issuer: 'x' is no issuer"),
    ({"rule": [rule(match={"groups": "*"})]}, "match: 'groups': '*' cannot be"),
    ({"rule": [rule(match={"groups": ["dev*"]})]}, "'dev*' cannot be matched"),
    ({"rule": [rule(match={"groups": ""})]}, "match: 'groups': '' cannot be"),
    ({"rule": [rule(match={"groups": " "})]}, "' ' cannot be matched"),
    ({"rule": [rule(match={"groups": ["a", 1]})]}, "'groups': must be a list of"),
    ({"rule": [rule(match={"groups": ["a", "a"]})]}, "names something twice"),
    ({"rule": [rule(match={"groups": True})]}, "'groups': must be a list of strings"),
    ({"rule": [rule(match={"level": 3})]}, "'level': must be a list of strings"),
    ({"rule": [rule(match={"day": date(2026, 1, 1)})]}, "must be a list of strings"),
    ({"rule": [rule(match={"x": {"y": "z"}})]}, "'x': must be a list of strings"),
    ({"rule": [rule(match={"": "x"})]}, "match: '': cannot be matched on"),
    ({"rule": [rule(match={"*": "x"})]}, "match: '*': cannot be matched on"),
    ({"rule": [rule(match={"issuer": "corp"})]}, "an issuer stands beside match"),
    ({"rule": [rule(match={"email": "@example.com"})]}, "is never so"),
    ({"rule": [rule(match={"email": "a@Example.com"})]}, "is never so"),
    ({"deny": [deny(match={"email_domain": "Example.com"})]}, "is never so"),
    ({"deny": [deny(match={"email_domain": "@example.com"})]}, "is never so"),
    ({"rule": [rule(match=["groups"])]}, "match: expected `object`, got `array`"),
    ({"rule": [rule(principals="deploy")]}, "principals: expected `array`, got `str`"),
    ({"rule": [rule(principals=["a", 1])]}, "principals[1]: expected `str`"),
    ({"rule": [rule(principals=["a", "a"])]}, "principals: names something twice"),
    ({"rule": [rule(principals=["a,b"])]}, "principals: 'a,b' cannot be a principal"),
    ({"rule": [rule(principals=["*"])]}, "'*' cannot be a principal"),
    ({"rule": [rule(principals=[""])]}, "'' cannot be a principal"),
    ({"rule": [rule(principals=["{subject}"])]}, "'{subject}' cannot be a principal"),
    ({"rule": [rule(principals=["x-{email_local}"])]}, "cannot be a principal"),
    ({"rule": [rule(principals=[f"u{n}" for n in range(257)])]}, "at most 256"),
    ({"rule": [rule(principals=[EMAIL_LOCAL])]}, "needs match.email_domain with one"),
    (
        {
            "rule": [
                rule(
                    principals=[EMAIL_LOCAL],
                    match={"email_domain": ["example.com", "example.org"]},
                )
            ]
        },
        "needs match.email_domain with one domain",
    ),
    ({"deny": [deny(principals=[EMAIL_LOCAL])]}, "cannot be a principal"),
    ({"rule": [rule(extensions=["permit-tty"])]}, "'permit-tty' is unknown"),
    ({"rule": [rule(extensions=["permit-pty"] * 2)]}, "names something twice"),
    (
        {"rule": [rule(critical_options={"source-address": "10.0.0.0/8"})]},
        "critical_options: 'source-address': is not an option of a rule",
    ),
    ({"rule": [rule(critical_options={"permit-pty": ""})]}, "is not an option"),
    ({"rule": [rule(critical_options={"force-command": ""})]}, "one line with a com"),
    ({"rule": [rule(critical_options={"force-command": " "})]}, "one line with a com"),
    ({"rule": [rule(critical_options={"force-command": "a\nb"})]}, "one line with"),
    ({"rule": [rule(critical_options={"force-command": True})]}, "is not an option"),
    ({"rule": [rule(critical_options={"verify-required": False})]}, "is not an opt"),
    ({"rule": [rule(critical_options={"verify-required": ""})]}, "is not an option"),
    ({"rule": [rule(require={"ip": 1})]}, "require.ip: no such key"),
    ({"rule": [rule(require={"max_auth_age": "x"})]}, "require: max_auth_age: 'x'"),
    ({"rule": [rule(require={"source": ["10.0.0.1/8"]})]}, "has host bits set"),
    ({"rule": [rule(require={"source": ["10.0.0.0"]})]}, "is not a network"),
    ({"rule": [rule(require={"source": ["10.0.0.0/255.0.0.0"]})]}, "is not a network"),
    ({"rule": [rule(require={"source": ["10.0.0.0/33"]})]}, "require: source: "),
    ({"rule": [rule(require={"source": ["0.0.0.0/0"]})]}, "is not a network such as"),
    ({"rule": [rule(require={"source": ["::/0"]})]}, "is not a network such as"),
    ({"rule": [rule(require={"source": ["fe80::%eth0/64"]})]}, "is not a network"),
    ({"rule": [rule(require={"source": ["10.0.0.0/8"] * 2})]}, "names something twice"),
    ({"rule": [rule(on_request="yes")]}, "on_request: expected `bool`, got `str`"),
    ({"host": [host(names=["*"])]}, "names: '*' is not a host name"),
    ({"host": [host(names=["*."])]}, "is not a host name"),
    ({"host": [host(names=["*.*.example.com"])]}, "is not a host name"),
    ({"host": [host(names=["web*.example.com"])]}, "is not a host name"),
    ({"host": [host(names=["Web.example.com"])]}, "is not a host name"),
    ({"host": [host(names=["a", "a"])]}, "names: names something twice"),
    ({"roles": {"owner": ADMIN}}, "roles: 'owner': not a role: there are auditor, adm"),
    ({"roles": {"admin": {"groups": ["x"]}}}, "'admin': must be a table with an iss"),
    ({"roles": {"admin": "ada"}}, "roles: 'admin': must be a table with an issuer"),
    ({"roles": {"admin": ADMIN | {"issuer": "x"}}}, "roles: 'admin': issuer: 'x' is"),
    ({"roles": {"admin": ADMIN | {"issuer": 1}}}, "must be a table with an issuer"),
    ({"people": {"ada@example.com": ["dev"]}}, "people: 'ada@example.com': 'ada@ex"),
    ({"people": {"x:ada@example.com": ["dev"]}}, "'x' is no issuer"),
    ({"people": {"corp:": ["dev"]}}, "people: 'corp:': not a key ID"),
    ({"people": {"corp:a b": ["dev"]}}, "not a key ID"),
    ({"people": {"corp:" + "a" * 200: ["dev"]}}, "not a key ID"),
    ({"people": {"corp:ada": "dev"}}, "people: 'corp:ada': must be a list of strings"),
    ({"people": {"corp:ada": ["*"]}}, "'*' cannot be matched"),
    ({"people": 3}, "people: expected `object`, got `int`"),
]


@pytest.mark.parametrize(("file", "words"), WRONG)
def test_what_is_wrong_is_named_with_its_place(file, words):
    assert words in complaint(**file)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("extensions", ["permit-pty"]),
        ("critical_options", {"verify-required": True}),
        ("on_request", True),
        ("require", {"reason": True}),
    ],
)
def test_a_canary_rule_says_nothing_that_a_canary_would_not_honour(key, value):
    table = rule(canary=True, validity="5m", **{key: value})

    assert complaint(rule=[table]).startswith(f'rule "developers": {key}')


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"\xef\xbb\xbf[roles]",
        b"[[rule]",
        b"a = " + b"9" * 5000,
        b"a = " + b"[" * 5000,
        b"[rule]\n[rule]",
        b"\x00",
    ],
)
def test_bytes_that_are_no_policy_are_refused(text):
    with pytest.raises(Misconfigured):
        load_policy(text, issuers=ISSUERS)


def test_without_an_issuer_in_the_configuration_no_policy_loads():
    with pytest.raises(Misconfigured, match=r"no issuer in the configuration \(none\)"):
        load_policy(toml({"rule": [rule()]}), issuers=frozenset())


# --- The file's own tests -----------------------------------------------------------

DEV = {"issuer": "corp", "groups": ["dev"]}


@pytest.mark.parametrize(
    "case",
    [
        {"identity": DEV, "gets": ["deploy"]},
        {"identity": DEV, "gets": ["deploy"], "asks": ["deploy"]},
        {"identity": DEV, "gets": [], "asks": ["root"]},
        {"identity": {"issuer": "ci", "groups": ["dev"]}, "gets": []},
        {"identity": {"issuer": "corp"}, "gets": []},
        {"identity": DEV, "gets": ["deploy"], "source": "2001:db8::1", "reason": "x"},
    ],
)
def test_a_policy_that_does_what_its_tests_say_is_loaded(case):
    assert load(test=[case]).rules


FULL = rule(
    match={
        "groups": "dev",
        "email": "ada@example.com",
        "email_domain": "example.com",
        "subject": "1",
        "client": "c",
        "amr": "hwk",
        "staff": True,
        "email_verified": True,
    },
    require={"max_auth_age": "10m", "source": ["10.0.0.0/8"], "reason": True},
    principals=["deploy", EMAIL_LOCAL],
)
FULL_CASE = {
    "identity": DEV
    | {
        "email": "ada@example.com",
        "email_verified": True,
        "subject": "1",
        "client": "c",
        "amr": ["hwk"],
        "staff": True,
        "auth_age": "10m",
    },
    "source": "10.0.0.1",
    "reason": "because",
    "gets": ["ada", "deploy"],
}


def test_a_test_can_say_everything_that_a_rule_asks_about():
    assert load(FULL, test=[FULL_CASE]).rules


@pytest.mark.parametrize(
    "change",
    [
        {"email_verified": False},
        {"auth_age": "11m"},
        {"amr": ["pwd"]},
        {"subject": "2"},
        {"client": "d"},
        {"staff": False},
    ],
)
def test_a_test_distinguishes_identities(change):
    case = FULL_CASE | {"identity": FULL_CASE["identity"] | change, "gets": []}

    assert load(FULL, test=[case]).rules


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"gets": ["root"]}, "test 2: must get root, got deploy"),
        ({"gets": []}, "test 2: must get nothing, got deploy"),
        ({"gets": ["deploy", "ada"]}, "test 2: must get ada, deploy, got deploy"),
        (
            {"gets": ["root"], "asks": ["root"]},
            "test 2: must get root, got nothing (root: no rule gives it to you)",
        ),
        (
            {"gets": ["deploy", "root"], "identity": {"issuer": "corp"}},
            "test 2: must get deploy, root, got nothing (no rule gives you anything",
        ),
        ({"gets": ["a\nb"]}, "must get a\\nb, got deploy"),
        ({"gets": [], "asks": ["a,b"]}, "test 2: asks: 'a,b' cannot be a principal"),
        ({"gets": [], "source": "nowhere"}, "test 2: source: 'nowhere' does not"),
        ({"gets": [], "identity": {}}, "test 2: identity: issuer: is missing"),
        ({"gets": [], "identity": {"issuer": "x"}}, "identity: 'x' is no issuer"),
        ({"gets": [], "identity": DEV | {"email": "x"}}, "identity: email: 'x' is"),
        ({"gets": [], "identity": DEV | {"groups": 1}}, "groups: expected `array"),
        ({"gets": [], "identity": DEV | {"auth_age": "x"}}, "auth_age: 'x' is not"),
        ({}, "test 2: gets: is missing"),
        ({"gets": [], "wants": []}, "test 2: wants: no such key"),
    ],
)
def test_a_failing_test_is_named_with_what_it_got_and_why(case, words):
    passing = {"identity": DEV, "gets": ["deploy"]}

    assert words in complaint(test=[passing, {"identity": DEV} | case])


def test_a_failing_test_gives_the_reasons_for_what_was_left_out():
    careful = rule(name="careful", principals=["db"], require={"reason": True})
    case = {"identity": DEV, "gets": ["deploy", "db"]}

    assert complaint(rule=[rule(), careful], test=[case]) == (
        "test 1: must get db, deploy, got deploy (careful: needs a reason)"
    )


def test_a_failing_test_without_reasons_gives_none():
    assert complaint(test=[{"identity": DEV, "gets": []}]) == (
        "test 1: must get nothing, got deploy"
    )


def test_an_unverified_email_of_a_test_counts_for_nothing():
    identity = {"issuer": "corp", "email": "ada@example.com"}
    by_domain = rule(match={"email_domain": "example.com"})

    assert load(by_domain, test=[{"identity": identity, "gets": []}]).rules


def test_the_age_of_a_sign_in_in_a_test_is_not_also_a_claim():
    case = {"identity": DEV | {"auth_age": "5m"}, "gets": []}

    assert load(rule(match={"auth_age": "5m"}), test=[case]).rules
