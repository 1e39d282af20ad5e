"""Each transcript is what happens; together they have every command and exit code."""

import re

import pytest

from client.__main__ import _MODULES
from client.login import HELP
from tests.recording import PICTURE, SOURCE, render
from tests.transcripts import FOLDER, play

pytestmark = pytest.mark.openssh

FILES = sorted(FOLDER.glob("*.txt"))
LATER = {"6", "9"}
"""Exit codes of the common list that no command of ours ends with yet."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_written_is_what_happens(path):
    assert play(path) == path.read_text()


def test_every_command_and_every_exit_code_is_in_one_of_them():
    whole = "".join(path.read_text() for path in FILES)
    codes = set(re.findall(r"(\d+) [A-Za-z]", HELP.partition("exit codes:")[2]))

    typed = set(re.findall(r"\bca-login(?: ([a-z][a-z-]*))?", whole))
    ended = {"0", *re.findall(r"^\[(\d+)\]$", whole, re.MULTILINE)}

    assert set(_MODULES) - typed == set()
    assert codes - LATER - ended == set()


def test_the_picture_in_the_readme_is_of_what_happens():
    assert PICTURE.read_text() == render(SOURCE.read_text())
