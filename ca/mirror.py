"""A copy of a log in a folder, as files that any web server can serve; it only grows.

    DIR/checkpoint               the newest checkpoint, a signed note
    DIR/tile/<L>/…               hashes                          c2sp.org/tlog-tiles
    DIR/tile/entries/…           leaves

A step is taken whole: new files are staged beside the others, their tree is held
against the checkpoint, then they are renamed into place, the checkpoint last. Whoever
reads meanwhile, or after a crash, finds one of the two checkpoints and all its files.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ca.checkpoint import Checkpoint, parse_checkpoint, parse_note
from ca.errors import Conflict, Malformed, Misconfigured
from ca.merkle import CompactTree, leaf_hash
from ca.tiled_log import TiledLog
from ca.tiles import ENTRIES, HEIGHT, WIDTH, Tile, render_entries

CHECKPOINT = "checkpoint"

_STAGED = ".staged-"


class Mirror:
    """The copy in one folder. One process at a time may write to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self) -> bytes | None:
        """Return the newest checkpoint, a signed note; None before the first."""
        return self.fetch(CHECKPOINT)

    def checkpoint(self) -> Checkpoint | None:
        """Return what the newest checkpoint says; its signature is not verified."""
        note = self.note()
        return None if note is None else parse_checkpoint(parse_note(note).text)

    def log(self) -> TiledLog:
        """Return what was copied so far."""
        checkpoint = self.checkpoint()
        return TiledLog(self.fetch, 0 if checkpoint is None else checkpoint.size)

    def fetch(self, path: str) -> bytes | None:
        """Return what is at a path; `ca.tiled_log.Fetch`."""
        with _explained(self.folder / path):
            try:
                return (self.folder / path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def tree(self) -> CompactTree:
        """Return the tree of what was copied; raise `Misconfigured` for damage."""
        log, checkpoint = self.log(), self.checkpoint()
        try:
            tree = log.tree()
            log.last_row(ENTRIES)
        except Malformed as error:
            raise self._damaged() from error
        if checkpoint is not None and tree.root != checkpoint.root:
            raise self._damaged()
        return tree

    def _damaged(self) -> Misconfigured:
        return Misconfigured(
            f"the copy of the log in {self.folder} is damaged",
            hint="keep it elsewhere, and begin a new one",
        )

    def grow(
        self, now: Checkpoint, leaves: Iterable[bytes], *, also: Mapping[str, bytes]
    ) -> None:
        """Add the leaves that are new, and then the files in `also`, in their order.

        Raises `Conflict` unless the copy with these leaves is exactly what `now` says,
        and nothing has changed then.
        """
        with _explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            for leftover in self.folder.glob(f"{_STAGED}*"):
                shutil.rmtree(leftover)
            staged = Path(tempfile.mkdtemp(dir=self.folder, prefix=_STAGED))
            try:
                growing = _Growing(staged, self.log(), self.tree())
                growing.add(leaves)
                if (growing.tree.size, growing.tree.root) != (now.size, now.root):
                    raise Conflict(
                        f"the log's entries are not those that its checkpoint of"
                        f" {now.size} entries was signed for"
                    )
                growing.finish()
                self._take(staged, growing.written)
                for name, content in also.items():
                    _write(staged / name, content)
                    (staged / name).replace(self.folder / name)
                _sync(self.folder)
                self._remove_partial(growing.written)
            finally:
                shutil.rmtree(staged)

    def _take(self, staged: Path, written: Iterable[Tile]) -> None:
        folders = set()
        for tile in written:
            target = self.folder / tile.path
            target.parent.mkdir(parents=True, exist_ok=True)
            # NOTE: there may be one, from before a crash or by somebody else's hand.
            if target.exists() and not _same(staged / tile.path, target):
                raise Conflict(f"{target} exists, and holds something else")
            (staged / tile.path).replace(target)
            folders |= set(target.relative_to(self.folder).parents)
        for folder in folders:
            _sync(self.folder / folder)

    def _remove_partial(self, written: Iterable[Tile]) -> None:
        """Remove the partial tiles that the full ones contain: tlog-tiles allows it."""
        for tile in written:
            if tile.width == WIDTH:
                partial = self.folder / f"{tile.path}.p"
                shutil.rmtree(partial, ignore_errors=True)


class _Growing:
    """The tiles that a log gains, written as they become full."""

    def __init__(self, staged: Path, log: TiledLog, tree: CompactTree) -> None:
        self.tree = tree
        self.written: list[Tile] = []
        self._staged = staged
        self._log = log
        self._rows: dict[int, list[bytes]] = {}
        """Of each level that grows, what is in its last tile."""

    def add(self, leaves: Iterable[bytes]) -> None:
        """Take all the leaves there are."""
        for leaf in leaves:
            self._append(ENTRIES, self.tree.size, leaf)
            self.tree, completed = self.tree.extend([leaf_hash(leaf)])
            for level, position, value in completed:
                if level % HEIGHT == 0:
                    self._append(level // HEIGHT, position, value)

    def finish(self) -> None:
        """Write the tiles that are partial."""
        for level, row in self._rows.items():
            if row:
                count = self.tree.size >> HEIGHT * max(level, 0)
                self._write(Tile(level, count // WIDTH, len(row)), row)

    def _append(self, level: int, position: int, value: bytes) -> None:
        row = self._rows.get(level)
        if row is None:
            row = self._rows[level] = self._log.last_row(level)
        row.append(value)
        if len(row) == WIDTH:
            self._write(Tile(level, position // WIDTH), row)
            row.clear()

    def _write(self, tile: Tile, row: list[bytes]) -> None:
        content = render_entries(row) if tile.level == ENTRIES else b"".join(row)
        _write(self._staged / tile.path, content)
        self.written.append(tile)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Misconfigured(f"cannot use {path}: {error.strerror}") from error


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
