"""The life of a request. Read this first.

    SignRequest ──verify──▶ Identity ──decide──▶ Grant ──record──▶ ledger entry
       parsed                                                           │
          SignResponse ◀──answer── certificate ◀──sign── to-be-signed bytes

Each step needs the result of the one before, so the order cannot be changed by
accident. An unproved caller learns nothing about policy; a refusal leaves by exception
and signs nothing. The entry is durable before the CA key sees its bytes: after a crash
we may know of a certificate that was never made, but never the reverse.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import msgspec

from ca import certificate
from ca.authority import Authority
from ca.certificate import Certificate, CertificateType
from ca.errors import Conflict, UnacceptableKey
from ca.identity import Identity, SignIn
from ca.ledger import EntryKind
from ca.messages import Asked, CertificateRequest, LeftOut, SignRequest, SignResponse
from ca.policy import LONGEST_USER_VALIDITY, Grant, Wishes, decide
from ca.public_key import parse_public_key
from ca.signing_key import SigningKey
from ca.store import Entry, TokenUse

BACKDATE = timedelta(seconds=60)
"""A certificate begins this long before it is made: hosts' clocks run behind."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from, for policy and for the record."""

    address: IPv4Address | IPv6Address
    request_id: str


def issue_user_certificate(
    authority: Authority, request: SignRequest, caller: Caller, *, now: datetime
) -> SignResponse:
    """Certify the key in `request` for whoever its ID token proves is asking.

    The same token with the same request again gets the same certificate. Raises
    `BadRequest`, `UnacceptableKey`, `Unauthenticated`, `Denied`, `Conflict` or
    `Unavailable`.
    """
    policy = authority.policy
    subject_key = parse_public_key(
        request.public_key, least_rsa_bits=authority.config.least_rsa_bits
    )
    sign_in = authority.verifier.verify(
        request.id_token, key_blob=subject_key, salt=request.salt, now=now
    )
    identity = sign_in.identity
    grant = decide(policy, identity, wishes_in(request, caller), now=now)
    refuse_unfit_key(subject_key, grant)
    wanted = user_certificate(
        subject_key, identity, grant, authority.user_ca_key, now=now
    )
    record = record_of(request, caller, identity, grant, policy_sha256=policy.sha256)
    spends = _token_use(request, sign_in)
    return record_and_sign(
        authority, wanted, grant, record=record, spends=spends, now=now
    )


def record_and_sign(
    authority: Authority,
    wanted: Certificate,
    grant: Grant,
    *,
    record: Mapping[str, object],
    spends: TokenUse | None,
    now: datetime,
) -> SignResponse:
    """Check, record, sign and answer, in this order: every certificate's way."""
    to_be_signed = certificate.render_to_be_signed(wanted)
    refuse_unlike(to_be_signed, wanted, grant, now=now)
    entry = authority.ledger.append(
        lambda serial: certificate.set_serial(to_be_signed, serial),
        kind=EntryKind.USER_CERTIFICATE,
        record=record,
        spends=spends,
        now=now,
    )
    recorded = _recorded(entry, wanted, now=now)
    signature = authority.user_ca_key.sign(entry.to_be_signed)
    signed = certificate.complete(entry.to_be_signed, signature)
    return _answer(signed, recorded, grant.left_out)


def wishes_in(request: Asked, caller: Caller) -> Wishes:
    """Return what a request asks of policy."""
    seconds = request.validity_seconds
    return Wishes(
        principals=request.principals,
        validity=None if seconds is None else _seconds(seconds),
        extensions=request.extensions,
        reason=request.reason,
        source=caller.address,
    )


def _seconds(seconds: int) -> timedelta:
    # No rule gives more than the ceiling, so more is the same wish; and a `timedelta`
    # does not hold every number that a request can.
    most = int(LONGEST_USER_VALIDITY.total_seconds())
    return timedelta(seconds=min(seconds, most))


def refuse_unfit_key(subject_key: bytes, grant: Grant) -> None:
    """Raise `UnacceptableKey` where the grant forces what this key cannot do."""
    # sshd heeds verify-required only in signatures of FIDO keys (OpenSSH
    # auth2-pubkey.c); with any other key it would force nothing.
    key_type, _ = certificate.split_key(subject_key)
    if "verify-required" in grant.critical_options and not key_type.startswith("sk-"):
        raise UnacceptableKey(
            f"policy requires a FIDO key for this, and {key_type} is none",
            hint="make one with: ssh-keygen -t ed25519-sk -O verify-required",
        )


def user_certificate(
    subject_key: bytes,
    identity: Identity,
    grant: Grant,
    ca_key: SigningKey,
    *,
    now: datetime,
) -> Certificate:
    """Return the certificate that was granted, with serial 0."""
    return Certificate(
        type=CertificateType.USER,
        subject_key=subject_key,
        ca_key=ca_key.blob,
        nonce=secrets.token_bytes(certificate.NONCE_BYTES),
        serial=0,
        key_id=identity.key_id,
        principals=grant.principals,
        valid_after=int((now - BACKDATE).timestamp()),
        valid_before=int((now + grant.validity).timestamp()),
        critical_options=grant.critical_options,
        extensions=grant.extensions,
    )


def refuse_unlike(
    to_be_signed: bytes, wanted: Certificate, grant: Grant, *, now: datetime
) -> None:
    """Parse the bytes again and compare, field by field (design invariant 8).

    A difference is a fault of ours, never of the request: it raises `RuntimeError`,
    and nothing is recorded or signed.
    """
    parsed = certificate.parse_to_be_signed(to_be_signed)
    latest = (now + min(grant.validity, LONGEST_USER_VALIDITY)).timestamp()
    if (
        parsed != wanted
        or parsed.type is not CertificateType.USER
        or parsed.principals != grant.principals
        or parsed.critical_options != grant.critical_options
        or parsed.extensions != grant.extensions
        or parsed.valid_before > latest
    ):
        raise RuntimeError("the to-be-signed bytes do not say what was granted")


def _token_use(request: SignRequest, sign_in: SignIn) -> TokenUse:
    # What was asked, without the token: a malleable signature must not make the same
    # request look like another.
    asked = msgspec.structs.replace(request, id_token="")
    return TokenUse(
        token_sha256=sign_in.token_sha256,
        request_sha256=hashlib.sha256(msgspec.json.encode(asked)).digest(),
        expires=int(sign_in.expires.timestamp()),
        max_uses=sign_in.max_uses,
    )


def record_of(
    request: CertificateRequest,
    caller: Caller,
    identity: Identity,
    grant: Grant,
    *,
    policy_sha256: str,
    parent_serial: int | None = None,
) -> dict[str, object]:
    """Return what goes on record beside the leaf; `parent_serial` where no token did.

    `ca.signed_request` reads identity and parent serial again.
    """
    return {
        "v": 1,
        "identity": identity.to_record(),
        "parent_serial": None if parent_serial is None else str(parent_serial),
        "grant": {
            "principals": grant.principals,
            "validity_seconds": int(grant.validity.total_seconds()),
            "critical_options": grant.critical_options,
            "extensions": grant.extensions,
            "rules": grant.rules,
            "left_out": msgspec.to_builtins(grant.left_out),
        },
        "asked": {
            "principals": request.principals,
            "validity_seconds": request.validity_seconds,
            "extensions": request.extensions,
            "reason": request.reason,
        },
        "policy_sha256": policy_sha256,
        "address": str(caller.address),
        "request_id": caller.request_id,
    }


def _recorded(entry: Entry, wanted: Certificate, *, now: datetime) -> Certificate:
    """Return what the entry says, if it is what is wanted now.

    An earlier request may have put it there, under another policy or CA key; and a
    database is not trusted with what the CA key signs.
    """
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
        raise Conflict(
            "the certificate that this ID token bought has ended, or is not what you"
            " would be given now",
            hint="sign in again",
        )
    return recorded


def _answer(
    signed: bytes, says: Certificate, left_out: tuple[LeftOut, ...]
) -> SignResponse:
    return SignResponse(
        certificate=certificate.render_line(signed, says.key_id).rstrip("\n"),
        serial=str(says.serial),
        key_id=says.key_id,
        principals=says.principals,
        valid_after=says.valid_after,
        valid_before=says.valid_before,
        critical_options=dict(says.critical_options),
        extensions=says.extensions,
        left_out=left_out,
    )
