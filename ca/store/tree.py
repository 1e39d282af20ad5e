"""The tree over the ledger's leaves: which nodes a batch takes, and what it adds.

A checkpoint that somebody has is a promise: the tree contains it for ever. So each
batch says which ones are known, and is placed only where all of them are kept.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from ca.errors import StoreUnavailable
from ca.merkle import (
    CompactTree,
    HashedNode,
    Node,
    leaf_hash,
    plan_consistency,
    plan_inclusion,
    plan_root,
)
from ca.store import bulk, tables

_columns = tables.tree_nodes.c
_ROW = sa.select(_columns.hash).where(
    _columns.level == sa.bindparam("level_"),
    _columns.position >= sa.bindparam("first"),
    _columns.position < sa.bindparam("end"),
)


class Seen(NamedTuple):
    """A checkpoint of ours that somebody has, its signature verified."""

    size: int
    root: bytes
    note: bytes
    """The whole signed note, as evidence."""


class Contradiction(Exception):
    """Somebody has a checkpoint that the tree does not contain.

    Its words are a line that says so, and the note, as evidence.
    """

    def __init__(self, head: Seen, instead: str) -> None:
        root = b64encode(head.root).decode()
        super().__init__(
            f"there is a checkpoint of {head.size} entries with root {root}, and"
            f" {instead}\n\n{head.note.decode()}"
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """A tree before and after a batch."""

    tree: CompactTree
    """After it."""
    completed: list[HashedNode]
    """The nodes that are new."""
    hashes: Mapping[Node, bytes]
    """What proves the batch's entries, and that the tree contains what was seen."""
    base: int = 0
    """Where the log begins in the tables."""

    def rows(self) -> list[tuple[int, int, bytes]]:
        """Return the new nodes as they are stored."""
        return [
            (level, position + (self.base >> level), value)
            for level, position, value in self.completed
        ]


def grow(
    connection: sa.Connection,
    size: int,
    *,
    leaves: list[bytes],
    base: int = 0,
    repeated: Iterable[int] = (),
    seen: Iterable[Seen] = (),
) -> Growth:
    """Return how the tree of `size` grows by these leaves. Nothing is written.

    `repeated` are the entries, by their indices in the log, that have to be proved
    again. Raises `Contradiction` where the tree does not contain what was seen.
    """
    heads = {(head.size, head.root): head for head in seen}.values()
    larger = max((head for head in heads if head.size > size), default=None)
    if larger is not None:
        raise Contradiction(larger, f"the ledger has {size}")
    wanted = _wanted(size, size + len(leaves), repeated, heads)
    hashes = fetch(connection, wanted, base=base)
    for head in heads:
        if plan_root(head.size).hashes(hashes.__getitem__) != (head.root,):
            raise Contradiction(head, "the ledger has other entries")
    edge = tuple(hashes[node] for node in plan_root(size).nodes)
    tree, completed = CompactTree(size, edge).extend(map(leaf_hash, leaves))
    hashes |= {Node(level, position): value for level, position, value in completed}
    return Growth(tree, completed, hashes, base)


def fetch(
    connection: sa.Connection, wanted: Iterable[Node], *, base: int
) -> dict[Node, bytes]:
    """Return the hashes of these nodes; raise `StoreUnavailable` if one is missing."""
    nodes = dict.fromkeys(wanted)
    keys = [(level, position + (base >> level)) for level, position in nodes]
    rows = bulk.select(connection, tables.tree_nodes, keyed=2, keys=keys)
    found = {
        Node(level, position - (base >> level)): value
        for level, position, value in rows
    }
    if len(found) != len(nodes):
        raise _damaged()
    return found


def fetch_row(
    connection: sa.Connection, first: Node, count: int, *, base: int
) -> list[bytes]:
    """Return the hashes of `count` neighbours, `first` and those to its right."""
    position = first.position + (base >> first.level)
    place = {"level_": first.level, "first": position, "end": position + count}
    found = connection.scalars(_ROW.order_by(_columns.position), place).all()
    if len(found) != count:
        raise _damaged()
    return list(found)


def last_nodes(connection: sa.Connection, *, base: int) -> list[Node]:
    """Return the last node of each level that there is a row of."""
    last = sa.select(_columns.level, sa.func.max(_columns.position))
    rows = connection.execute(last.group_by(_columns.level).order_by(_columns.level))
    return [Node(level, position - (base >> level)) for level, position in rows]


def _wanted(
    size: int, new_size: int, repeated: Iterable[int], heads: Iterable[Seen]
) -> Iterator[Node]:
    """Yield the nodes to read: those of the old tree, the others are made anew."""
    plans = [plan_root(size)]
    for head in heads:
        plans += [plan_root(head.size), plan_consistency(head.size, new_size)]
    plans += [plan_inclusion(index, new_size) for index in repeated]
    for plan in plans:
        for node in plan.nodes:
            if (node.position + 1) << node.level <= size:
                yield node


def _damaged() -> StoreUnavailable:
    return StoreUnavailable(
        "the ledger's tree is damaged: a node is missing",
        hint="the operator finds where with: ca-admin ledger verify",
    )
