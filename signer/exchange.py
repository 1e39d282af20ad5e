"""One request and its answer, as log, limits, counters and problem documents see them.

Nothing of Flask's: the request that has to be fast is answered without it
(`signer.plain`), and all that is done around an answer is done there, too.
"""

import secrets
import time
from contextvars import ContextVar
from ipaddress import IPv4Address, IPv6Address

import msgspec
from msgspec import Struct

UNKNOWN = "unknown"
"""In place of a method that is none of HTTP's, and of a path that is no route."""


def new_request_id() -> str:
    """Return an id for a request; the same in answer, log and record."""
    return secrets.token_hex(8)


class Exchange(Struct):
    """A request that is being answered.

    A request id that the caller may have sent is not taken: it would let one caller's
    requests pass for another's in log and ledger.
    """

    method: str
    route: str
    """As `/openapi.json` has it; never the path as sent: a token may stand in it."""
    remote: str
    """The address at the other end of the connection."""
    request_id: str = msgspec.field(default_factory=new_request_id)
    began: float = msgspec.field(default_factory=time.monotonic)
    peer: IPv4Address | IPv6Address | None = None
    """Whose request it is, once that was looked at: a proxy sends others'."""
    notes: dict[str, object] = msgspec.field(default_factory=dict)
    """What its line in the log says besides."""


CURRENT: ContextVar[Exchange | None] = ContextVar("exchange", default=None)
"""What is being answered here: by this thread, or by this member of its crew."""


def current() -> Exchange:
    """Return what is being answered; raise `LookupError` where nothing is."""
    exchange = CURRENT.get()
    if exchange is None:
        raise LookupError("no request is being answered here")
    return exchange


def note(**notes: object) -> None:
    """Have the log's line about this request say more."""
    current().notes.update(notes)
