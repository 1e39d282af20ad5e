"""The log as C2SP tlog-tiles serves it, from the database."""

from ca.errors import Malformed, NotFound
from ca.ledger.log import Ledger
from ca.merkle import Node
from ca.store import Store
from ca.tiles import ENTRIES, HEIGHT, WIDTH, Tile, parse_path, render_entries


def parse_tile(path: str) -> Tile:
    """Parse the path of a tile; raise `NotFound`."""
    try:
        return parse_path(path)
    except Malformed as error:
        raise NotFound("the log has no such tile") from error


def tile_content(ledger: Ledger, store: Store, tile: Tile) -> bytes:
    """Return what a tile or bundle holds.

    Raises `NotFound` where the log is not large enough to have it, and `LedgerStopped`.
    """
    size = ledger.checkpoint().checkpoint.size
    if tile.size > size:
        raise NotFound(f"the log has {size} entries, too few to have this tile")
    first = tile.index * WIDTH
    if tile.level == ENTRIES:
        entries = store.entries(first, tile.width)
        return render_entries(entry.leaf for entry in entries)
    return b"".join(store.neighbours(Node(HEIGHT * tile.level, first), tile.width))
