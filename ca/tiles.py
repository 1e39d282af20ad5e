"""A log as files that any web server can serve: C2SP tlog-tiles, both ways.

A *tile* is 256 neighbouring hashes of one level, the levels between them being left
out; a *bundle* is the 256 entries below one tile of level 0. What is rightmost may be
partial. A tile's content never changes, so a reader may keep it for ever.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ca import wire
from ca.errors import Malformed
from ca.merkle import HASH_BYTES, CompactTree, Node

WIDTH = 256
"""How many hashes are in a full tile, and entries in a full bundle."""
HEIGHT = 8
"""How many levels of the tree one level of tiles spans."""
ENTRIES = -1
"""The `level` of a bundle, which lies below the hashes and has a path of its own."""
LONGEST_ENTRY = (1 << 16) - 1

_PATH = re.compile(
    r"tile/(?P<level>entries|[1-5]?[0-9]|6[0-3])/"
    r"(?P<index>(?!x000/)(?:x[0-9]{3}/){0,6}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]?|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Tile:
    """Which tile or bundle, and how much of it."""

    level: int
    """0 to 63, or `ENTRIES`."""
    index: int
    width: int = WIDTH
    """Hashes or entries in it, 1 to 256; below 256 it is partial."""

    @property
    def path(self) -> str:
        """Where it is served, below the log's prefix."""
        level = "entries" if self.level == ENTRIES else self.level
        digits = str(self.index)
        digits = digits.zfill(len(digits) + -len(digits) % 3)
        *groups, last = (digits[at : at + 3] for at in range(0, len(digits), 3))
        folders = "".join(f"x{group}/" for group in groups)
        partial = f".p/{self.width}" if self.width < WIDTH else ""
        return f"tile/{level}/{folders}{last}{partial}"

    @property
    def size(self) -> int:
        """The least size of a tree that has it."""
        return (self.index * WIDTH + self.width) << self._lowest

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes whose hashes are in it; for a bundle, the hashes of its entries."""
        first = self.index * WIDTH
        return tuple(Node(self._lowest, first + at) for at in range(self.width))

    @property
    def _lowest(self) -> int:
        return HEIGHT * max(self.level, 0)


def parse_path(path: str) -> Tile:
    """Parse the path of a tile or bundle; raise `Malformed`. It need not exist."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise Malformed("not the path of a tile")
    level = found["level"]
    return Tile(
        level=ENTRIES if level == "entries" else int(level),
        index=int(found["index"].replace("x", "").replace("/", "")),
        width=int(found["width"] or WIDTH),
    )


def tiles_between(old_size: int, new_size: int) -> Iterator[Tile]:
    """Yield the tiles and bundles that are new at `new_size`, partial ones included.

    A partial one of the old size comes again, wider; from size 0, all there are.
    """
    for level in (ENTRIES, *range(new_size.bit_length() // HEIGHT + 1)):
        old, new = (size >> HEIGHT * max(level, 0) for size in (old_size, new_size))
        indices = range(old // WIDTH, -(-new // WIDTH)) if old < new else ()
        for index in indices:
            yield Tile(level, index, min(WIDTH, new - index * WIDTH))


def tile_of(node: Node, size: int) -> Tile:
    """Return the tile to compute a node's hash from, as wide as it is at `size`."""
    if (node.position + 1) << node.level > size:
        raise Malformed(f"a tree of size {size} does not have this node")
    level, height = divmod(node.level, HEIGHT)
    index = node.position << height >> HEIGHT
    return Tile(level, index, min(WIDTH, (size >> HEIGHT * level) - index * WIDTH))


def hash_in_tile(node: Node, hashes: tuple[bytes, ...]) -> bytes:
    """Return a node's hash from those in the tile that `tile_of` names."""
    height = node.level % HEIGHT
    first = (node.position << height) % WIDTH
    below = hashes[first : first + (1 << height)]
    if len(below) != 1 << height:
        raise Malformed("the tile is too narrow to have this node")
    tree, _nodes = CompactTree().extend(below)
    return tree.root


def parse_hashes(content: bytes, *, width: int) -> tuple[bytes, ...]:
    """Split a tile's content into its hashes; writing them is joining them."""
    if len(content) != width * HASH_BYTES:
        raise Malformed(f"a tile has {len(content)} bytes, not {width} hashes")
    starts = range(0, len(content), HASH_BYTES)
    return tuple(content[start : start + HASH_BYTES] for start in starts)


def render_entries(entries: Iterable[bytes]) -> bytes:
    """Return the content of a bundle: each entry behind its length as `uint16`."""
    return b"".join(_render_entry(entry) for entry in entries)


def _render_entry(entry: bytes) -> bytes:
    if len(entry) > LONGEST_ENTRY:
        raise Malformed(f"an entry has {len(entry)} bytes, more than a bundle takes")
    return len(entry).to_bytes(2) + entry


def parse_entries(content: bytes, *, width: int) -> tuple[bytes, ...]:
    """Split a bundle's content into exactly `width` entries; raise `Malformed`."""
    reader = wire.Reader(content)
    entries = tuple(reader.take(int.from_bytes(reader.take(2))) for _ in range(width))
    reader.finish()
    return entries
