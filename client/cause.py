"""Why a login fails: causes, and OpenSSH's words for those that ssh itself can see.

What a host refuses without a word, `client.why` finds out.
"""

import re
from collections.abc import Callable, Mapping

from ca.values import dataclass
from client.failure import FAILED
from client.terminal import Terminal
from client.trial import Trial


@dataclass(frozen=True, slots=True)
class Cause:
    """What is wrong, and the next command to type."""

    code: str
    """Stable, for programs."""
    why: str
    hint: str
    status: int = FAILED
    """The exit code that says so."""

    @property
    def document(self) -> Mapping[str, object]:
        """What of it is JSON."""
        return {
            "code": self.code,
            "why": self.why,
            "hint": self.hint,
            "exit_code": self.status,
        }

    def say(self, terminal: Terminal) -> None:
        """Say it to a person, as an error is said."""
        terminal.say(self.why)
        terminal.say(f"hint: {self.hint}")


_SHA1 = frozenset(
    {
        "ssh-rsa",
        "ssh-dss",
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    }
)
"""Algorithms that sign, or hash what is signed, with SHA-1."""

_Make = Callable[[re.Match[str], Trial, str], Cause]


def in_words(trial: Trial, host: str) -> Cause | None:
    """Return the cause that ssh names, for a login to `host`; None for a plain no.

    The first that is there of a list: what comes early in a login comes first.
    """
    for pattern, make in _WORDS:
        if found := trial.find(pattern):
            return make(found, trial, host)
    return None


def _simple(code: str, why: str, hint: str) -> _Make:
    """Return what makes a cause of a match; `{0}`, `{1}` are its groups."""

    def make(found: re.Match[str], _trial: Trial, host: str) -> Cause:
        groups = [group or "" for group in found.groups()]
        return Cause(
            code, why.format(*groups, host=host), hint.format(*groups, host=host)
        )

    return make


def _old_algorithms(found: re.Match[str], _trial: Trial, host: str) -> Cause:
    what, offer = found.groups()
    # Names that we know: what a host calls its own must not end in a shell.
    sha1 = _SHA1.intersection(offer.split(","))
    if sha1 and sha1 == set(offer.split(",")):
        keyword = "HostKeyAlgorithms" if "host key" in what else "KexAlgorithms"
        wanted = max(sha1)
        return Cause(
            "sha1_only",
            f"the host knows only SHA-1 for its {what} ({offer}), which ssh no longer"
            " takes, since it can be forged",
            f"update OpenSSH there; until then, on a network that you trust:"
            f" ssh -o {keyword}=+{wanted} {host}",
        )
    return Cause(
        "no_common_algorithm",
        f"ssh and the host have no {what} in common; it offers {offer}",
        "update OpenSSH on whichever side is older",
    )


def _changed(_found: re.Match[str], trial: Trial, _host: str) -> Cause:
    where = trial.find(r"Offending \S+ key in (.+:\d+)")
    remove = trial.find(r"(ssh-keygen -f .* -R .*)")
    return Cause(
        "host_key_changed",
        f"the host shows {_shown(trial)}, and another key is known for it"
        + (f" in {where[1]}" if where else "")
        + ": somebody is in between, or it was installed anew",
        "ask whoever runs the host for its fingerprint; if it is this one: "
        + (remove[1] if remove else "ssh-keygen -R HOST"),
    )


def _host_certificate(found: re.Match[str], _trial: Trial, host: str) -> Cause:
    reason = found[1]
    if "principal" in reason:
        return Cause(
            "host_certificate_name",
            "the host's certificate is for other names than the one it was asked by",
            "use a name that it has:"
            f" ssh-keyscan -c {_name(host)} | ssh-keygen -L -f -",
        )
    return Cause(
        "host_certificate_" + ("expired" if "expired" in reason else "invalid"),
        f"the host's certificate is of no use: {reason}",
        "tell whoever runs the host; there: systemctl status daypass-pull.timer",
    )


def _unknown_host(_found: re.Match[str], trial: Trial, host: str) -> Cause:
    if trial.find(r"Server host certificate: "):
        return Cause(
            "host_ca_unknown",
            "the host has a certificate, and no CA that this machine knows for that"
            " name made it",
            "have the CA's newest keys: ca-login, then: ca-login ssh-config install",
        )
    return Cause(
        "host_unknown",
        f"the host shows {_shown(trial)}, which this machine does not know",
        f"ask whoever runs the host whether that is its key, then: ssh {host}",
    )


def _shown(trial: Trial) -> str:
    shown = trial.find(r"Server host key: (\S+ SHA256:\S+)")
    return f"the key {shown[1]}" if shown else "a key"


def _name(host: str) -> str:
    return host.removeprefix("ssh://").rpartition("@")[2]


_WORDS: tuple[tuple[str, _Make], ...] = (
    (
        r"Bad owner or permissions on (.+)",
        _simple(
            "config_mode",
            "ssh refuses {0}, which somebody else may write",
            "chmod go-w {0}",
        ),
    ),
    (
        r"^(?!debug)(.*line \d+: .*|.*[Bb]ad configuration option.*)",
        _simple(
            "config_error", "ssh does not read its configuration: {0}", "man ssh_config"
        ),
    ),
    (
        r"Could not resolve hostname (.+): ",
        _simple(
            "name_unknown",
            "the name {0} leads nowhere from here",
            "check how it is spelled, and the VPN: getent hosts {0}",
        ),
    ),
    (
        r"Not allowed at this time",
        _simple(
            "penalty",
            "the host has shut out this address for a while, because of logins that"
            " failed (PerSourcePenalties); everybody behind the same address is shut"
            " out with it",
            "wait a minute without trying, then: ca-login why {host}",
        ),
    ),
    (
        r"Exceeded MaxStartups",
        _simple(
            "overloaded",
            "the host has too many logins under way (MaxStartups)",
            "wait a moment, then: ssh {host}",
        ),
    ),
    (
        r"connect to host .+ port (\d+): (.+)",
        _simple(
            "host_unreachable",
            "nothing takes the connection at port {0}: {1}",
            "check the VPN, the port and that sshd runs there",
        ),
    ),
    (
        r"no matching (.+) found\. Their offer: (\S+)",
        _old_algorithms,
    ),
    (
        r"in revoked keys file (.+): (No such file.*)",
        _simple(
            "revoked_hosts_missing",
            "ssh refuses every host while {0} is missing, which RevokedHostKeys names",
            "ca-login ssh-config install, then: ca-login",
        ),
    ),
    (
        r"in revoked keys file (.+): (.+)",
        _simple(
            "revoked_hosts_unreadable",
            "ssh refuses every host while it cannot read {0}: {1}",
            "have it written anew: ca-login",
        ),
    ),
    (
        r"[Hh]ost .* revoked by file (.+)",
        _simple(
            "host_revoked",
            "the host shows a key or a certificate that is revoked ({0})",
            "do not go on; tell whoever runs the host",
        ),
    ),
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", _changed),
    (r"^Certificate invalid: (.+)", _host_certificate),
    (r"Host key verification failed|No \S+ host key is known", _unknown_host),
    (
        r"(kex_exchange_identification: .*|Connection (?:closed|reset) by \S+ port .*)",
        _simple(
            "hung_up",
            "the host ends the connection before it lets anybody in: {0}",
            "see whether that is an sshd: nc -w 5 HOST PORT </dev/null",
        ),
    ),
)
