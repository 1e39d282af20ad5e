"""Leaves: one spelling each, nothing odd taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.errors import Malformed
from ca.leaf import Leaf, parse_leaf, render_leaf

HASH = "0a" * 32
LEAF = Leaf(
    kind="user-certificate",
    time=1795330000,
    serial=17,
    to_be_signed_sha256=HASH,
    record_sha256="0b" * 32,
)
TEXT = (
    b'{"kind":"user-certificate","record_sha256":"' + b"0b" * 32 + b'","serial":"17",'
    b'"time":1795330000,"to_be_signed_sha256":"' + b"0a" * 32 + b'","v":1}'
)

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
certificates = st.builds(
    Leaf,
    kind=st.sampled_from(["user-certificate", "host-certificate"]),
    time=st.integers(0, (1 << 53) - 1),
    serial=st.integers(0, (1 << 64) - 1),
    to_be_signed_sha256=hashes,
    record_sha256=hashes,
)
acts = st.builds(
    Leaf,
    kind=st.just("revocation"),
    time=st.integers(0, (1 << 53) - 1),
    serial=st.none(),
    to_be_signed_sha256=st.none(),
    record_sha256=hashes,
)


def test_a_leaf_is_written_in_canonical_json():
    assert render_leaf(LEAF) == TEXT
    members = json.loads(TEXT)
    assert json.dumps(members, sort_keys=True, separators=(",", ":")) == TEXT.decode()


def test_an_act_that_made_no_certificate_has_no_serial():
    act = Leaf("revocation", 1, None, None, HASH)

    assert render_leaf(act) == (
        b'{"kind":"revocation","record_sha256":"' + b"0a" * 32 + b'","time":1,"v":1}'
    )


@given(certificates | acts)
def test_what_was_written_is_read_again(leaf):
    assert parse_leaf(render_leaf(leaf)) == leaf


@given(st.binary() | st.recursive(st.none(), st.lists).map(json.dumps).map(str.encode))
def test_anything_else_is_refused_in_words(data):
    with pytest.raises(Malformed):
        parse_leaf(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"v":1', b'"v":2'),
        (b'"v":1', b'"v":true'),
        (b'"v":1', b'"v":1,"v":1'),
        (b'"v":1', b'"v":1,"w":1'),
        (b',"v":1', b""),
        (b'"time":', b' "time":'),
        (b"1795330000", b"1795330000.0"),
        (b"1795330000", b'"1795330000"'),
        (b"1795330000", b"true"),
        (b"1795330000", b"-1"),
        (b"1795330000", b"9007199254740992"),
        (b'"17"', b"17"),
        (b'"17"', b'"017"'),
        (b'"17"', b'"+17"'),
        (b'"17"', b'"18446744073709551616"'),
        (b'"17"', b"null"),
        (b'"serial":"17",', b""),
        (b'"' + b"0a" * 32 + b'"', b"null"),
        (b'"' + b"0a" * 32 + b'"', b'""'),
        (b'"' + b"0a" * 32 + b'"', b"[]"),
        (b"0a" * 32, b"0A" * 32),
        (b"0b" * 32, b"0b" * 31),
        (b"user-certificate", b"User-certificate"),
        (b"user-certificate", b"user\\u002dcertificate"),
        (b'"user-certificate"', b"1"),
        (b'{"kind"', b'{"kind":"revocation","kind"'),
    ],
)
def test_a_leaf_has_one_spelling(old, new):
    assert TEXT.count(old) == 1

    with pytest.raises(Malformed):
        parse_leaf(TEXT.replace(old, new))
