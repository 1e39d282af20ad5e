"""Lengths of time as people write them: `45s`, `30m`, `10h`, `1d`."""

import re
from datetime import timedelta

from ca.errors import Misconfigured

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
"""From the longest unit to the shortest."""

_DURATION = re.compile(r"([1-9][0-9]{0,8})([dhms])", re.ASCII)


def parse_duration(text: str, *, most: timedelta) -> timedelta:
    """Parse a length of time above zero; raise `Misconfigured` above `most`.

    `most` is a ceiling in code: the file can only be stricter.
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        raise Misconfigured(
            f"{text!r} is not a length of time",
            hint='write a whole number and a unit: "45s", "30m", "10h" or "1d"',
        )
    length = timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if length > most:
        raise Misconfigured(f"{text} is more than {render_duration(most)}, the most")
    return length


def render_duration(length: timedelta) -> str:
    """Write a length of time in its longest whole unit."""
    seconds = int(length.total_seconds())
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0)
    return f"{seconds // _SECONDS[unit]}{unit}"
