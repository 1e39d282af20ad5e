"""Laws of policy, over generated policies, identities, requests and bytes.

The judge is a second reading of the rules, over the tables as written and not over
what `ca.policy` made of them.
"""

import contextlib
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.certificate import EXTENSIONS, PRINCIPAL, Certificate, CertificateType
from ca.errors import BadRequest, Denied, Misconfigured
from ca.identity import Binding, Identity
from ca.policy import Grant, Policy, Wishes, decide, decide_canary, load_policy, roles
from tests.certificates import certificate
from tests.policies import (
    ISSUERS,
    NOW,
    Table,
    ask,
    deny,
    host,
    load,
    rule,
    somebody,
    toml,
)

# --- Policies and requests, small enough to meet often ------------------------------
#
# Drawn from plain random numbers that hypothesis seeds and reports: its own strategies
# seek odd values, and odd policies rarely give anybody anything.

ACCOUNTS = ["deploy", "root", "ada", "web"]
SECONDS = {"30s": 30, "10m": 600, "10h": 36_000, "24h": 86_400}
NETWORKS = ["10.0.0.0/8", "192.0.2.0/24"]
EXTENSION_SETS = [["permit-pty"], ["permit-pty", "permit-user-rc"], sorted(EXTENSIONS)]


REQUIREMENTS = [
    {"max_auth_age": "10m"},
    {"source": NETWORKS, "reason": False},
    {"source": NETWORKS[:1], "max_auth_age": "10m"},
    {"reason": True},
]


class Drawn(NamedTuple):
    """A policy file and a request."""

    file: Table
    identity: Identity
    wish: Wishes


def some_of(random: Random, values: Sequence[str], least: int = 0) -> list[str]:
    return random.sample(values, random.randint(least, 2))


def usually(random: Random, usual: Any, *otherwise: Any) -> Any:
    """Return `usual` four times out of five."""
    return usual if random.random() < 4 / 5 else random.choice(otherwise)


def draw_match(random: Random) -> Table:
    match: Table = {"groups": usually(random, ["dev", "ops"], ["guest"])}
    if random.random() < 1 / 3:
        match["email_domain"] = usually(random, "example.com", "example.org")
    if random.random() < 1 / 3:
        match["staff"] = usually(random, True, False)  # noqa: FBT003 - values
    return match


def draw_rule(random: Random) -> Table:
    table: Table = {
        "issuer": usually(random, "corp", "ci"),
        "match": draw_match(random),
        "principals": some_of(random, [*ACCOUNTS, "{email_local}"], 1),
    }
    if random.random() < 1 / 5:
        return draw_canary_rule(random, table)
    if "{email_local}" in table["principals"]:
        table["match"].setdefault("email_domain", "example.com")
    if random.random() < 1 / 4:
        table["require"] = random.choice(REQUIREMENTS)
    return table | {
        "validity": random.choice(list(SECONDS)),
        "extensions": usually(random, EXTENSION_SETS[0], *EXTENSION_SETS, []),
        "critical_options": random.choice(
            [
                *({}, {}),
                {"force-command": "uptime"},
                {"force-command": "backup"},
                {"verify-required": True},
            ]
        ),
        "on_request": random.random() < 1 / 4,
    }


def draw_canary_rule(random: Random, table: Table) -> Table:
    principals = some_of(random, ACCOUNTS, 1)
    return table | {"validity": "10m", "canary": True, "principals": principals}


def draw_deny(random: Random) -> Table:
    group = usually(random, "guest", "dev")
    table: Table = {
        "match": draw_match(random) | {"groups": [group]},
        "principals": some_of(random, ACCOUNTS, 1),
    }
    if random.random() < 1 / 3:
        table["issuer"] = random.choice(["corp", "ci"])
    return table


def named(tables: Iterable[Table]) -> list[Table]:
    return [table | {"name": f"n{at}"} for at, table in enumerate(tables)]


def draw_identity(random: Random) -> Identity:
    age = timedelta(seconds=random.randint(-100, 900))
    return somebody(
        issuer=usually(random, "corp", "ci"),
        email=usually(
            random,
            "ada@example.com",
            *(None, "Ada@example.com", "root@example.com", "x,y@example.org"),
        ),
        groups=usually(random, ("dev", "ops"), None, (), ("guest",), ("dev", "guest")),
        auth_time=usually(random, NOW - age, None),
        claims=usually(random, {"staff": True}, {}, {"staff": False}, {"staff": "x"}),
        binding=random.choice(list(Binding)),
    )


def draw_wish(random: Random) -> Wishes:
    seconds = random.choice([1, 30, 31, 600, 36_001])
    return Wishes(
        principals=tuple(some_of(random, ACCOUNTS)),
        validity=usually(random, None, timedelta(seconds=seconds)),
        extensions=usually(random, None, *map(tuple, EXTENSION_SETS), ()),
        reason=random.choice([None, "", "because"]),
        source=ip_address(random.choice(["10.1.2.3", "192.0.2.1", "2001:db8::1"])),
    )


def draw(random: Random) -> Drawn:
    file = {
        "rule": named(draw_rule(random) for _ in range(random.randint(1, 8))),
        "deny": named(draw_deny(random) for _ in range(random.randint(0, 2))),
        "roles": {"provisioner": {"issuer": "corp", "groups": ["ops"]}},
    }
    return Drawn(file, draw_identity(random), draw_wish(random))


drawn = given(st.randoms(use_true_random=True).map(draw))


def decided(case: Drawn) -> tuple[Policy, Grant | None]:
    policy = load_policy(toml(case.file), issuers=ISSUERS)
    try:
        return policy, decide(policy, case.identity, case.wish, now=NOW)
    except Denied:
        return policy, None


# --- The second reading -------------------------------------------------------------


def says(identity: Identity, key: str, wanted: Any) -> bool | None:
    """Read one key of a match; None when the issuer did not say."""
    if key == "groups":
        return None if identity.groups is None else bool({*identity.groups} & {*wanted})
    if key == "email_domain":
        return None if not identity.email else identity.email.endswith("@" + wanted)
    said = identity.claims.get("staff")
    return said is wanted if isinstance(said, bool) else None


def answers(table: Table, identity: Identity) -> list[bool | None]:
    issuer_fits = table.get("issuer", identity.issuer) == identity.issuer
    return [
        issuer_fits,
        *(says(identity, key, value) for key, value in table["match"].items()),
    ]


def is_meant(table: Table, identity: Identity) -> bool:
    return all(answer is True for answer in answers(table, identity))


def is_denied(file: Table, identity: Identity, principal: str) -> bool:
    return any(
        principal in table["principals"] and False not in answers(table, identity)
        for table in file["deny"]
    )


def can_give(table: Table, identity: Identity, principal: str) -> bool:
    local = (identity.email or "").split("@")[0]
    templated = "{email_local}" in table["principals"] and principal == local
    return templated or principal in table["principals"]


def is_met(table: Table, identity: Identity, wish: Wishes) -> bool:
    require = table.get("require", {})
    age = None if identity.auth_time is None else NOW - identity.auth_time
    fresh = age is not None and timedelta(seconds=-60) <= age <= timedelta(minutes=10)
    inside = any(
        wish.source in ip_network(network) for network in require.get("source", [])
    )
    return (
        ("max_auth_age" not in require or fresh)
        and ("source" not in require or inside)
        and (not require.get("reason") or bool(wish.reason))
    )


def test_the_laws_below_are_tried_on_grants_that_join_rules_and_options():
    cases = [draw(Random(seed)) for seed in range(1000)]  # noqa: S311 - no secret
    grants = [(case, grant) for case in cases if (grant := decided(case)[1])]

    joined = [
        case
        for case, grant in grants
        if len(grant.rules) > 1 and grant.critical_options and grant.extensions
    ]

    assert len(grants) > 200
    assert len(joined) > 20
    assert any(case.wish.principals for case in joined)
    assert any(not case.wish.principals for case in joined)
    assert any(case.file["deny"] for case in joined)
    assert any(grant.left_out for _, grant in grants)


@drawn
def test_no_grant_exceeds_the_rules_that_answered(case):
    _, grant = decided(case)
    if grant is None:
        return
    tables = [table for table in case.file["rule"] if table["name"] in grant.rules]

    assert tables
    for table in tables:
        assert is_meant(table, case.identity)
        assert is_met(table, case.identity, case.wish)
        assert "canary" not in table
        assert case.wish.principals or not table["on_request"]
        assert grant.validity <= timedelta(seconds=SECONDS[table["validity"]])
        assert {*grant.extensions} <= {*table["extensions"]}
    for principal in grant.principals:
        assert any(can_give(table, case.identity, principal) for table in tables)


@drawn
def test_what_the_answering_rules_force_is_in_the_grant_and_nothing_else_is(case):
    _, grant = decided(case)
    if grant is None:
        return
    forced: dict[str, str] = {}

    for table in (table for table in case.file["rule"] if table["name"] in grant.rules):
        forced |= {
            name: "" if value is True else value
            for name, value in table["critical_options"].items()
        }
        if networks := table.get("require", {}).get("source"):
            forced["source-address"] = ",".join(sorted(networks))
        # Each rule alone, so that two values for one name would be caught here.
        assert forced.items() <= grant.critical_options.items()
    assert forced == grant.critical_options


@drawn
def test_a_deny_always_wins(case):
    policy, grant = decided(case)
    if grant is None:
        return

    for principal in grant.principals:
        assert not is_denied(case.file, case.identity, principal)
    if Binding.NONE is not case.identity.binding and case.identity.groups is not None:
        assert (
            "ops" in case.identity.groups and case.identity.issuer == "corp"
        ) == bool(roles(policy, case.identity))


@drawn
def test_what_is_asked_for_is_given_whole_or_not_at_all(case):
    _, grant = decided(case)
    if grant is None:
        return

    if case.wish.principals:
        assert grant.principals == case.wish.principals
        assert grant.left_out == ()
    assert case.wish.validity in {None, grant.validity}
    assert case.wish.extensions is None or {*case.wish.extensions} == {
        *grant.extensions
    }


@drawn
def test_nobody_is_refused_one_principal_that_a_rule_gives(case):
    principal = "web"  # never the template's value
    rightful = any(
        "canary" not in table
        and principal in table["principals"]
        and is_meant(table, case.identity)
        and is_met(table, case.identity, case.wish)
        for table in case.file["rule"]
    ) and not is_denied(case.file, case.identity, principal)
    plain = Wishes(
        principals=(principal,), reason=case.wish.reason, source=case.wish.source
    )

    _, grant = decided(case._replace(wish=plain))

    assert (grant is not None) == rightful


@drawn
def test_the_same_question_has_the_same_answer(case):
    def answer() -> tuple[Any, ...]:
        policy = load_policy(toml(case.file), issuers=ISSUERS)
        try:
            return (policy, decide(policy, case.identity, case.wish, now=NOW))
        except Denied as denied:
            return (policy, denied.detail, denied.hint)

    assert answer() == answer()


def certify(grant: Grant) -> Certificate:
    start = int(NOW.timestamp())
    return certificate(
        type=CertificateType.USER,
        principals=grant.principals,
        valid_after=start,
        valid_before=start + int(grant.validity.total_seconds()),
        extensions=grant.extensions,
        critical_options=grant.critical_options,
    )


@drawn
def test_every_grant_fits_a_certificate(case):
    _, grant = decided(case)
    if grant is None:
        return

    assert certify(grant).principals


@drawn
def test_a_canary_is_never_more_than_an_echo_for_a_provisioner(case):
    principals = case.wish.principals or ("deploy",)
    policy = load_policy(toml(case.file), issuers=ISSUERS)
    source = ip_address("192.0.2.7")
    nonce = "a" * 16
    try:
        grant = decide_canary(
            policy, case.identity, principals, source=source, nonce=nonce, now=NOW
        )
    except (BadRequest, Denied):
        return

    assert roles(policy, case.identity)
    assert grant.principals == principals
    assert grant.validity <= timedelta(minutes=10)
    assert grant.extensions == ()
    assert grant.critical_options == {
        "force-command": f"echo {nonce}",
        "source-address": "192.0.2.7/32",
    }
    assert not any(
        is_denied(case.file, case.identity, principal) for principal in principals
    )
    assert certify(grant).principals


# --- Hostile names ------------------------------------------------------------------

TEMPLATED = load(
    rule(match={"email_domain": "example.com"}, principals=["{email_local}"])
)


def refuses_or_gives_exactly(local: str) -> None:
    try:
        grant = ask(TEMPLATED, identity=somebody(email=f"{local}@example.com"))
    except Denied:
        assert not (
            PRINCIPAL.fullmatch(local) and local == local.lower() and local != "root"
        )
    else:
        assert grant.principals == (local,)
        assert PRINCIPAL.fullmatch(local)
        assert local.islower() or not any(char.isalpha() for char in local)
        assert local != "root"


@given(st.text().filter(lambda text: "@" not in text))
def test_any_text_before_the_at_sign_is_refused_or_given_as_it_stands(local):
    refuses_or_gives_exactly(local)


FOLDS: list[Callable[[str], str]] = [
    str.lower,
    str.upper,
    str.casefold,
    lambda char: unicodedata.normalize("NFKC", char),
    lambda char: unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode(),
]
LOOK_ALIKES = [
    char
    for char in map(chr, range(0x110000))
    if ord(char) < 0x300 or any(fold(char).isascii() and fold(char) for fold in FOLDS)
]


@pytest.mark.parametrize("pattern", ["{}", "r{}ot", "ada{}", "{}ada"])
def test_no_look_alike_of_an_ascii_character_becomes_it(pattern):
    assert len(LOOK_ALIKES) > 2000
    for char in LOOK_ALIKES:
        if char != "@":
            refuses_or_gives_exactly(pattern.format(char))


@given(st.text())
def test_asking_for_any_text_is_refused_or_gives_exactly_that(principal):
    try:
        grant = ask(load(rule(principals=["a", "1", "Z_", "deploy"])), principal)
    except (BadRequest, Denied):
        return

    assert grant.principals == (principal,)


@given(st.text(), st.sampled_from(["principals", "name", "validity", "issuer"]))
def test_any_text_in_a_rule_loads_or_is_refused(text, key):
    value = [text] if key == "principals" else text
    try:
        policy = load(rule(**{key: value}))
    except Misconfigured:
        return

    assert all(PRINCIPAL.fullmatch(one) for one in policy.rules[0].principals)


# --- Any bytes and any tables -------------------------------------------------------


def loads_or_says_why(text: bytes) -> None:
    with contextlib.suppress(Misconfigured):
        assert load_policy(text, issuers=ISSUERS).rules


@given(st.binary())
def test_any_bytes_give_a_policy_or_say_what_is_wrong(text):
    loads_or_says_why(text)


@given(st.text())
def test_any_text_gives_a_policy_or_says_what_is_wrong(text):
    loads_or_says_why(text.encode())


WORDS = ["corp", "dev", "deploy", "10h", "10.0.0.0/8", "{email_local}", "*", ""]
KEYS = [
    *("rule", "deny", "host", "test", "roles", "people", "name", "issuer", "match"),
    *("principals", "validity", "extensions", "critical_options", "on_request"),
    *("require", "canary", "max_auth_age", "source", "reason", "names", "identity"),
    *("gets", "asks", "groups", "email", "email_domain", "email_verified", "admin"),
    *("auth_age", "force-command", "verify-required", "corp:ada@example.com"),
]
leaves = (
    st.sampled_from(WORDS)
    | st.text(max_size=5)
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates(min_value=date(1000, 1, 1))
    | st.datetimes()
    | st.times()
)
keys = st.sampled_from(KEYS) | st.text(max_size=3)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=5))
def test_any_tables_give_a_policy_or_say_what_is_wrong(file):
    loads_or_says_why(toml(file))


WHOLE: Table = {
    "rule": [
        rule(
            match={"groups": ["dev"], "email_domain": "example.com"},
            principals=["deploy", "{email_local}"],
            extensions=["permit-pty"],
            critical_options={"force-command": "uptime", "verify-required": True},
            require={"max_auth_age": "1h", "source": ["10.0.0.0/8"], "reason": True},
            on_request=True,
        )
    ],
    "deny": [deny(issuer="corp")],
    "host": [host()],
    "roles": {"admin": {"issuer": "corp", "groups": ["security"]}},
    "people": {"corp:ada@example.com": ["dev"]},
    "test": [
        {
            "identity": {
                "issuer": "corp",
                "groups": ["dev"],
                "email": "ada@example.com",
                "email_verified": True,
                "auth_age": "5m",
                "subject": "1",
                "client": "c",
            },
            "asks": ["root"],
            "source": "10.0.0.1",
            "reason": "x",
            "gets": [],
        }
    ],
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    return [at] * bool(at) + [
        place
        for key, one in inner
        for place in (
            places(one, (*at, key)) if isinstance(one, (dict, list)) else [(*at, key)]
        )
    ]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    """Return the same with another value at one place."""
    if not place:
        return new
    if isinstance(value, dict):
        return value | {place[0]: replaced(value[place[0]], place[1:], new)}
    return [
        replaced(one, place[1:], new) if at == place[0] else one
        for at, one in enumerate(value)
    ]


def test_the_whole_file_that_is_spoilt_below_loads():
    assert load_policy(toml(WHOLE), issuers=ISSUERS).rules


@given(st.sampled_from(places(WHOLE)), values)
def test_a_whole_file_with_one_value_spoilt_loads_or_says_why(place, value):
    loads_or_says_why(toml(replaced(WHOLE, place, value)))


@given(st.integers(0, 4000), st.binary(max_size=3))
def test_a_whole_file_with_bytes_spoilt_loads_or_says_why(at, spoilt):
    text = toml(WHOLE)

    loads_or_says_why(text[:at] + spoilt + text[at + len(spoilt) :])
    loads_or_says_why(text[:at])
