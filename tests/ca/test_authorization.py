"""The header of a signed request has one spelling, and each part of it is signed."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.authorization import LONGEST, Authorization, Call, message, parse, render
from ca.errors import CAError, Malformed

HEADER = (
    "Daypass-SSHSIG certificate=AAEC, time=1767225600,"
    " id=000102030405060708090a0b0c0d0e0f, signature=AwQF"
)
SAID = Authorization(b"\0\1\2", 1767225600, bytes(range(16)), b"\3\4\5")
CALL = Call("POST", "/v1/explain?x=1", b"{}")
MORE: dict[str, Any] = {
    "origin": "https://ca.example.com",
    "time": 1767225600,
    "id_": bytes(range(16)),
    "certificate": b"a certificate",
}


def test_the_header_is_as_documented():
    assert render(SAID) == HEADER
    assert parse(HEADER) == SAID


def test_what_is_signed_is_as_documented():
    assert message(CALL, **MORE) == (
        b"daypass-request-v1\n"
        b"POST\n"
        b"/v1/explain?x=1\n"
        b"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\n"
        b"https://ca.example.com\n"
        b"1767225600\n"
        b"000102030405060708090a0b0c0d0e0f\n"
        b"81acd762140fa692a142822d2fbe4dc6f54bcaa501f68ab37e5aeed0bafe4d99\n"
    )


@pytest.mark.parametrize(
    ("call", "more"),
    [
        (Call("GET", CALL.target, CALL.body), {}),
        (Call(CALL.method, "/v1/explain?x=2", CALL.body), {}),
        (Call(CALL.method, "/v1/explain", CALL.body), {}),
        (Call(CALL.method, CALL.target, b"{ }"), {}),
        (CALL, {"origin": "https://ca.example.org"}),
        (CALL, {"time": 1767225601}),
        (CALL, {"id_": bytes(16)}),
        (CALL, {"certificate": b"another certificate"}),
    ],
)
def test_all_that_means_something_is_signed(call, more):
    assert message(call, **MORE | more) != message(CALL, **MORE)


@pytest.mark.parametrize(
    "call",
    [
        Call("POST\n/v1/explain", "", b""),
        Call("POST", "/v1/explain\nhttps://ca.example.com", b""),
        Call("POST", "/v1/\N{LATIN SMALL LETTER E WITH ACUTE}", b""),
        Call("POST", "/v1/\x7f", b""),
    ],
)
def test_what_needs_more_than_its_line_is_malformed(call):
    with pytest.raises(Malformed, match="printable ASCII"):
        message(call, **MORE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Daypass-SSHSIG ", "daypass-sshsig "),
        ("Daypass-SSHSIG ", "Bearer "),
        ("Daypass-SSHSIG ", " Daypass-SSHSIG "),
        ("AAEC", '"AAEC"'),
        ("AAEC", ""),
        ("AAEC", "AAE"),
        ("AAEC", "AA-_"),
        ("AwQF", "AwR="),
        ("AwQF", "AwQF,"),
        ("AwQF", "AwQF\n"),
        ("AwQF", f"AwQF, {HEADER}"),
        (", time", ",time"),
        ("time=1767225600, ", ""),
        ("time=1767225600", "time=01767225600"),
        ("time=1767225600", "time=+1767225600"),
        ("time=1767225600", "time=1767225600.0"),
        ("time=1767225600", f"time={'1' * 13}"),
        ("time=1767225600", "time=\N{ARABIC-INDIC DIGIT ONE}767225600"),
        ("0a0b", "0A0B"),
        ("0e0f", "0e"),
        ("0e0f", "0e0f10"),
    ],
)
def test_another_spelling_is_malformed(old, new):
    assert HEADER.count(old) == 1

    with pytest.raises(Malformed):
        parse(HEADER.replace(old, new))


@given(
    st.builds(
        Authorization,
        st.binary(min_size=1),
        st.integers(1, 10**12 - 1),
        st.binary(min_size=16, max_size=16),
        st.binary(min_size=1),
    )
)
def test_what_is_written_is_read(said):
    assert parse(render(said)) == said


@given(st.text() | st.text().map(lambda text: HEADER.replace("AAEC", text)))
def test_any_text_is_a_header_or_a_clean_refusal(text):
    try:
        said = parse(text)
    except CAError:
        return
    assert render(said) == text


def test_the_largest_usual_certificate_fits():
    # RSA-4096 for subject and CA: three numbers and two signatures of 512 bytes each.
    certificate, signature = bytes(3 * 512 + 700), bytes(2 * 512 + 200)

    header = render(Authorization(certificate, 1, bytes(16), signature))

    assert len(header) < LONGEST
