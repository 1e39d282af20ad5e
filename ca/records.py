"""Show a record of the ledger to those it is for: whom it names, and who watches.

Whoever may not see it is told the same as for one that does not exist.
"""

import json
from base64 import b64encode

from ca.authority import Authority
from ca.errors import Malformed, NotFound
from ca.identity import Identity, identity_from_record
from ca.messages import RecordResponse
from ca.policy import roles
from ca.policy.rules import Role
from ca.signed_request import SignedBy
from ca.store import Entry

LARGEST_INDEX = (1 << 63) - 1

_WATCHING = frozenset({Role.AUDITOR, Role.ADMIN})


def read_record(
    authority: Authority, index: int, signed_by: SignedBy
) -> RecordResponse:
    """Return what is on record at `index`; raise `NotFound`."""
    entries = authority.store.entries(index, 1) if 0 <= index < LARGEST_INDEX else []
    for entry in entries:
        watches = _WATCHING & roles(authority.policy, signed_by.identity)
        if watches or _names(entry, signed_by.identity):
            return RecordResponse(
                index=index,
                leaf=b64encode(entry.leaf).decode(),
                record=_encoded(entry.record),
                to_be_signed=_encoded(entry.to_be_signed),
            )
    raise NotFound("there is no such record, or none that you may see")


def _names(entry: Entry, identity: Identity) -> bool:
    """Tell whether the record is of a certificate for this person."""
    if entry.record is None:
        return False
    try:
        named = identity_from_record(json.loads(entry.record).get("identity"))
    except Malformed:
        return False
    return (named.issuer, named.subject) == (identity.issuer, identity.subject)


def _encoded(content: bytes | None) -> str | None:
    return None if content is None else b64encode(content).decode()
