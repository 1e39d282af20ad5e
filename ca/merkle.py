"""The Merkle tree of RFC 6962 section 2.1: hashes and proofs, made and verified.

A *node* is a complete subtree: `Node(level, position)` covers `1 << level` entries from
`position << level` on. Its hash never changes again, so a store keeps each one once,
and the tree of any size up to today's can be had from them:

    CompactTree.extend      hashes of new entries → the nodes that became complete
    plan_*                  which nodes a root or a proof takes; no hash is read yet
    Plan.hashes             the root or the proof, from those nodes
    verify_*                raise unless the proof proves what it should

All counting is from 0. Every hash is 32 bytes of SHA-256.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from ca.errors import Malformed
from ca.values import NamedTuple, dataclass

HASH_BYTES = 32
LARGEST_SIZE = (1 << 63) - 1
"""The largest tree anybody may speak of; other implementations use an `int64`."""
EMPTY_ROOT = hashlib.sha256().digest()


class Node(NamedTuple):
    """Where a node is. Equal to the plain pair, so that rows of a store look it up."""

    level: int
    position: int
    """Among the nodes of its level; at level 0 the index of the entry."""


class HashedNode(NamedTuple):
    """A node and its hash: one row of a store."""

    level: int
    position: int
    hash: bytes


class TreeHead(NamedTuple):
    """All that a checkpoint says about a tree, in the words of RFC 6962 section 3.5."""

    size: int
    root: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry; its prefix keeps it from passing as a node's."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of two neighbours."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class CompactTree:
    """All that is needed of a tree to append to it."""

    size: int = 0
    edge: tuple[bytes, ...] = ()
    """The hashes of `plan_root(size).nodes`: one for each bit set in `size`."""

    def __post_init__(self) -> None:
        if (
            not 0 <= self.size <= LARGEST_SIZE
            or len(self.edge) != self.size.bit_count()
        ):
            raise Malformed("the edge of a tree does not fit its size")
        _require_hashes(self.edge)

    @property
    def root(self) -> bytes:
        """The tree's root hash."""
        return _join(self.edge)

    def extend(
        self, leaf_hashes: Iterable[bytes]
    ) -> tuple["CompactTree", list[HashedNode]]:
        """Return the tree with these entries, and the nodes complete only now.

        Those are the new leaves and what stands on them: two nodes for each entry, on
        average.
        """
        edge, size = list(self.edge), self.size
        completed: list[HashedNode] = []
        for leaf in leaf_hashes:
            level, index, value = 0, size, leaf
            completed.append(HashedNode(level, index, value))
            while index & 1:
                level, index, value = (
                    level + 1,
                    index >> 1,
                    node_hash(edge.pop(), value),
                )
                completed.append(HashedNode(level, index, value))
            edge.append(value)
            size += 1
        return CompactTree(size, tuple(edge)), completed


# --- Making proofs ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """Which nodes make which hashes: known before any of them is fetched."""

    parts: tuple[tuple[Node, ...], ...]
    """One for each hash; those on the tree's right border take several nodes."""

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes to fetch, none twice; all are in any tree of the size planned."""
        return tuple(node for part in self.parts for node in part)

    def hashes(self, node: Callable[[Node], bytes]) -> tuple[bytes, ...]:
        """Return the hashes planned; `node` gives those of `nodes`."""
        return tuple(
            [
                node(part[0]) if len(part) == 1 else _join([node(n) for n in part])
                for part in self.parts
            ]
        )


@lru_cache(maxsize=64)  # one append asks several times for the same few
def plan_root(size: int) -> Plan:
    """Plan one hash, the root of the first `size` entries."""
    _require_size(size)
    return Plan((_cover(0, size),))


def plan_inclusion(index: int, size: int) -> Plan:
    """Plan the proof that entry `index` is in the tree of `size` (section 2.1.1)."""
    _require_index(index, size)
    forks, _ = _path(index, size)
    path: list[tuple[Node, ...]] = [
        (Node(level, index >> level ^ 1),) for level in range(forks)
    ]
    if forks:
        # The last entry is below this sibling, which may not be complete.
        path[-1] = _cover(path[-1][0].position << (forks - 1), size)
    path += [
        (Node(level, index >> level ^ 1),)
        for level in range(forks, index.bit_length())
        if index >> level & 1
    ]
    return Plan(tuple(path))


def plan_consistency(old_size: int, new_size: int) -> Plan:
    """Plan the proof that the tree only grew between two sizes (section 2.1.2).

    It has no hashes for equal sizes, nor from the empty tree, which every tree extends.
    """
    _require_growth(old_size, new_size)
    start, end = 0, new_size if old_size else 0
    path = []
    while end != old_size:
        middle = start + _split(end - start)
        if old_size <= middle:
            path.append(_cover(middle, end))
            end = middle
        else:
            path.append(_cover(start, middle))
            start = middle
    # A verifier has the old root; it is what remains when we never went right.
    if start:
        path.append(_cover(start, end))
    return Plan(tuple(reversed(path)))


# --- Verifying proofs -------------------------------------------------------------


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise `Malformed` unless the leaf hash is at `index` in the tree with `root`.

    `size` and `root` must come from one signed checkpoint: a proof alone binds neither.
    """
    _require_index(index, size)
    _require_hashes([leaf, root, *proof])
    forks, above = _path(index, size)
    _require_count(proof, forks + above)
    found = leaf
    for level, sibling in enumerate(proof):
        is_right = level >= forks or index >> level & 1
        found = node_hash(sibling, found) if is_right else node_hash(found, sibling)
    if found != root:
        raise Malformed("the inclusion proof does not lead to the root")


def verify_consistency(
    old_size: int,
    old_root: bytes,
    new_size: int,
    new_root: bytes,
    proof: Sequence[bytes],
) -> None:
    """Raise `Malformed` unless the new tree begins with all of the old one.

    Each size and root must come from one signed checkpoint.
    """
    _require_growth(old_size, new_size)
    _require_hashes([old_root, new_root, *proof])
    if old_size in {0, new_size}:
        _require_count(proof, 0)
        old_found = new_root if old_size else EMPTY_ROOT
        found = (old_found, new_root if new_size else EMPTY_ROOT)
    else:
        found = _climb(old_size, new_size, old_root, proof)
    if found != (old_root, new_root):
        raise Malformed("the trees are not consistent")


def _climb(
    old_size: int, new_size: int, old_root: bytes, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the old and the new root that a consistency proof leads to.

    The path starts at the largest node that the old tree's last entry completed.
    """
    last, lowest = old_size - 1, (old_size & -old_size).bit_length() - 1
    forks, above = _path(last, new_size)
    # Where that node is all of the old tree, the proof leaves it out.
    path = [old_root, *proof] if old_size == 1 << lowest else proof
    _require_count(path, 1 + forks - lowest + above)
    old = new = path[0]
    for level, sibling in enumerate(path[1:], start=lowest):
        if level >= forks or last >> level & 1:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old, new


def _path(index: int, size: int) -> tuple[int, int]:
    """Return how many siblings a leaf's path has below and above the right border.

    Above, where the paths of this leaf and of the last one are the same, the sibling is
    always the left one, and levels without a sibling are skipped.
    """
    forks = (index ^ (size - 1)).bit_length()
    return forks, (index >> forks).bit_count()


def _split(width: int) -> int:
    """Return the largest power of two below `width`."""
    return 1 << ((width - 1).bit_length() - 1)


def _cover(start: int, end: int) -> tuple[Node, ...]:
    """Return the fewest nodes that cover these entries, from left to right.

    `start` must be a multiple of the largest of them, as it is where RFC 6962 splits.
    """
    nodes = []
    while start < end:
        level = (end - start).bit_length() - 1
        nodes.append(Node(level, start >> level))
        start += 1 << level
    return tuple(nodes)


def _join(hashes: Sequence[bytes]) -> bytes:
    """Return the hash of neighbouring nodes, each larger than the one after it."""
    if not hashes:
        return EMPTY_ROOT
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def _require_hashes(hashes: Iterable[bytes]) -> None:
    # Of two hashes with other lengths, the border could be shifted unseen.
    if not {HASH_BYTES}.issuperset(map(len, hashes)):
        raise Malformed(f"a hash has not {HASH_BYTES} bytes")


def _require_count(path: Sequence[bytes], count: int) -> None:
    if len(path) != count:
        raise Malformed("the proof has not as many hashes as it must")


def _require_size(size: int) -> None:
    if not 0 <= size <= LARGEST_SIZE:
        raise Malformed(f"there is no tree of size {size}")


def _require_index(index: int, size: int) -> None:
    _require_size(size)
    if not 0 <= index < size:
        raise Malformed(f"entry {index} is not in a tree of size {size}")


def _require_growth(old_size: int, new_size: int) -> None:
    _require_size(new_size)
    if not 0 <= old_size <= new_size:
        raise Malformed(f"a tree of size {old_size} cannot grow to {new_size}")
