"""A certificate buys a narrower one, by today's rules on the identity of the morning.

Never more than it has and never for longer, whatever is asked and however the policy
has changed since; and what it bought buys nothing.
"""

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.authorization import Call
from ca.certificate import EXTENSIONS, CertificateType, parse_line
from ca.errors import (
    BadRequest,
    CertificateDerived,
    Denied,
    Malformed,
    RequestReplayed,
    UnacceptableKey,
)
from ca.identity import Binding
from ca.issue import Caller, issue_user_certificate
from ca.issue_narrower import issue_narrower_certificate, refuse_wider
from ca.messages import NarrowerRequest, decode
from ca.policy import Role, load_policy, roles
from tests.authority import (
    UNBOUND,
    certificate_in,
    make_ca,
    opened,
    request_of,
    rewrite,
    subject_key,
    to_be_signed_in,
)
from tests.certificates import certificate as ordinary
from tests.fakes import NOW, FakeIdP
from tests.fido import fido_ed25519
from tests.signing import holder

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
ELSEWHERE = Caller(ip_address("198.51.100.7"), "fedcba9876543210")
NOON = NOW + timedelta(hours=4)

MORNING = """
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"], email_domain = "example.com" }
principals = ["deploy", "{email_local}"]
validity   = "10h"
extensions = ["permit-pty", "permit-port-forwarding"]

[[rule]]
name       = "root in production"
issuer     = "corp"
on_request = true
match      = { groups = ["oncall"] }
require    = { max_auth_age = "6h", source = ["192.0.2.0/24"], reason = true }
principals = ["root"]
validity   = "9h"
extensions = ["permit-pty"]

[[rule]]
name       = "backups"
issuer     = "corp"
on_request = true
match      = { groups = ["dev"] }
principals = ["backup"]
validity   = "8h"
critical_options = { force-command = "/usr/bin/backup" }

[[rule]]
name       = "touch"
issuer     = "corp"
on_request = true
match      = { groups = ["dev"] }
principals = ["vault"]
validity   = "8h"
critical_options = { verify-required = true }

[roles]
admin = { issuer = "corp", groups = ["dev"] }
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        yield authority


@pytest.fixture(autouse=True)
def _morning(authority):
    follow(authority, MORNING)


def follow(authority, policy, changes=()):
    """Make this the policy of now."""
    for old, new in dict(changes).items():
        assert old in policy
        policy = policy.replace(old, new)
    authority.policy = load_policy(policy.encode(), issuers=frozenset({"corp"}))


def sign_in(authority, idp, user="ada", *, key=None, **wishes):
    """Return the holder of what a token bought in the morning."""
    somebody = key or holder()
    request = request_of(idp, user, key=somebody.line, **wishes)
    answer = issue_user_certificate(authority, request, HERE, now=NOW)
    return somebody.with_certificate(answer)


def asking(*principals, key=None, **wishes):
    return NarrowerRequest(
        public_key=key or subject_key(), principals=principals, **wishes
    )


def proved(authority, somebody, request, *, now=NOON):
    call = Call("POST", "/v1/user-certificates", msgspec.json.encode(request))
    header = somebody.sign(call, at=now)
    return authority.request_verifier.verify(call, header, source=HERE.address, now=now)


def narrower(authority, somebody, request, *, caller=HERE, now=NOON):
    """Ask at noon, with a signed request."""
    signed_by = proved(authority, somebody, request, now=now)
    return issue_narrower_certificate(authority, request, signed_by, caller, now=now)


def record_of(authority, answer):
    entry = authority.store.entry_by_serial(int(answer.serial))
    assert entry.to_be_signed == to_be_signed_in(answer)
    return json.loads(entry.record)


# --- What it buys ---------------------------------------------------------------------


def test_another_key_gets_a_certificate_that_ends_with_the_first(authority, idp):
    ada = sign_in(authority, idp)
    request = asking("ada")

    answer = narrower(authority, ada, request)

    says, parent = certificate_in(answer), ada.says
    assert says.type is CertificateType.USER
    assert says.subject_key == parse_line(request.public_key)
    assert says.principals == ("ada",)
    assert says.key_id == parent.key_id == "corp:ada@example.com"
    assert says.valid_before == parent.valid_before
    assert says.valid_after == int(NOON.timestamp()) - 60
    assert says.extensions == ("permit-port-forwarding", "permit-pty")
    assert says.serial > parent.serial


def test_the_record_names_the_parent_and_the_identity_of_the_morning(authority, idp):
    ada = sign_in(authority, idp)
    parent = ada.says.serial
    bought = json.loads(authority.store.entry_by_serial(parent).record)

    answer = narrower(authority, ada, asking("ada", reason="phone"), caller=ELSEWHERE)

    record = record_of(authority, answer)
    assert record["parent_serial"] == str(parent)
    assert record["identity"] == bought["identity"]
    assert record["asked"]["reason"] == "phone"
    assert record["address"] == "198.51.100.7"
    assert record["request_id"] == "fedcba9876543210"
    assert record["policy_sha256"] == authority.policy.sha256


def test_it_may_be_asked_to_be_shorter_and_to_permit_less(authority, idp):
    ada = sign_in(authority, idp)

    answer = narrower(
        authority,
        ada,
        asking("deploy", validity_seconds=600, extensions=("permit-pty",)),
    )

    assert answer.valid_before == int(NOON.timestamp()) + 600
    assert answer.extensions == ("permit-pty",)


def test_it_does_not_begin_before_its_parent(authority, idp):
    ada = sign_in(authority, idp)
    # By the clock of another signer, which is a little behind.
    before = NOW - timedelta(seconds=30)

    answer = narrower(authority, ada, asking("ada"), now=before)

    assert answer.valid_after == ada.says.valid_after


def test_what_the_parent_forces_stays_though_the_rule_no_longer_forces_it(
    authority, idp
):
    ada = sign_in(authority, idp, principals=("backup",))
    follow(
        authority,
        MORNING,
        {'critical_options = { force-command = "/usr/bin/backup" }': ""},
    )

    answer = narrower(authority, ada, asking("backup"))

    assert answer.critical_options == {"force-command": "/usr/bin/backup"}


# --- What it does not buy -------------------------------------------------------------


@pytest.mark.parametrize(
    "principals", [("root",), ("ada", "root"), ("backup",), ("grace",)]
)
def test_what_the_certificate_lacks_needs_a_new_sign_in(authority, idp, principals):
    grace = sign_in(authority, idp, "grace", principals=("deploy",))

    with pytest.raises(Denied):
        narrower(authority, grace, asking(*principals, reason="why"))


def test_a_grant_that_only_the_certificate_stands_against_says_so(authority, idp):
    grace = sign_in(authority, idp, "grace")

    with pytest.raises(Denied, match=r"^root: the certificate") as denied:
        narrower(authority, grace, asking("root", reason="page 4711"))

    assert "new sign-in" in str(denied.value.hint)


def test_asking_for_longer_than_is_left_is_denied(authority, idp):
    ada = sign_in(authority, idp)

    with pytest.raises(Denied, match="ends in 21600 s"):
        narrower(authority, ada, asking("ada", validity_seconds=21_601))


def test_requirements_are_those_of_the_request(authority, idp):
    grace = sign_in(authority, idp, "grace", principals=("root",), reason="page 4711")
    narrower(authority, grace, asking("root", reason="page 4711"))

    for request, caller, now, why in (
        (asking("root"), HERE, NOON, "needs a reason"),
        (asking("root", reason="x"), ELSEWHERE, NOON, "needs a request from"),
        (asking("root", reason="x"), HERE, NOW + timedelta(hours=7), "of the last 6h"),
    ):
        with pytest.raises(Denied, match=why):
            narrower(authority, grace, request, caller=caller, now=now)


def test_what_forces_a_fido_key_takes_no_other_key(authority, idp):
    key = fido_ed25519()
    ada = sign_in(
        authority,
        idp,
        key=replace(holder(), key=key.blob, sign_data=key.sign),
        principals=("vault",),
    )

    with pytest.raises(UnacceptableKey, match="FIDO"):
        narrower(authority, ada, asking("vault"))

    other = replace(ada, key=fido_ed25519().blob)
    answer = narrower(authority, ada, asking("vault", key=other.line))
    assert answer.critical_options == {"verify-required": ""}


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA", "", "ssh-dss AAAAB3NzaC1kc3M="])
def test_a_key_that_may_not_be_certified_is_refused(authority, idp, key):
    ada = sign_in(authority, idp)

    with pytest.raises((Malformed, UnacceptableKey)):
        narrower(authority, ada, asking("ada", key=key or " "))


@pytest.mark.parametrize(
    "body",
    [
        b'{"public_key":"k"}',
        b'{"public_key":"k","principals":[]}',
        b'{"public_key":"k","principals":["ada"],"id_token":"x"}',
    ],
)
def test_principals_have_to_be_named_and_a_token_has_no_place(body):
    with pytest.raises(BadRequest):
        decode(body, NarrowerRequest)


def test_what_was_bought_so_signs_nothing(authority, idp):
    ada = sign_in(authority, idp)
    phone = holder()
    answer = narrower(authority, ada, asking("ada", key=phone.line))

    with pytest.raises(CertificateDerived):
        proved(authority, phone.with_certificate(answer), asking("ada"))


def test_the_same_request_again_is_a_replay(authority, idp):
    ada, request = sign_in(authority, idp), asking("ada")
    call = Call("POST", "/v1/user-certificates", msgspec.json.encode(request))
    header = ada.sign(call, at=NOON)
    authority.request_verifier.verify(call, header, source=HERE.address, now=NOON)

    with pytest.raises(RequestReplayed):
        authority.request_verifier.verify(call, header, source=HERE.address, now=NOON)


def test_a_certificate_that_would_exceed_its_parent_is_a_fault_of_ours():
    parent = ordinary(critical_options={"force-command": "x"})
    refuse_wider(parent, parent)

    wider: list[dict[str, Any]] = [
        {"principals": ("ada", "deploy", "root")},
        {"extensions": ("permit-pty", "permit-user-rc")},
        {"critical_options": {}},
        {"critical_options": {"force-command": "y"}},
        {"valid_after": parent.valid_after - 1},
        {"valid_before": parent.valid_before + 1},
        {"key_id": "corp:grace@example.com"},
    ]
    for changes in wider:
        with pytest.raises(RuntimeError, match="would exceed"):
            refuse_wider(replace(parent, **changes), parent)


# --- The rules of now -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({'groups = ["dev"], email_domain': 'groups = ["x"], email_domain'}, "no rule"),
        ({'principals = ["deploy", "{email_local}"]': 'principals = ["x"]'}, "no rule"),
        (
            {
                "[roles]": '[[deny]]\nname = "not ada"\nissuer = "corp"\nmatch = {'
                ' email = "ada@example.com" }\nprincipals = ["deploy"]\n[roles]'
            },
            'denied by "not ada"',
        ),
    ],
    ids=["no longer matches", "no longer given", "denied"],
)
def test_what_is_taken_away_by_noon_is_gone(authority, idp, changes, why):
    ada = sign_in(authority, idp)
    narrower(authority, ada, asking("deploy"))

    follow(authority, MORNING, changes)

    with pytest.raises(Denied, match=why):
        narrower(authority, ada, asking("deploy"))


def test_rules_of_noon_may_only_make_it_narrower(authority, idp):
    ada = sign_in(authority, idp)
    stricter = {'validity   = "10h"': 'validity = "5m"', '"permit-pty", "p': '"p'}
    follow(authority, MORNING, stricter)

    answer = narrower(authority, ada, asking("ada"))

    assert answer.valid_before == int(NOON.timestamp()) + 300
    assert answer.extensions == ("permit-port-forwarding",)

    wider = {
        'validity   = "10h"': 'validity = "24h"',
        '"permit-pty", "p': '"permit-pty", "permit-user-rc", "p',
    }
    follow(authority, MORNING, wider)
    answer = narrower(authority, ada, asking("ada"))
    assert answer.valid_before == ada.says.valid_before
    assert "permit-user-rc" not in answer.extensions


def test_a_rule_that_matches_another_claim_by_noon_finds_it_on_record(authority, idp):
    somebody = holder()
    request = request_of(idp, key=somebody.line, claims={"amr": ["hwk"]})
    answer = issue_user_certificate(authority, request, HERE, now=NOW)
    ada = somebody.with_certificate(answer)

    for claim, granted in (("hwk", True), ("pwd", False)):
        changes = {'groups = ["dev"], email_domain': f'amr = "{claim}", email_domain'}
        follow(authority, MORNING, changes)
        if granted:
            narrower(authority, ada, asking("ada"))
        else:
            with pytest.raises(Denied):
                narrower(authority, ada, asking("ada"))


def test_roles_are_those_of_now_and_none_without_a_bound_key(authority, idp, tmp_path):
    ada = sign_in(authority, idp)
    identity = proved(authority, ada, asking("ada")).identity
    assert roles(authority.policy, identity) == {Role.ADMIN}

    follow(authority, MORNING, {'"corp", groups = ["dev"]': '"corp", groups = ["x"]'})
    assert roles(authority.policy, identity) == frozenset()

    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, UNBOUND)
    with opened(config_file) as unbound:
        follow(unbound, MORNING)
        first_come = sign_in(unbound, idp)
        identity = proved(unbound, first_come, asking("ada")).identity
        assert identity.binding is Binding.NONE
        assert roles(unbound.policy, identity) == frozenset()
        narrower(unbound, first_come, asking("ada"))


POLICIES = [
    MORNING,
    MORNING.replace('"10h"', '"24h"').replace(
        '"permit-pty", "p', '"permit-user-rc", "p'
    ),
    MORNING.replace('"/usr/bin/backup"', '"/bin/false"').replace('"8h"', '"1h"'),
    MORNING.replace("on_request = true", "").replace('["oncall"]', '["dev"]'),
]
PRINCIPALS = ["ada", "deploy", "root", "backup", "vault"]


def end_of(somebody):
    return datetime.fromtimestamp(somebody.says.valid_before, UTC)


def draw_wishes(drawn):
    """Return what somebody might ask for, mostly sensible."""
    wishes = {"principals": tuple(drawn.sample(PRINCIPALS, drawn.choice([1, 1, 2])))}
    if drawn.random() < 1 / 3:
        wishes["validity_seconds"] = drawn.choice([1, 600, 3_600, 30_000, 80_000])
    if drawn.random() < 1 / 3:
        some = drawn.sample(sorted(EXTENSIONS), drawn.randrange(3))
        wishes["extensions"] = tuple(some)
    return wishes | {"reason": "why"}


@given(seed=st.integers(0, 1 << 32))
def test_no_certificate_exceeds_or_outlives_the_one_that_bought_it(
    authority, idp, seed
):
    drawn = random.Random(seed)  # noqa: S311 (no secret)
    # Its clock goes back from one example to the next, and limits go by the clock.
    authority.store.forget(tokens_before=0, now=1 << 62)
    follow(authority, drawn.choice(POLICIES))
    try:
        parent = sign_in(
            authority, idp, drawn.choice(["ada", "grace"]), **draw_wishes(drawn)
        )
        follow(authority, drawn.choice(POLICIES))
        now = NOW + (end_of(parent) - NOW) * drawn.random()
        wishes = draw_wishes(drawn)
        answer = narrower(
            authority, parent, asking(*wishes.pop("principals"), **wishes), now=now
        )
    except (Denied, UnacceptableKey):
        return

    says, first = certificate_in(answer), parent.says
    assert set(says.principals) <= set(first.principals)
    assert set(says.extensions) <= set(first.extensions)
    assert says.critical_options.items() >= first.critical_options.items()
    assert first.valid_after <= says.valid_after
    assert says.valid_before <= first.valid_before
    assert says.key_id == first.key_id
