"""The `[[test]]`s of a policy file: what an identity must get, run at every load.

A policy that does not do what its author wrote down is not loaded. The time is fixed,
so that a file which loads today loads tomorrow.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from ipaddress import ip_address

from ca.errors import BadRequest, Denied, Misconfigured
from ca.identity import EMAIL, Binding, Identity, VerifiedClaims
from ca.policy.decision import decide
from ca.policy.durations import parse_duration
from ca.policy.matching import refuse_unknown_issuer
from ca.policy.rules import LONGEST_AUTH_AGE, Policy
from ca.policy.shape import CaseTable, Table, at, convert, printable
from ca.policy.weighing import Wishes

TEST_TIME = datetime(2026, 1, 1, tzinfo=UTC)
"""When all tests take place."""

_NOT_CLAIMS = frozenset({"issuer", "subject", "client", "auth_age"})


class _IdentityTable(Table, frozen=True):
    """The keys of `identity` that mean more than the claim of their name."""

    issuer: str
    subject: str = "test"
    client: str = "test"
    email: str | None = None
    email_verified: bool = False
    groups: tuple[str, ...] | None = None
    auth_age: str | None = None


def run_case(policy: Policy, case: CaseTable, *, issuers: Collection[str]) -> None:
    """Raise `Misconfigured` unless the identity gets exactly what the test says."""
    with at("identity"):
        identity = identity_in(case.identity, issuers, now=TEST_TIME)
    got, why = _got(policy, identity, _wishes(case))
    if got == set(case.gets):
        return
    expected = ", ".join(sorted(case.gets)) or "nothing"
    reasons = f" ({why})" if why else ""
    raise Misconfigured(
        printable(
            f"must get {expected}, got {', '.join(sorted(got)) or 'nothing'}{reasons}"
        )
    )


def _got(policy: Policy, identity: Identity, wishes: Wishes) -> tuple[set[str], str]:
    """Return the principals and, in words, the reasons against others."""
    try:
        grant = decide(policy, identity, wishes, now=TEST_TIME)
    except Denied as denied:
        return set(), denied.detail
    except BadRequest as error:
        # A test that asks for nonsense would pass as denied, for the wrong reason.
        raise Misconfigured(f"asks: {error.detail}") from error
    why = "; ".join(f"{one.what}: {one.reason}" for one in grant.left_out)
    return set(grant.principals), why


def _wishes(case: CaseTable) -> Wishes:
    try:
        source = ip_address(case.source)
    except ValueError as error:
        raise Misconfigured(f"source: {error}") from error
    return Wishes(principals=case.asks, reason=case.reason, source=source)


def identity_in(
    table: Mapping[str, object], issuers: Collection[str], *, now: datetime
) -> Identity:
    """Return the identity that somebody wrote down, as in a test; nobody proved it.

    Raises `Misconfigured` for one that could not come out of a token.
    """
    own = _IdentityTable.__struct_fields__
    shape = convert(
        {key: value for key, value in table.items() if key in own}, _IdentityTable
    )
    refuse_unknown_issuer(shape.issuer, issuers)
    if shape.email is not None and EMAIL.fullmatch(shape.email) is None:
        raise Misconfigured(f"email: {shape.email!r} is never so in a verified token")
    return Identity(
        issuer=shape.issuer,
        subject=shape.subject,
        client=shape.client,
        binding=Binding.NONCE,
        email=shape.email if shape.email_verified else None,
        groups=shape.groups,
        auth_time=_auth_time(shape.auth_age, now=now),
        claims=VerifiedClaims(
            {key: value for key, value in table.items() if key not in _NOT_CLAIMS}
        ),
    )


def _auth_time(age: str | None, *, now: datetime) -> datetime | None:
    with at("auth_age"):
        if age is None:
            return None
        return now - parse_duration(age, most=LONGEST_AUTH_AGE)
