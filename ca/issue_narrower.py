"""A certificate for a certificate: the same person, another key, never more.

    NarrowerRequest ──decide──▶ Grant ──narrow──▶ Grant ──▶ recorded, signed, answered
      SignedBy ────┘             today's  └─ the signer's certificate

Who signed in this morning can have a second key certified at noon, for a phone or a job
that runs until the evening. Policy decides as it is now, on who they were proved to be
then; what it gives is cut down to what the certificate they sign with has, and ends
with it (design invariant 6). What was bought so signs no requests itself.
"""

from dataclasses import replace
from datetime import datetime

from ca.authority import Authority
from ca.certificate import Certificate
from ca.certify import Recording, certificate_of, record_and_sign
from ca.issue import Caller, record_of, refuse_unfit_key, wishes_in
from ca.messages import NarrowerRequest, SignResponse
from ca.policy import decide, narrow
from ca.public_key import parse_public_key
from ca.signed_request import SignedBy


def issue_narrower_certificate(
    authority: Authority,
    request: NarrowerRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> SignResponse:
    """Certify the key in `request` with less than `signed_by` has.

    Raises `BadRequest`, `UnacceptableKey`, `Denied` or `Unavailable`.
    """
    policy, parent = authority.policy, signed_by.certificate
    subject_key = parse_public_key(
        request.public_key, least_rsa_bits=authority.config.least_rsa_bits
    )
    wishes, identity = wishes_in(request, caller), signed_by.identity
    granted = decide(policy, identity, wishes, now=now)
    grant = narrow(granted, parent, wishes, now=now)
    refuse_unfit_key(subject_key, grant)
    made = certificate_of(authority, grant, subject_key, identity.key_id, now=now)
    wanted = replace(made, valid_after=max(made.valid_after, parent.valid_after))
    refuse_wider(wanted, parent)
    record = record_of(
        request,
        caller,
        identity,
        grant,
        policy_sha256=policy.sha256,
        parent_serial=signed_by.serial,
    )
    recording = Recording(record, checkpoint=request.checkpoint)
    return record_and_sign(authority, wanted, grant, recording, now=now)


def refuse_wider(wanted: Certificate, parent: Certificate) -> None:
    """Compare with the parent once more, field by field (design invariant 8).

    A difference is a fault of ours, never of the request: it raises `RuntimeError`,
    and nothing is recorded or signed.
    """
    if not (
        set(wanted.principals) <= set(parent.principals)
        and set(wanted.extensions) <= set(parent.extensions)
        and wanted.critical_options.items() >= parent.critical_options.items()
        and parent.valid_after <= wanted.valid_after
        and wanted.valid_before <= parent.valid_before
        and wanted.key_id == parent.key_id
    ):
        raise RuntimeError("a certificate would exceed the one that it was bought with")
