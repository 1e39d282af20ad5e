"""A certificate for a host's key: the story of `ca.issue`, for names instead of people.

    HostCertificateRequest ──decide_host──▶ HostGrant ──▶ recorded, signed, answered
           Identity, proved ────┘

Who may have which name certified is said by the `[[host]]` rules of policy. What it
gives is a `HostGrant`, and nothing else gets to the host CA key.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from ca.authority import Authority
from ca.certify import Recording, certificate_of, record_and_sign
from ca.identity import Identity
from ca.issue import Caller, record_of
from ca.messages import HostCertificateRequest, SignResponse
from ca.policy import LONGEST_HOST_VALIDITY, HostGrant, Policy, decide_host
from ca.public_key import parse_public_key


def issue_host_certificate(
    authority: Authority,
    request: HostCertificateRequest,
    identity: Identity,
    caller: Caller,
    *,
    policy: Policy,
    now: datetime,
) -> SignResponse:
    """Certify the host key in `request`, for a proved `identity` that asks for it.

    `policy` is the one by which `identity` may ask at all: one explains the whole.

    Raises `BadRequest`, `UnacceptableKey`, `Denied`, `NotFound` where this signer has
    no host CA key, or `Unavailable`.
    """
    subject_key = parse_public_key(
        request.public_key, least_rsa_bits=authority.config.least_rsa_bits
    )
    granted = decide_host(policy, identity, request.principals, now=now)
    grant = _narrowed(granted, request.validity_seconds)
    wanted = certificate_of(authority, grant, subject_key, host_key_id(grant), now=now)
    record = record_of(request, caller, identity, grant, policy_sha256=policy.sha256)
    recording = Recording(record, checkpoint=request.checkpoint)
    return record_and_sign(authority, wanted, grant, recording, now=now)


def _narrowed(grant: HostGrant, seconds: int | None) -> HostGrant:
    # More than the ceiling is the same wish; a `timedelta` does not hold every number.
    most = int(LONGEST_HOST_VALIDITY.total_seconds())
    wish = timedelta(seconds=min(seconds or most, most))
    return replace(grant, validity=min(grant.validity, wish))


def host_key_id(grant: HostGrant) -> str:
    """Return `host:<first name>`, which ssh shows to who asks for it (`ssh -v`)."""
    return f"host:{grant.principals[0]}"
