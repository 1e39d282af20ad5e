"""From a grant to a certificate: check, record, sign, answer.

    Grant or HostGrant ──▶ Certificate, serial 0 ──check──▶ to-be-signed bytes
                                                                │ record
       SignResponse ◀──answer── certificate ◀──sign── ledger entry, serial set

The second half of every story (`ca.issue` has the first), for people and hosts alike.
The entry is durable before a CA key sees its bytes (design invariant 2).
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from msgspec import Struct

from ca import certificate
from ca.authority import Authority
from ca.certificate import Certificate, CertificateType, Unnumbered
from ca.errors import Conflict, NotFound
from ca.ledger import (
    EntryKind,
    Proved,
    closed_in,
    ledger_proof,
    place_of,
    require_proved,
    seen_by,
)
from ca.messages import LedgerProof, LeftOut, SignResponse
from ca.policy import LONGEST_HOST_VALIDITY, LONGEST_USER_VALIDITY, Grant, HostGrant
from ca.signing_key import SigningKey
from ca.store import Bearer, Draft, TokenUse, targets_of, targets_of_key
from ca.waiting import in_step

BACKDATE = timedelta(seconds=60)
"""A certificate begins this long before it is made: hosts' clocks run behind."""


class _Kind(Struct, frozen=True):
    """One of the two kinds of certificate: all that differs between their ways."""

    type: CertificateType
    entry: EntryKind
    longest: timedelta
    """The ceiling in code, whatever policy says (design invariant 7)."""


_KINDS: Mapping[type[Grant | HostGrant], _Kind] = {
    Grant: _Kind(
        CertificateType.USER, EntryKind.USER_CERTIFICATE, LONGEST_USER_VALIDITY
    ),
    HostGrant: _Kind(
        CertificateType.HOST, EntryKind.HOST_CERTIFICATE, LONGEST_HOST_VALIDITY
    ),
}
"""Policy's answer decides the kind: nobody who was granted a user certificate gets to
the host CA key, nor the other way round."""


def certificate_of(
    authority: Authority,
    grant: Grant | HostGrant,
    subject_key: bytes,
    key_id: str,
    *,
    now: datetime,
) -> Certificate:
    """Return the certificate that was granted, with serial 0."""
    return Certificate(
        type=_KINDS[type(grant)].type,
        subject_key=subject_key,
        ca_key=_ca_key(authority, grant).blob,
        nonce=secrets.token_bytes(certificate.NONCE_BYTES),
        serial=0,
        key_id=key_id,
        principals=grant.principals,
        valid_after=int((now - BACKDATE).timestamp()),
        valid_before=int((now + grant.validity).timestamp()),
        critical_options=grant.critical_options,
        extensions=grant.extensions,
    )


class Recording(Struct, frozen=True):
    """What goes on record with a certificate."""

    record: Mapping[str, object]
    spends: TokenUse | None = None
    checkpoint: str | None = None
    """The newest checkpoint that whoever asks remembers."""


def record_and_sign(
    authority: Authority,
    wanted: Certificate,
    grant: Grant | HostGrant,
    recording: Recording,
    *,
    now: datetime,
) -> SignResponse:
    """Check, record, sign and answer, in this order: every certificate's way."""
    checked = in_step(_check, wanted, grant, now=now)
    proved = authority.ledger.append(
        checked.unnumbered.numbered,
        kind=_KINDS[type(grant)].entry,
        record={
            **recording.record,
            **closed_in(authority.ledger, recording.checkpoint),
        },
        spends=recording.spends,
        seen=seen_by(authority.ledger, recording.checkpoint),
        bearer=_bearer(wanted, recording.record),
        now=now,
    )
    note = recording.checkpoint
    return _sign(authority, proved, checked, note, now=now)


def record_and_sign_all(
    authority: Authority,
    granted: Sequence[tuple[Certificate, Grant, Mapping[str, object]]],
    *,
    checkpoint: str | None,
    now: datetime,
) -> tuple[SignResponse, ...]:
    """Do the same for several at once, each with its record: one batch of the ledger.

    None is signed before all are on record.
    """
    checked = [_check(wanted, grant, now=now) for wanted, grant, _ in granted]
    drafts = [
        Draft(
            place_of(
                each.unnumbered.numbered,
                kind=_KINDS[type(each.grant)].entry,
                record={**record, **closed_in(authority.ledger, checkpoint)},
                now=now,
            ),
            bearer=_bearer(each.wanted, record),
        )
        for each, (_, _, record) in zip(checked, granted, strict=True)
    ]
    seen = seen_by(authority.ledger, checkpoint)
    proved = authority.ledger.append_all(drafts, seen=seen)
    return tuple(
        _sign(authority, entry, each, checkpoint, now=now)
        for entry, each in zip(proved, checked, strict=True)
    )


class _Checked(Struct, frozen=True):
    """A certificate that says what was granted, with serial 0."""

    wanted: Certificate
    grant: Grant | HostGrant
    unnumbered: Unnumbered


def _check(wanted: Certificate, grant: Grant | HostGrant, *, now: datetime) -> _Checked:
    unnumbered = certificate.render_unnumbered(wanted)
    refuse_unlike(unnumbered.numbered(wanted.serial), wanted, grant, now=now)
    return _Checked(wanted, grant, unnumbered)


def _sign(
    authority: Authority,
    proved: Proved,
    checked: _Checked,
    note: str | None,
    *,
    now: datetime,
) -> SignResponse:
    """Sign what is on record, and answer."""
    to_be_signed, serial, says = _recorded(
        proved, checked.unnumbered, checked.wanted, now=now
    )
    ca_key = _ca_key(authority, checked.grant)
    signature = in_step(ca_key.sign, to_be_signed)
    signed = certificate.complete(to_be_signed, signature)
    proof = ledger_proof(authority.store, proved, note=note)
    return _answer(signed, says, checked.grant.left_out, proof, serial=serial)


def _bearer(wanted: Certificate, record: Mapping[str, object]) -> Bearer:
    """Return whom a block could mean: whoever the record names, and the keys.

    Of the record, so that nobody is certified without being looked for.
    """
    identity, parent = record.get("identity"), record.get("parent_serial")
    targets = (
        partial(
            targets_of,
            issuer=identity["issuer"],
            subject=identity["subject"],
            email=identity["email"],
            key=wanted.subject_key,
        )
        if isinstance(identity, Mapping)
        else partial(targets_of_key, wanted.subject_key)
    )
    serial = int(parent) if isinstance(parent, str) else None
    return Bearer(targets, wanted.ca_key, serial)


def _ca_key(authority: Authority, grant: Grant | HostGrant) -> SigningKey:
    if isinstance(grant, Grant):
        return authority.user_ca_key
    if authority.host_ca_key is None:
        raise NotFound(
            "this signer certifies no hosts",
            hint="operator: name the host CA key under [host_ca_key]",
        )
    return authority.host_ca_key


def refuse_unlike(
    to_be_signed: bytes,
    wanted: Certificate,
    grant: Grant | HostGrant,
    *,
    now: datetime,
) -> None:
    """Parse the bytes again and compare, field by field (design invariant 8).

    A difference is a fault of ours, never of the request: it raises `RuntimeError`,
    and nothing is recorded or signed.
    """
    kind = _KINDS[type(grant)]
    latest = (now + min(grant.validity, kind.longest)).timestamp()
    if (
        not certificate.says(to_be_signed, wanted)
        or wanted.type is not kind.type
        or wanted.principals != grant.principals
        or wanted.critical_options != grant.critical_options
        or wanted.extensions != grant.extensions
        or wanted.valid_before > latest
    ):
        raise RuntimeError("the to-be-signed bytes do not say what was granted")


def _recorded(
    proved: Proved, checked: Unnumbered, wanted: Certificate, *, now: datetime
) -> tuple[bytes, int, Certificate]:
    """Return bytes and serial on record, and what they say, if it is wanted now.

    An earlier request may have put it there, under another policy or CA key; and a
    database is not trusted with what the CA key signs.
    """
    entry = proved.entry
    if entry.to_be_signed is None or entry.serial is None:
        raise _changed()  # erased, which is for ended certificates
    if entry.to_be_signed == checked.numbered(entry.serial):
        return entry.to_be_signed, entry.serial, wanted
    recorded = certificate.parse_to_be_signed(entry.to_be_signed)
    same = replace(
        recorded,
        nonce=wanted.nonce,
        serial=wanted.serial,
        valid_after=wanted.valid_after,
        valid_before=wanted.valid_before,
    )
    if (
        same != wanted
        or recorded.serial != entry.serial
        or not now.timestamp() < recorded.valid_before <= wanted.valid_before
    ):
        raise _changed()
    require_proved(proved, entry.to_be_signed)
    return entry.to_be_signed, entry.serial, recorded


def _changed() -> Conflict:
    return Conflict(
        "the certificate that this ID token bought has ended, or is not what you would"
        " be given now",
        hint="sign in again",
    )


def _answer(
    signed: bytes,
    says: Certificate,
    left_out: tuple[LeftOut, ...],
    proof: LedgerProof,
    *,
    serial: int,
) -> SignResponse:
    return SignResponse(
        certificate=certificate.render_line(signed, says.key_id).rstrip("\n"),
        serial=str(serial),
        key_id=says.key_id,
        principals=says.principals,
        valid_after=says.valid_after,
        valid_before=says.valid_before,
        critical_options=dict(says.critical_options),
        extensions=says.extensions,
        ledger=proof,
        left_out=left_out,
    )
