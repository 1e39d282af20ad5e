"""`ca-login doctor`: is this laptop in order, and where not, what to type.

Looks at everything that a login needs and that can be seen from here: the programs, the
CA, the certificate, the files, ssh's configuration and the agent. It changes nothing
and signs nobody in. `client.why` is for one login to one host.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ca.errors import CAError
from ca.values import dataclass
from client import (
    agent,
    files,
    host_trust,
    inspection,
    openssh,
    profile,
    program,
    ssh_config,
)
from client.api import CA, Bundle
from client.arguments import Parser
from client.cause import Cause
from client.failure import DONE, FAILED, Unable
from client.keys import Held, KeyFiles
from client.profile import Profile
from client.terminal import Terminal, clean
from client.times import render_length

HELP = """\
ca-login doctor: is this machine in order, and where not, what to type

  ca-login doctor
  ca-login doctor --json

It looks at OpenSSH, the CA, the clock, the certificate, the files, ssh's configuration
and the agent; it changes nothing and signs nobody in. For a login that fails, ask
ca-login why USER@HOST

exit code 0: all in order, or only warnings; else that of the first that is not

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     show each step
"""

_LEAST_OPENSSH = (8, 1)
"""The first whose `ssh-keygen -Y verify` checks what the CA signs."""

_MANY_KEYS = 5
"""As many others in an agent leave no attempt for ours where a host allows six."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one look."""

    about: str
    verdict: str
    """ok, warn or fail."""
    text: str
    cause: Cause | None = None

    @property
    def document(self) -> dict[str, object]:
        """What of it is JSON."""
        found: dict[str, object] = {
            "about": self.about,
            "verdict": self.verdict,
            "text": self.text,
        }
        return found | ({} if self.cause is None else {"cause": self.cause.document})


def run(argv: list[str], terminal: Terminal) -> int:
    """Look at all of it; end with the exit code of the first thing that is wrong."""
    options = Parser("ca-login doctor", HELP).read(argv, terminal)
    chosen = profile.load(options.profile, terminal)
    terminal.again += chosen.words
    findings = []
    for look in Examination(chosen).looks():
        found = look()
        findings.append(found)
        if not terminal.json:
            terminal.result({}, _render(found))
    failed = [one.cause for one in findings if one.verdict == "fail" and one.cause]
    terminal.json = options.json
    if terminal.json:
        documents = [one.document for one in findings]
        terminal.result({"profile": chosen.name, "findings": documents})
    return failed[0].status if failed else DONE


def _render(found: Finding) -> str:
    # Some of it is the CA's own words.
    line = f"{found.verdict:4}  {found.about:12}  {clean(found.text)}"
    if found.cause is None:
        return line
    return f"{line}\n{'':20}next: {clean(found.cause.hint)}"


class Examination:
    """One look at everything; what the CA said is kept for the looks that follow."""

    def __init__(self, chosen: Profile) -> None:
        self.chosen = chosen
        self.keys = KeyFiles(chosen.name)
        self.held: Held | None = self.keys.held()
        self.bundle: Bundle | None = None

    def looks(self) -> Iterator[Callable[[], Finding]]:
        """Yield what to look at, in the order in which things depend on each other."""
        yield self.openssh
        yield self.ca
        yield self.certificate
        yield self.files
        yield self.hosts
        yield self.configuration
        yield self.agent

    def openssh(self) -> Finding:
        """Look whether OpenSSH is there, and new enough."""
        try:
            done = program.run(["ssh", "-V"], seconds=10)
        except (OSError, program.TakesTooLong):
            return _fail("openssh", _no_openssh("ssh cannot be run"))
        said = (done.err + done.out).decode(errors="replace").strip()
        found = re.search(r"OpenSSH\D*(\d+)\.(\d+)", said)
        if found and (int(found[1]), int(found[2])) < _LEAST_OPENSSH:
            return _fail("openssh", _no_openssh(f"{said} cannot check signatures"))
        return _ok("openssh", said.partition(",")[0])

    def ca(self) -> Finding:
        """Look whether the CA answers, is the one that is pinned, and has our time."""
        try:
            with CA(self.chosen.url) as ca:
                behind = ca.discovery().server_time - int(time.time())
                if cause := inspection.clock(behind):
                    return _fail("ca", cause)
                known = profile.recall(self.chosen)
                self.bundle = ca.bundle(self.chosen.pin, known=known)
        except CAError as error:
            return _fail("ca", inspection.of_error(error))
        if self.bundle.current.expires <= time.time():
            cause = Cause(
                "bundle_expired",
                "the CA's trust bundle has run out: hosts learn of no revocation",
                "tell whoever runs the CA",
            )
            return _warn("ca", cause)
        return _ok("ca", f"{self.chosen.url} answers, and its clock agrees")

    def certificate(self) -> Finding:
        """Look whether there is a good one, that the CA stands by."""
        cause = inspection.certificate(self.chosen, self.held)
        if self.held is None or cause is not None:
            return _fail("certificate", cause or _nothing(self.chosen))
        if self.bundle is not None:
            try:
                with CA(self.chosen.url) as ca:
                    cause = inspection.standing(self.chosen, self.held, ca, self.bundle)
            except CAError as error:
                cause = inspection.of_error(error)
        says = self.held.certificate
        left = render_length(says.valid_before - time.time())
        text = f"{says.key_id} for {', '.join(says.principals)}, {left} left"
        return _fail("certificate", cause) if cause else _ok("certificate", text)

    def files(self) -> Finding:
        """Look at modes, and whether a sign-in could write."""
        own = ssh_config.own_config()
        causes = (
            inspection.key_mode(self.keys),
            inspection.config_mode(own),
            self._writable(),
        )
        for cause in causes:
            if cause is not None:
                return _fail("files", cause)
        return _ok("files", f"{self.keys.folder} is ours alone, and can be written")

    def hosts(self) -> Finding:
        """Look whether the files about hosts say what the CA does."""
        revoked = ssh_config.revoked_hosts_of(self.chosen)
        known = files.read(ssh_config.known_hosts_of(self.chosen))
        again = f"ca-login{self.chosen.words}"
        if ssh_config.path_of(self.chosen).exists() and not revoked.exists():
            cause = Cause(
                "revoked_hosts_missing",
                f"ssh refuses every host of the CA's while {revoked} is missing",
                f"ca-login ssh-config install{self.chosen.words}, then: {again}",
            )
            return _fail("hosts", cause)
        if self.bundle and known not in {
            None,
            host_trust.known_hosts(self.bundle.roots),
        }:
            cause = Cause(
                "known_hosts_old",
                "the CA now vouches for hosts by other keys than this machine has",
                again,
            )
            return _warn("hosts", cause)
        return _ok("hosts", "those that the CA vouches for are believed, no others")

    def configuration(self) -> Finding:
        """Look whether ssh would offer the certificate to the CA's hosts."""
        own = ssh_config.own_config()
        if cause := inspection.include(self.chosen, own):
            missing = cause.code == "ssh_config_missing"
            return (_warn if missing else _fail)("ssh-config", cause)
        patterns = self.chosen.host_patterns
        sample = re.sub(r"[*?]+", "x", patterns[0]) if patterns else "x"
        line = openssh.parse("ssh", [sample])
        try:
            found = openssh.effective(line, sample, str(own))
        except CAError as error:
            return _fail("ssh-config", inspection.of_error(error))
        offered = Path(found.get("identityfile", "")).expanduser()
        good = inspection.certificate(self.chosen, self.held) is None
        if good and offered != self.keys.private:
            return _fail("ssh-config", self._overridden(sample, offered))
        return _ok("ssh-config", f"ssh offers the certificate to {', '.join(patterns)}")

    def agent(self) -> Finding:
        """Look whether the agent holds what keeps ours from being seen."""
        found = agent.find()
        if found is None:
            return _ok("agent", "there is none, and none is needed")
        try:
            stale = inspection.stale_in_agent(found, now=time.time())
            held = found.identities()
        except Unable as error:
            return _warn("agent", inspection.of_error(error))
        if stale:
            cause = Cause(
                "stale_in_agent",
                f"the agent holds {len(stale)} certificates of ours that have ended",
                f"ca-login{self.chosen.words}, which removes them",
            )
            return _warn("agent", cause)
        if len(held) >= _MANY_KEYS:
            cause = Cause(
                "too_many_keys",
                f"the agent holds {len(held)} keys: without IdentitiesOnly a host has"
                " enough of them before it sees the certificate",
                f"ca-login ssh-config install{self.chosen.words}, which sets it",
            )
            return _warn("agent", cause)
        return _ok("agent", f"it holds {len(held)} keys, and nothing stale of ours")

    def _writable(self) -> Cause | None:
        for folder in (self.keys.folder, profile.lock_of(self.chosen).parent):
            there = folder
            while not there.exists():
                there = there.parent
            if not os.access(there, os.W_OK | os.X_OK):
                return _cannot_write(there, "it is read-only, or another's")
            if _is_full(there):
                return _cannot_write(there, "the disk is full")
        return None

    def _overridden(self, sample: str, offered: Path) -> Cause:
        return Cause(
            "ssh_config_overridden",
            f"for {sample} ssh offers {offered} first, not the certificate",
            f"ca-login ssh-config install{self.chosen.words}",
        )


def _is_full(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    found = os.statvfs(folder)
    return found.f_blocks > 0 and found.f_bavail == 0


def _cannot_write(folder: Path, why: str) -> Cause:
    return Cause(
        "cannot_write",
        f"a sign-in could not write to {folder}: {why}",
        f"look at it: ls -ld {folder}; df {folder}",
    )


def _nothing(chosen: Profile) -> Cause:
    return Cause("no_certificate", "there is no certificate", f"ca-login{chosen.words}")


def _no_openssh(why: str) -> Cause:
    return Cause(
        "openssh", why, "install OpenSSH's client programs, 8.1 or newer", FAILED
    )


def _ok(about: str, text: str) -> Finding:
    return Finding(about, "ok", text)


def _warn(about: str, cause: Cause) -> Finding:
    return Finding(about, "warn", cause.why, cause)


def _fail(about: str, cause: Cause) -> Finding:
    return Finding(about, "fail", cause.why, cause)
