"""`ca-admin ledger verify`: the whole ledger, in the database or in a folder."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from ca.admin.command import (
    DONE,
    DRIFT,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.admin.ledger.keys import keys_of, open_note, parse_keys, read_checkpoints
from ca.audit import MISSING, Damage, SerialCheck, check_tree, joined
from ca.checkpoint import Checkpoint, NoteKey
from ca.config import Config, load_config
from ca.errors import Malformed, Misconfigured, SignatureInvalid, StoreUnavailable
from ca.leaf import parse_leaf
from ca.ledger import EntryKind, HighWater
from ca.merkle import Node
from ca.mirror import Mirror
from ca.store import Entry, Seen, Store
from ca.trust import load_roots

CHUNK = 4096
"""Entries that are in memory at once."""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `verify`."""
    parser.add_argument("folder", metavar="DIR", nargs="?")
    parser.add_argument("--key", action="append", default=[])
    parser.add_argument("--checkpoint", action="append", default=[])
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Check all there is; print what is wrong."""
    keys = _keys(options)
    brought = [
        checkpoint
        for name in options.checkpoint
        for checkpoint in read_checkpoints(Path(name), partial(open_note, keys=keys))
    ]
    if options.folder is None:
        config = load_config(config_file(options))
        brought += _remembered(config, keys, output)
        size, found = _check_database(config, brought)
    else:
        size, found = _check_folder(Mirror(Path(options.folder)), keys, brought)
    wrong = 0
    for damage in sorted(found, key=lambda damage: damage.first):
        wrong += 1
        document = {"first": damage.first, "last": damage.last, "what": damage.what}
        output.result({"damage": document}, str(damage))
    text = f"{size} entries checked: {wrong or 'nothing'} wrong"
    output.result({"entries": size, "wrong": wrong}, text)
    return DRIFT if wrong else DONE


def _keys(options: Options) -> tuple[NoteKey, ...]:
    if options.key:
        return parse_keys(options.key)
    return keys_of(load_roots(load_config(config_file(options)).roots_file).roots)


# --- A copy in a folder -----------------------------------------------------------


def _check_folder(
    mirror: Mirror, keys: tuple[NoteKey, ...], brought: list[Checkpoint]
) -> tuple[int, Iterable[Damage]]:
    note = mirror.note()
    if note is None:
        raise Misconfigured(
            f"{mirror.folder} holds no checkpoint",
            hint="name a folder that ca-admin ledger export or monitor made",
        )
    checkpoint = open_note(note, keys)
    log = mirror.log()
    serials = SerialCheck()
    out_of_place: list[Damage] = []

    def leaves() -> Iterator[bytes | Damage | None]:
        for index, leaf in enumerate(log.leaves()):
            if isinstance(leaf, bytes):
                out_of_place.extend(serials.check(leaf, index))
            yield leaf

    found = list(joined(check_tree(leaves(), log.kept, [checkpoint, *brought])))
    return checkpoint.size, found + out_of_place


# --- The database -----------------------------------------------------------------


def _check_database(
    config: Config, brought: list[Checkpoint]
) -> tuple[int, Iterable[Damage]]:
    roots = load_roots(config.roots_file).roots
    store = Store.open(config.database_url, password_file=config.database_password_file)
    try:
        log = _DatabaseLog(store, roots.serial_base)
        found = [*joined(check_tree(log.leaves(), log.kept, brought)), *log.found]
        found += joined(log.gone())
        return log.size, found or list(log.check_head())
    finally:
        store.close()


def _remembered(
    config: Config, keys: tuple[NoteKey, ...], output: Output
) -> list[Checkpoint]:
    """Return the newest checkpoint that this signer has given out."""

    def recognise(note: bytes) -> Seen:
        try:
            said = open_note(note, keys)
        except SignatureInvalid as error:
            raise Malformed(error.detail) from error
        return Seen(said.size, said.root, note)

    try:
        newest = HighWater(config.high_water_file, recognise=recognise).newest()
    except StoreUnavailable as error:
        output.note(f"ca-admin: warning: not held against it: {error.detail}")
        return []
    return [Checkpoint(keys[0].name, newest.size, newest.root)]


class _DatabaseLog:
    """The ledger in a database, as far as it went when we began."""

    def __init__(self, store: Store, serial_base: int) -> None:
        self._store = store
        self._base = serial_base
        self._serials = SerialCheck(serial_base)
        self._nodes: dict[Node, bytes] = {}
        self.found: list[Damage] = []
        """What is wrong beside the tree."""
        self._gone: set[int] = set()
        """Entries without all of their record, of which no entry has said why."""
        self.size, self._head_fits = self._find_size()

    def _find_size(self) -> tuple[int, bool]:
        try:
            return self._store.log_head().tree.size, True
        except StoreUnavailable:
            # Its head or its tree is damaged: count what there is.
            size = 0
            while entries := self._store.entries(size, CHUNK):
                size = entries[-1].index - self._base + 1
            return size, False

    def check_head(self) -> Iterator[Damage]:
        """Yield damage unless the head says how many entries and nodes there are."""
        beyond = self._store.entries(self.size, 1)
        if not self._head_fits or (beyond and self._find_size()[0] == self.size):
            yield Damage(
                self.size, self.size, "the ledger's head does not fit its entries"
            )
            return
        for node in self._store.last_nodes():
            index = node.position << node.level
            if index + (1 << node.level) > self.size:
                what = f"there is a node beyond the tree, at level {node.level}"
                yield Damage(index, index, what)

    def kept(self, node: Node) -> bytes:
        """Return the hash that the database has; `ca.audit.Kept`."""
        return self._nodes.get(node, MISSING)

    def leaves(self) -> Iterator[bytes | Damage]:
        """Yield each leaf, and look at what stands beside it."""
        for first in range(0, self.size, CHUNK):
            end = min(first + CHUNK, self.size)
            self._nodes = dict(self._read_nodes(first, end))
            entries = self._read_entries(first, end)
            for index in range(first, end):
                entry = entries.get(index, Damage(index, index, "the entry is missing"))
                if isinstance(entry, Damage):
                    yield entry
                    continue
                self.found.extend(self._serials.check(entry.leaf, index))
                what = _check_beside(entry)
                self.found.extend(Damage(index, index, each) for each in what)
                self._look_for_record(index, entry)
                yield entry.leaf

    def _look_for_record(self, index: int, entry: Entry) -> None:
        is_certificate = entry.serial is not None
        if entry.record is None or (is_certificate and entry.to_be_signed is None):
            self._gone.add(index)
        elif entry.kind == EntryKind.ADMINISTRATION:
            self._gone -= _excused(index, entry.record)

    def gone(self) -> Iterator[Damage]:
        """Yield what somebody took away without a word on the ledger."""
        for index in sorted(self._gone):
            what = "its record is gone, and no entry says that it was erased"
            yield Damage(index, index, what)

    def _read_entries(self, first: int, end: int) -> dict[int, Entry | Damage]:
        try:
            entries = self._store.entries(first, end - first)
            return {entry.index - self._base: entry for entry in entries}
        except (ValueError, StoreUnavailable):
            if end - first > 1:
                middle = (first + end) // 2
                return {
                    **self._read_entries(first, middle),
                    **self._read_entries(middle, end),
                }
            # Is it this row, or all of the database?
            self._store.check_schema()
            return {first: Damage(first, first, "its row cannot be read")}

    def _read_nodes(self, first: int, end: int) -> Iterator[tuple[Node, bytes]]:
        """Yield the nodes that the entries from `first` to `end` completed."""
        for level in range(end.bit_length()):
            row = [Node(level, at) for at in range(first >> level, end >> level)]
            yield from zip(row, self._read_row(row), strict=True)

    def _read_row(self, row: list[Node]) -> list[bytes]:
        try:
            return self._store.neighbours(row[0], len(row)) if row else []
        except StoreUnavailable:
            return [self._read_node(node) for node in row]

    def _read_node(self, node: Node) -> bytes:
        try:
            return self._store.neighbours(node, 1)[0]
        except StoreUnavailable:
            return MISSING


def _excused(index: int, record: bytes) -> set[int]:
    """Return the entries whose record is gone because of this one."""
    try:
        says = json.loads(record)
    except (ValueError, RecursionError):  # damaged, as was said
        return set()
    match says:
        case {"act": "erase-record", "index": int(erased)}:
            return {erased}
        case {"act": "recover", "taken_back": int(count)}:
            return set(range(max(0, index - count), index))
    return set()


def _check_beside(entry: Entry) -> Iterator[str]:
    """Yield what stands beside a leaf and is not what its hashes say."""
    try:
        leaf = parse_leaf(entry.leaf)
    except Malformed:
        return
    if (entry.kind, entry.time, entry.serial) != (leaf.kind, leaf.time, leaf.serial):
        yield "its columns do not say what its leaf says"
    if _differs(entry.record, leaf.record_sha256):
        yield "its record is not the one that was hashed"
    if _differs(entry.to_be_signed, leaf.to_be_signed_sha256):
        yield "its to-be-signed bytes are not those that were hashed"


def _differs(content: bytes | None, sha256: str | None) -> bool:
    """Tell whether content differs from its hash; what was erased does not."""
    return content is not None and hashlib.sha256(content).hexdigest() != sha256
