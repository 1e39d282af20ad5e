"""A signed request proves who asks, once, for this very request, and nothing else does.

Each refusal is of a request that is right but for one thing, and spends nothing: what
was meant still passes.
"""

import json
import secrets
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import authorization, certificate, sshsig, wire
from ca.authorization import Authorization, Call
from ca.certificate import CertificateType
from ca.errors import (
    AuthorizationMalformed,
    CertificateDerived,
    CertificateElsewhere,
    CertificateForeign,
    CertificateNotLive,
    CertificateUnrecorded,
    RequestReplayed,
    RequestTimeWrong,
    SignatureInvalid,
    Unauthenticated,
)
from ca.identity import Binding
from ca.issue import Caller, issue_user_certificate
from ca.ledger import canonical_json
from ca.policy import load_policy
from ca.signed_request import REMEMBERED, SignedBy
from tests.authority import make_ca, opened, request_of
from tests.certificates import ThrowawayCA
from tests.fakes import NOW, FakeIdP
from tests.signing import holder

HERE = Caller(ip_address("192.0.2.7"), "0123456789abcdef")
CALL = Call("POST", "/v1/explain?x=1", b'{"principals":["root"]}')
HOURS = timedelta(hours=10)


@pytest.fixture(scope="module")
def idp():
    with FakeIdP(now=NOW.timestamp) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(idp, tmp_path_factory):
    with opened(make_ca(tmp_path_factory.mktemp("ca") / "ca", idp)) as authority:
        yield authority


def sign_in(authority, idp, *, key=None, user="ada", now=NOW):
    """Return the holder of a key and of the certificate that a token bought for it."""
    somebody = key or holder()
    request = request_of(idp, user, key=somebody.line)
    answer = issue_user_certificate(authority, request, HERE, now=now)
    return somebody.with_certificate(answer)


@pytest.fixture(scope="module")
def ada(authority, idp):
    return sign_in(authority, idp)


def verify(authority, header, *, call=CALL, source=HERE.address, now=NOW):
    return authority.request_verifier.verify(call, header, source=source, now=now)


@contextmanager
def database(authority):
    """Write to the database behind the CA's back."""
    with sqlite3.connect(authority.config.file.with_name("daypass.db")) as connection:
        yield connection


def ids(authority):
    with database(authority) as connection:
        rows = connection.execute("SELECT id FROM spent_requests").fetchall()
    return {id_ for (id_,) in rows}


# --- What is proved -------------------------------------------------------------------


def test_who_signed_is_whom_the_token_named(authority, idp, ada):
    signed_by = verify(authority, ada.sign(CALL, at=NOW))

    identity = signed_by.identity
    assert signed_by == SignedBy(identity, ada.says, ada.says.serial)
    assert (identity.issuer, identity.subject) == ("corp", "ada")
    assert identity.email == "ada@example.com"
    assert identity.groups == ("dev",)
    assert identity.binding is Binding.NONCE
    assert identity.auth_time == NOW
    assert identity.claims["iss"] == idp.issuer


@pytest.mark.parametrize("seconds", [-60, -1, 0, 1, 60])
def test_a_request_is_good_for_a_minute_either_way(authority, ada, seconds):
    verify(authority, ada.sign(CALL, at=NOW + timedelta(seconds=seconds)))


def test_a_request_without_body_or_query_is_signed_as_well(authority, ada):
    call = Call("GET", "/v1/hosts", b"")

    verify(authority, ada.sign(call, at=NOW), call=call)


def test_a_certificate_signs_until_its_last_second(authority, ada):
    last = NOW + HOURS - timedelta(seconds=1)

    verify(authority, ada.sign(CALL, at=last), now=last)


def test_another_certificate_for_the_same_key_signs_for_its_own_person(
    authority, idp, ada
):
    grace = sign_in(authority, idp, key=ada, user="grace")

    assert verify(authority, ada.sign(CALL, at=NOW)).identity.subject == "ada"
    assert verify(authority, grace.sign(CALL, at=NOW)).identity.subject == "grace"


# --- What is refused ------------------------------------------------------------------


def refuse(authority, header, kind, *, call=CALL, now=NOW):
    """Check that a request is refused, by exactly this class, and spends nothing."""
    before = ids(authority)
    with pytest.raises(Unauthenticated) as refused:
        verify(authority, header, call=call, now=now)
    assert type(refused.value) is kind, refused.value
    assert ids(authority) == before
    return refused.value


@pytest.mark.parametrize(
    "call",
    [
        replace(CALL, method="PUT"),
        replace(CALL, method="post"),
        replace(CALL, target="/v1/explain"),
        replace(CALL, target="/v1/explain?x=2"),
        replace(CALL, target="/v1//explain?x=1"),
        replace(CALL, target="/v1/user-certificates?x=1"),
        replace(CALL, target="http://127.0.0.1:8440/v1/explain?x=1"),
        replace(CALL, body=b""),
        replace(CALL, body=CALL.body + b"\n"),
    ],
)
def test_a_signature_is_for_one_method_path_query_and_body(authority, ada, call):
    header = ada.sign(CALL, at=NOW)

    refuse(authority, header, SignatureInvalid, call=call)

    verify(authority, header)


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8441", "http://127.0.0.1:8440/", "https://127.0.0.1"]
)
def test_a_signature_is_for_one_ca(authority, ada, origin):
    header = ada.sign(CALL, at=NOW, origin=origin)

    error = refuse(authority, header, SignatureInvalid)

    assert authority.config.origin in error.hint


def test_a_signature_is_by_the_key_of_the_certificate(authority, ada):
    mallory = holder()

    for name in (ada.key, mallory.key):
        header = ada.sign(CALL, at=NOW, signer=mallory, key=name)
        refuse(authority, header, SignatureInvalid)
    refuse(authority, ada.sign(CALL, at=NOW, key=mallory.key), SignatureInvalid)


def test_a_signature_is_for_one_certificate_of_the_key(authority, idp, ada):
    # Mallory can have Ada's key certified for himself: possession is not proved then.
    mallory = sign_in(authority, idp, key=ada, user="grace")
    swapped = mallory.sign(CALL, at=NOW, certificate=ada.certificate)

    refuse(authority, swapped, SignatureInvalid)


@pytest.mark.parametrize("namespace", ["daypass-host", "file", "daypass-reques", ""])
def test_a_signature_for_another_purpose_is_none(authority, ada, namespace):
    header = ada.sign(CALL, at=NOW, namespace=namespace)

    refuse(authority, header, SignatureInvalid)


def forged(somebody, change):
    """Return a good header with its SSHSIG blob changed."""
    said = authorization.parse(somebody.sign(CALL, at=NOW))
    blob = change(said.signature)
    return authorization.render(
        Authorization(said.certificate, said.time, said.id, blob)
    )


def test_a_signature_that_only_says_it_is_for_this_purpose_is_none(authority, ada):
    def rename(_blob):
        said = authorization.parse(ada.sign(CALL, at=NOW, namespace="file"))
        signature = sshsig.parse_blob(said.signature)
        return sshsig.render_blob(replace(signature, namespace="daypass-request"))

    refuse(authority, forged(ada, rename), SignatureInvalid)


@pytest.mark.parametrize(
    "change",
    [
        lambda blob: blob.replace(b"sha512", b"sha256"),
        lambda blob: blob[:-1],
        lambda blob: blob + b"\0",
        lambda blob: blob.replace(b"SSHSIG\0\0\0\1", b"SSHSIG\0\0\0\2"),
        lambda _blob: b"SSHSIG",
    ],
    ids=["sha256", "short", "long", "version", "bare"],
)
def test_a_signature_of_another_form_is_malformed(authority, ada, change):
    refuse(authority, forged(ada, change), AuthorizationMalformed)


def test_a_signature_with_one_bit_changed_is_refused(authority, ada):
    flipped = forged(ada, lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]))

    refuse(authority, flipped, SignatureInvalid)


@pytest.mark.parametrize("seconds", [-3600, -61, 61, 3600])
def test_a_request_of_another_time_is_refused(authority, ada, seconds):
    header = ada.sign(CALL, at=NOW + timedelta(seconds=seconds))

    refuse(authority, header, RequestTimeWrong)


@pytest.mark.parametrize("field", ["time", "id"])
def test_time_and_id_are_signed(authority, ada, field):
    said = authorization.parse(ada.sign(CALL, at=NOW))
    others: dict[str, Any] = {"time": said.time + 1, "id": secrets.token_bytes(16)}

    changed = authorization.render(replace(said, **{field: others[field]}))

    refuse(authority, changed, SignatureInvalid)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer x", "Daypass-SSHSIG", "Daypass-SSHSIG x", "daypass-sshsig x"],
)
def test_what_is_no_signed_request_is_refused(authority, header):
    refuse(authority, header, AuthorizationMalformed)


@given(header=st.text())
def test_any_header_is_refused_cleanly(authority, header):
    with pytest.raises(AuthorizationMalformed):
        verify(authority, f"Daypass-SSHSIG {header}")


@given(data=st.data())
def test_any_changed_byte_is_refused_cleanly(authority, ada, data):
    said = authorization.parse(ada.sign(CALL, at=NOW))
    part = data.draw(st.sampled_from(["certificate", "signature"]))
    blob = bytearray(getattr(said, part))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))

    parts: dict[str, Any] = {part: bytes(blob)}
    changed = authorization.render(replace(said, **parts))

    with pytest.raises(Unauthenticated):
        verify(authority, changed)


# --- Which certificates sign ----------------------------------------------------------


@pytest.mark.parametrize("now", [NOW + HOURS, NOW - timedelta(seconds=61)])
def test_a_certificate_that_is_not_live_signs_nothing(authority, ada, now):
    refuse(authority, ada.sign(CALL, at=now), CertificateNotLive, now=now)


BOUND = """
[[rule]]
name       = "from the office"
issuer     = "corp"
match      = { email_domain = "example.com" }
require    = { source = ["192.0.2.0/24", "2001:db8::/32"] }
principals = ["{email_local}"]
validity   = "10h"
"""


def test_a_certificate_bound_to_addresses_signs_from_these_alone(authority, idp):
    policy = load_policy(BOUND.encode(), issuers=frozenset({"corp"}))
    ada = sign_in(replace(authority, policy=policy), idp)
    assert "source-address" in ada.says.critical_options

    for inside in ("192.0.2.250", "2001:db8::1"):
        assert verify(authority, ada.sign(CALL, at=NOW), source=ip_address(inside))
    for outside in ("198.51.100.1", "2001:db9::1"):
        with pytest.raises(CertificateElsewhere, match=r"good from 192\.0\.2\.0/24"):
            verify(authority, ada.sign(CALL, at=NOW), source=ip_address(outside))


def test_a_certificate_of_another_ca_signs_nothing(authority, ada):
    foreign = replace(ada, certificate=ThrowawayCA().certify(ada.says))

    refuse(authority, foreign.sign(CALL, at=NOW), CertificateForeign)


def test_a_certificate_that_only_names_our_ca_signs_nothing(authority, ada):
    to_be_signed = certificate.render_to_be_signed(ada.says)
    forgery = replace(ada, certificate=ThrowawayCA().sign(to_be_signed))

    refuse(authority, forgery.sign(CALL, at=NOW), CertificateForeign)


def by_our_key(authority, somebody, **changes):
    """Return them with a certificate that our key signed, past the ledger."""
    to_be_signed = certificate.render_to_be_signed(replace(somebody.says, **changes))
    signature = authority.user_ca_key.sign(to_be_signed)
    return replace(somebody, certificate=certificate.complete(to_be_signed, signature))


def test_a_host_certificate_signs_nothing(authority, ada):
    host = by_our_key(authority, ada, type=CertificateType.HOST, extensions=())

    refuse(authority, host.sign(CALL, at=NOW), CertificateForeign)


@pytest.mark.parametrize(
    "blob", [b"", b"\0\0\0\1x", wire.text("ssh-ed25519") + wire.string(bytes(32))]
)
def test_what_is_no_certificate_signs_nothing(authority, ada, blob):
    other = replace(ada, certificate=blob or b"\0")

    refuse(authority, other.sign(CALL, at=NOW), CertificateForeign)


@pytest.mark.parametrize(
    "changes",
    [{"serial": 4711}, {"serial": 1 << 63}, {"principals": ("root",)}],
    ids=["no entry", "break-glass", "other entry"],
)
def test_a_certificate_that_is_not_on_record_signs_nothing(authority, ada, changes):
    unrecorded = by_our_key(authority, ada, **changes)

    refuse(authority, unrecorded.sign(CALL, at=NOW), CertificateUnrecorded)


def rewrite(authority, somebody, **columns):
    """Change the entry of somebody's certificate behind the CA's back."""
    words = ", ".join(f"{name} = ?" for name in columns)
    serial = str(somebody.says.serial)
    with database(authority) as connection:
        connection.execute(
            f"UPDATE entries SET {words} WHERE serial = ?",  # noqa: S608 (our own words)
            (*columns.values(), serial),
        )


@pytest.mark.parametrize("column", ["record", "to_be_signed"])
def test_a_certificate_whose_record_was_erased_signs_nothing(authority, idp, column):
    ada = sign_in(authority, idp)
    rewrite(authority, ada, **{column: None})

    error = refuse(authority, ada.sign(CALL, at=NOW), CertificateUnrecorded)

    assert "sign in again" in error.hint


def on_record(authority, somebody):
    found = authority.store.recorded(somebody.says.serial)
    return json.loads(found.leaf), json.loads(found.record)


def replant(authority, somebody, record, *, leaf=True):
    """Put another record in the place of somebody's, and perhaps a leaf that fits."""
    before, _ = on_record(authority, somebody)
    content = record if isinstance(record, bytes) else canonical_json(record)
    columns = {"record": content}
    if leaf:
        fitting = {**before, "record_sha256": sha256(content).hexdigest()}
        columns["leaf"] = canonical_json(fitting)
    rewrite(authority, somebody, **columns)


def test_a_record_that_its_leaf_does_not_commit_to_is_none(authority, idp):
    ada = sign_in(authority, idp)
    _, record = on_record(authority, ada)
    record["identity"]["groups"] = ["security"]
    replant(authority, ada, record, leaf=False)

    refuse(authority, ada.sign(CALL, at=NOW), CertificateUnrecorded)


def test_a_record_of_somebody_else_is_none(authority, idp):
    ada, grace = sign_in(authority, idp), sign_in(authority, idp, user="grace")
    replant(authority, ada, on_record(authority, grace)[1])

    refuse(authority, ada.sign(CALL, at=NOW), CertificateUnrecorded)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda record: record | {"identity": None},
        lambda record: {k: v for k, v in record.items() if k != "identity"},
        lambda record: {k: v for k, v in record.items() if k != "parent_serial"},
        lambda record: record | {"parent_serial": 3},
        lambda record: b"",
        lambda record: b"{}",
        lambda record: b"\xff",
    ],
    ids=["null", "nobody", "unsaid", "number", "empty", "bare", "binary"],
)
def test_a_record_that_does_not_say_who_and_how_is_none(authority, idp, spoil):
    ada = sign_in(authority, idp)
    replant(authority, ada, spoil(on_record(authority, ada)[1]))

    refuse(authority, ada.sign(CALL, at=NOW), CertificateUnrecorded)


def test_a_leaf_that_is_none_is_no_record(authority, idp):
    ada = sign_in(authority, idp)
    rewrite(authority, ada, leaf=b"{}")

    refuse(authority, ada.sign(CALL, at=NOW), CertificateUnrecorded)


def test_a_certificate_that_was_not_bought_with_a_token_signs_nothing(authority, idp):
    ada = sign_in(authority, idp)
    _, record = on_record(authority, ada)
    replant(authority, ada, record | {"parent_serial": "1"})

    refuse(authority, ada.sign(CALL, at=NOW), CertificateDerived)


# --- Once -----------------------------------------------------------------------------


def test_a_request_is_taken_once(authority, ada):
    header = ada.sign(CALL, at=NOW)
    verify(authority, header)

    with pytest.raises(RequestReplayed):
        verify(authority, header)


def test_an_id_is_taken_once_whatever_it_is_for(authority, idp, ada):
    other = Call("GET", "/v1/hosts", b"")
    id_ = secrets.token_bytes(16)
    verify(authority, ada.sign(CALL, at=NOW, id_=id_))

    for somebody in (ada, sign_in(authority, idp, user="grace")):
        again = somebody.sign(other, at=NOW, id_=id_)
        with pytest.raises(RequestReplayed):
            verify(authority, again, call=other)


def test_an_id_is_on_disk_before_anything_is_answered(authority, ada):
    id_ = secrets.token_bytes(16)

    verify(authority, ada.sign(CALL, at=NOW, id_=id_))

    assert id_ in ids(authority)


def test_of_many_at_once_one_is_taken(authority, ada, rounds):
    together = 8
    for _ in range(rounds(10)):
        header, start = ada.sign(CALL, at=NOW), threading.Barrier(together)

        def send(_number, *, header=header, start=start):
            start.wait()
            try:
                return verify(authority, header).serial
            except RequestReplayed:
                return None

        with ThreadPoolExecutor(together) as pool:
            outcomes = list(pool.map(send, range(together)))

        assert sorted(map(bool, outcomes)) == [False] * (together - 1) + [True]


def test_ids_are_forgotten_long_after_their_request_is_good(authority, ada):
    header, id_ = ada.sign(CALL, at=NOW), secrets.token_bytes(16)
    verify(authority, header)
    verify(authority, ada.sign(CALL, at=NOW, id_=id_))

    within = NOW + REMEMBERED
    verify(authority, ada.sign(CALL, at=within), now=within)
    assert id_ in ids(authority)
    beyond = within + timedelta(seconds=1)
    verify(authority, ada.sign(CALL, at=beyond), now=beyond)

    assert id_ not in ids(authority)
    refuse(authority, header, RequestTimeWrong, now=beyond)
