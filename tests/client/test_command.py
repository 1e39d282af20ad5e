"""The command itself: help, dispatch, streams, and no traceback ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from client import times
from client.__main__ import main
from client.failure import Misuse
from client.terminal import clean

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["setup", "-h"], ["status", "--help"], ["logout", "-h"]]
)
def test_help_is_short_and_shows_examples(run, arguments):
    said = run(*arguments)

    assert said.status == 0
    assert said.err == ""
    assert said.out.startswith("ca-login")
    assert "\n  ca-login" in said.out
    assert max(map(len, said.out.splitlines())) <= 88


def test_a_command_that_is_not_there_is_misuse(run):
    said = run("frobnicate")

    assert said.status == 2
    assert said.err == (
        "ca-login: error: could not find the command 'frobnicate'\n"
        "ca-login: there is no such command\n"
        "ca-login: hint: ca-login --help\n"
    )


def test_a_fault_of_ours_is_named_without_its_words(capfd):
    status = main([None])  # type: ignore[list-item]  # the fault

    said = capfd.readouterr().err
    assert status == 1
    assert "a fault in ca-login itself: AttributeError in _dispatch" in said
    assert "Traceback" not in said


def test_a_reader_that_leaves_early_is_no_traceback(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "client", "--help"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: os.dup2(_closed_pipe(), 1),  # noqa: PLW1509 no threads yet
    )

    _, err = process.communicate(timeout=20)

    assert process.returncode == 1
    assert err == b""


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def test_only_sys_is_loaded_to_begin():
    code = (
        "import sys; before = set(sys.modules); import client.__main__;"
        "print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "['client', 'client.__main__']\n"


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [("8h", 28800), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("1d", 86400)],
)
def test_lengths_of_time_as_people_type_them(typed, seconds):
    assert times.parse_length(typed) == seconds


@pytest.mark.parametrize("typed", ["", "8", "h", "30m1h", "-1h", "1.5h", "0m", "1 h"])
def test_what_is_no_length_of_time(typed):
    with pytest.raises(Misuse):
        times.parse_length(typed)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(5.9, "5 s"), (60, "1 min"), (3540, "59 min"), (3599, "1 h 0 min")],
)
def test_lengths_of_time_as_people_read_them(seconds, shown):
    assert times.render_length(seconds) == shown


def test_a_moment_has_a_date_unless_it_is_today():
    noon = 1767268800

    assert len(times.render_moment(noon, now=noon)) == len("12:00")
    assert len(times.render_moment(noon + 172800, now=noon)) == len("2026-01-03 12:00")


def test_nothing_that_is_shown_moves_the_cursor():
    assert clean("a\x1b[1m\n\x9b\u202e\ud800é") == "a\\x1b[1m\\n\\x9b\\u202e\\ud800é"
