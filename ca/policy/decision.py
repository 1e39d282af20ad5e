"""Rules + identity + what was asked → `Grant`, or `Denied` with the reason.

    rules ──match──▶ offers ──answer──▶ given, left out ──join──▶ Grant ──▶ narrowed
    └──────────── ca.policy.weighing ─────────────────┘  └───────── here ──────────┘

What a reader may rely on, each kept in one place (named), whatever is requested:

1. A principal comes from a rule whose every key is known to match (`weigh`), and
   only from what that rule writes out; `{email_local}` becomes a principal only if it
   is one as it stands: nothing is stripped, split or mapped to lower case.
2. A deny wins over every rule, wherever it stands in the file, and also when the
   issuer did not say what the deny asks about (`weighing._denied`).
3. A rule whose requirements are unmet gives nothing (`weighing._unmet`).
4. What is asked for is given whole or not at all (`_refuse_unanswered`): a person who
   asks for two accounts and gets one would not notice.
5. The certificate is no wider than any rule that answered (`_strictest`): shortest
   validity, common extensions, all critical options. Two values for one critical
   option never become one (`weighing._set_aside`).
6. Wishes only narrow (`_narrow`); there is no wish about critical options at all.
7. Nothing given is a refusal, never a certificate without principals.

Rules marked `canary` are never read here: they may name accounts that nobody should
ever have, and answer only `ca.policy.provisioning`.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from ca.certificate import refuse_principal
from ca.errors import BadRequest, Denied
from ca.identity import Identity
from ca.messages import LeftOut
from ca.policy.durations import render_duration
from ca.policy.rules import Policy
from ca.policy.weighing import Weighing, Wishes, weigh

_REASONS_SHOWN = 5


class Grant(Struct, frozen=True):
    """What a certificate may say."""

    principals: tuple[str, ...]
    validity: timedelta
    extensions: tuple[str, ...]
    """In lexical order."""
    critical_options: Mapping[str, str]
    rules: tuple[str, ...]
    """Names of the rules that answered."""
    left_out: tuple[LeftOut, ...]


def decide(
    policy: Policy, identity: Identity, wishes: Wishes, *, now: datetime
) -> Grant:
    """Decide what `identity` gets of what it wishes, by the rules of `policy`.

    The same arguments give the same grant: there is no other input. Raises `Denied`
    with the reasons, and `BadRequest` for wishes that make no sense to anybody.
    `identity` must have been verified: nothing here doubts it, and the reasons tell
    about policy.
    """
    refuse_malformed(wishes)
    weighing = weigh(policy, identity, wishes, now=now)
    return _narrow(grant_whole(weighing, wishes), wishes)


def refuse_malformed(wishes: Wishes) -> None:
    """Raise `BadRequest` for wishes that no policy could grant."""
    for principal in wishes.principals:
        refuse_principal(principal)
    if len(set(wishes.principals)) != len(wishes.principals):
        raise BadRequest("a principal is asked for twice")
    if wishes.validity is not None and wishes.validity < timedelta(seconds=1):
        raise BadRequest("a certificate must be valid for a second at least")


def grant_whole(weighing: Weighing, wishes: Wishes) -> Grant:
    """Grant all that was weighed and given; refuse when asked for more, or nothing."""
    _refuse_unanswered(weighing, wishes)
    return _strictest(weighing)


def _refuse_unanswered(weighing: Weighing, wishes: Wishes) -> None:
    reasons = [f"{one.what}: {one.reason}" for one in weighing.left_out]
    brief = "; ".join(reasons[:_REASONS_SHOWN])
    if wishes.principals and reasons:
        raise Denied(
            brief, hint="meet what is needed, or ask for the other principals alone"
        )
    if not weighing.given:
        raise Denied(
            brief or "no rule gives you anything unasked",
            hint="a rule marked on_request answers only when its principal is asked for"
            " by name; whoever keeps the policy can tell",
        )


def _strictest(weighing: Weighing) -> Grant:
    rules = weighing.rules
    extensions = frozenset.intersection(*(rule.extensions for rule in rules))
    options: dict[str, str] = {}
    for rule in rules:
        options.update(rule.critical_options)
    return Grant(
        principals=tuple(given.principal for given in weighing.given),
        validity=min(rule.validity for rule in rules),
        extensions=tuple(sorted(extensions)),
        critical_options=options,
        rules=tuple(rule.name for rule in rules),
        left_out=weighing.left_out,
    )


def _narrow(grant: Grant, wishes: Wishes) -> Grant:
    if wishes.validity is None and wishes.extensions is None:
        return grant
    validity = grant.validity if wishes.validity is None else wishes.validity
    if validity > grant.validity:
        most = render_duration(grant.validity)
        raise Denied(f"validity: at most {most}", hint=f"ask for {most} or less")
    extensions = grant.extensions if wishes.extensions is None else wishes.extensions
    excess = sorted(set(extensions) - set(grant.extensions))
    if excess:
        allowed = ", ".join(grant.extensions) or "none"
        unknown = excess[0][:64]
        raise Denied(f"extensions: {unknown!r} is not granted, but {allowed}")
    return replace(grant, validity=validity, extensions=tuple(sorted(set(extensions))))
