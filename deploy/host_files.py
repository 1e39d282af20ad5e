"""The files that a host needs to pull the trust bundle: what, where, with which mode.

    for file in host_files(Pull(url, pin=pin, host="web1")):
        ...                                    # write file.content to file.path

Only renders. Whoever installs them writes each beside its place and renames it; the
first run of `daypass-pull` makes the rest of `/etc/ssh/daypass`, and comes before any
line of sshd_config that names those files.
"""

import re
from dataclasses import dataclass
from importlib import resources

from deploy.sshd_config import FOLDER

PULL = "/usr/local/sbin/daypass-pull"
END_SESSIONS = "/usr/local/sbin/daypass-end-sessions"

_UNITS = "/etc/systemd/system"
_PROGRAM, _FILE = 0o755, 0o644

_URL = re.compile(
    r"https://[!-~]+|http://(127\.0\.0\.1|localhost|\[::1\])[!-~]*", re.ASCII
)
_PIN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)
_HOST = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_PATH = re.compile(r"/[^\x00-\x1f\x7f]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.*-]{0,254}", re.ASCII)
_COMMAND = re.compile(r"[^\x00-\x1f\x7f]*")


@dataclass(frozen=True, slots=True)
class HostFile:
    """A file on a host, owned by root."""

    path: str
    mode: int
    content: str


@dataclass(frozen=True, slots=True)
class Pull:
    """What `pull.conf` says."""

    url: str
    """The CA's origin."""
    pin: str
    """The root key's fingerprint, `SHA256:…`."""
    host: str
    """The host's id in the registry."""
    report: bool = True
    """Whether to tell the CA which version is applied."""
    host_key: str = "/etc/ssh/ssh_host_ed25519_key"
    """The private key that signs reports, and whose certificate is renewed."""
    names: tuple[str, ...] = ()
    """Principals that a renewed host certificate must have; empty: any."""
    reload: str = ""
    """What makes sshd load a renewed host certificate."""
    end_sessions: bool = False
    """Whether to end open sessions of revoked certificates."""
    tls_ca_file: str = ""
    """PEM file of who vouches for the CA's TLS certificate; empty: the system's."""

    def __post_init__(self) -> None:
        fits = {
            "url": _URL.fullmatch(self.url),
            "pin": _PIN.fullmatch(self.pin),
            "host": _HOST.fullmatch(self.host),
            "host_key": _PATH.fullmatch(self.host_key),
            "names": all(map(_NAME.fullmatch, self.names)),
            "reload": _COMMAND.fullmatch(self.reload),
            "tls_ca_file": not self.tls_ca_file or _PATH.fullmatch(self.tls_ca_file),
        }
        for name, is_fit in fits.items():
            if not is_fit:
                raise ValueError(f"{name} does not fit into pull.conf")


def render_configuration(pull: Pull) -> str:
    """Return the text of `pull.conf`."""
    settings = {
        "url": pull.url.rstrip("/"),
        "pin": pull.pin,
        "host": pull.host,
        "report": _yes_or_no(pull.report),
        "host_key": pull.host_key,
        "names": ",".join(pull.names),
        "reload": pull.reload,
        "end_sessions": _yes_or_no(pull.end_sessions),
        "tls_ca_file": pull.tls_ca_file,
    }
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def host_files(
    pull: Pull, *, systemd: bool, renews: bool = False
) -> tuple[HostFile, ...]:
    """Return the files for a host with systemd, or with cron.

    `renews` adds what renews the host certificate. With systemd, `systemctl enable
    --now` starts each `.timer` among them.
    """
    return (
        HostFile(PULL, _PROGRAM, text("daypass-pull.sh")),
        HostFile(END_SESSIONS, _PROGRAM, text("daypass-end-sessions.sh")),
        HostFile(f"{FOLDER}/pull.conf", _FILE, render_configuration(pull)),
        *_scheduled("daypass-pull", "daypass", systemd=systemd),
        *(
            _scheduled("daypass-renew", "daypass-renew", systemd=systemd)
            if renews
            else ()
        ),
    )


def _scheduled(unit: str, cron: str, *, systemd: bool) -> tuple[HostFile, ...]:
    if not systemd:
        return (HostFile(f"/etc/cron.d/{cron}", _FILE, text(f"{cron}.cron")),)
    return tuple(
        HostFile(f"{_UNITS}/{name}", _FILE, text(name))
        for name in (f"{unit}.service", f"{unit}.timer")
    )


def text(name: str) -> str:
    """Return a file of `deploy/host`."""
    return (resources.files("deploy") / "host" / name).read_text()


def _yes_or_no(value: bool) -> str:  # noqa: FBT001 one argument, one answer
    return "yes" if value else "no"
