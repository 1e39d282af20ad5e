"""Lengths and moments of time, as people type and read them."""

import re
import time

from client.failure import Misuse

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_LENGTH = re.compile(r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?")


def parse_length(text: str) -> int:
    """Return the seconds in `8h`, `1h30m`, `90s`; raise `Misuse`."""
    match = _LENGTH.fullmatch(text)
    counts = match.groups(default="0") if match else ()
    seconds = sum(
        int(count) * unit
        for count, unit in zip(counts, _SECONDS.values(), strict=False)
    )
    if not seconds:
        raise Misuse(
            f"{text!r} is not a length of time", hint="write it as 8h, 30m or 1h30m"
        )
    return seconds


def render_length(seconds: float) -> str:
    """Return a length in the two largest units that say something: `7 h 12 min`."""
    if seconds < 60:  # noqa: PLR2004 seconds in a minute
        return f"{int(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 60:  # noqa: PLR2004 minutes in an hour
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def render_moment(unix_seconds: int, *, now: float) -> str:
    """Return a moment in local time: `18:02`, with the date unless it is today."""
    moment = time.localtime(unix_seconds)
    if moment[:3] == time.localtime(now)[:3]:
        return time.strftime("%H:%M", moment)
    return time.strftime("%Y-%m-%d %H:%M", moment)
