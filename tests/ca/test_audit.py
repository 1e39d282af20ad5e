"""One flipped bit anywhere in a log is named, by the index of the entry it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca.audit import MISSING, Damage, SerialCheck, check_tree, joined
from ca.checkpoint import Checkpoint
from ca.errors import Malformed, NotFound
from ca.merkle import CompactTree, leaf_hash
from ca.tiled_log import TiledLog
from ca.tiles import ENTRIES, HEIGHT, WIDTH, parse_path
from tests.logs import files_of, leaves_of, root_of

SIZE = 600
LEAVES = leaves_of(SIZE)
FILES = files_of(LEAVES)
CHECKPOINT = Checkpoint("ca.example.com/log/1", SIZE, root_of(LEAVES))
EARLIER = Checkpoint("ca.example.com/log/1", 300, root_of(LEAVES[:300]))
GONE, GONE_ENTRIES = "tile/0/002.p/88", "tile/entries/002.p/88"
BITS = [(path, at) for path, content in FILES.items() for at in range(len(content))]


def check(files, checkpoints=(CHECKPOINT,), size=SIZE):
    log = TiledLog(files.get, size)
    return list(joined(check_tree(log.leaves(), log.kept, checkpoints)))


def flipped(place, bit):
    path, at = place
    content = bytearray(FILES[path])
    content[at] ^= 1 << bit
    return {**FILES, path: bytes(content)}


def entries_at(path, at):
    """Return the first and last entry that a byte of a file is about."""
    tile = parse_path(path)
    first = tile.index * WIDTH
    if tile.level == ENTRIES:
        while at >= 2 + len(LEAVES[first]):
            at -= 2 + len(LEAVES[first])
            first += 1
        return first, first
    below = 1 << HEIGHT * tile.level
    first = (first + at // 32) * below
    return first, first + below - 1


def test_a_log_that_is_what_was_signed_for_has_no_damage():
    assert check(FILES, [EARLIER, CHECKPOINT]) == []
    assert check({}, [], size=0) == []


@given(st.sampled_from(BITS), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_named_by_its_entry(place, bit):
    first, last = entries_at(*place)

    (damage,) = check(flipped(place, bit), [EARLIER, CHECKPOINT])

    assert damage.first == first
    # A wrong length hides what follows in the same bundle.
    assert damage.last == last or damage.what.startswith("the bundle")


@given(st.sets(st.integers(0, SIZE - 1), min_size=1, max_size=20))
def test_each_changed_entry_is_named(indices):
    files = dict(FILES)
    for index in indices:
        path = f"tile/entries/{index // WIDTH:03}" + (".p/88" if index >= 512 else "")
        leaf = LEAVES[index]
        assert files[path].count(leaf) == 1
        files[path] = files[path].replace(leaf, leaf.replace(b"time", b"Time"))

    found = check(files)

    assert {i for d in found for i in range(d.first, d.last + 1)} == indices


@pytest.mark.parametrize(
    ("path", "first", "last", "what"),
    [
        ("tile/entries/001", 256, 511, "the bundle is missing"),
        ("tile/entries/002.p/88", 512, 599, "the bundle is missing"),
        ("tile/0/000", 0, 255, "the hash at level 0 of the tree is missing"),
        ("tile/0/002.p/88", 512, 599, "the hash at level 0 of the tree is missing"),
        ("tile/1/000.p/2", 0, 511, "the hash at level 8 of the tree is missing"),
    ],
)
def test_a_file_that_is_missing_or_cut_is_said_once(path, first, last, what):
    gone = {name: content for name, content in FILES.items() if name != path}

    assert Damage(first, last, what) in check(gone)
    if "entries" not in path:
        assert check({**FILES, path: FILES[path][:-1]}) == check(gone)


def test_of_a_bundle_that_ends_early_the_first_entry_that_is_cut_is_named():
    content = FILES["tile/entries/000"]

    found = check({**FILES, "tile/entries/000": content[:-1]})

    assert found == [Damage(255, 255, "the bundle cannot be read from here on")]


def test_a_partial_tile_may_be_taken_away_once_there_is_the_full_one():
    grown = files_of(leaves_of(800))
    kept = {path: FILES[path] for path in FILES if path not in {GONE, GONE_ENTRIES}}

    assert check(kept) != []
    assert check(grown | kept) == []


def test_a_log_that_was_rewritten_consistently_is_not_what_was_signed_for():
    rewritten = leaves_of(SIZE, serial_base=5)

    (damage,) = check(files_of(rewritten))

    assert (damage.first, damage.last) == (0, 599)
    assert "checkpoint that was signed for 600 entries" in str(damage)


def test_a_log_that_lost_its_end_is_not_what_was_signed_for():
    (damage,) = check(files_of(LEAVES[:300]), [EARLIER, CHECKPOINT], size=300)

    assert str(damage) == (
        "entries 300 to 599: missing: a checkpoint of 600 entries was signed"
    )


def test_every_node_that_is_kept_is_compared():
    _tree, completed = CompactTree().extend(map(leaf_hash, LEAVES[:9]))
    nodes = {(level, position): value for level, position, value in completed}
    signed = [Checkpoint("ca.example.com/log/1", 9, root_of(LEAVES[:9]))]
    for place in nodes:
        for wrong in (bytes(32), MISSING):
            changed = {**nodes, place: wrong}

            (damage,) = check_tree(LEAVES[:9], changed.__getitem__, signed)

            level, position = place
            assert damage.first == position << level
            assert damage.last == ((position + 1) << level) - 1


# --- What leaves say of themselves ------------------------------------------------


def serials(leaves, base=None):
    check = SerialCheck(base)
    return [d for index, leaf in enumerate(leaves) for d in check.check(leaf, index)]


def test_serials_follow_from_places():
    assert serials(LEAVES) == []
    assert serials(LEAVES, 0) == []
    assert serials(leaves_of(20, serial_base=1000)) == []
    assert len(serials(leaves_of(14, serial_base=1000), 0)) == 12


def test_a_serial_out_of_its_place_is_named():
    leaves = [*LEAVES[:3], LEAVES[4], *LEAVES[4:6]]

    (damage,) = serials(leaves)

    assert str(damage) == "entry 3: its serial 5 is not that of its place"


def test_a_serial_made_offline_has_no_place():
    assert (
        serials([*LEAVES[:2], LEAVES[0].replace(b'"1"', b'"9223372036854775808"')])
        == []
    )


def test_what_is_no_leaf_is_named():
    (damage,) = serials([*LEAVES[:2], b"{}"])

    assert str(damage).startswith("entry 2: a leaf of the ledger")


# --- Reading on -------------------------------------------------------------------


@given(st.integers(0, SIZE), st.integers(0, SIZE))
def test_what_is_new_since_a_size_is_read_from_the_tiles_there_are(old, more):
    old, new = sorted((old, more))
    files = {**files_of(LEAVES[:new]), **FILES}

    assert list(TiledLog(files.get, new).new_leaves(old)) == LEAVES[old:new]


def test_a_bundle_that_is_missing_cannot_be_read_on_from():
    with pytest.raises(NotFound, match="tile/entries/000 is not there"):
        list(TiledLog(dict[str, bytes]().get, SIZE).new_leaves(5))
    with pytest.raises(Malformed, match="tile/entries/000 makes no sense"):
        list(TiledLog({"tile/entries/000": b"x"}.get, SIZE).new_leaves(5))
