"""What is to be changed on a host, as values: shown to people, and named by an id.

A plan's id is that of what would happen. What the CA has signed is not in it: that may
be signed anew at any moment, and proves itself.
"""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from deploy import pulling
from deploy.account_steps import describe
from deploy.facts import File
from deploy.host_certificate import Certify
from deploy.pulling import Register
from deploy.sshd_config import KRL
from deploy.trust import CURRENT, ROOTS

_ID_DIGITS = 12
_ORDINARY = 0o644

SUDOERS = "/etc/sudoers.d/daypass"
"""Where our lines for sudo go."""

_NEWS = frozenset({ROOTS, CURRENT, KRL})
"""What the CA signed, and may have signed again since the plan was made."""


class Kind(StrEnum):
    """Whose a file is: the CA's only moves forward, a rollback restores the others."""

    TRUST = "trust"
    CONFIG = "config"
    ACCOUNT = "account"
    """A user or a group: no file, but steps that the host's own programs do."""
    KEYS = "keys"
    """Authorized keys: read and written with the rights of whose they are."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file that becomes another, comes, or goes."""

    kind: Kind
    path: str
    before: File | None
    after: bytes | None
    mode: int | None = _ORDINARY
    """Of what comes; None for that of what is there."""
    owner: str = ""
    """Of authorized keys: the account with whose rights they are changed."""

    @property
    def diff(self) -> str:
        """The change as a unified diff, or in words where it is not text."""
        if self.kind is Kind.ACCOUNT:
            return describe(self.path, self.after or b"")
        if self.path in _NEWS:
            return f"--- {self.path}\n+++ {self.path}\n(what the CA says now)\n"
        if self.path in pulling.PROGRAMS and self.after is not None:
            count = self.after.count(b"\n")
            return f"--- {self.path}\n+++ {self.path}\n({count} lines of ours)\n"
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
    register: Register | None = None
    """What to tell the CA before anything is swapped: this host pulls."""
    names: tuple[str, ...] = ()
    """Those that its host certificate has to prove, where it is to have one."""
    undoes: str | None = None
    """The name of the change that this takes back, if it does."""
    slot: str = "last"
    """Where a host remembers it: `last`, or `retired` for authorized keys."""

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
            [*self.blockers, *self.accounts.items(), self.undoes, self.slot],
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


def fleet_id(plans: Iterable[Plan]) -> str:
    """Return a name for exactly these plans."""
    ids = "".join(f"{plan.host} {plan.id}\n" for plan in plans)
    return _hash(ids.encode())[:_ID_DIGITS]


def _lines(text: str | None) -> list[str]:
    return [] if text is None else text.splitlines(keepends=True)


def _digest(file: File | None) -> str:
    return "absent" if file is None else f"{file.mode} {file.sum}"


def _hash(content: bytes | None) -> str:
    return "absent" if content is None else hashlib.sha256(content).hexdigest()
