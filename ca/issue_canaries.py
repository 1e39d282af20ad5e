"""Canaries: proof that hosts let people in again, for who has changed them.

One key and one request a run. Each certificate can do one thing, from one address, for
ten minutes: print its nonce. All of them are on record in one batch of the ledger.
"""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address

from ca.authority import Authority
from ca.certificate import Certificate
from ca.certify import certificate_of, record_and_sign_all
from ca.errors import BadRequest
from ca.issue import Caller, record_of
from ca.messages import Canary, CanaryRequest, CanaryResponse
from ca.policy import Grant, Policy, decide_canary
from ca.public_key import parse_public_key
from ca.signed_request import SignedBy


def issue_canaries(
    authority: Authority,
    request: CanaryRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    policy: Policy,
    now: datetime,
) -> CanaryResponse:
    """Certify the key once for each canary; one that is refused refuses them all.

    Raises `BadRequest`, `UnacceptableKey`, `Denied` for all but provisioners whom a
    `canary` rule gives the accounts, or `Unavailable`.
    """
    subject_key = parse_public_key(
        request.public_key, least_rsa_bits=authority.config.least_rsa_bits
    )

    def granted(canary: Canary) -> tuple[Certificate, Grant, dict[str, object]]:
        source = _address(canary.source or request.source)
        grant = decide_canary(
            policy,
            signed_by.identity,
            (canary.principal,),
            source=source,
            nonce=canary.nonce,
            now=now,
        )
        key_id = signed_by.identity.key_id
        wanted = certificate_of(authority, grant, subject_key, key_id, now=now)
        record = record_of(
            None,
            caller,
            signed_by.identity,
            grant,
            policy_sha256=policy.sha256,
            parent_serial=signed_by.serial,
        )
        return wanted, grant, {**record, "canary": True}

    answers = record_and_sign_all(
        authority,
        [granted(canary) for canary in request.canaries],
        checkpoint=request.checkpoint,
        now=now,
    )
    return CanaryResponse(answers)


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise BadRequest("source: not an address such as 192.0.2.7") from error
