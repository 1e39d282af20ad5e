"""What a certificate buys: never more than it has, nor for longer (design invariant 6).

Policy has decided first, by its rules of today, on who signed in this morning. What is
left to do here needs no rule: both have to give it, and what either forces stays.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from ca.certificate import Certificate
from ca.errors import Denied
from ca.policy.decision import Grant
from ca.policy.weighing import Wishes

_SIGN_IN = "what a certificate lacks needs a new sign-in: ca-login"


def narrow(
    grant: Grant, parent: Certificate, wishes: Wishes, *, now: datetime
) -> Grant:
    """Return what `grant` and `parent`, which must be live, both give.

    Raises `Denied` for a principal that the parent lacks, for extensions or a length
    that were asked for and that it lacks, and where the two force different things.
    """
    _refuse_other_principals(grant, parent)
    return replace(
        grant,
        validity=_validity(grant, parent, wishes, now=now),
        extensions=_extensions(grant, parent, wishes),
        critical_options=_critical_options(grant, parent),
    )


def _refuse_other_principals(grant: Grant, parent: Certificate) -> None:
    for principal in grant.principals:
        if principal not in parent.principals:
            raise Denied(
                f"{principal}: the certificate you ask with does not have it",
                hint=_SIGN_IN,
            )


def _validity(
    grant: Grant, parent: Certificate, wishes: Wishes, *, now: datetime
) -> timedelta:
    left = datetime.fromtimestamp(parent.valid_before, UTC) - now
    if wishes.validity is not None and wishes.validity > left:
        seconds = int(left.total_seconds())
        raise Denied(
            f"validity: the certificate you ask with ends in {seconds} s",
            hint=_SIGN_IN,
        )
    return min(grant.validity, left)


def _extensions(grant: Grant, parent: Certificate, wishes: Wishes) -> tuple[str, ...]:
    lacking = [name for name in grant.extensions if name not in parent.extensions]
    if lacking and wishes.extensions is not None:
        raise Denied(
            f"extensions: the certificate you ask with does not have {lacking[0]!r}",
            hint=_SIGN_IN,
        )
    return tuple(name for name in grant.extensions if name not in lacking)


def _critical_options(grant: Grant, parent: Certificate) -> Mapping[str, str]:
    for name, value in parent.critical_options.items():
        # Neither of two forced commands is the stricter one, nor of two addresses.
        if grant.critical_options.get(name, value) != value:
            raise Denied(
                f"the certificate you ask with and today's rules disagree about {name}",
                hint=_SIGN_IN,
            )
    return {**parent.critical_options, **grant.critical_options}
