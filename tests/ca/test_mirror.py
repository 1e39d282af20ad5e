"""A copy of a log grows by whole steps, and is what another implementation makes."""

from functools import cache

import pytest

from ca.audit import check_tree
from ca.checkpoint import Checkpoint, Note, NoteKey, render_checkpoint, render_note
from ca.errors import Conflict, Misconfigured
from ca.mirror import Mirror
from tests.logs import files_of, leaves_of, root_of

LEAVES = leaves_of(600)
KEY = NoteKey("ca.example.com/log/1", bytes(32))


@cache
def root_of_first(size):
    return root_of(LEAVES[:size])


def checkpoint_of(leaves):
    return Checkpoint(KEY.name, len(leaves), root_of_first(len(leaves)))


def note_of(leaves):
    text = render_checkpoint(checkpoint_of(leaves))
    return render_note(Note(text, (KEY.claim(bytes(64)),)))


def grow(mirror, leaves, *, new=None):
    before = mirror.log().size
    mirror.grow(
        checkpoint_of(leaves),
        leaves[before:] if new is None else new,
        also={"checkpoint-signature": b"armour\n", "checkpoint": note_of(leaves)},
    )


def files_in(mirror):
    return {
        str(path.relative_to(mirror.folder)): path.read_bytes()
        for path in mirror.folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def mirror(tmp_path):
    return Mirror(tmp_path / "new" / "log")


def test_a_copy_is_byte_for_byte_what_another_implementation_makes(mirror):
    grow(mirror, LEAVES)

    assert files_in(mirror) == files_of(LEAVES) | {
        "checkpoint": note_of(LEAVES),
        "checkpoint-signature": b"armour\n",
    }
    assert mirror.checkpoint() == checkpoint_of(LEAVES)


def test_before_the_first_step_there_is_nothing(mirror):
    assert mirror.note() is None
    assert mirror.checkpoint() is None
    assert mirror.tree().size == mirror.log().size == 0
    grow(mirror, [])
    assert mirror.checkpoint().size == 0


@pytest.mark.parametrize(
    "sizes", [[600], [0, 1, 2, 3], [255, 256, 257, 512], [256, 600], [300, 300, 511]]
)
def test_however_it_grew_all_of_it_is_there(mirror, sizes):
    for size in sizes:
        grow(mirror, LEAVES[:size])

        log = mirror.log()
        assert not list(
            check_tree(log.leaves(), log.kept, [checkpoint_of(LEAVES[:size])])
        )
        assert mirror.tree().root == root_of_first(size)
    needed = files_of(LEAVES[: sizes[-1]])
    assert needed.items() <= files_in(mirror).items()


def test_partial_tiles_are_removed_once_there_is_the_full_one(mirror):
    grow(mirror, LEAVES[:200])
    grow(mirror, LEAVES[:256])

    assert files_in(mirror).keys() == {
        *("checkpoint", "checkpoint-signature"),
        *("tile/entries/000", "tile/0/000", "tile/1/000.p/1"),
    }


@pytest.mark.parametrize(
    "new",
    [
        [],
        LEAVES[300:399],
        LEAVES[300:401],
        [*LEAVES[300:399], b"another"],
        LEAVES[299:399],
    ],
)
def test_what_the_checkpoint_was_not_signed_for_changes_nothing(mirror, new):
    grow(mirror, LEAVES[:300])
    before = files_in(mirror)

    with pytest.raises(Conflict):
        grow(mirror, LEAVES[:400], new=new)

    assert files_in(mirror) == before
    assert not list(mirror.folder.glob(".staged-*"))


def test_a_copy_goes_on_after_a_crash(mirror):
    grow(mirror, LEAVES[:300])
    (mirror.folder / ".staged-x/tile").mkdir(parents=True)
    (mirror.folder / "tile/0/001").write_bytes(files_of(LEAVES)["tile/0/001"])

    grow(mirror, LEAVES)

    assert files_of(LEAVES).items() <= files_in(mirror).items()
    assert not (mirror.folder / ".staged-x").exists()


def test_a_file_that_holds_something_else_is_never_replaced(mirror):
    grow(mirror, LEAVES[:300])
    (mirror.folder / "tile/0/001").write_bytes(b"something else")

    with pytest.raises(Conflict, match="tile/0/001 exists, and holds something else"):
        grow(mirror, LEAVES)

    assert mirror.checkpoint().size == 300


@pytest.mark.parametrize("path", ["tile/0/001.p/44", "tile/1/000.p/1"])
def test_a_copy_whose_hashes_are_damaged_grows_no_more(mirror, path):
    grow(mirror, LEAVES[:300])
    (mirror.folder / path).write_bytes(bytes(len(files_of(LEAVES[:300])[path])))

    with pytest.raises(Misconfigured, match="damaged"):
        grow(mirror, LEAVES)
    (mirror.folder / path).unlink()
    with pytest.raises(Misconfigured, match="damaged"):
        mirror.tree()


@pytest.mark.parametrize("content", [b"", bytes(5000), None])
def test_a_copy_whose_last_entries_are_damaged_grows_no_more(mirror, content):
    grow(mirror, LEAVES[:300])
    path = mirror.folder / "tile/entries/001.p/44"
    if content is None:
        content = path.read_bytes().replace(b'"time":1795330299', b'"time":1795330298')
    path.write_bytes(content)

    with pytest.raises(Misconfigured, match="damaged"):
        grow(mirror, LEAVES)

    assert mirror.checkpoint().size == 300


def test_a_folder_that_cannot_be_used_is_named(mirror, tmp_path):
    (tmp_path / "new").write_text("in the way")

    with pytest.raises(Misconfigured, match="cannot use"):
        grow(mirror, LEAVES)
    (tmp_path / "new").unlink()
    (tmp_path / "new/log/checkpoint").mkdir(parents=True)
    with pytest.raises(Misconfigured, match="checkpoint"):
        mirror.note()
