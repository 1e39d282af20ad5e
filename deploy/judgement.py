"""What may go wrong on a host, in words, before anything is changed there.

*Blockers* leave the host alone: the change would not end well, or would end somebody
else's way in without their being asked. *Risks* are for a person to read.
"""

import fnmatch
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy import sshd_config
from deploy.desired import DesiredHost, Password, Taken
from deploy.facts import Facts
from deploy.sshd_config import PRINCIPALS
from deploy.trust import Trust

_CLOCK_SECONDS = 60
"""How far a certificate is backdated: a host further behind refuses it as too new."""

_CERTIFICATE = "ssh-ed25519-cert-v01@openssh.com"
"""What a canary is (`deploy.canaries`)."""

_LEAST_SPACE_KB = 1024


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found."""

    blockers: tuple[str, ...]
    risks: tuple[str, ...]


def judge(
    facts: Facts,
    desired: DesiredHost,
    trust: Trust,
    said: Mapping[str, str],
    *,
    now: int,
) -> Judgement:
    """Look at a host that is to be changed; `said` is what sshd will be told."""
    blockers = [*_of_the_host(facts, now=now)]
    if facts.broken is None:
        blockers += _of_owners(facts, desired, said)
        for account in desired.accounts:
            blockers += _of_an_account(facts, desired, account, trust)
    if not desired.accounts:
        blockers.append("deploy.toml gives it no account, so nobody could come in")
    return Judgement(
        tuple(dict.fromkeys(blockers)), tuple(_risks(facts, desired, trust, said))
    )


def _of_the_host(facts: Facts, *, now: int) -> Iterator[str]:
    if not facts.is_served:
        yield "what let us in is not OpenSSH's sshd"
    if not _is_address(facts.connection[0]):
        yield "it does not see from which address we come, and canaries are for one"
    relative = facts.relative if facts.config.startswith("/") else f"-f {facts.config}"
    if relative is not None and facts.listener is not None:
        yield (
            f"sshd was started with {relative}, a relative path: a reload would end "
            "it. Start it by full paths"
        )
    elif facts.broken is not None:
        yield f"sshd -t fails before any change: {facts.broken.splitlines()[-1]}"
    if abs(facts.clock - now) > _CLOCK_SECONDS:
        minutes = max(1, round(abs(facts.clock - now) / 60))
        way = "behind" if facts.clock < now else "ahead of"
        yield (
            f"its clock is about {minutes} min {way} ours: certificates would not be "
            "good there when they should be"
        )
    if facts.space_kb < _LEAST_SPACE_KB:
        yield "there is no space left in /etc"
    if "ssh-keygen" not in facts.tools:
        yield "it has no ssh-keygen to look at CA keys and KRLs with"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _of_owners(
    facts: Facts, desired: DesiredHost, said: Mapping[str, str]
) -> Iterator[str]:
    """Say what is set already, by whom."""
    yield from _revoked_keys(facts, desired, said)
    lines = sshd_config.setters(facts)
    for keyword, ours in said.items():
        if any(keyword.lower() in option.lower() for option in facts.options):
            yield f"sshd has {keyword} on its command line, which always wins"
        before = facts.value(keyword.lower())
        if before not in {"none", ours}:
            where = [
                line
                for line in lines
                if line.keyword == keyword.lower() and not line.in_match
            ]
            owner = f"in {where[0]}" if where else "somewhere"
            yield from _taken(facts, desired, keyword, before, owner)
        for account in desired.accounts:
            if facts.value(keyword.lower(), account) not in {before, ours}:
                yield (
                    f"a Match block sets {keyword} for {account}, and beats ours: "
                    + ", ".join(
                        str(line)
                        for line in lines
                        if line.in_match and line.keyword == keyword.lower()
                    )
                )


def _taken(
    facts: Facts, desired: DesiredHost, keyword: str, before: str, owner: str
) -> Iterator[str]:
    file = facts.files.get(before)
    if file is not None and not file.is_regular:
        yield (
            f"{keyword} is {before}, {owner}, which is no plain file: another program "
            "feeds it (as OS Login does), so it is not replaced"
        )
    elif desired.taken is Taken.REFUSE:
        note = (
            ", a file that does not exist" if file is None and "%" not in before else ""
        )
        yield (
            f"{keyword} is {before}{note}, {owner}, and sshd takes one value; "
            'taken = "replace" in deploy.toml puts ours before it'
        )


def _revoked_keys(
    facts: Facts, desired: DesiredHost, said: Mapping[str, str]
) -> Iterator[str]:
    """Say which KRL is not there: sshd then refuses whoever comes with a key."""
    for account in ("", *desired.accounts):
        for path in facts.value("revokedkeys", account).split():
            replaced = "RevokedKeys" in said and desired.taken is Taken.REPLACE
            if path in facts.named and path not in facts.files and not replaced:
                whom = f" for {account}" if account else ""
                yield (
                    f"RevokedKeys{whom} is {path}, which does not exist: sshd refuses "
                    "every public key and certificate"
                )


def _of_an_account(
    facts: Facts, desired: DesiredHost, name: str, trust: Trust
) -> Iterator[str]:
    account = facts.accounts.get(name)
    wanted = desired.users.get(name)
    if (account is None or account.state == "missing") and wanted is None:
        yield f"there is no account {name}: declare it under users, or make it"
        return
    value = {
        keyword: facts.value(keyword, name) for keyword in facts.effective.get(name, {})
    }
    locked = account is not None and account.state == "locked"
    opened = wanted is not None and wanted.password is Password.NONE
    if locked and not opened and value.get("usepam") != "yes":
        yield (
            f"the account {name} is locked (`!` in /etc/shadow), and with UsePAM no "
            f"sshd refuses it whatever it shows: usermod -p '*' {name}"
        )
    if value.get("pubkeyauthentication") == "no":
        yield f"PubkeyAuthentication is no for {name}"
    if name == "root" and value.get("permitrootlogin") in {
        "no",
        "forced-commands-only",
    }:
        yield f"PermitRootLogin is {value['permitrootlogin']}, so root cannot log in"
    if value.get("authenticationmethods", "any") not in {"any", "none", "publickey"}:
        yield (
            f"AuthenticationMethods is {value['authenticationmethods']} for {name}: a "
            "certificate alone does not do"
        )
    yield from _of_lists(facts, name)
    yield from _of_algorithms(value.get("casignaturealgorithms"), name, trust)
    taken = value.get("pubkeyacceptedalgorithms", value.get("pubkeyacceptedkeytypes"))
    if taken and _CERTIFICATE not in taken.split(","):
        yield (
            f"PubkeyAcceptedAlgorithms for {name} has no {_CERTIFICATE}, with which "
            "logins are proved"
        )


def _of_lists(facts: Facts, name: str) -> Iterator[str]:
    allowed = facts.effective.get(name, {}).get("allowusers", ())
    denied = facts.effective.get(name, {}).get("denyusers", ())
    if allowed and not _named(name, allowed):
        yield f"AllowUsers does not name {name}"
    if _named(name, denied):
        yield f"DenyUsers names {name}"


def _named(name: str, patterns: tuple[str, ...]) -> bool:
    users = (word.partition("@")[0] for line in patterns for word in line.split())
    return any(fnmatch.fnmatchcase(name, user) for user in users)


def _of_algorithms(algorithms: str | None, name: str, trust: Trust) -> Iterator[str]:
    if not algorithms:
        return
    taken = set(algorithms.split(","))
    for kind in sorted(trust.key_types()):
        names = {"rsa-sha2-256", "rsa-sha2-512"} if kind == "ssh-rsa" else {kind}
        if not names & taken:
            yield f"CASignatureAlgorithms for {name} has no {kind}, the CA key's type"


def _risks(
    facts: Facts, desired: DesiredHost, trust: Trust, said: Mapping[str, str]
) -> Iterator[str]:
    if trust.is_older_than(facts):
        yield "it has newer trust files than the CA gave us; they stay"
    for keyword, ours in said.items():
        before = facts.value(keyword.lower())
        if before not in {"none", ours} and desired.taken is Taken.REPLACE:
            yield f"{keyword} {before} is no longer asked; whoever came in by it cannot"
            yield from _garbage(facts, before)
    if "RevokedKeys" not in said:
        yield "no KRL: a revoked certificate opens this host until it ends"
    yield from _risks_of_principals(facts)
    for path, file in sorted(facts.files.items()):
        if file.mode[8:9] == "w" and file.is_regular:
            yield f"{path} is writable by everybody"


def _risks_of_principals(facts: Facts) -> Iterator[str]:
    trusts = facts.value("trustedusercakeys") != "none"
    if trusts and facts.value("authorizedprincipalsfile") == "none":
        yield (
            "until now any account took a certificate with its own name; from now on "
            f"only those with a file in {PRINCIPALS} take any"
        )
    if facts.value("authorizedprincipalscommand") != "none":
        yield "AuthorizedPrincipalsCommand is set: it, too, says who may come in"


def _garbage(facts: Facts, path: str) -> Iterator[str]:
    lines = facts.named.get(path, ())
    if any("is not a public key file" in line or "invalid" in line for line in lines):
        yield f"{path} has lines that sshd cannot read; it stopped at the first of them"
