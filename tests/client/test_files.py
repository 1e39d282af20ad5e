"""Files of ours are whole or not there, whatever happens while they are written."""

import resource

import pytest

from client import files
from client.failure import Unable


@pytest.fixture
def no_room():
    """Let no file grow beyond 50 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_does_not_fit_leaves_the_one_before(tmp_path, no_room):
    path = tmp_path / "a"
    files.write(path, b"before")

    with pytest.raises(Unable, match="File too large"):
        files.write(path, b"x" * 100)

    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_there_is_never_overwritten_in_place(tmp_path):
    files.create(tmp_path / "a", b"before")

    with pytest.raises(FileExistsError):
        files.create(tmp_path / "a", b"after")
