"""A log as the files that a web server has of it, made without the code under test."""

import hashlib
from collections.abc import Sequence

from proofbundle import merkle as other

from ca.leaf import Leaf, render_leaf
from ca.tiles import ENTRIES, WIDTH, tiles_between


def leaves_of(count: int, *, serial_base: int = 0) -> list[bytes]:
    """Return leaves as a CA makes them; each seventh is about no certificate."""
    return [_leaf(index, serial_base) for index in range(count)]


def _leaf(index: int, serial_base: int) -> bytes:
    digest = hashlib.sha256(b"%d" % index).hexdigest()
    if index % 7 == 6:
        return render_leaf(Leaf("revocation", 1795330000 + index, None, None, digest))
    serial = serial_base + index + 1
    return render_leaf(
        Leaf("user-certificate", 1795330000 + index, serial, digest, digest)
    )


def files_of(leaves: Sequence[bytes], *, old_size: int = 0) -> dict[str, bytes]:
    """Return tiles and bundles by their paths."""
    files = {}
    for tile in tiles_between(old_size, len(leaves)):
        first, last = tile.index * WIDTH, tile.index * WIDTH + tile.width
        if tile.level == ENTRIES:
            parts = [len(leaf).to_bytes(2) + leaf for leaf in leaves[first:last]]
        else:
            below = 256**tile.level
            parts = [
                other.merkle_tree_hash(list(leaves[at * below : (at + 1) * below]))
                for at in range(first, last)
            ]
        files[tile.path] = b"".join(parts)
    return files


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaves."""
    root: bytes = other.merkle_tree_hash(list(leaves))
    return root
