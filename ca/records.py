"""Show a record of the ledger to those it is for: whom it names, and who watches.

Whoever may not see it is told the same as for one that does not exist.
"""

import json
from datetime import datetime
from itertools import islice

import msgspec

from ca.administration import Certificates, CertificateSummary
from ca.authority import Authority
from ca.errors import Malformed, NotFound
from ca.identity import Identity, identity_from_record
from ca.issued import Issued, Wanted, find
from ca.messages import RecordResponse
from ca.policy import Role, require_role, roles
from ca.signed_request import SignedBy
from ca.store import Entry
from ca.wire import encode_base64

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
                leaf=encode_base64(entry.leaf),
                record=_encoded(entry.record),
                to_be_signed=_encoded(entry.to_be_signed),
            )
    raise NotFound("there is no such record, or none that you may see")


def list_certificates(
    authority: Authority, signed_by: SignedBy, *, now: datetime
) -> Certificates:
    """Return the certificates that are good now, to an admin; raise `Denied`."""
    _require_admin(authority, signed_by)
    found = find(authority.store, Wanted(live=True), now=now)
    shown = tuple(_summary(one, now=now) for one in islice(found, MOST_SHOWN))
    return Certificates(shown, more=next(found, None) is not None)


MOST_SHOWN = 1000
"""In one answer; `ca-admin certificates list` has no such bound."""


def show_certificate(
    authority: Authority, serial: int, signed_by: SignedBy, *, now: datetime
) -> CertificateSummary:
    """Return a certificate with its record, to an admin; raise `Denied`, `NotFound`."""
    _require_admin(authority, signed_by)
    issued = next(find(authority.store, Wanted(serial=serial), now=now), None)
    if issued is None:
        raise NotFound("no certificate with this serial is on record")
    record = None if issued.record is None else dict(issued.record)
    return msgspec.structs.replace(_summary(issued, now=now), record=record)


def _require_admin(authority: Authority, signed_by: SignedBy) -> None:
    identity = signed_by.identity
    require_role(authority.policy, identity, Role.ADMIN, to="look at certificates")


def _summary(issued: Issued, *, now: datetime) -> CertificateSummary:
    says = issued.certificate
    summary = CertificateSummary(
        serial=str(issued.stored.serial),
        kind=issued.stored.kind,
        time=issued.stored.time,
        state=issued.state(now=now),
    )
    if says is None:
        return summary
    return msgspec.structs.replace(
        summary,
        key_id=says.key_id,
        principals=says.principals,
        valid_after=says.valid_after,
        valid_before=says.valid_before,
    )


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
    return None if content is None else encode_base64(content)
