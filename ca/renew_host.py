"""A host has its own key certified again, and the first time: the host's own story.

    Renewal ──prove──▶ StoredHost ──▶ names, Identity ──decide_host──▶ HostGrant
     document            on record     on the ledger      today's policy

No person is asked, and no certificate shown: the proof is a host key on record, so that
a host whose certificate has run out gets one all the same. For what names, the ledger
says; whether it may still have them, today's policy.
"""

import hashlib
from datetime import datetime

from ca import wire
from ca.authority import Authority
from ca.certify import Recording, certificate_of, record_and_sign
from ca.errors import Denied
from ca.host_documents import parse_renewal
from ca.hosts import prove_host, vouched
from ca.issue import Caller, record_of
from ca.issue_host import host_key_id
from ca.messages import SignResponse
from ca.policy import decide_host
from ca.public_key import parse_public_key
from ca.signed_request import REMEMBERED

_ID_BYTES = 16


def renew_host_certificate(
    authority: Authority, document: bytes, caller: Caller, *, now: datetime
) -> SignResponse:
    """Certify the key that a registered host names, which is one of its own.

    Raises `BadRequest`, `UnacceptableKey`, a kind of `Unauthenticated`, `Denied`,
    `RequestReplayed`, `RateLimited`, `NotFound` without a host CA key, or
    `Unavailable`.
    """
    policy, origin = authority.policy, authority.config.origin
    proved = prove_host(
        authority.store, document, parse_renewal, origin=origin, now=now
    )
    says, host = proved.says, proved.host
    # Each one makes an entry: shown again, it must not.
    authority.store.spend_request(
        hashlib.sha256(b"daypass-host-renewal\0" + proved.text).digest()[:_ID_BYTES],
        time=says.time,
        forget_before=int((now - REMEMBERED).timestamp()),
        takes=authority.limits.of_host(host.id, now=now),
    )
    subject_key = parse_public_key(
        says.key, least_rsa_bits=authority.config.least_rsa_bits
    )
    known = vouched(authority, host)
    if wire.fingerprint(subject_key) not in known.keys:
        raise Denied(
            "the host is not registered with this key",
            hint="register the host again, with all of its keys",
        )
    if not known.names:
        raise Denied(
            "the host is registered without names, and a certificate needs one",
            hint="register the host again, with its names",
        )
    grant = decide_host(policy, known.identity, known.names, now=now)
    wanted = certificate_of(authority, grant, subject_key, host_key_id(grant), now=now)
    vouched_by = None if known.identity is None else known.identity.to_record()
    record = {
        # Nobody's but the host's own: who revokes or blocks the provisioner means them.
        **record_of(None, caller, None, grant, policy_sha256=policy.sha256),
        "host": {
            "id": host.id,
            "registered_at": host.entry_index,
            "vouched_by": vouched_by,
        },
    }
    return record_and_sign(authority, wanted, grant, Recording(record), now=now)
