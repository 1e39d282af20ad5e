"""What provisioners ask for, each time with a request that they sign."""

from datetime import datetime

from ca.authority import Authority
from ca.issue import Caller
from ca.issue_host import issue_host_certificate
from ca.messages import HostCertificateRequest, SignResponse
from ca.policy import Role, require_role
from ca.signed_request import SignedBy


def certify_host(
    authority: Authority,
    request: HostCertificateRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> SignResponse:
    """Certify a host's key for a provisioner whom a `[[host]]` rule gives its names.

    Raises what `issue_host_certificate` does, and `Denied` for everybody else.
    """
    identity = signed_by.identity
    require_role(
        authority.policy, identity, Role.PROVISIONER, to="have hosts certified"
    )
    return issue_host_certificate(authority, request, identity, caller, now=now)
