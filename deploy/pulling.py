"""How a host keeps its trust files fresh: the pull, its timer, its registration.

The files are `deploy.host_files`'; here is decided whether a host gets them, and why
not. A host is registered with the CA before it is changed, so that a revocation in the
meantime waits for it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from deploy.desired import DesiredHost, Source
from deploy.facts import Facts
from deploy.host_certificate import Certify, Named
from deploy.host_files import END_SESSIONS, PULL, HostFile, Pull, host_files
from deploy.sshd_config import FOLDER

MODES: Mapping[str, int] = {PULL: 0o755, END_SESSIONS: 0o755}
"""Of files that are not ordinary ones."""

PULL_CONF = f"{FOLDER}/pull.conf"

PROGRAMS = frozenset(MODES)
"""Too long for a diff."""

_FIRST_WITH_SIGNATURES = (8, 1)
"""`ssh-keygen -Y verify`, with which the host checks what it pulled."""

_SILENT_SECONDS = 600
"""Twenty times the interval at which it pulls."""

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_NO_UNIT = "kill -HUP $(cat /run/sshd.pid)"


@dataclass(frozen=True, slots=True)
class Register:
    """What the CA is told of a host that pulls."""

    id: str
    key: str
    """`<type> <base64>` of the key that signs its reports."""
    names: tuple[str, ...]


def reasons_not_to_pull(
    named: Named, facts: Facts, key: Certify | None
) -> Iterator[str]:
    """Say why a host cannot pull; then it gets the trust files as they are now."""
    if facts.version < _FIRST_WITH_SIGNATURES:
        yield "its OpenSSH is older than 8.1 and cannot check signatures"
    if not {"curl", "wget"} & facts.tools:
        yield "it has neither curl nor wget"
    if facts.manager != "systemd" and "cron.d" not in facts.tools:
        yield "it has neither systemd nor /etc/cron.d to start it"
    if _ID.fullmatch(named.name.lower()) is None:
        yield "its name cannot be a host id"
    if key is None:
        yield "it shows no host key to sign its reports with"


def files(
    named: Named, facts: Facts, desired: DesiredHost, key: Certify, source: Source
) -> tuple[HostFile, ...]:
    """Return the files of the pull for a host."""
    pull = Pull(
        source.url,
        source.pin,
        named.name.lower(),
        host_key=key.path.removesuffix("-cert.pub"),
        names=named.names if desired.host_certificate else (),
        reload=_reload(facts) if desired.host_certificate else "",
        end_sessions=desired.end_sessions,
    )
    return host_files(
        pull, systemd=facts.manager == "systemd", renews=desired.host_certificate
    )


def registration(named: Named, desired: DesiredHost, key: Certify) -> Register:
    """Return what the CA is told."""
    names = named.names if desired.host_certificate else ()
    return Register(named.name.lower(), key.public_key, names)


def signs_of_standstill(facts: Facts) -> Iterator[str]:
    """Say why a host that pulls will not learn of a revocation in time.

    What its script notes of itself (docs/operating.md); a host that has never pulled
    says nothing yet.
    """
    file = facts.files.get(f"{FOLDER}/status")
    lines = ((file and file.content) or "").splitlines()
    said = {name: value for name, equals, value in (x.partition("=") for x in lines)}
    checked = said.get("checked", "")
    if checked.isdecimal() and facts.clock - int(checked) > _SILENT_SECONDS:
        minutes = (facts.clock - int(checked)) // 60
        yield f"it has not pulled for {minutes} min: see its timer or cron"
    if said.get("alarm") == "yes":
        yield f"its trust bundle is out of date: {said.get('detail', '')}"


def _reload(facts: Facts) -> str:
    return f"systemctl reload {facts.unit}" if facts.unit else _NO_UNIT
