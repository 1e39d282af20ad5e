"""SSH data types are written and read as RFC 4251 section 5 says, and no other way."""

import base64
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import wire
from ca.errors import CAError, Malformed

READS = ("u32", "u64", "string", "text", "mpint")


def test_numbers_are_written_with_the_high_byte_first():
    # The example of RFC 4251 section 5.
    assert wire.u32(699921578) == bytes.fromhex("29b7f4aa")
    assert wire.u64(699921578) == bytes.fromhex("0000000029b7f4aa")


def test_a_string_is_its_length_and_its_bytes():
    assert wire.string(b"testing") == b"\0\0\0\x07testing"
    assert wire.string(b"") == b"\0\0\0\0"


def test_text_is_a_string_of_utf_8():
    assert wire.text("ä") == b"\0\0\0\x02\xc3\xa4"


@pytest.mark.parametrize(
    ("written", "number"),
    [
        # The examples of RFC 4251 section 5.
        ("00000000", 0),
        ("0000000809a378f9b2e332a7", 0x9A378F9B2E332A7),
        ("000000020080", 0x80),
    ],
)
def test_an_mpint_is_read_and_written_as_in_the_rfc(written, number):
    assert wire.Reader(bytes.fromhex(written)).mpint() == number
    assert wire.mpint(number).hex() == written


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("00000002edcc", "negative"),
        ("00000005ff21524111", "negative"),
        ("0000000100", "leading zeros"),
        ("00000002007f", "leading zeros"),
        ("000000030000ff", "leading zeros"),
    ],
)
def test_an_mpint_that_is_negative_or_padded_is_refused(written, reason):
    with pytest.raises(Malformed, match=reason):
        wire.Reader(bytes.fromhex(written)).mpint()


VALUES = st.one_of(
    st.tuples(st.just("u32"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("u64"), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("string"), st.binary()),
    st.tuples(st.just("text"), st.text(st.characters(codec="utf-8", min_codepoint=1))),
)


@given(st.lists(VALUES))
def test_what_is_written_is_read_back(values):
    written = b"".join(getattr(wire, kind)(value) for kind, value in values)

    reader = wire.Reader(written)

    assert [(kind, getattr(reader, kind)()) for kind, _ in values] == values
    assert reader.at_end
    reader.finish()


def test_numbers_are_read_together():
    reader = wire.Reader(wire.u64(7) + wire.u32(8) + b"..")

    assert reader.unpack(Struct(">QI")) == (7, 8)
    with pytest.raises(Malformed, match="10 bytes early"):
        reader.unpack(Struct(">QI"))


@given(st.binary(), st.lists(st.sampled_from(READS)))
def test_any_bytes_give_values_or_malformed_and_nothing_is_read_twice(data, reads):
    reader = wire.Reader(data)
    for read in reads:
        before = reader.at
        try:
            getattr(reader, read)()
        except Malformed:
            break
        assert before < reader.at <= len(data)


@given(st.lists(st.binary()))
def test_what_holds_nothing_but_strings_is_read_as_these(values):
    assert wire.strings(b"".join(map(wire.string, values))) == values


@given(st.binary())
def test_any_bytes_are_strings_to_the_last_byte_or_malformed(data):
    try:
        values = wire.strings(data)
    except Malformed:
        return
    assert b"".join(map(wire.string, values)) == data


@pytest.mark.parametrize("data", [b"\0\0\0", b"\0\0\0\0\0", b"\0\0\0\x02a"])
def test_strings_that_end_early_are_refused(data):
    with pytest.raises(Malformed, match="bytes early"):
        wire.strings(data)


@pytest.mark.parametrize("length", [0, 3, 5])
def test_data_that_ends_early_is_refused(length):
    with pytest.raises(Malformed, match="bytes early"):
        wire.Reader(b"\0\0\0\x02a"[:length]).string()


def test_a_string_that_claims_more_than_any_certificate_has_is_refused():
    longest = wire.string(bytes(wire.LONGEST_STRING))
    longer = wire.string(bytes(wire.LONGEST_STRING + 1))

    assert len(wire.Reader(longest).string()) == wire.LONGEST_STRING
    with pytest.raises(Malformed, match="claims 1048577 bytes"):
        wire.Reader(longer).string()


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"\xff", "not UTF-8"), (b"\xed\xa0\x80", "not UTF-8"), (b"root\0x", "NUL")],
)
def test_a_text_that_is_not_utf_8_or_contains_nul_is_refused(data, reason):
    with pytest.raises(Malformed, match=reason):
        wire.Reader(wire.string(data)).text()


def test_bytes_left_over_are_refused():
    reader = wire.Reader(b"\0\0\0\0..")
    reader.string()

    assert not reader.at_end
    with pytest.raises(Malformed, match="2 bytes too many"):
        reader.finish()


@given(st.binary())
def test_base64_is_read_back(data):
    assert wire.decode_base64(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    "encoded",
    ["AA", "AA=", "AA==\n", " AA==", "AB==", "AA==AA==", "A-__", "AAAA=", "ÄA==", "="],
)
def test_base64_has_one_spelling_only(encoded):
    with pytest.raises(Malformed, match="base64"):
        wire.decode_base64(encoded)


@given(st.text())
def test_any_text_is_canonical_base64_or_refused(encoded):
    try:
        data = wire.decode_base64(encoded)
    except CAError:
        return
    assert base64.b64encode(data).decode() == encoded


def test_a_fingerprint_is_written_as_ssh_keygen_does():
    # An Ed25519 key of 32 zero bytes, as `ssh-keygen -lf` prints it.
    blob = wire.text("ssh-ed25519") + wire.string(bytes(32))

    assert (
        wire.fingerprint(blob) == "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk"
    )
