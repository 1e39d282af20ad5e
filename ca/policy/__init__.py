"""Rules + identity + what was asked → `Grant`, or `Denied` with the reason.

    policy.toml ──shape──▶ tables ──build──▶ Policy      (`load_policy`)
    Policy + Identity + Wishes ──weighing──▶ Weighing ──decision──▶ Grant   (`decide`)

Start with `decision`: it says what is guaranteed, and where each guarantee is kept.
Nothing here reads a file or a clock; time comes in as `now`.
"""

from ca.policy.decision import Grant, decide
from ca.policy.examples import identity_in
from ca.policy.explanation import Explanation, Outcome, explain
from ca.policy.load import load_policy
from ca.policy.narrowing import narrow
from ca.policy.provisioning import HostGrant, decide_canary, decide_host
from ca.policy.rules import (
    LONGEST_CANARY_VALIDITY,
    LONGEST_HOST_VALIDITY,
    LONGEST_USER_VALIDITY,
    Policy,
    Role,
    require_role,
    roles,
)
from ca.policy.weighing import Given, Weighing, Wishes, weigh

__all__ = [
    "LONGEST_CANARY_VALIDITY",
    "LONGEST_HOST_VALIDITY",
    "LONGEST_USER_VALIDITY",
    "Explanation",
    "Given",
    "Grant",
    "HostGrant",
    "Outcome",
    "Policy",
    "Role",
    "Weighing",
    "Wishes",
    "decide",
    "decide_canary",
    "decide_host",
    "explain",
    "identity_in",
    "load_policy",
    "narrow",
    "require_role",
    "roles",
    "weigh",
]
