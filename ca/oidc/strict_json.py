"""JSON objects with one possible reading.

RFC 8259 leaves open what duplicate members, huge numbers and lone surrogates mean,
and two programs that fill the gaps differently can be told two things by one token
(CVE-2025-4658 was of this kind). All of these are refused here.
"""

import json
import math
from typing import Never

from ca.errors import Malformed


def parse_object(data: bytes) -> dict[str, object]:
    """Parse UTF-8 bytes that are one JSON object; raise `Malformed` for all else."""
    try:
        text = data.decode()
        value: object = _DECODER.decode(text)
        # Strict UTF-8 holds no surrogate, so only escapes can bring one in. Alone it
        # is no character, and would fail wherever it is written later.
        if "\\ud" in text or "\\uD" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        # `from None`: the decoder's exception holds the whole text.
        raise Malformed("not JSON with one clear reading") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _object(members: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(members)
    if len(value) != len(members):
        raise ValueError("a member is named twice")
    return value


def _float(number: str) -> float:
    value = float(number)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value


def _constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_constant=_constant
)
