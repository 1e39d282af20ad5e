"""Everything that a signer works with, opened once from a `Config`."""

import logging
import os
from dataclasses import dataclass, replace
from functools import partial

from ca.agreement import Agreement
from ca.bundle import Roots
from ca.certificate import parse_line
from ca.config import Config
from ca.endpoints import open_tls
from ca.errors import CAError, Misconfigured
from ca.ledger import CheckpointSigner, EntryKind, HighWater, Ledger
from ca.limits import Limits
from ca.oidc import Verifier
from ca.policy import Policy, load_policy
from ca.signed_request import RequestVerifier
from ca.signing_key import SigningKey, open_key
from ca.store import Store
from ca.trust import Trust, load_roots, require_active

_log = logging.getLogger(__name__)


def read_policy(config: Config) -> Policy:
    """Read the policy file and run its tests; raise `Misconfigured`."""
    file = config.policy_file
    try:
        with file.open("rb") as opened:
            text = opened.read()
            changed = os.fstat(opened.fileno()).st_mtime_ns // 1000
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    try:
        issuers = frozenset(issuer.name for issuer in config.issuers)
        return replace(load_policy(text, issuers=issuers), changed=changed)
    except Misconfigured as error:
        raise Misconfigured(f"{file}: {error.detail}", hint=error.hint) from error


@dataclass(slots=True)
class Authority:
    """The opened parts. Only `policy` ever changes, and then as a whole."""

    config: Config
    policy: Policy
    """A request reads it once, so that one policy explains the whole of it."""
    verifier: Verifier
    """Proves ID tokens."""
    request_verifier: RequestVerifier
    """Proves signed requests."""
    store: Store
    ledger: Ledger
    limits: Limits
    agreement: Agreement
    user_ca_key: SigningKey
    host_ca_key: SigningKey | None
    trust: Trust
    policy_problem: str | None = None
    """Why `policy` is not what the file now says."""

    def reload_policy(self) -> None:
        """Take the policy file as it is now; keep the old policy if it is wrong."""
        try:
            self.policy = read_policy(self.config)
            self.policy_problem = None
            _log.info("policy reloaded", extra={"policy_sha256": self.policy.sha256})
        except CAError as error:
            self.policy_problem = "the policy file is wrong, the one before it holds"
            _log.error("policy not reloaded: %s", error.detail)

    def problems(self) -> list[str]:
        """Say what keeps this signer from serving, for an operator."""
        found = [*self.verifier.problems()]
        if self.policy_problem is not None:
            found.append(self.policy_problem)
        try:
            self.store.check_schema()
            found += self.ledger.problems()
            found += self.trust.problems()
        except CAError as error:
            found.append(error.detail)
        # Whoever cannot serve anyway sends nobody else out of service.
        if not found and (other := self.agreement.problem(self.policy)):
            found.append(other)
        return found


def open_authority(config: Config, *, before: Authority | None = None) -> Authority:
    """Open everything `config` names; raise `Misconfigured` or `Unavailable`.

    All but the policy where there was an authority `before`: its policy holds on, so
    that a file that is wrong by now keeps nobody from opening.
    """
    if config.tls is not None:
        open_tls(config.tls)
    store = Store.open(config.database_url, password_file=config.database_password_file)
    limits = Limits(
        store,
        requests=config.limits.requests_per_minute,
        refusals=config.limits.refusals_per_minute,
        processes=config.server.processes,
    )
    user_ca_key = open_key(config.user_ca_key)
    host_ca_key = None if config.host_ca_key is None else open_key(config.host_ca_key)
    online_key = open_key(config.online_key)
    signed_roots = load_roots(config.roots_file)
    _refuse_untrusted(signed_roots.roots, user_ca_key, host_ca_key, online_key)
    ledger = open_ledger(config, store, signed_roots.roots, online_key)
    ledger.open()
    return Authority(
        config=config,
        policy=read_policy(config) if before is None else before.policy,
        policy_problem=None if before is None else before.policy_problem,
        verifier=Verifier(config.issuers, origin=config.origin),
        request_verifier=RequestVerifier(
            store,
            limits,
            origin=config.origin,
            user_ca_keys=frozenset(
                parse_line(trusted.key) for trusted in signed_roots.roots.user_ca
            ),
        ),
        store=store,
        ledger=ledger,
        limits=limits,
        agreement=Agreement(store),
        user_ca_key=user_ca_key,
        host_ca_key=host_ca_key,
        trust=Trust(
            store,
            signed_roots=signed_roots,
            online_key=online_key,
            on_record=partial(ledger.change, kind=EntryKind.CA_KEY_CHANGE),
        ),
    )


def _refuse_untrusted(
    roots: Roots,
    user_ca_key: SigningKey,
    host_ca_key: SigningKey | None,
    online_key: SigningKey,
) -> None:
    """Raise `Misconfigured` where nobody would take what one of our keys signs."""
    require_active(user_ca_key, roots.user_ca, revoked=roots.revoked_ca)
    if host_ca_key is not None:
        require_active(host_ca_key, roots.host_ca, revoked=roots.revoked_ca)
    require_active(online_key, roots.online, revoked=roots.revoked_ca)


def open_ledger(
    config: Config, store: Store, roots: Roots, online_key: SigningKey
) -> Ledger:
    """Open the ledger of a database; whether it is whole, `Ledger.open` says."""
    signer = checkpoint_signer(roots, online_key, origin=roots.log_origin)
    store.open_log(origin=roots.log_origin, serial_base=roots.serial_base)
    high_water = HighWater(config.high_water_file, recognise=signer.recognise)
    return Ledger(store, signer=signer, high_water=high_water)


def checkpoint_signer(
    roots: Roots, online_key: SigningKey, *, origin: str
) -> CheckpointSigner:
    """Return what signs checkpoints of one of the logs that the roots name."""
    return CheckpointSigner(
        origin,
        online_key,
        trusted=[parse_line(trusted.key) for trusted in roots.online],
        closed=[log.origin for log in roots.closed_logs],
    )
