"""Check a whole log: name what is not what it was when it was signed for.

    leaves ──hash──▶ tree ──▶ root  =  what the checkpoints say
               ║       ║
               ╚═══════╩══  the hashes that are kept of it

Pure: whoever reads a database, files or a web server gives the leaves, one after the
other, and the hashes that are kept there. Memory stays the same however long the log.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ca.checkpoint import Checkpoint
from ca.errors import Malformed
from ca.leaf import parse_leaf
from ca.merkle import HASH_BYTES, CompactTree, Node, leaf_hash, node_hash

MISSING = b""
"""In place of a hash that should be kept and is not."""


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was signed for."""

    first: int
    """The index of the first entry it is about."""
    last: int
    what: str

    def __str__(self) -> str:
        entries = f"entry {self.first}"
        if self.last > self.first:
            entries = f"entries {self.first} to {self.last}"
        return f"{entries}: {self.what}"


Kept = Callable[[Node], bytes | None]
"""The hash that is kept of a node: None where none has to be, `MISSING` where one is
missing."""


def check_tree(
    leaves: Iterable[bytes | Damage | None],
    kept: Kept,
    checkpoints: Sequence[Checkpoint],
) -> Iterator[Damage]:
    """Compare a tree, made anew from its leaves, with what is kept of it.

    Where a leaf cannot be read stands why, or None where that was said before. What
    differs is named once, and the hash that is kept is gone on with: one flipped bit is
    one `Damage`.
    """
    expected: dict[int, list[Checkpoint]] = {}
    for checkpoint in checkpoints:
        expected.setdefault(checkpoint.size, []).append(checkpoint)
    edge: list[_Subtree] = []
    size = 0
    for size, leaf in enumerate(leaves, start=1):
        if isinstance(leaf, Damage):
            yield leaf
        found = leaf_hash(leaf) if isinstance(leaf, bytes) else None
        yield from _add(edge, found, size - 1, kept)
        for checkpoint in expected.pop(size, ()):
            yield from _check_root(edge, checkpoint)
    for signed in expected:
        if signed > size:
            what = f"missing: a checkpoint of {signed} entries was signed"
            yield Damage(size, signed - 1, what)


@dataclass(frozen=True, slots=True)
class _Subtree:
    hash: bytes
    named: bool
    """Whether something below was named already."""


def _add(
    edge: list[_Subtree], found: bytes | None, index: int, kept: Kept
) -> Iterator[Damage]:
    level, position, named = 0, index, found is None
    while True:
        keeps = kept(Node(level, position))
        if keeps is not None and keeps != found:
            if not named:
                yield _differs(level, position, missing=keeps == MISSING)
            found, named = keeps or found, True
        subtree = _Subtree(found or bytes(HASH_BYTES), named=named)
        if not position & 1:
            break
        left = edge.pop()
        found, named = node_hash(left.hash, subtree.hash), left.named or named
        level, position = level + 1, position >> 1
    edge.append(subtree)


def _differs(level: int, position: int, *, missing: bool) -> Damage:
    first, last = position << level, ((position + 1) << level) - 1
    if missing:
        return Damage(first, last, f"the hash at level {level} of the tree is missing")
    if not level:
        return Damage(first, last, "the entry is not the one whose hash is in the tree")
    return Damage(
        first, last, f"the hash at level {level} of the tree is not that of those below"
    )


def _check_root(edge: Sequence[_Subtree], signed: Checkpoint) -> Iterator[Damage]:
    tree = CompactTree(signed.size, tuple(subtree.hash for subtree in edge))
    # Where something below was named, the root could only repeat it.
    if tree.root != signed.root and not any(subtree.named for subtree in edge):
        yield Damage(
            0,
            signed.size - 1,
            f"not those of the checkpoint that was signed for {signed.size} entries",
        )


def joined(found: Iterable[Damage]) -> Iterator[Damage]:
    """Yield neighbours with the same damage as one: a file that is gone, say."""
    before: Damage | None = None
    for damage in found:
        if before and (before.last + 1, before.what) == (damage.first, damage.what):
            before = replace(before, last=damage.last)
            continue
        if before:
            yield before
        before = damage
    if before:
        yield before


class SerialCheck:
    """Checks what leaves say of themselves: form, and serials by their places."""

    def __init__(self, serial_base: int | None = None) -> None:
        self._base = serial_base
        """What a serial has above `index + 1` (invariant 2); the first one says."""

    def check(self, leaf: bytes, index: int) -> Iterator[Damage]:
        """Yield what is wrong with the leaf at `index`."""
        try:
            serial = parse_leaf(leaf).serial
        except Malformed as error:
            yield Damage(index, index, error.detail)
            return
        # Those from 2^63 up were made offline and entered afterwards.
        if serial is None or serial >= 1 << 63:
            return
        if self._base is None:
            self._base = serial - index - 1
        if serial != self._base + index + 1:
            yield Damage(index, index, f"its serial {serial} is not that of its place")
