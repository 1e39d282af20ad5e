"""Read a log from its tiles, wherever they are: files, or any web server.

Pure: who has the files gives `fetch`. Nothing that is read here is proved; what is made
of it has to be held against a checkpoint.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from ca import wire
from ca.audit import MISSING, Damage
from ca.errors import Malformed, NotFound
from ca.merkle import HASH_BYTES, CompactTree, Node, leaf_hash, plan_root
from ca.tiles import (
    ENTRIES,
    HEIGHT,
    WIDTH,
    Tile,
    hash_in_tile,
    parse_hashes,
    tile_of,
)

Fetch = Callable[[str], bytes | None]
"""Returns what is at a path of the log; None where nothing is."""


class TiledLog:
    """The first `size` entries of a log."""

    def __init__(self, fetch: Fetch, size: int) -> None:
        self.size = size
        self._fetch = fetch
        self._looked_into: dict[int, tuple[Tile, tuple[bytes, ...]]] = {}
        """The tile of each level that was last read."""

    def kept(self, node: Node) -> bytes | None:
        """Return the hash that a tile has of a node; `ca.audit.Kept`."""
        if node.level % HEIGHT:
            return None
        try:
            hashes = self._read(tile_of(node, self.size))
        except Malformed:
            return MISSING
        return hashes[node.position % WIDTH]

    def tree(self) -> CompactTree:
        """Return the tree of all entries; raise `Malformed` where tiles are damaged."""
        plan = plan_root(self.size)
        edge = []
        for node in plan.nodes:
            tile = tile_of(node, self.size)
            edge.append(hash_in_tile(node, self._read(tile)))
        return CompactTree(self.size, tuple(edge))

    def last_row(self, level: int) -> list[bytes]:
        """Return what is in the last tile of a level that is partial, or a bundle.

        Raises `Malformed` where entries are not those that the tiles know.
        """
        count = self.size >> HEIGHT * max(level, 0)
        if not count % WIDTH:
            return []
        tile = Tile(level, count // WIDTH, count % WIDTH)
        if level != ENTRIES:
            return list(self._read(tile))
        entries, whole = self._entries(tile)
        if not whole or self._good(count - tile.width, entries) < tile.width:
            raise Malformed(f"{tile.path} is damaged")
        return entries

    def leaves(self) -> Iterator[bytes | Damage | None]:
        """Yield each entry; where a bundle cannot be read, why, and None for the rest.

        The first that the tiles do not know is where its bundle went wrong.
        """
        for index in range(-(-self.size // WIDTH)):
            first = index * WIDTH
            width = min(WIDTH, self.size - first)
            entries, whole = self._entries(Tile(ENTRIES, index, width))
            good = width if whole else self._good(first, entries)
            yield from entries[:good]
            if good < width:
                why = "cannot be read from here on" if entries else "is missing"
                yield Damage(first + good, first + width - 1, f"the bundle {why}")
                yield from (None for _ in range(good + 1, width))

    def new_leaves(self, start: int) -> Iterator[bytes]:
        """Yield each entry from `start` on.

        Raises `NotFound` for a bundle that is missing, `Malformed` for one that makes
        no sense.
        """
        for index in range(start // WIDTH, -(-self.size // WIDTH)):
            width = min(WIDTH, self.size - index * WIDTH)
            tile = Tile(ENTRIES, index, width)
            entries, whole = self._entries(tile)
            if not whole and not self._content(tile)[0]:
                raise NotFound(f"{tile.path} is not there")
            if not whole:
                raise Malformed(f"{tile.path} makes no sense")
            yield from islice(entries, max(0, start - index * WIDTH), None)

    def _good(self, first: int, entries: list[bytes]) -> int:
        """Return how many entries of a bundle are as the tiles have them."""
        for at, entry in enumerate(entries):
            if self.kept(Node(0, first + at)) != leaf_hash(entry):
                return at
        return len(entries)

    def _entries(self, tile: Tile) -> tuple[list[bytes], bool]:
        """Return the entries of a bundle that can be read, and whether that is all."""
        content, is_full = self._content(tile)
        reader = wire.Reader(content)
        entries: list[bytes] = []
        try:
            while len(entries) < tile.width:
                entries.append(reader.take(int.from_bytes(reader.take(2))))
            if not is_full:
                reader.finish()
        except Malformed:
            return entries, False
        return entries, True

    def _read(self, tile: Tile) -> tuple[bytes, ...]:
        """Return the hashes in a tile; raise `Malformed`."""
        known, hashes = self._looked_into.get(tile.level, (None, ()))
        if known != tile:
            content, is_full = self._content(tile)
            end = tile.width * HASH_BYTES if is_full else None
            hashes = parse_hashes(content[:end], width=tile.width)
            self._looked_into[tile.level] = (tile, hashes)
        return hashes

    def _content(self, tile: Tile) -> tuple[bytes, bool]:
        """Return what a tile holds, and whether it is the full one with more in it.

        A log may have taken a partial tile away once there was the full one.
        """
        content = self._fetch(tile.path)
        if content is not None or tile.width == WIDTH:
            return content or b"", False
        return self._fetch(Tile(tile.level, tile.index).path) or b"", True
