"""What to change on one host, and what will hold then: facts + desired → plan.

Pure: the same facts give the same plan, word for word, and its id. `apply` computes the
plan anew and goes on only when the id is the one that somebody has seen.
"""

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deploy import account_steps, judgement, pulling, sshd_config
from deploy.desired import DesiredHost
from deploy.facts import Facts
from deploy.host_certificate import (
    Certify,
    Named,
    against,
    certificate_of,
    is_good,
)
from deploy.planned import SUDOERS, Change, Effect, Kind, Plan
from deploy.pulling import Register
from deploy.sshd_config import PRINCIPALS
from deploy.trust import Trust

_ORDINARY = 0o644
_MODES: Mapping[str, int] = {**pulling.MODES, SUDOERS: 0o440}
_SUDOERS_HEADER = "# ca-deploy keeps this file, as deploy.toml says.\n"


def make_plan(
    named: Named, facts: Facts, desired: DesiredHost, trust: Trust, *, now: int
) -> Plan:
    """Return what to change on a host; `now` is our clock, in Unix seconds."""
    said = sshd_config.settings(krl=desired.krl)
    key = certificate_of(facts, named.names)
    certificate = key if desired.host_certificate else None
    pull = _pull(named, facts, desired, key)
    lines = said | ({"HostCertificate": certificate.path} if certificate else {})
    needed = certificate and not is_good(facts, certificate, trust, now=now)
    placement = sshd_config.place(facts, desired.drop_in, lines)
    people = account_steps.steps(facts, desired, now=now)
    changes = [
        *_people(people),
        *_certificate_change(certificate if needed else None, facts),
        *_changes(Kind.TRUST, trust.files(facts, krl=desired.krl), facts),
        *_changes(Kind.TRUST, pull.files, facts),
        *_changes(Kind.CONFIG, _principals(facts, desired), facts),
        *_changes(Kind.CONFIG, {SUDOERS: sudoers_of(desired)}, facts),
        *_changes(Kind.CONFIG, _encoded(placement.files), facts),
    ]
    effects = _effects(facts, lines, desired.accounts)
    judged = judgement.judge(facts, desired, trust, said, now=now)
    blockers = [
        *judged.blockers,
        *account_steps.against(facts, desired, people),
        *_odd_files(changes),
    ]
    risks = (*judged.risks, *account_steps.risks(facts, people), *pull.risks)
    if desired.host_certificate:
        blockers += against(certificate, trust)
    return Plan(
        named.name,
        tuple(changes),
        effects,
        desired.accounts,
        placement.folder,
        risks if changes else (),
        tuple(blockers),
        certificate if needed else None,
        pull.register if changes else None,
        certificate.names if certificate else (),
    )


def make_undo(host: str, facts: Facts) -> Plan:
    """Return what brings sshd's configuration back to before the last change.

    The CA's files stay: what is revoked stays revoked. A user that it made is locked
    and not removed, since files may be theirs by now.
    """
    blockers = () if facts.last else ("there is no change of ours to take back",)
    files = {
        path: None if text is None else text.encode("utf-8", "surrogateescape")
        for path, text in facts.undo.items()
    }
    people = account_steps.undoing(facts)
    changes = (*_people(people), *_changes(Kind.CONFIG, files, facts))
    folders = {path.rpartition("/")[0] for path in facts.undo if path != SUDOERS}
    drop_ins = folders - {PRINCIPALS, facts.config.rpartition("/")[0]}
    folder = next(iter(sorted(drop_ins)), None)
    return Plan(host, changes, (), {}, folder, (), blockers, undoes=facts.last or "-")


@dataclass(frozen=True, slots=True)
class _Pulling:
    files: Mapping[str, bytes | None]
    register: Register | None
    risks: tuple[str, ...]


def _pull(
    named: Named, facts: Facts, desired: DesiredHost, key: Certify | None
) -> _Pulling:
    """Return what keeps the trust files fresh, or why nothing does."""
    if desired.source is None:
        return _Pulling({}, None, ("no pull: what is revoked later opens this host",))
    reasons = tuple(pulling.reasons_not_to_pull(named, facts, key))
    if reasons or key is None:
        return _Pulling({}, None, tuple(f"no pull: {reason}" for reason in reasons))
    made = pulling.files(named, facts, desired, key, desired.source)
    return _Pulling(
        {file.path: file.content.encode() for file in made},
        pulling.registration(named, desired, key),
        (),
    )


def _people(steps: Iterable[account_steps.Steps]) -> Iterable[Change]:
    for each in steps:
        lines = "".join(f"{line}\n" for line in each.lines)
        yield Change(Kind.ACCOUNT, each.whom, None, lines.encode())


def sudoers_of(desired: DesiredHost) -> bytes | None:
    """Return the file with the lines for sudo; None where there are none."""
    lines = "".join(f"{line}\n" for line in desired.sudoers)
    return f"{_SUDOERS_HEADER}{lines}".encode() if lines else None


def _certificate_change(certify: Certify | None, facts: Facts) -> Iterable[Change]:
    """Make room for the certificate, which the CA is asked for when it comes to it."""
    if certify is not None:
        before = facts.files.get(certify.path)
        yield Change(Kind.TRUST, certify.path, before, b"")


def _odd_files(changes: Iterable[Change]) -> Iterable[str]:
    """Say what is a link or a device where we would put a file."""
    for change in changes:
        if change.before is not None and not change.before.is_regular:
            yield (
                f"{change.path} is no plain file: whoever made it a link has to say "
                "what it leads to"
            )


def _principals(facts: Facts, desired: DesiredHost) -> Mapping[str, bytes | None]:
    files: dict[str, bytes | None] = {
        path: None
        for path in sorted(facts.files)
        if path.startswith(f"{PRINCIPALS}/") and facts.files[path].is_regular
    }
    for account, principals in desired.accounts.items():
        lines = "".join(f"{principal}\n" for principal in principals)
        files[f"{PRINCIPALS}/{account}"] = lines.encode()
    return files


def _changes(
    kind: Kind, files: Mapping[str, bytes | None], facts: Facts
) -> Iterable[Change]:
    for path, after in files.items():
        before = facts.files.get(path)
        # The main file was there before us, and keeps the mode that it has.
        kept = path == facts.config and before is not None
        mode = None if kept else _MODES.get(path, _ORDINARY)
        same = (
            before is not None
            and before.content is not None
            and before.content.encode("utf-8", "surrogateescape") == after
            and (mode is None or before.mode == stat.filemode(stat.S_IFREG | mode))
        )
        if not same and not (before is None and after is None):
            yield Change(kind, path, before, after, mode)


def _encoded(files: Mapping[str, str | None]) -> Mapping[str, bytes | None]:
    return {
        path: None if text is None else text.encode("utf-8", "surrogateescape")
        for path, text in files.items()
    }


def _effects(
    facts: Facts, said: Mapping[str, str], accounts: Iterable[str]
) -> tuple[Effect, ...]:
    whole = tuple(
        Effect(keyword, "", _before(facts, keyword.lower(), value), value)
        for keyword, value in said.items()
    )
    return whole + tuple(
        Effect(keyword, account, before, value)
        for account in accounts
        for keyword, value in said.items()
        if (before := facts.value(keyword.lower(), account))
        != facts.value(keyword.lower())
    )


def _before(facts: Facts, keyword: str, ours: str) -> str:
    """Return what holds; ours, where it is one of several that do."""
    several = facts.effective.get("", {}).get(keyword, ())
    return ours if ours in several else facts.value(keyword)
