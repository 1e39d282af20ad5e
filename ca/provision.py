"""What provisioners ask for, each time with a request that they sign."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from ca.authority import Authority
from ca.errors import Denied, Unavailable
from ca.hosts import (
    NewHost,
    forget_hosts,
    forget_silent,
    register_host,
    status_of,
)
from ca.issue import Caller
from ca.issue_canaries import issue_canaries
from ca.issue_host import issue_host_certificate
from ca.messages import (
    CanaryRequest,
    CanaryResponse,
    HostCertificateRequest,
    HostList,
    HostRegistration,
    HostStatus,
    SignResponse,
)
from ca.policy import Role, require_role, roles
from ca.signed_request import SignedBy

_MAY_LIST = frozenset(Role)


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
    # Read once: it may be another one a moment later.
    policy, identity = authority.policy, signed_by.identity
    require_role(policy, identity, Role.PROVISIONER, to="have hosts certified")
    return issue_host_certificate(
        authority, request, identity, caller, policy=policy, now=now
    )


def certify_canaries(
    authority: Authority,
    request: CanaryRequest,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> CanaryResponse:
    """Certify a key for logins that prove a change; raises as `issue_canaries`."""
    policy = authority.policy
    require_role(policy, signed_by.identity, Role.PROVISIONER, to="have canaries")
    return issue_canaries(authority, request, signed_by, caller, policy=policy, now=now)


def register(
    authority: Authority,
    registration: HostRegistration,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> HostStatus:
    """Register a host for a provisioner; raises what `register_host` does."""
    require_role(
        authority.policy, signed_by.identity, Role.PROVISIONER, to="register hosts"
    )
    new = NewHost(
        id=registration.id,
        names=registration.names,
        keys=registration.keys,
        pulls=registration.pulls,
    )
    host = register_host(authority, new, _by(signed_by, caller), now=now)
    return status_of(host, authority.config.hosts, None, now=now)


def forget(
    authority: Authority,
    id_: str,
    signed_by: SignedBy,
    caller: Caller,
    *,
    now: datetime,
) -> None:
    """Forget a host for a provisioner; raises `NotFound` where there is none."""
    require_role(
        authority.policy, signed_by.identity, Role.PROVISIONER, to="forget hosts"
    )
    forget_hosts(authority, [id_], _by(signed_by, caller), now=now)


def list_hosts(authority: Authority, signed_by: SignedBy, *, now: datetime) -> HostList:
    """Return the registry, for provisioners, administrators and auditors."""
    if not _MAY_LIST & roles(authority.policy, signed_by.identity):
        raise Denied(
            "only provisioners, admins and auditors may list the hosts",
            hint="[roles] in the policy says who is one",
        )
    with suppress(Unavailable):
        forget_silent(authority, now=now)
    newest = authority.store.newest_current()
    return HostList(
        tuple(
            status_of(host, authority.config.hosts, newest, now=now)
            for host in authority.store.hosts.every()
        ),
        None if newest is None else newest.version,
    )


def _by(signed_by: SignedBy, caller: Caller) -> Mapping[str, object]:
    return {
        "identity": signed_by.identity.to_record(),
        "signed_with": str(signed_by.serial),
        "address": str(caller.address),
        "request_id": caller.request_id,
    }
