"""The texts that hosts send: one spelling each, and any other bytes are refused."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import host_documents
from ca.errors import CAError, Malformed
from ca.host_documents import (
    MOST_KEYS,
    Join,
    Renewal,
    Report,
    parse_join,
    parse_renewal,
    parse_report,
    render,
)
from tests.authority import subject_key

KEYS = tuple(subject_key(number) for number in range(3))
REPORT = b"""\
daypass-host-report-v1
host web1
origin https://ca.example.com
roots-version 3
current-version 1795330000000
current-sha256 %s
time 1795330000
""" % (b"0123456789abcdef" * 4)
RENEWAL = f"""\
daypass-host-renewal-v1
host web1
origin https://ca.example.com
key {KEYS[0]}
time 1795330000
""".encode()
JOIN = f"""\
daypass-host-join-v1
origin https://ca.example.com
host web1
name web1.example.com
name www.example.com
key {KEYS[0]}
key {KEYS[1]}
pulls yes
token {"t" * 43}
time 1795330000
""".encode()

NUMBERS = st.integers(min_value=0, max_value=10**18 - 1)
IDS = st.from_regex(host_documents.HOST_ID, fullmatch=True)
ORIGINS = st.sampled_from(["https://ca.example.com", "http://127.0.0.1:8440"])
DOCUMENTS = {
    Report: st.builds(
        Report,
        host=IDS,
        origin=ORIGINS,
        roots_version=NUMBERS,
        current_version=NUMBERS,
        current_sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
        time=NUMBERS,
    ),
    Renewal: st.builds(
        Renewal, host=IDS, origin=ORIGINS, key=st.sampled_from(KEYS), time=NUMBERS
    ),
    Join: st.builds(
        Join,
        origin=ORIGINS,
        host=IDS,
        names=st.lists(st.sampled_from(["a", "b.c", "d-e"]), unique=True).map(tuple),
        keys=st.lists(st.sampled_from(KEYS), min_size=1, unique=True).map(tuple),
        pulls=st.booleans(),
        token=st.from_regex(host_documents.JOIN_TOKEN, fullmatch=True),
        time=NUMBERS,
    ),
}
PARSERS: dict[type, Callable[[bytes], Report | Renewal | Join]] = {
    Report: parse_report,
    Renewal: parse_renewal,
    Join: parse_join,
}
TEXTS = {Report: REPORT, Renewal: RENEWAL, Join: JOIN}


def test_they_are_the_lines_that_a_shell_script_writes():
    assert parse_report(REPORT) == Report(
        host="web1",
        origin="https://ca.example.com",
        roots_version=3,
        current_version=1795330000000,
        current_sha256="0123456789abcdef" * 4,
        time=1795330000,
    )
    assert parse_renewal(RENEWAL).key == KEYS[0]
    joins = parse_join(JOIN)
    assert joins.names == ("web1.example.com", "www.example.com")
    assert (joins.keys, joins.pulls) == (KEYS[:2], True)
    assert parse_join(JOIN.replace(b"pulls yes", b"pulls no")).pulls is False


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_what_is_rendered_is_what_is_parsed(kind):
    @given(DOCUMENTS[kind])
    def round_trip(document):
        assert PARSERS[kind](render(document)) == document

    round_trip()


@pytest.mark.parametrize("kind", PARSERS)
def test_any_bytes_are_a_document_in_its_one_spelling_or_refused(kind):
    text = TEXTS[kind]

    @given(st.integers(0, len(text)), st.integers(0, len(text)), st.binary(max_size=9))
    def changed(first, second, put):
        start, end = sorted((first, second))
        other = text[:start] + put + text[end:]
        try:
            parsed = PARSERS[kind](other)
        except CAError:
            return
        assert render(parsed) == other

    changed()


@pytest.mark.parametrize("kind", PARSERS)
def test_a_line_left_out_twice_or_elsewhere_is_refused(kind):
    lines = TEXTS[kind].splitlines(keepends=True)
    refuse(kind, TEXTS[kind] + b"more of it\n")

    for at, line in enumerate(lines):
        if not line.startswith((b"name ", b"key ")):
            refuse(kind, b"".join([*lines[:at], *lines[at + 1 :]]))
        refuse(kind, b"".join([*lines[:at], line, *lines[at:]]))
        if line != lines[-1] and line.split()[0] != lines[at + 1].split()[0]:
            refuse(kind, b"".join([*lines[:at], lines[at + 1], line, *lines[at + 2 :]]))


def refuse(kind, text):
    with pytest.raises(Malformed):
        PARSERS[kind](text)


@pytest.mark.parametrize("kind", PARSERS)
def test_another_documents_text_is_refused(kind):
    for text in [b"", b"\n", *(TEXTS[other] for other in TEXTS if other is not kind)]:
        refuse(kind, text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"host web1", b"host Web1"),
        (b"host web1", b"host ../web1"),
        (b"host web1", b"host .web1"),
        (b"host web1", b"host " + b"w" * 64),
        (b"host web1", b"host  web1"),
        (b"host web1", b"host web1 "),
        (b"host web1", b"host"),
        (b"host web1", b"host w\xc3\xa9b"),
        (b"roots-version 3", b"roots-version 03"),
        (b"roots-version 3", b"roots-version -3"),
        (b"roots-version 3", b"roots-version " + b"9" * 19),
        (b"current-sha256 0", b"current-sha256 A"),
        (b"time 1", b"time 1e"),
        (b"https://", b"ftp://"),
        (b"\ntime", b"\r\ntime"),
        (b"daypass-host-report-v1", b"daypass-host-report-v2"),
        (b"\ntime 1795330000\n", b"\ntime 1795330000"),
    ],
)
def test_a_report_that_says_anything_else_is_refused(old, new):
    assert REPORT.count(old) == 1

    refuse(Report, REPORT.replace(old, new))


def test_a_join_with_too_many_keys_or_none_is_refused():
    lines = [f"key {subject_key(number)}\n".encode() for number in range(MOST_KEYS + 1)]
    ours = b"".join(
        line for line in JOIN.splitlines(keepends=True) if line[:4] == b"key "
    )

    parse_join(JOIN.replace(ours, b"".join(lines[:MOST_KEYS])))

    refuse(Join, JOIN.replace(ours, b"".join(lines)))
    refuse(Join, JOIN.replace(ours, b""))


def test_what_is_no_plain_key_is_refused():
    for line in (b"ssh-ed25519 AAAA", b"ssh-rsa " + KEYS[0].split()[1].encode()):
        refuse(Renewal, RENEWAL.replace(KEYS[0].encode(), line))
