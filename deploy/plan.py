"""What to change on one host, and what will hold then: facts + desired → plan.

Pure: the same facts give the same plan, word for word, and its id. `apply` computes the
plan anew and goes on only when the id is the one that somebody has seen.
"""

import difflib
import hashlib
import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from deploy import judgement, sshd_config
from deploy.desired import DesiredHost
from deploy.facts import Facts, File
from deploy.host_certificate import (
    Certify,
    Named,
    against,
    certificate_of,
    is_good,
)
from deploy.sshd_config import KRL, PRINCIPALS
from deploy.trust import CURRENT, ROOTS, Trust

_ID_DIGITS = 12
_ORDINARY = 0o644

_MODES: Mapping[str, int] = {}
"""Of files that are not ordinary ones."""

_NEWS = frozenset({ROOTS, CURRENT, KRL})
"""What the CA signed, and may have signed again since the plan was made."""


class Kind(StrEnum):
    """Whose a file is: the CA's only moves forward, a rollback restores the other."""

    TRUST = "trust"
    CONFIG = "config"


@dataclass(frozen=True, slots=True)
class Change:
    """A file that becomes another, comes, or goes."""

    kind: Kind
    path: str
    before: File | None
    after: bytes | None
    mode: int | None = _ORDINARY
    """Of what comes; None for that of what is there."""

    @property
    def diff(self) -> str:
        """The change as a unified diff, or in words where it is not text."""
        if self.path in _NEWS:
            return f"--- {self.path}\n+++ {self.path}\n(what the CA says now)\n"
        if self.after == b"":
            return f"--- {self.path}\n+++ {self.path}\n(to be asked of the CA)\n"
        before = self.before.content if self.before else None
        after = None if self.after is None else self.after.decode("utf-8", "replace")
        lines = difflib.unified_diff(
            _lines(before),
            _lines(after),
            "/dev/null" if before is None else self.path,
            "/dev/null" if after is None else self.path,
        )
        said = "".join(lines)
        return said or f"--- {self.path}\n+++ {self.path}\n(its mode or owner)\n"


@dataclass(frozen=True, slots=True)
class Effect:
    """What sshd would use of a keyword, before and after."""

    keyword: str
    account: str
    """Empty: for nobody in particular."""
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to change on one host, and what to know before."""

    host: str
    changes: tuple[Change, ...]
    effects: tuple[Effect, ...]
    accounts: Mapping[str, tuple[str, ...]]
    """Each account with the principals it takes."""
    folder: str | None
    """That of the drop-ins."""
    risks: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    """Why this host is left alone."""
    certify: Certify | None = None
    """The host certificate to ask the CA for; its change is empty until then."""
    undoes: str | None = None
    """The name of the change that this takes back, if it does."""

    @property
    def id(self) -> str:
        """A name for exactly this plan."""
        document = [
            self.host,
            [
                (c.kind, c.path, _digest(c.before), _hash(c.after), c.mode)
                for c in self.changes
                if c.path not in _NEWS
            ],
            [(e.keyword, e.account, e.before, e.after) for e in self.effects],
            [*self.blockers, *self.accounts.items(), self.undoes],
        ]
        return _hash(json.dumps(document).encode())[:_ID_DIGITS]

    def with_certificate(self, line: str) -> Self:
        """Return the plan with the host certificate that the CA gave."""
        path = self.certify.path if self.certify else None
        content = f"{line.strip()}\n".encode()
        changes = tuple(
            replace(change, after=content) if change.path == path else change
            for change in self.changes
        )
        return replace(self, changes=changes)

    def expected(self) -> tuple[Effect, ...]:
        """Return what must hold afterwards: at large, and for each account."""
        whole = tuple(effect for effect in self.effects if not effect.account)
        return whole + tuple(
            Effect(e.keyword, account, "", e.after)
            for account in self.accounts
            for e in whole
        )

    def render(self) -> str:
        """Return the plan as people read it."""
        if self.blockers:
            return "".join(f"{self.host}: left alone: {why}\n" for why in self.blockers)
        if not self.changes:
            return f"{self.host}: nothing to {'undo' if self.undoes else 'change'}\n"
        lines = [f"{self.host}: {len(self.changes)} files, plan {self.id}\n"]
        lines += [
            f"  {name} takes {', '.join(p)}\n" for name, p in self.accounts.items()
        ]
        if self.certify is not None:
            lines.append(f"  certificate for {', '.join(self.certify.names)}\n")
        lines += [
            f"  {e.keyword}{f' for {e.account}' if e.account else ''}: "
            f"{e.before} -> {e.after}\n"
            for e in self.effects
            if e.before != e.after
        ]
        lines += [f"  mind: {risk}\n" for risk in self.risks]
        lines += [f"  {line}\n" for c in self.changes for line in c.diff.splitlines()]
        return "".join(lines)


def make_plan(
    named: Named, facts: Facts, desired: DesiredHost, trust: Trust, *, now: int
) -> Plan:
    """Return what to change on a host; `now` is our clock, in Unix seconds."""
    said = sshd_config.settings(krl=desired.krl)
    certificate = None
    if desired.host_certificate:
        certificate = certificate_of(facts, named.names)
    lines = said | ({"HostCertificate": certificate.path} if certificate else {})
    needed = certificate and not is_good(facts, certificate, trust, now=now)
    placement = sshd_config.place(facts, desired.drop_in, lines)
    changes = [
        *_certificate_change(certificate if needed else None, facts),
        *_changes(Kind.TRUST, trust.files(facts, krl=desired.krl), facts),
        *_changes(Kind.CONFIG, _principals(facts, desired), facts),
        *_changes(Kind.CONFIG, _encoded(placement.files), facts),
    ]
    effects = _effects(facts, lines, desired.accounts)
    judged = judgement.judge(facts, desired, trust, said, now=now)
    blockers = [*judged.blockers, *_odd_files(changes)]
    if desired.host_certificate:
        blockers += against(certificate, trust)
    return Plan(
        named.name,
        tuple(changes),
        effects,
        desired.accounts,
        placement.folder,
        judged.risks if changes else (),
        tuple(blockers),
        certificate if needed else None,
    )


def make_undo(host: str, facts: Facts) -> Plan:
    """Return what brings sshd's configuration back to before the last change.

    The CA's files stay: what is revoked stays revoked.
    """
    blockers = () if facts.last else ("there is no change of ours to take back",)
    files = {
        path: None if text is None else text.encode("utf-8", "surrogateescape")
        for path, text in facts.undo.items()
    }
    changes = tuple(_changes(Kind.CONFIG, files, facts))
    folders = {path.rpartition("/")[0] for path in facts.undo}
    drop_ins = folders - {PRINCIPALS, facts.config.rpartition("/")[0]}
    folder = next(iter(sorted(drop_ins)), None)
    return Plan(host, changes, (), {}, folder, (), blockers, None, facts.last or "-")


def fleet_id(plans: Iterable[Plan]) -> str:
    """Return a name for exactly these plans."""
    ids = "".join(f"{plan.host} {plan.id}\n" for plan in plans)
    return _hash(ids.encode())[:_ID_DIGITS]


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


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.splitlines(keepends=True)


def _digest(file: File | None) -> str:
    return "absent" if file is None else f"{file.mode} {file.sum}"


def _hash(content: bytes | None) -> str:
    return "absent" if content is None else hashlib.sha256(content).hexdigest()
