"""What the processes of one signer have counted, all of them together.

One piece of memory, made before the first fork: a row for each process, a column for
each thing that is counted. A process writes to its own row alone, so nothing is locked
between processes, and one that is killed leaves what it counted. The next one in its
place goes on from there: what is counted never goes back while the signer lives.
"""

import mmap
import threading
from collections.abc import Collection, Sequence

_BYTES = 8


class Counters:
    """Named counters. Thread-safe, and shared with processes that are forked."""

    def __init__(self, names: Sequence[str], *, rows: int = 1) -> None:
        self._columns = {name: column for column, name in enumerate(names)}
        self._rows = rows
        memory = mmap.mmap(-1, rows * len(names) * _BYTES)
        self._cells = memoryview(memory).cast("Q")
        self._first = 0
        self._one_at_a_time = threading.Lock()

    def free_row(self, taken: Collection[int]) -> int:
        """Return a row that none of the processes has that have these."""
        return next((row for row in range(self._rows) if row not in taken), 0)

    def take_row(self, row: int) -> None:
        """Count in this row from now on: in a process that was just forked."""
        self._first = row * len(self._columns)

    def count(self, name: str) -> None:
        """Add one; what has no column is not counted."""
        column = self._columns.get(name)
        if column is not None:
            with self._one_at_a_time:
                self._cells[self._first + column] += 1

    def latest(self, name: str, value: int) -> None:
        """Put a value, such as a time, in the place of the one before."""
        self._cells[self._first + self._columns[name]] = value

    def values(self, name: str) -> list[int]:
        """Return what each process has in a column."""
        return list(self._cells[self._columns[name] :: len(self._columns)])
