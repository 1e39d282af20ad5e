"""A line of the log is one JSON object in printable ASCII, whatever is in it."""

import json
import logging

from hypothesis import example, given
from hypothesis import strategies as st

from signer.request_log import JSONFormatter


def line_of(**extra):
    record = logging.makeLogRecord({"msg": "request", **extra})
    return JSONFormatter().format(record)


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=9))
@example("\ud800")
@example("\x7f")
@example("\x9b2J")
@example("\u2028\r\n")
def test_a_line_says_what_was_given_and_is_printable(words):
    line = line_of(why=words)

    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["why"] == words


def test_what_json_does_not_know_is_written_as_text():
    line = line_of(error=ValueError("no\x7f"), numbers=(1, 2.5, None))

    assert json.loads(line)["error"] == "no\x7f"
    assert json.loads(line)["numbers"] == [1, 2.5, None]
