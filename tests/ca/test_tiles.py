"""A log is cut into the files of C2SP tlog-tiles, and can be proved from them alone."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ca import merkle, tiles
from ca.errors import CAError, Malformed
from ca.merkle import CompactTree, Node
from ca.tiles import ENTRIES, Tile

LARGE = 70_000
"""The example of the specification: two levels of tiles, and a root above them."""

LEAVES = [merkle.leaf_hash(b"entry %d" % index) for index in range(LARGE)]
TREE, COMPLETED = CompactTree().extend(LEAVES)
NODES = {(level, position): value for level, position, value in COMPLETED}


def content(tile):
    return b"".join(NODES[node] for node in tile.nodes)


TILES = st.builds(
    Tile,
    level=st.integers(ENTRIES, 63),
    index=st.one_of(st.integers(0, 2_000), st.integers(0, 10**21 - 1)),
    width=st.integers(1, 256),
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(1, 999, 1), "tile/1/999.p/1"),
        (Tile(63, 1000, 255), "tile/63/x001/000.p/255"),
        (Tile(ENTRIES, 0), "tile/entries/000"),
        (Tile(ENTRIES, 273, 112), "tile/entries/273.p/112"),
    ],
)
def test_paths_are_as_specified(tile, path):
    assert tile.path == path
    assert tiles.parse_path(path) == tile


@given(TILES)
def test_each_tile_has_a_path_of_its_own(tile):
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001",
        "tile/0/x001/x234",
        "tile/0/000/",
        "/tile/0/000",
        "tile/00/000",
        "tile/-1/000",
        "tile/64/000",
        "tile/0/000.p/0",
        "tile/0/000.p/05",
        "tile/0/000.p/256",
        "tile/0/000.p/300",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000\n",
        "tile/0/\N{ARABIC-INDIC DIGIT ONE}00",
        "tile/entries/../0/000",
        "tile/0/" + "x001/" * 7 + "000",
    ],
)
def test_other_paths_are_refused(path):
    with pytest.raises(Malformed, match="not the path of a tile"):
        tiles.parse_path(path)


@given(st.from_regex(r"tile/(entries|\d{1,3})/(x?\d{3}/?){1,3}(\.p/\d{0,3})?\s?"))
def test_a_path_that_parses_is_the_one_path_of_its_tile(path):
    try:
        tile = tiles.parse_path(path)
    except CAError:
        return
    assert tile.path == path


def test_the_tiles_of_70_000_entries_are_as_specified():
    found = list(tiles.tiles_between(0, LARGE))

    full = [Tile(0, index) for index in range(273)]
    assert [tile for tile in found if tile.level == 0] == [*full, Tile(0, 273, 112)]
    assert [tile for tile in found if tile.level > 0] == [
        Tile(1, 0),
        Tile(1, 1, 17),
        Tile(2, 0, 1),
    ]
    bundles = [Tile(0, t.index, t.width) for t in found if t.level == ENTRIES]
    assert bundles == [*full, Tile(0, 273, 112)]


def test_a_full_tile_is_hashed_into_the_level_above():
    assert [tile.path for tile in tiles.tiles_between(0, 256)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]
    assert [tile.path for tile in tiles.tiles_between(0, 255)] == [
        "tile/entries/000.p/255",
        "tile/0/000.p/255",
    ]
    assert list(tiles.tiles_between(0, 0)) == []


def test_new_tiles_are_those_of_go():
    # Made with golang.org/x/mod v0.42.0, tlog.NewTiles; its paths name the height too.
    growths = [
        (0, 70_000),
        (255, 256),
        (300, 70_000),
        (69_999, 70_000),
        (1_000, 1_300),
        (0, 20_000_000),
        (0, 1),
    ]

    paths = [
        tile.path.replace("tile/", "tile/8/") + "\n"
        for old, new in growths
        for tile in tiles.tiles_between(old, new)
        if tile.level != ENTRIES
    ]

    assert hashlib.sha256("".join(paths).encode()).hexdigest() == (
        "e7c0d5c568ffbf272867b92dddfe69149fd141c97e88f5558635403db958e3f9"
    )


@given(st.integers(0, LARGE), st.integers(0, LARGE))
def test_only_new_tiles_are_listed_and_none_is_missing(one, other):
    old, new = sorted((one, other))

    listed = list(tiles.tiles_between(old, new))

    known = set(tiles.tiles_between(0, old))
    assert not known & set(listed)
    kept = {tile for tile in known if tile.width == tiles.WIDTH}
    assert set(tiles.tiles_between(0, new)) <= kept | known | set(listed)
    assert all(old < tile.size <= new for tile in listed)


@given(TILES)
def test_a_tile_exists_from_the_size_that_completes_its_last_hash(tile):
    last = tile.nodes[-1]

    assert tile.size == (last.position + 1) << last.level
    assert len(tile.nodes) == tile.width


def test_any_proof_can_be_made_from_tiles_alone():
    size, index = LARGE, 65_000
    fetched = {tile: content(tile) for tile in tiles.tiles_between(0, size)}

    def node(place):
        tile = tiles.tile_of(place, size)
        hashes = tiles.parse_hashes(fetched[tile], width=tile.width)
        return tiles.hash_in_tile(place, hashes)

    proof = merkle.plan_inclusion(index, size).hashes(node)
    merkle.verify_inclusion(LEAVES[index], index, size, proof, TREE.root)
    assert merkle.plan_root(size).hashes(node) == (TREE.root,)


@given(st.sampled_from(sorted(NODES)))
def test_each_node_is_had_from_one_tile(pair):
    node = Node(*pair)
    tile = tiles.tile_of(node, LARGE)
    hashes = tiles.parse_hashes(content(tile), width=tile.width)

    assert tile in set(tiles.tiles_between(0, LARGE))
    assert tiles.hash_in_tile(node, hashes) == NODES[node]


@pytest.mark.parametrize("node", [Node(0, 5), Node(2, 1), Node(3, 0)])
def test_a_node_that_the_tree_does_not_have_is_in_no_tile(node):
    with pytest.raises(Malformed, match="does not have this node"):
        tiles.tile_of(node, 5)


def test_a_tile_too_narrow_for_a_node_is_refused():
    with pytest.raises(Malformed, match="too narrow"):
        tiles.hash_in_tile(Node(3, 0), tuple(LEAVES[:7]))


@pytest.mark.parametrize("length", [0, 63, 65, 96])
def test_a_tile_of_another_length_is_refused(length):
    with pytest.raises(Malformed, match="not 2 hashes"):
        tiles.parse_hashes(bytes(length), width=2)


def test_a_bundle_is_as_specified():
    assert tiles.render_entries([b"", b"ab"]) == b"\0\0\0\x02ab"


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_entries_are_read_back_from_their_bundle(entries):
    rendered = tiles.render_entries(entries)

    assert list(tiles.parse_entries(rendered, width=len(entries))) == entries


def test_the_longest_entry_has_65535_bytes():
    longest = bytes(65_535)

    assert tiles.parse_entries(tiles.render_entries([longest]), width=1) == (longest,)
    with pytest.raises(Malformed, match="65536 bytes"):
        tiles.render_entries([longest + b"\0"])


@pytest.mark.parametrize(
    "rendered", [b"", b"\0", b"\0\2a", b"\0\1a", b"\0\1a\0\1b\0", b"\0\1a\0\1b\0\0"]
)
def test_a_bundle_that_has_not_its_entries_is_refused(rendered):
    with pytest.raises(Malformed):
        tiles.parse_entries(rendered, width=2)


@given(st.binary(), st.integers(1, 256))
def test_any_bytes_are_a_bundle_or_malformed(data, width):
    try:
        entries = tiles.parse_entries(data, width=width)
    except Malformed:
        return
    assert tiles.render_entries(entries) == data
