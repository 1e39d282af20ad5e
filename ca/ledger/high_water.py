"""The newest checkpoint that this signer has shown to anybody, in a file of its own.

It lies outside the database and its backups: a database that was taken back to an
earlier state is known by it. The processes of one signer share the file.

It has two halves, and the older one is overwritten: a power cut in the middle leaves
the other. Its length never changes, so that a sync is one write to the disk.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ca.errors import Malformed, StoreUnavailable
from ca.store import Seen
from ca.store.locks import FileLock

_HALF_BYTES = 4096
_OFFSETS = (0, _HALF_BYTES)
_BYTES = _HALF_BYTES * len(_OFFSETS)
_PATIENCE_SECONDS = 5.0


class HighWater:
    """The file. Thread-safe."""

    def __init__(self, file: Path, *, recognise: Callable[[bytes], Seen]) -> None:
        """`recognise` returns what an authentic note says, and raises for others."""
        self.file = file
        self._recognise = recognise
        self._known: dict[bytes, Seen] = {}
        """The notes that were last read or written, since verifying takes time."""
        self._synced = b""
        """The newest note that this process knows to be on the disk."""
        self._lock = FileLock(file.with_name(f"{file.name}-lock"))

    def exists(self) -> bool:
        """Return whether the file is there."""
        return self.file.is_file()

    def problem(self) -> str | None:
        """Say what keeps this signer from using the file, or return None."""
        try:
            self.newest()
        except StoreUnavailable as error:
            return error.detail
        return self._lock.problem()

    def newest(self) -> Seen:
        """Return the newest checkpoint in the file; raise `StoreUnavailable`."""
        with _opened(self.file, os.O_RDONLY) as descriptor:
            return self._newest(descriptor)[0]

    def raise_to(self, seen: Seen) -> None:
        """Return when this checkpoint, or a newer one, is on the disk."""
        until = time.monotonic() + _PATIENCE_SECONDS
        with self._lock.hold(until), _opened(self.file, os.O_RDWR) as descriptor:
            newest, offset = self._newest(descriptor)
            if newest.size == seen.size and newest.root != seen.root:
                raise StoreUnavailable(
                    f"{self.file} has another ledger's checkpoint of this size",
                    hint="let no two signers with different databases share it",
                )
            if newest.size < seen.size:
                os.pwrite(descriptor, _half(seen), _HALF_BYTES - offset)
                self._known = {newest.note: newest, seen.note: seen}
                newest = seen
            # Another process may have died between the two.
            if newest.note != self._synced:
                os.fdatasync(descriptor)
                self._synced = newest.note

    def create(self, seen: Seen) -> None:
        """Make the file, unless somebody else has by now."""
        with self._draft(seen) as draft, suppress(FileExistsError):
            self.file.hardlink_to(draft)

    def replace(self, seen: Seen) -> None:
        """Forget what is in the file, or that there is none."""
        with self._draft(seen) as draft:
            draft.replace(self.file)

    @contextmanager
    def _draft(self, seen: Seen) -> Iterator[Path]:
        draft = self.file.with_name(f".{self.file.name}.{secrets.token_hex(8)}")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with _opened(draft, flags) as descriptor:
                os.write(descriptor, _half(seen) * len(_OFFSETS))
                os.fsync(descriptor)
                yield draft
            with _opened(self.file.parent, os.O_RDONLY) as folder:
                os.fsync(folder)
        finally:
            draft.unlink(missing_ok=True)

    def _newest(self, descriptor: int) -> tuple[Seen, int]:
        """Return the newest checkpoint and the offset of its half."""
        data, known, found = os.pread(descriptor, _BYTES, 0), {}, []
        for offset in _OFFSETS:
            note = data[offset : offset + _HALF_BYTES].rstrip(b"\x00")
            try:
                seen = self._known.get(note) or self._recognise(note)
            except Malformed:
                # Being written this moment, or when the power went: nobody has it yet.
                continue
            known[note] = seen
            found.append((seen, offset))
        if not found:
            raise StoreUnavailable(
                f"{self.file} holds no checkpoint of this log",
                hint="ca-admin ledger adopt-head",
            )
        self._known = known
        return max(found)


def notes_in(data: bytes) -> tuple[bytes, ...]:
    """Return the notes in a file: one alone, or those in a high-water file."""
    if b"\x00" not in data:
        return (data,)
    halves = (data[offset : offset + _HALF_BYTES] for offset in _OFFSETS)
    return tuple(half.rstrip(b"\x00") for half in halves)


def _half(seen: Seen) -> bytes:
    if len(seen.note) > _HALF_BYTES:
        raise Malformed("the checkpoint is too long to be kept")
    return seen.note.ljust(_HALF_BYTES, b"\x00")


@contextmanager
def _opened(file: Path, flags: int) -> Iterator[int]:
    """Open a file; what the system refuses in here is `StoreUnavailable`."""
    try:
        descriptor = os.open(file, flags | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot keep the newest checkpoint in {file}: {error.strerror}",
            hint="check high_water_file, its owner and its disk",
        ) from error
