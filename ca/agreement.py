"""Whether all signers decide by one policy.

Signers on several machines each read a policy file of their own. Where these differ,
who is served depends on which signer they meet. So whoever is asked whether it is ready
tells the others, in the database, and looks what they have told. Meant is the policy
whose file was changed last: only signers with another one are not ready, so that a
policy that comes to one machine after the other leaves nobody without a signer.
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from ca.errors import Unavailable
from ca.policy import Policy
from ca.store import PolicyInUse, Store

_log = logging.getLogger(__name__)

TELL_SECONDS = 10
"""How often a process tells, at most, while its policy stays the same."""

REMEMBERED_SECONDS = 300
"""How long it counts what a process has told: balancers ask far more often."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one process told, and was told."""

    at: float
    policy_sha256: str
    newest: PolicyInUse


class Agreement:
    """Compares the policy of one process with those of all others."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._process = secrets.token_bytes(16)
        self._told: _Told | None = None

    def problem(self, policy: Policy) -> str | None:
        """Say that another signer has a newer policy than this, or return None."""
        told = self._told
        if told is None or not self._is_news(told, policy):
            try:
                told = self._told = self._tell(policy)
            except Unavailable as error:
                # Nothing is issued without the database; it is not for this to say so.
                _log.warning("other signers' policies are unknown: %s", error.detail)
                return None
        if told.newest.policy_sha256 == policy.sha256:
            return None
        return (
            f"another signer decides by a newer policy, {told.newest.policy_sha256}:"
            " put the same file in place here, and reload"
        )

    def _is_news(self, told: _Told, policy: Policy) -> bool:
        is_recent = 0 <= self._clock() - told.at < TELL_SECONDS
        return is_recent and told.policy_sha256 == policy.sha256

    def _tell(self, policy: Policy) -> _Told:
        at = self._clock()
        mine = PolicyInUse(self._process, policy.sha256, policy.changed, int(at))
        others = self._store.tell_policy(
            mine, forget_before=int(at) - REMEMBERED_SECONDS
        )
        # Of two that were changed in the same moment, all have to choose the same.
        newest = max([mine, *others], key=lambda one: (one.changed, one.policy_sha256))
        return _Told(at, policy.sha256, newest)
