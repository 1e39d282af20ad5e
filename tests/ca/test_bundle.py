"""The trust bundle's texts have one spelling, and all others are refused."""

import dataclasses
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import bundle, wire
from ca.bundle import ClosedLog, Current, HostCAKey, KeyState, Roots, TrustedKey
from ca.certificate import render_line
from ca.errors import CAError, Malformed
from ca.signing_key import FileKey
from tests.certificates import ThrowawayCA, certificate

KEY, USER_CA, HOST_CA, NEXT_HOST_CA, ONLINE = (
    FileKey.generate().line for _ in range(5)
)
ROOTS = Roots(
    version=1767225600000,
    root_key=KEY,
    log_origin="ca.example.com:8443/log/1",
    serial_base=7,
    user_ca=(
        TrustedKey(KeyState.ACTIVE, USER_CA),
        TrustedKey(KeyState.RETIRING, FileKey.generate().line),
    ),
    host_ca=(
        HostCAKey(KeyState.ACTIVE, HOST_CA, ("*.example.com", "example.com")),
        HostCAKey(KeyState.STAGED, NEXT_HOST_CA, ()),
    ),
    online=(TrustedKey(KeyState.ACTIVE, ONLINE),),
    closed_logs=(ClosedLog("ca.example.com/log/0", 17),),
    revoked_ca=(FileKey.generate().line, FileKey.generate().line),
)
CURRENT = Current(1767225600001, 1767398400, "ab" * 32, "cd" * 32)
NUMBERS = st.integers(min_value=0, max_value=10**19 - 1)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
ED25519 = wire.text("ssh-ed25519")
KEYS = st.binary(min_size=32, max_size=32).map(
    lambda public: f"ssh-ed25519 {b64encode(ED25519 + wire.string(public)).decode()}"
)
STATES = st.sampled_from(KeyState)
DOMAINS = st.from_regex(r"(\*\.)?[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9}){0,2}", fullmatch=True)


def test_roots_read_back_as_they_were_written():
    assert bundle.parse_roots(bundle.render_roots(ROOTS)) == ROOTS


def test_current_reads_back_as_it_was_written():
    assert bundle.parse_current(bundle.render_current(CURRENT)) == CURRENT


def test_the_lines_of_trusted_user_ca_keys_are_all_trusted_keys_in_order():
    assert ROOTS.user_ca_keys() == tuple(key.key for key in ROOTS.user_ca)


@given(
    st.builds(
        Roots,
        version=NUMBERS,
        root_key=KEYS,
        log_origin=st.just("ca.example.com/log/1"),
        serial_base=NUMBERS,
        user_ca=st.lists(st.builds(TrustedKey, STATES, KEYS)).map(tuple),
        host_ca=st.lists(
            st.builds(HostCAKey, STATES, KEYS, st.lists(DOMAINS).map(tuple))
        ).map(tuple),
        online=st.lists(st.builds(TrustedKey, STATES, KEYS)).map(tuple),
        closed_logs=st.just(()),
        revoked_ca=st.lists(KEYS).map(tuple),
    )
)
def test_all_roots_read_back_unless_a_key_has_two_roles(roots):
    listed = (*roots.user_ca, *roots.host_ca, *roots.online)
    trusted = [roots.root_key, *(key.key for key in listed)]
    text = bundle.render_roots(roots)

    if set(trusted) & set(roots.revoked_ca) or len(set(trusted)) < len(trusted):
        with pytest.raises(Malformed):
            bundle.parse_roots(text)
    else:
        assert bundle.parse_roots(text) == roots


@given(st.builds(Current, NUMBERS, NUMBERS, HASHES, HASHES))
def test_every_current_reads_back_as_it_was_written(current):
    assert bundle.parse_current(bundle.render_current(current)) == current


@pytest.mark.parametrize("kind", ["user_ca", "host_ca", "online"])
def test_a_key_is_not_both_trusted_and_revoked(kind):
    trusted = getattr(ROOTS, kind)[-1].key
    both = dataclasses.replace(ROOTS, revoked_ca=(*ROOTS.revoked_ca, trusted))

    with pytest.raises(Malformed, match="trusted and as revoked"):
        bundle.parse_roots(bundle.render_roots(both))


@pytest.mark.parametrize("kind", ["user_ca", "host_ca", "online"])
@pytest.mark.parametrize(
    "other",
    [KEY, USER_CA, HOST_CA, ONLINE],
    ids=["root", "user_ca", "host_ca", "online"],
)
def test_a_key_has_one_role_and_one_state(kind, other):
    listed = getattr(ROOTS, kind)
    changes: dict[str, Any] = {
        kind: (*listed, dataclasses.replace(listed[0], key=other))
    }
    both = dataclasses.replace(ROOTS, **changes)

    with pytest.raises(Malformed, match="listed twice"):
        bundle.parse_roots(bundle.render_roots(both))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("daypass-roots-v1", "daypass-roots-v2"),
        ("version 1767225600000", "version 01"),
        ("version 1767225600000", "version -1"),
        ("version 1767225600000", "version 1 2"),
        ("version 1767225600000", "version  1"),
        ("version 1767225600000\n", ""),
        ("version 1767225600000\n", "version 1\nversion 1\n"),
        ("log ca.example.com:8443/log/1", "log /etc"),
        ("log ca.example.com:8443/log/1", "log ca.example.com/../x y"),
        ("log/0 17", "log/0 -1"),
        ("log/0 17", "log/0"),
        ("closed-log ca", "closed-log /ca"),
        ("user-ca active", "user-ca trusted"),
        ("user-ca active ssh-ed25519", "user-ca active ssh-rsa"),
        ("*.example.com,example.com", "*"),
        ("*.example.com,example.com", "*.example.com,"),
        ("*.example.com,example.com", "a.*.com"),
        ("online active", "offline active"),
        ("online active", "frobnicate active"),
        ("host-ca staged", "host-ca staged extra"),
        ("revoked-ca ssh-ed25519", "revoked-ca active ssh-ed25519"),
        ("revoked-ca ssh-ed25519", "revoked-ca ssh-rsa"),
        ("online active", "revoked-ca ssh-ed25519 AAAA\nonline active"),
        ("\n", "\r\n"),
        ("\n", " \n"),
    ],
)
def test_roots_spelled_otherwise_are_malformed(old, new):
    text = bundle.render_roots(ROOTS).decode()
    assert old in text

    with pytest.raises(Malformed):
        bundle.parse_roots(text.replace(old, new).encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"daypass-current-v1",
        bundle.render_current(CURRENT).replace(b"ab" * 32, b"AB" * 32),
        bundle.render_current(CURRENT).replace(b"cd" * 32, b"cd" * 31),
        bundle.render_current(CURRENT).replace(b"krl", b"crl"),
        bundle.render_current(CURRENT).replace(b"krl " + b"cd" * 32 + b"\n", b""),
        bundle.render_current(CURRENT) + b"more 1\n",
        bundle.render_current(CURRENT)[:-1],
        bundle.render_current(CURRENT).replace(b"v1", b"v\xc3\xa9"),
    ],
)
def test_current_spelled_otherwise_is_malformed(text):
    with pytest.raises(Malformed):
        bundle.parse_current(text)


def test_a_certificate_cannot_be_listed_as_a_key(user_certificate_line):
    forged = dataclasses.replace(
        ROOTS, user_ca=(TrustedKey(KeyState.ACTIVE, user_certificate_line),)
    )

    with pytest.raises(Malformed):
        bundle.parse_roots(bundle.render_roots(forged))


@pytest.fixture
def user_certificate_line():
    return render_line(ThrowawayCA().certify(certificate()), "").strip()


def test_a_document_splits_where_its_signature_begins():
    text = bundle.render_current(CURRENT)
    armour = FileKey.generate().sign_message(bundle.CURRENT_NAMESPACE, text)

    assert bundle.split_signed(bundle.join_signed(text, armour)) == (text, armour)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"-----BEGIN SSH SIGNATURE-----\n",
        b"text\n-----BEGIN SSH SIGNATURE-----\n\xff",
    ],
)
def test_a_document_without_text_and_signature_is_malformed(document):
    with pytest.raises(Malformed):
        bundle.split_signed(document)


@given(st.binary() | st.text().map(str.encode))
def test_any_bytes_are_a_value_or_a_clean_refusal(data):
    for parse in (bundle.parse_roots, bundle.parse_current, bundle.split_signed):
        try:
            parse(data)
        except CAError:
            continue
