"""Revoked serials: as runs, and in the three forms that a KRL has for them.

    list      8 bytes for each serial
    range    16 bytes from one serial to another
    bitmap    8 bytes and a bit for each serial from the first to the last

Each section has 5 bytes more, a bitmap 9. Which form each run takes, and which runs
share a section, is decided for all of them together, in one walk from the lowest up.
"""

import struct
from bisect import bisect
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from ca import wire
from ca.errors import BadRequest, Malformed

Runs = tuple[tuple[int, int], ...]
"""Runs of serials, each from its first to its last; in order, apart from each other."""

LAST_SERIAL = (1 << 64) - 1

MOST_BITS = 16_000
"""What we write into one bitmap. sshd reads 16,384 (OpenSSH `SSHBUF_MAX_BIGNUM`), and
one bit more makes the whole file unreadable to it."""

_MOST_BITS_READ = 16_384


class Form(IntEnum):
    """A subsection of revoked serials, by the number it has in the file."""

    LIST = 0x20
    RANGE = 0x21
    BITMAP = 0x22


# In bits, so that a bitmap that goes on costs what it grows by. A bitmap has the bit
# of its sign, and ends on a whole byte.
_SECTION = 8 * 5
_BEGIN_LIST = _SECTION
_BEGIN_RANGE = _SECTION + 8 * 16
_BEGIN_BITMAP = _SECTION + 8 * (8 + 4 + 1)
_SERIAL = 8 * 8
_NEVER = 1 << 80


def runs_of(serials: Iterable[tuple[int, int]]) -> Runs:
    """Return runs that hold the same serials, whatever the order and overlap."""
    runs: list[tuple[int, int]] = []
    for first, last in sorted(serials):
        if runs and first <= runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    return tuple(runs)


def refuse_unordered(runs: Runs) -> None:
    """Raise `BadRequest` unless these are runs of serials that sshd takes."""
    before = 0  # which sshd takes for no serial: a KRL with it is unreadable
    for first, last in runs:
        if not before < first <= last <= LAST_SERIAL:
            raise BadRequest("revoked serials are 1 to 2^64-1, in order")
        before = last


def contains(runs: Runs, serial: int) -> bool:
    """Tell whether a serial is in one of the runs."""
    at = bisect(runs, (serial, LAST_SERIAL)) - 1
    return at >= 0 and serial <= runs[at][1]


def render_serials(runs: Runs) -> bytes:
    """Return the subsections that say these serials, in the fewest bytes."""
    return b"".join(_render(form, part) for form, part in _sections(runs))


def read_serials(form: Form, reader: wire.Reader) -> Iterator[tuple[int, int]]:
    """Yield the runs that a subsection says; raise `Malformed`."""
    if form is Form.LIST:
        while not reader.at_end:
            serial = reader.u64()
            yield serial, serial
    elif form is Form.RANGE:
        yield reader.u64(), reader.u64()
    else:
        yield from _read_bitmap(reader)
    reader.finish()


def _sections(runs: Runs) -> list[tuple[Form, Runs]]:
    """Divide the runs into sections.

    After each run three costs are known: of what is best so far with this run at the
    end of a list, of a range, of a bitmap. A list and a bitmap may go on from the run
    before, or begin after whatever was best there; a range holds one run.
    """
    ways = list(_ways(runs))
    sections: list[tuple[Form, Runs]] = []
    end = len(runs)
    while end:
        form, began = ways[end - 1].best, end - 1
        while form not in ways[began].begins:
            began -= 1
        sections.append((form, runs[began:end]))
        end = began
    return sections[::-1]


class _Way(NamedTuple):
    best: Form
    """What to end with after this run, if no run follows in the same section."""
    begins: frozenset[Form]
    """The forms that begin a section here, if one of them has this run."""


# Each of the twelve there are, once: a way is chosen for each run.
_WAYS = {
    (best, lists, maps): _Way(
        best,
        frozenset(
            {Form.RANGE, *[Form.LIST] * lists, *[Form.BITMAP] * maps},
        ),
    )
    for best in Form
    for lists in (False, True)
    for maps in (False, True)
}


def _ways(runs: Runs) -> Iterator[_Way]:
    best, listed, mapped = 0, _NEVER, _NEVER
    map_begins, before = 0, 0
    for first, last in runs:
        count = last - first + 1
        new_list, new_map = best + _BEGIN_LIST, best + _BEGIN_BITMAP
        ranged = best + _BEGIN_RANGE
        mapped += last - before
        if last - map_begins >= MOST_BITS:
            mapped = _NEVER
        lists, maps = new_list <= listed, new_map + count <= mapped
        if maps:
            mapped = new_map + count if count <= MOST_BITS else _NEVER
            map_begins = first
        listed = (new_list if lists else listed) + _SERIAL * count
        best = min(listed, ranged, mapped)
        if best == listed:
            form = Form.LIST
        else:
            form = Form.RANGE if best == ranged else Form.BITMAP
        yield _WAYS[form, lists, maps]
        before = last


def _render(form: Form, runs: Runs) -> bytes:
    if form is Form.LIST:
        serials = [n for first, last in runs for n in range(first, last + 1)]
        data = struct.pack(f">{len(serials)}Q", *serials)
    elif form is Form.RANGE:
        ((first, last),) = runs
        data = wire.u64(first) + wire.u64(last)
    else:
        data = _render_bitmap(runs)
    return bytes([form]) + wire.string(data)


def _render_bitmap(runs: Runs) -> bytes:
    offset, bits = runs[0][0], 0
    for first, last in runs:
        bits |= ((1 << (last - first + 1)) - 1) << (first - offset)
    return wire.u64(offset) + wire.mpint(bits)


def _read_bitmap(reader: wire.Reader) -> Iterator[tuple[int, int]]:
    offset, bits = reader.u64(), reader.mpint()
    if bits.bit_length() > _MOST_BITS_READ:
        raise Malformed("a bitmap is larger than sshd reads")
    for at, bit in enumerate(reversed(f"{bits:b}")):
        if bit == "1":
            yield offset + at, offset + at
