"""Key revocation lists are written as small as the format allows, and read strictly.

That OpenSSH reads them as we do is in tests/interop/test_krl_openssh.py.
"""

import hashlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ca import wire
from ca.errors import BadRequest, Malformed
from ca.krl import (
    KRL,
    Extension,
    RevokedCertificates,
    parse_krl,
    render_krl,
    runs_of,
)
from ca.krl.serials import LAST_SERIAL, MOST_BITS, Form, render_serials
from tests.certificates import NOON, certificate, ed25519_blob

CA = ed25519_blob(bytes(32))
OTHER_CA = ed25519_blob(bytes([1] * 32))
EMPTY_BYTES = 44
"""The fixed part of a KRL; a file of no bytes would revoke nothing and say nothing."""


def serials(values):
    return runs_of((value, value) for value in values)


def revoking(runs, ca_key=CA):
    return KRL(
        version=1, generated=NOON, certificates=(RevokedCertificates(ca_key, runs),)
    )


def forms(runs):
    """Return the forms of the subsections that say these serials."""
    reader, found = wire.Reader(render_serials(runs)), []
    while not reader.at_end:
        found.append(Form(reader.take(1)[0]))
        reader.take(reader.u32())
    return found


def spaced(count, distance, first=1):
    return serials(range(first, first + count * distance, distance))


any_runs = st.lists(
    st.tuples(
        st.integers(1, 40_000) | st.integers(1, LAST_SERIAL), st.integers(0, 20_000)
    ).map(lambda run: (run[0], min(run[0] + run[1], LAST_SERIAL))),
    max_size=12,
).map(runs_of)

dense_runs = st.sets(st.integers(1, 2_000), max_size=100).map(serials)

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
extensions = st.builds(Extension, texts, st.binary(max_size=20)).map(lambda e: (e,))
krls = st.builds(
    KRL,
    version=st.integers(0, LAST_SERIAL),
    generated=st.integers(0, LAST_SERIAL),
    comment=texts,
    certificates=st.lists(
        st.builds(
            RevokedCertificates,
            ca_key=st.sampled_from([CA, OTHER_CA, b""]),
            serials=any_runs | dense_runs,
            key_ids=st.lists(texts).map(tuple),
            extensions=st.just(()) | extensions,
        ),
        unique_by=lambda revoked: revoked.ca_key,
    ).map(tuple),
    keys=st.lists(st.binary(max_size=60)).map(tuple),
    sha1=st.lists(st.binary(min_size=20, max_size=20)).map(tuple),
    sha256=st.lists(st.binary(min_size=32, max_size=32)).map(tuple),
    extensions=st.just(()) | extensions,
)


@given(krls)
def test_what_is_written_is_read_again(krl):
    assert parse_krl(render_krl(krl)) == krl


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    for candidate in (data, render_krl(revoking(()))[:-4] + data):
        try:
            parse_krl(candidate)
        except BadRequest:
            continue


@given(krls, st.data())
def test_no_list_that_ends_early_is_read_as_another(krl, data):
    whole = render_krl(krl)
    cut = data.draw(st.integers(0, len(whole) - 1))

    # A section that is wholly gone cannot be missed; the digest in *current* does that.
    try:
        read = parse_krl(whole[:cut])
    except Malformed:
        return
    assert cut >= EMPTY_BYTES
    assert read.certificates == krl.certificates[: len(read.certificates)]
    assert read.keys in (krl.keys, ())


def test_an_empty_list_is_not_an_empty_file():
    empty = render_krl(KRL(version=1, generated=NOON))

    assert len(empty) == EMPTY_BYTES
    with pytest.raises(Malformed):
        parse_krl(b"")


@given(dense_runs, st.integers(1, 60))
def test_no_other_choice_of_forms_is_smaller(runs, count):
    """By trying all of them, for few runs."""
    some = runs[: min(count, 8)]

    assert len(render_serials(some)) <= fewest_bytes(some) + len(forms(some))


def fewest_bytes(runs):
    best = [0]
    for end in range(1, len(runs) + 1):
        best.append(
            min(
                best[begin] + cost
                for begin in range(end)
                for cost in section_costs(runs[begin:end])
            )
        )
    return best[-1]


def section_costs(runs):
    first, last = runs[0][0], runs[-1][1]
    yield 5 + 8 * sum(to - from_ + 1 for from_, to in runs)
    yield 5 + 8 + 4 + (last - first + 1) // 8 + 1
    if len(runs) == 1:
        yield 5 + 16


FORMS = {
    "none": ((), []),
    "one": (((7, 7),), [Form.LIST]),
    "two in sequence": (((1, 2),), [Form.BITMAP]),
    "many in sequence": (((1, 100_000),), [Form.RANGE]),
    "more in sequence than a bitmap has": (((1, MOST_BITS + 1),), [Form.RANGE]),
    "each hundredth": (spaced(1000, 100), [Form.LIST]),
    "each second": (spaced(100, 2), [Form.BITMAP]),
    "few, then many": (((1, 9), (500, 90_000)), [Form.BITMAP, Form.RANGE]),
    # The first bitmap ends where sshd would not read on.
    "each second of many": (spaced(10_000, 2), [Form.BITMAP, Form.BITMAP]),
    "the last": (((LAST_SERIAL, LAST_SERIAL),), [Form.LIST]),
    "all": (((1, LAST_SERIAL),), [Form.RANGE]),
}


@pytest.mark.parametrize("case", FORMS)
def test_each_run_takes_the_form_that_is_shortest(case):
    runs, expected = FORMS[case]

    assert forms(runs) == expected


@given(any_runs | dense_runs)
@example(spaced(236, 70))
@example(spaced(10_000, 2))
@example(((1, 8_000), (8_002, 16_000), (16_002, 24_000)))
@example(serials([1, 16_000]))
def test_no_bitmap_is_larger_than_sshd_reads(runs):
    reader = wire.Reader(render_serials(runs))
    while not reader.at_end:
        type_, part = reader.take(1)[0], wire.Reader(reader.take(reader.u32()))
        if type_ == Form.BITMAP:
            part.u64()
            assert part.mpint().bit_length() <= MOST_BITS


def test_serials_in_sequence_take_no_more_room_when_there_are_more():
    assert len(render_krl(revoking(((1, 1000),)))) == len(
        render_krl(revoking(((1, 1_000_000),)))
    )


def test_overlapping_and_adjacent_runs_become_one():
    assert runs_of([(5, 9), (1, 2), (3, 4), (8, 20), (30, 30)]) == ((1, 20), (30, 30))


@pytest.mark.parametrize(
    "runs",
    [
        ((0, 0),),
        ((0, 5),),
        ((5, 4),),
        ((5, 9), (9, 10)),
        ((5, 9), (1, 2)),
        ((1, LAST_SERIAL + 1),),
    ],
    ids=str,
)
def test_serials_that_sshd_could_not_read_are_refused(runs):
    with pytest.raises(BadRequest, match="in order"):
        RevokedCertificates(CA, runs)


def test_a_ca_key_that_sshd_could_not_read_is_refused():
    with pytest.raises(Malformed):
        RevokedCertificates(b"not a key")


def test_a_key_id_that_sshd_could_not_read_is_refused():
    with pytest.raises(BadRequest, match="NUL"):
        RevokedCertificates(CA, key_ids=("a\0b",))


@pytest.mark.parametrize(
    ("krl", "revoked"),
    [
        (revoking(((7, 7),)), True),
        (revoking(((1, 100),)), True),
        (revoking(((1, 6), (8, 100))), False),
        (revoking(((8, 8),)), False),
        (revoking(((7, 7),), OTHER_CA), False),
        (revoking(((7, 7),), b""), True),
        (KRL(1, NOON, keys=(CA,)), True),
        (KRL(1, NOON, keys=(OTHER_CA,)), False),
        (KRL(1, NOON, keys=(certificate().subject_key,)), True),
        (KRL(1, NOON, sha256=(hashlib.sha256(CA).digest(),)), True),
        (KRL(1, NOON, sha1=(hashlib.sha1(CA, usedforsecurity=False).digest(),)), True),
        (
            KRL(
                1,
                NOON,
                certificates=(
                    RevokedCertificates(CA, key_ids=("corp:ada@example.com",)),
                ),
            ),
            True,
        ),
    ],
    ids=str,
)
def test_a_certificate_is_revoked_by_serial_key_id_or_key(krl, revoked):
    assert krl.revokes(certificate()) is revoked
    assert parse_krl(render_krl(krl)).revokes(certificate()) is revoked


def header(**changes):
    fields = {
        "magic": b"SSHKRL\n\0",
        "format": wire.u32(1),
        "version": wire.u64(1),
        "generated": wire.u64(NOON),
        "flags": wire.u64(0),
        "reserved": wire.string(b""),
        "comment": wire.string(b""),
    }
    return b"".join((fields | changes).values())


def section(type_, data):
    return bytes([type_]) + wire.string(data)


def about_ca(*parts, ca_key=CA):
    return section(1, wire.string(ca_key) + wire.string(b"") + b"".join(parts))


def bitmap(offset, bits):
    return section(0x22, wire.u64(offset) + wire.mpint(bits))


UNREADABLE = {
    "other magic": header(magic=b"SSHKRL\n\1"),
    "format 2": header(format=wire.u32(2)),
    "a signature": header() + section(4, wire.string(b"") * 2),
    "an unknown section": header() + section(6, b""),
    "an unknown subsection": header() + about_ca(section(0x24, b"")),
    "a CA key that is none": header() + about_ca(ca_key=b"?"),
    "serial 0 in a list": header() + about_ca(section(0x20, wire.u64(0))),
    "serial 0 in a range": header() + about_ca(section(0x21, bytes(15) + b"\1")),
    "a range backwards": header() + about_ca(section(0x21, wire.u64(2) + wire.u64(1))),
    "more than a range": header() + about_ca(section(0x21, wire.u64(1) * 3)),
    "half a serial": header() + about_ca(section(0x20, bytes(3) + b"\1")),
    "serial 0 in a bitmap": header() + about_ca(bitmap(0, 1)),
    "a bitmap past the last serial": header() + about_ca(bitmap(LAST_SERIAL, 2)),
    "a bitmap of 16,385 bits": header() + about_ca(bitmap(1, 1 << 16_384)),
    "a negative bitmap": header()
    + about_ca(section(0x22, wire.u64(1) + wire.string(b"\x80"))),
    "a short SHA-256": header() + section(5, wire.string(bytes(31))),
    "a long SHA-1": header() + section(3, wire.string(bytes(21))),
    "a critical extension": header()
    + section(255, wire.text("x") + b"\1" + wire.string(b"")),
    "a critical extension about certificates": header()
    + about_ca(section(0x39, wire.text("x") + b"\1" + wire.string(b""))),
    "more than an extension": header()
    + section(255, wire.text("x") + b"\0" + wire.string(b"") + b"?"),
    "an HTML page": b"<!doctype html><title>502</title>" * 3,
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_sshd_does_not_read_is_not_read(case):
    with pytest.raises(Malformed):
        parse_krl(UNREADABLE[case])


def test_a_bitmap_of_16384_bits_is_read():
    read = parse_krl(header() + about_ca(bitmap(1, 1 << 16_383)))

    assert read.certificates[0].serials == ((16_384, 16_384),)


def test_sections_about_one_ca_are_joined():
    read = parse_krl(
        header()
        + about_ca(section(0x20, wire.u64(3)), section(0x23, wire.text("a")))
        + about_ca(
            section(0x21, wire.u64(1) + wire.u64(2)), section(0x23, wire.text("b"))
        )
    )

    assert read.certificates == (RevokedCertificates(CA, ((1, 3),), ("a", "b")),)


def test_a_list_with_an_extension_is_written_and_read():
    extension = Extension("hello@example.com", b"world")
    revoked = RevokedCertificates(CA, ((1, 1),), extensions=(extension,))
    krl = KRL(1, NOON, certificates=(revoked,), extensions=(extension,))

    assert parse_krl(render_krl(krl)) == krl
