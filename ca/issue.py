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
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address

import msgspec
from msgspec import Struct

from ca import certificate
from ca.authority import Authority
from ca.certify import Recording, certificate_of, record_and_sign
from ca.errors import UnacceptableKey
from ca.identity import Identity, SignIn
from ca.messages import (
    Asked,
    CertificateRequest,
    HostCertificateRequest,
    SignRequest,
    SignResponse,
)
from ca.policy import LONGEST_USER_VALIDITY, Grant, HostGrant, Wishes, decide
from ca.public_key import parse_public_key
from ca.store import Take, TokenUse
from ca.waiting import in_step


class Caller(Struct, frozen=True):
    """Where a request came from, for policy and for the record."""

    address: IPv4Address | IPv6Address
    request_id: str


def issue_user_certificate(
    authority: Authority, request: SignRequest, caller: Caller, *, now: datetime
) -> SignResponse:
    """Certify the key in `request` for whoever its ID token proves is asking.

    The same token with the same request again gets the same certificate. Raises
    `BadRequest`, `UnacceptableKey`, `Unauthenticated`, `RateLimited`, `Denied`,
    `Conflict` or `Unavailable`.
    """
    policy = authority.policy
    subject_key = parse_public_key(
        request.public_key, least_rsa_bits=authority.config.least_rsa_bits
    )
    sign_in = authority.verifier.verify(
        request.id_token, key_blob=subject_key, salt=request.salt, now=now
    )
    identity = sign_in.identity
    takes = authority.limits.of_identity(identity, now=now)
    wishes = wishes_in(request, caller)
    grant = in_step(decide, policy, identity, wishes, now=now)
    refuse_unfit_key(subject_key, grant)
    wanted = certificate_of(authority, grant, subject_key, identity.key_id, now=now)
    record = record_of(request, caller, identity, grant, policy_sha256=policy.sha256)
    spends = _token_use(request, sign_in, takes)
    recording = Recording(record, spends, request.checkpoint)
    return record_and_sign(authority, wanted, grant, recording, now=now)


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


def _token_use(request: SignRequest, sign_in: SignIn, takes: Take) -> TokenUse:
    # What was asked, without the token: a malleable signature must not make the same
    # request look like another. Nor must what a laptop has learned of the ledger since.
    asked = msgspec.structs.replace(request, id_token="", checkpoint=None)
    return TokenUse(
        token_sha256=sign_in.token_sha256,
        request_sha256=hashlib.sha256(msgspec.json.encode(asked)).digest(),
        issued=sign_in.issued,
        expires=sign_in.expires,
        max_uses=sign_in.max_uses,
        takes=takes,
    )


def record_of(
    request: CertificateRequest | HostCertificateRequest | None,
    caller: Caller,
    identity: Identity | None,
    grant: Grant | HostGrant,
    *,
    policy_sha256: str,
    parent_serial: int | None = None,
) -> dict[str, object]:
    """Return what goes on record beside the leaf; `parent_serial` where no token did.

    Without a request nothing could be asked for; without an identity nobody did but
    the host itself. `ca.signed_request` reads identity and parent serial again.
    """
    return {
        "v": 1,
        "identity": None if identity is None else identity.to_record(),
        "parent_serial": None if parent_serial is None else str(parent_serial),
        "grant": {
            "principals": grant.principals,
            "validity_seconds": int(grant.validity.total_seconds()),
            "critical_options": grant.critical_options,
            "extensions": grant.extensions,
            "rules": grant.rules,
            "left_out": msgspec.to_builtins(grant.left_out),
        },
        "asked": None if request is None else _asked(request),
        "policy_sha256": policy_sha256,
        "address": str(caller.address),
        "request_id": caller.request_id,
    }


def _asked(request: CertificateRequest | HostCertificateRequest) -> dict[str, object]:
    asked: dict[str, object] = {
        "principals": request.principals,
        "validity_seconds": request.validity_seconds,
        "reason": request.reason,
    }
    if isinstance(request, CertificateRequest):
        asked["extensions"] = request.extensions
    return asked
