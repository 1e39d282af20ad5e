"""Whether a request has arrived whole, so that it can be worked on."""

import re

from signer.bodies import LARGEST_BODY

LARGEST_HEAD = 24 * 1024
"""In bytes: request line and headers."""

_CONTENT_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*([0-9]{1,9})[ \t]*\r?$")


def is_whole(received: bytes | bytearray) -> bool:
    """Tell whether a request can be worked on: it is complete, or is to be refused.

    Only looks for the end. What the bytes mean is for the parser alone, which gets no
    more than these: where it reads them otherwise than this, it misses the rest and
    refuses.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        bare = received.count(b"\n") != received.count(b"\r\n")
        return bare or len(received) > LARGEST_HEAD
    if end > LARGEST_HEAD:
        return True
    lengths = _CONTENT_LENGTH.findall(received, 0, end)
    if len(lengths) != 1 or int(lengths[0]) > LARGEST_BODY:
        return True
    return len(received) >= end + 4 + int(lengths[0])
