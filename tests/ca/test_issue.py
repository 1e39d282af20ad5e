"""The whole story on real parts: issuer, token, policy, SQLite, CA key.

What is answered is what is on record; what is refused leaves no entry; nothing that a
caller can ask for gets past the rules; and whatever fails after the entry, there is an
entry and no certificate.
"""

import json
import sqlite3
import subprocess
import threading
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from msgspec.structs import replace as changed

from ca import certificate, wire
from ca.authority import open_authority, read_policy
from ca.certificate import EXTENSIONS, CertificateType, parse_line
from ca.certify import refuse_unlike
from ca.config import load_config
from ca.errors import (
    BadRequest,
    CAError,
    Conflict,
    Denied,
    KeyUnavailable,
    Malformed,
    Misconfigured,
    StoreUnavailable,
    TokenBindingWrong,
    TokenExpired,
    TokenSignatureInvalid,
    TokenSpent,
    UnacceptableKey,
)
from ca.issue import Caller, issue_user_certificate
from ca.leaf import parse_leaf, render_leaf
from ca.policy import Grant, load_policy
from ca.signing_key import FileKey, SigningKey
from tests.authority import (
    UNBOUND,
    certificate_in,
    make_ca,
    opened,
    request_of,
    rewrite,
    subject_key,
    to_be_signed_in,
    write_whole,
)
from tests.certificates import certificate as ordinary
from tests.certificates import ed25519_blob
from tests.fakes import NOW, FakeIdP
from tests.jose import ed25519_key

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")

POLICY = """
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
require    = { max_auth_age = "1h", source = ["192.0.2.0/24"], reason = true }
principals = ["root"]
validity   = "30m"
extensions = ["permit-pty"]

[[rule]]
name       = "backups"
issuer     = "corp"
on_request = true
match      = { groups = ["dev"] }
principals = ["backup"]
validity   = "1h"
critical_options = { force-command = "/usr/bin/backup" }

[[deny]]
name       = "grace is no deployer"
issuer     = "corp"
match      = { email = "grace@example.com" }
principals = ["deploy"]
"""


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def config_file(idp, tmp_path_factory):
    config_file = make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)
    write_whole(config_file.with_name("policy.toml"), POLICY)
    return config_file


@pytest.fixture(scope="module")
def authority(config_file):
    with opened(config_file) as authority:
        yield authority


def issue(authority, request, *, caller=HERE, now=NOW):
    return issue_user_certificate(authority, request, caller, now=now)


def rows(authority, table):
    file = authority.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 (our own words)


def entries(authority):
    """Return how many there are; as many as the head says."""
    with sqlite3.connect(authority.config.file.with_name("daypass.db")) as connection:
        (size,) = connection.execute("SELECT size FROM ledger_head").fetchone()
    assert size == rows(authority, "entries")
    return size


def recorded(authority, answer):
    entry = authority.store.entry_by_serial(int(answer.serial))
    assert entry is not None
    return entry


# --- What is answered -----------------------------------------------------------------


def test_what_is_answered_is_what_is_on_record(authority, idp):
    request = request_of(idp)

    answer = issue(authority, request)

    says, entry = certificate_in(answer), recorded(authority, answer)
    assert to_be_signed_in(answer) == entry.to_be_signed
    assert says == certificate.Certificate(
        type=CertificateType.USER,
        subject_key=parse_line(request.public_key),
        ca_key=authority.user_ca_key.blob,
        nonce=says.nonce,
        serial=entry.index + 1,
        key_id="corp:ada@example.com",
        principals=("deploy", "ada"),
        valid_after=int(NOW.timestamp()) - 60,
        valid_before=int(NOW.timestamp()) + 36000,
        critical_options={},
        extensions=("permit-port-forwarding", "permit-pty"),
    )
    for field in ("key_id", "principals", "valid_after", "valid_before", "extensions"):
        assert getattr(answer, field) == getattr(says, field)
    assert answer.critical_options == says.critical_options
    assert answer.left_out == ()


def test_the_leaf_commits_to_the_bytes_that_were_signed(authority, idp):
    answer = issue(authority, request_of(idp))

    entry = recorded(authority, answer)
    leaf = json.loads(entry.leaf)
    assert leaf["serial"] == answer.serial
    assert leaf["time"] == entry.time == int(NOW.timestamp())
    assert leaf["to_be_signed_sha256"] == sha256(to_be_signed_in(answer)).hexdigest()
    assert leaf["record_sha256"] == sha256(entry.record).hexdigest()


def test_the_record_says_who_asked_for_what_from_where_and_by_which_policy(
    authority, idp
):
    request = request_of(
        idp, "grace", principals=("root",), validity_seconds=600, reason="page 4711"
    )

    answer = issue(authority, request)

    record = json.loads(recorded(authority, answer).record)
    assert len(record.pop("salt")) == 24
    assert record == {
        "v": 1,
        "identity": {
            "issuer": "corp",
            "subject": "grace",
            "client": "ca-login",
            "binding": "nonce",
            "email": "grace@example.com",
            "groups": ["dev", "oncall"],
            "auth_time": int(NOW.timestamp()),
            "claims": {
                "iss": idp.issuer,
                "sub": "grace",
                "aud": "ca-login",
                "email_verified": True,
            },
        },
        "parent_serial": None,
        "grant": {
            "principals": ["root"],
            "validity_seconds": 600,
            "critical_options": {"source-address": "192.0.2.0/24"},
            "extensions": ["permit-pty"],
            "rules": ["root in production"],
            "left_out": [],
        },
        "asked": {
            "principals": ["root"],
            "validity_seconds": 600,
            "extensions": None,
            "reason": "page 4711",
        },
        "policy_sha256": sha256(POLICY.encode()).hexdigest(),
        "address": "192.0.2.7",
        "request_id": "0123456789abcdef",
    }


def test_no_part_of_the_token_and_no_salt_of_its_nonce_is_kept(authority, idp):
    request = request_of(idp)

    issue(authority, request)

    with sqlite3.connect(authority.config.file.with_name("daypass.db")) as connection:
        everything = "\n".join(connection.iterdump()).encode()
    # iterdump writes blobs in hex.
    for part in (*request.id_token.split("."), str(request.salt)):
        assert part.encode() not in everything
        assert part.encode().hex().upper().encode() not in everything


def test_what_is_left_out_is_answered_and_recorded(authority, idp):
    answer = issue(authority, request_of(idp, "grace"))

    assert answer.principals == ("grace",)
    (left_out,) = answer.left_out
    assert left_out.what == "deploy"
    assert "grace is no deployer" in left_out.reason
    record = json.loads(recorded(authority, answer).record)
    assert record["grant"]["left_out"] == [
        {"what": left_out.what, "reason": left_out.reason}
    ]


def test_every_certificate_has_a_nonce_and_a_serial_of_its_own(authority, idp):
    key = subject_key()

    answers = [issue(authority, request_of(idp, key=key)) for _ in range(5)]

    says = [certificate_in(answer) for answer in answers]
    assert len({one.nonce for one in says}) == 5
    serials = [one.serial for one in says]
    assert serials == list(range(serials[0], serials[0] + 5))


@pytest.mark.openssh
def test_ssh_keygen_reads_what_was_granted(authority, idp, tmp_path):
    request = request_of(
        idp, "grace", principals=("root",), reason="page 4711", validity_seconds=900
    )
    answer = issue(authority, request)
    (tmp_path / "key-cert.pub").write_text(f"{answer.certificate}\n")

    said = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "key-cert.pub"],
        capture_output=True,
        text=True,
        check=True,
        env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    ).stdout

    lines = [line.strip() for line in said.splitlines()[1:]]
    assert lines == [
        "Type: ssh-ed25519-cert-v01@openssh.com user certificate",
        f"Public key: ED25519-CERT {fingerprint(parse_line(request.public_key))}",
        f"Signing CA: ED25519 {authority.user_ca_key.fingerprint} (using ssh-ed25519)",
        'Key ID: "corp:grace@example.com"',
        f"Serial: {answer.serial}",
        "Valid: from 2025-12-31T23:59:00 to 2026-01-01T00:15:00",
        "Principals:",
        "root",
        "Critical Options:",
        "source-address 192.0.2.0/24",
        "Extensions:",
        "permit-pty",
    ]


def fingerprint(blob):
    return f"SHA256:{b64encode(sha256(blob).digest()).decode().rstrip('=')}"


# --- The same again, and not the same -------------------------------------------------


def test_the_same_token_and_request_again_get_the_same_certificate(authority, idp):
    request = request_of(idp)
    first = issue(authority, request)
    before = entries(authority)

    again = issue(authority, request, now=NOW + timedelta(minutes=5))

    assert again == first
    assert entries(authority) == before


@pytest.mark.parametrize(
    "wish",
    [
        {"principals": ("ada",)},
        {"validity_seconds": 60},
        {"extensions": ()},
        {"reason": "another"},
    ],
    ids=lambda wish: next(iter(wish)),
)
def test_a_spent_token_with_another_wish_is_refused(wish, authority, idp):
    request = request_of(idp)
    issue(authority, request)
    before = entries(authority)

    with pytest.raises(TokenSpent):
        issue(authority, changed(request, **wish))

    assert entries(authority) == before


def test_a_bound_token_with_another_key_is_refused(authority, idp):
    request = request_of(idp)
    before = entries(authority)

    with pytest.raises(TokenBindingWrong):
        issue(authority, changed(request, public_key=subject_key()))

    assert entries(authority) == before


@pytest.fixture
def unbound(config_file, idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    rewrite(config_file, UNBOUND)
    with opened(config_file) as authority:
        yield authority


def test_a_spent_unbound_token_with_another_key_is_refused(unbound, idp):
    request = changed(request_of(idp), salt=None)
    issue(unbound, request)

    with pytest.raises(TokenSpent):
        issue(unbound, changed(request, public_key=subject_key()))

    assert entries(unbound) == 1


def test_the_same_again_after_the_certificate_has_ended_is_a_conflict(authority, idp):
    request = request_of(idp, validity_seconds=50)
    issue(authority, request)

    assert issue(authority, request, now=NOW + timedelta(seconds=49))
    with pytest.raises(Conflict) as caught:
        issue(authority, request, now=NOW + timedelta(seconds=50))
    assert not isinstance(caught.value, TokenSpent)


def test_the_same_again_under_another_ca_key_is_a_conflict(authority, idp):
    request = request_of(idp)
    issue(authority, request)

    with pytest.raises(Conflict):
        issue(replace(authority, user_ca_key=FileKey.generate()), request)


@pytest.mark.parametrize(
    "change",
    [
        {"principals": ("root",)},
        {"key_id": "corp:grace@example.com"},
        {"subject_key": ed25519_blob(bytes(range(32)))},
        {"valid_before": int(NOW.timestamp()) + 10 * 365 * 86400},
        {"extensions": ("permit-X11-forwarding", "permit-pty")},
        {"critical_options": {"force-command": "id"}},
        {"type": CertificateType.HOST, "extensions": ()},
        {"serial": 99},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_writer_of_the_database_planted_is_not_signed(change, authority, idp):
    request = request_of(idp)
    bought = certificate_in(issue(authority, request))
    planted = certificate.render_to_be_signed(replace(bought, **change))
    with sqlite3.connect(authority.config.file.parent / "daypass.db") as database:
        database.execute("UPDATE entries SET to_be_signed = ?", [planted])

    with pytest.raises(Conflict):
        issue(authority, request)


@pytest.mark.parametrize("leaf_too", [False, True])
@pytest.mark.parametrize("serial", [None, 99], ids=["same serial", "another"])
def test_one_entry_is_not_worth_two_certificates_whatever_its_row_says(
    leaf_too, serial, authority, idp
):
    request = request_of(idp)
    answer = issue(authority, request)
    entry, bought = recorded(authority, answer), certificate_in(answer)
    serial = serial or bought.serial
    twin = replace(bought, nonce=bytes(32), serial=serial)
    planted = certificate.render_to_be_signed(twin)
    hashed = sha256(planted).hexdigest()
    leaf = replace(parse_leaf(entry.leaf), serial=serial, to_be_signed_sha256=hashed)
    values = [planted, str(serial), render_leaf(leaf) if leaf_too else entry.leaf]
    statement = "UPDATE entries SET to_be_signed = ?, serial = ?, leaf = ?"
    file = authority.config.file.parent / "daypass.db"
    with sqlite3.connect(file) as database:
        database.execute(f'{statement} WHERE "index" = ?', [*values, entry.index])

    with pytest.raises(StoreUnavailable, match=f"entry {entry.index} of the ledger"):
        issue(authority, request)

    values = [entry.to_be_signed, answer.serial, entry.leaf]
    with sqlite3.connect(file) as database:
        database.execute(f'{statement} WHERE "index" = ?', [*values, entry.index])
    assert issue(authority, request).certificate == answer.certificate


def test_the_same_again_after_its_entry_was_erased_is_a_conflict(authority, idp):
    request = request_of(idp)
    index = int(issue(authority, request).serial) - 1
    authority.store.erase(index)

    with pytest.raises(Conflict):
        issue(authority, request)


def test_the_same_again_is_judged_by_the_policy_of_now(authority, idp):
    request = request_of(idp)
    issue(authority, request)
    without_ada = POLICY.replace('groups = ["dev"]', 'groups = ["admins"]').encode()
    policy = load_policy(without_ada, issuers=frozenset({"corp"}))

    with pytest.raises(Denied):
        issue(replace(authority, policy=policy), request)


# --- Refusals leave nothing behind ----------------------------------------------------

WEAK = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ" + "C" + "7" * 170


@pytest.mark.parametrize(
    ("wrong", "refusal"),
    [
        ({"public_key": "ssh-dss AAAAB3NzaC1kc3M="}, UnacceptableKey),
        ({"public_key": "not a key"}, Malformed),
        ({"id_token": "e30.e30.AA"}, CAError),
        ({"salt": None}, TokenBindingWrong),
        ({"principals": ("root",)}, Denied),
        ({"principals": ("ada", "root")}, Denied),
        ({"principals": ("*",)}, BadRequest),
        ({"principals": ("ada,root",)}, BadRequest),
    ],
)
def test_a_refusal_leaves_no_entry_and_spends_nothing(wrong, refusal, authority, idp):
    request = request_of(idp)
    before = entries(authority), rows(authority, "token_uses")

    with pytest.raises(refusal):
        issue(authority, changed(request, **wrong))

    assert (entries(authority), rows(authority, "token_uses")) == before
    assert issue(authority, request)


def test_an_expired_token_leaves_no_entry(authority, idp):
    before = entries(authority)

    with pytest.raises(TokenExpired):
        issue(authority, request_of(idp), now=NOW + timedelta(hours=1))

    assert entries(authority) == before


def test_an_unproved_caller_learns_nothing_about_policy(authority, idp):
    refusals = set()
    for asked in ((), ("root",), ("nobody",)):
        request = request_of(idp, principals=asked)
        unsigned = request.id_token.rpartition(".")[0] + "." + "A" * 342

        with pytest.raises(TokenSignatureInvalid) as caught:
            issue(authority, changed(request, id_token=unsigned))

        refusals.add((caught.value.detail, caught.value.hint))
    assert len(refusals) == 1


# --- What fails after the entry -------------------------------------------------------


class FailingKey(SigningKey):
    """The real user CA key on a day when the hardware that holds it is gone."""

    def __init__(self, key):
        self.blob = key.blob

    def sign(self, data):
        raise KeyUnavailable("the key does not answer")


def test_a_key_that_fails_leaves_an_entry_and_no_certificate(authority, idp):
    request = request_of(idp)
    before = entries(authority)
    broken = replace(authority, user_ca_key=FailingKey(authority.user_ca_key))

    with pytest.raises(KeyUnavailable):
        issue(broken, request)

    assert entries(authority) == before + 1
    answer = issue(authority, request)
    assert answer.serial == str(before + 1)
    assert entries(authority) == before + 1


class ForgetfulLedger:
    """The real ledger behind a line that breaks after the entry was made."""

    def __init__(self, ledger):
        self._ledger = ledger

    def append(self, *args, **kwargs):
        self._ledger.append(*args, **kwargs)
        raise StoreUnavailable("the database refuses")


def test_a_store_that_fails_after_the_append_leaves_an_entry_and_no_certificate(
    authority, idp
):
    request = request_of(idp)
    before = entries(authority)

    with pytest.raises(StoreUnavailable):
        issue(replace(authority, ledger=ForgetfulLedger(authority.ledger)), request)

    assert entries(authority) == before + 1
    assert issue(authority, request).serial == str(before + 1)


# --- Checked twice --------------------------------------------------------------------

GRANT = Grant(
    principals=("ada", "deploy"),
    validity=timedelta(hours=10),
    extensions=("permit-pty",),
    critical_options={"source-address": "192.0.2.0/24"},
    rules=("developers",),
    left_out=(),
)
WANTED = ordinary(
    serial=0,
    valid_after=int(NOW.timestamp()) - 60,
    valid_before=int(NOW.timestamp()) + 36000,
    critical_options={"source-address": "192.0.2.0/24"},
)


def test_bytes_that_say_what_was_granted_pass():
    refuse_unlike(certificate.render_to_be_signed(WANTED), WANTED, GRANT, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"subject_key": ed25519_blob(b"s" * 32)},
        {"ca_key": ed25519_blob(b"c" * 32)},
        {"nonce": b"n" * 32},
        {"serial": 1},
        {"key_id": "corp:grace@example.com"},
        {"principals": ("ada", "deploy", "root")},
        {"principals": ("deploy", "ada")},
        {"valid_after": WANTED.valid_after - 1},
        {"valid_before": WANTED.valid_before + 1},
        {"valid_before": WANTED.valid_before - 1},
        {"critical_options": {}},
        {"critical_options": {"source-address": "0.0.0.0/0"}},
        {"extensions": ()},
        {"extensions": ("permit-X11-forwarding", "permit-pty")},
        {"type": CertificateType.HOST, "critical_options": {}, "extensions": ()},
    ],
    ids=str,
)
def test_bytes_that_differ_from_what_was_wanted_are_a_fault(change):
    other = certificate.render_to_be_signed(replace(WANTED, **change))

    with pytest.raises(RuntimeError):
        refuse_unlike(other, WANTED, GRANT, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"principals": ("ada", "deploy", "root")},
        {"valid_before": WANTED.valid_before + 1},
        {"critical_options": {}},
        {"extensions": ("permit-X11-forwarding", "permit-pty")},
    ],
    ids=str,
)
def test_a_wanted_certificate_that_differs_from_its_grant_is_a_fault(change):
    wanted = replace(WANTED, **change)

    with pytest.raises(RuntimeError):
        refuse_unlike(certificate.render_to_be_signed(wanted), wanted, GRANT, now=NOW)


def test_a_host_certificate_for_a_person_is_a_fault():
    host = CertificateType.HOST
    wanted = replace(WANTED, type=host, critical_options={}, extensions=())
    grant = structs.replace(GRANT, critical_options={}, extensions=())

    with pytest.raises(RuntimeError):
        refuse_unlike(certificate.render_to_be_signed(wanted), wanted, grant, now=NOW)


def test_a_grant_above_the_ceiling_in_code_is_a_fault():
    day = timedelta(hours=24, seconds=1)
    valid_before = int((NOW + day).timestamp())
    wanted = replace(WANTED, valid_before=valid_before)
    grant = structs.replace(GRANT, validity=day)

    with pytest.raises(RuntimeError):
        refuse_unlike(certificate.render_to_be_signed(wanted), wanted, grant, now=NOW)


# --- Whatever is asked ----------------------------------------------------------------


@pytest.mark.parametrize("wish", [{}, {"extensions": ()}, {"validity_seconds": 1}])
def test_no_wish_sheds_a_forced_critical_option(wish, authority, idp):
    answer = issue(authority, request_of(idp, principals=("backup",), **wish))

    assert answer.critical_options == {"force-command": "/usr/bin/backup"}
    assert certificate_in(answer).critical_options == answer.critical_options
    assert answer.extensions == ()


# A point on the curve, as a FIDO device's key would hold one.
FIDO_KEY = (
    "sk-ssh-ed25519@openssh.com "
    + b64encode(
        wire.text("sk-ssh-ed25519@openssh.com")
        + wire.string(ed25519_key(1).public_key().public_bytes_raw())
        + wire.text("ssh:")
    ).decode()
)


def test_verify_required_is_given_to_fido_keys_alone(authority, idp):
    policy = load_policy(
        POLICY.replace(
            'force-command = "/usr/bin/backup"', "verify-required = true"
        ).encode(),
        issuers=frozenset({"corp"}),
    )
    changed_authority = replace(authority, policy=policy)

    with pytest.raises(UnacceptableKey, match="requires a FIDO key"):
        issue(changed_authority, request_of(idp, principals=("backup",)))
    answer = issue(
        changed_authority, request_of(idp, key=FIDO_KEY, principals=("backup",))
    )
    assert answer.critical_options == {"verify-required": ""}


# POLICY once more, in the form of a law: which rule gives each principal to whom.
LAW = {
    "deploy": ({"ada"}, 36000, {"permit-pty", "permit-port-forwarding"}, {}),
    "ada": ({"ada"}, 36000, {"permit-pty", "permit-port-forwarding"}, {}),
    "grace": ({"grace"}, 36000, {"permit-pty", "permit-port-forwarding"}, {}),
    "root": ({"grace"}, 1800, {"permit-pty"}, {"source-address": "192.0.2.0/24"}),
    "backup": (
        {"ada", "grace"},
        3600,
        set(),
        {"force-command": "/usr/bin/backup"},
    ),
}

principals = st.sampled_from([*LAW, "Root", "root,ada", "*", ""]) | st.text(max_size=5)
wishes = st.fixed_dictionaries(
    {},
    optional={
        "principals": st.lists(principals, max_size=3).map(tuple),
        "validity_seconds": st.integers(1, 1 << 62) | st.integers(1, 40000),
        "extensions": st.none()
        | st.lists(st.sampled_from([*sorted(EXTENSIONS), "root"]), max_size=3).map(
            tuple
        ),
        "reason": st.none() | st.text(max_size=5),
    },
)
addresses = st.sampled_from(["192.0.2.7", "::ffff:192.0.2.7", "198.51.100.1", "::1"])


@given(
    user=st.sampled_from(["ada", "grace"]),
    wish=wishes,
    address=addresses,
    signed_in=st.integers(0, 7200),
)
def test_whatever_is_asked_no_certificate_exceeds_the_rules(
    authority, idp, user, wish, address, signed_in
):
    caller = Caller(ip_address(address), "request")
    claims = {"auth_time": int(NOW.timestamp()) - signed_in}
    request = request_of(idp, user, claims=claims, **wish)
    before = entries(authority)

    try:
        answer = issue(authority, request, caller=caller)
    except CAError:
        assert entries(authority) == before
        return

    says = certificate_in(answer)
    laws = [LAW[principal] for principal in says.principals]
    assert laws
    assert entries(authority) == before + 1
    assert all(user in people for people, _, _, _ in laws)
    asked_seconds = wish.get("validity_seconds", 36000)
    seconds = min(asked_seconds, *(seconds for _, seconds, _, _ in laws))
    assert says.valid_before - int(NOW.timestamp()) <= seconds
    for _, _, extensions, options in laws:
        assert extensions.issuperset(says.extensions)
        assert says.critical_options.items() >= options.items()
    if wish.get("principals"):
        assert set(says.principals) == set(wish["principals"])
    if "root" in says.principals:
        assert signed_in <= 3600
        assert wish["reason"].strip()
        unmapped = address.removeprefix("::ffff:")
        assert ip_address(unmapped) in ip_network("192.0.2.0/24")


# --- While the policy changes ---------------------------------------------------------


def rules_for(principal, hours):
    return (
        '[[rule]]\nname = "all"\nissuer = "corp"\nmatch = { groups = ["dev"] }\n'
        f'principals = ["{principal}"]\nvalidity = "{hours}h"\n'
    )


def test_a_policy_that_is_gone_is_said_in_words(config_file):
    config = load_config(config_file)

    with pytest.raises(Misconfigured, match="cannot read"):
        read_policy(replace(config, policy_file=config_file.with_name("gone.toml")))


def test_a_wrong_policy_leaves_the_one_before_in_force(idp, tmp_path):
    config_file = make_ca(tmp_path / "ca", idp)
    with opened(config_file) as authority:
        before = authority.policy
        write_whole(config_file.with_name("policy.toml"), "wrong")

        authority.reload_policy()

        assert authority.policy is before
        (problem,) = authority.problems()
        assert "policy" in problem
        heir = open_authority(authority.config, before=authority)
        assert heir.policy is before
        assert heir.problems() == [problem]
        heir.store.close()


def test_every_certificate_is_explained_by_exactly_one_policy(idp, tmp_path, rounds):
    config_file = make_ca(tmp_path / "ca", idp)
    policy_file = config_file.with_name("policy.toml")
    policies = [rules_for("red", 1), rules_for("blue", 2)]
    explained_by = {
        sha256(text.encode()).hexdigest(): expected
        for text, expected in zip(
            policies, [(("red",), 3600), (("blue",), 7200)], strict=True
        )
    }
    write_whole(policy_file, policies[0])
    done = threading.Event()

    with opened(config_file) as authority:

        def swap():
            while not done.is_set():
                for text in reversed(policies):
                    write_whole(policy_file, text)
                    authority.reload_policy()

        swapper = threading.Thread(target=swap)
        swapper.start()
        try:
            answers = [issue(authority, request_of(idp)) for _ in range(rounds(100))]
        finally:
            done.set()
            swapper.join()

        hashes = set()
        for answer in answers:
            record = json.loads(recorded(authority, answer).record)
            seconds = answer.valid_before - int(NOW.timestamp())
            hashes.add(record["policy_sha256"])
            assert explained_by[record["policy_sha256"]] == (
                answer.principals,
                seconds,
            )
        assert hashes == explained_by.keys()
