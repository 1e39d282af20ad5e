"""What `render` gives machines that SSH cannot reach yet: one script, or cloud-init's.

The script holds everything: what is proved of the trust bundle, who may come in, the
pull, and the very steps that are taken over SSH. It asks the machine, and not us, where
its lines hold. There is no secret in it but a join token, if it is given one.
"""

import base64
import gzip
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

from deploy import sshd_config
from deploy.account_steps import POWERFUL
from deploy.desired import DesiredHost
from deploy.host_files import HostFile, Pull, host_files
from deploy.plan import sudoers_of
from deploy.planned import SUDOERS
from deploy.sshd_config import CA_KEYS, KRL, PRINCIPALS
from deploy.trust import CURRENT, ROOTS, Trust
from deploy.upload import STATE, write

_WORK = f"{STATE}/rendered"
_CLOUD = "/run/daypass-bootstrap"
_TOKEN = "/run/daypass-join-token"  # noqa: S105 a place, which root alone can read
_KEY = "/etc/ssh/ssh_host_ed25519_key"
_HOST = resources.files("deploy") / "host"
_PROGRAMS = ("bootstrap.sh", "change.sh", "accounts.sh", "facts.sh")


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of a machine before it is there."""

    desired: DesiredHost
    trust: Trust
    host: str = ""
    """Its id in the registry; empty: its own name."""
    names: tuple[str, ...] = ()
    """Those of its host certificate; empty: its own."""


@dataclass(frozen=True, slots=True)
class _Seed:
    kind: str
    when: str
    file: HostFile


def render_script(machine: Machine) -> str:
    """Return one POSIX shell script that does everything, as root, on the machine."""
    lines = [
        f"rm -rf {_WORK}",
        f"mkdir -p {_WORK}/files || exit 1",
        f"chmod 700 {STATE}",
    ]
    for path, content in _files(machine):
        lines += write(f"{_WORK}/{path}", content)
    body = "\n".join(["umask 077", *lines, f'exec /bin/sh {_WORK}/bootstrap.sh "$@"'])
    return (
        "#!/bin/sh\n# Written by `ca-deploy render`. As root: sh THIS [FILE], where\n"
        "# FILE holds a join token. Running it again changes nothing.\n"
        f'main() {{\n{body}\n}}\nmain "$@" </dev/null\n'
    )


def render_cloud_init(script: str, token: str | None) -> str:
    """Return user data for cloud-init that runs a script once, when networks are up."""
    packed = base64.b64encode(gzip.compress(script.encode(), 9, mtime=0)).decode()
    lines = [
        "#cloud-config",
        "write_files:",
        f"  - path: {_CLOUD}",
        '    permissions: "0700"',
        "    encoding: gz+b64",
        f"    content: {packed}",
    ]
    if token is not None:
        lines += [
            f"  - path: {_TOKEN}",
            '    permissions: "0600"',
            f"    content: {token}",
        ]
    words = ["sh", _CLOUD, *([_TOKEN] if token is not None else [])]
    lines += ["runcmd:", f"  - [{', '.join(words)}]"]
    return "".join(f"{line}\n" for line in lines)


def _files(machine: Machine) -> Iterator[tuple[str, bytes]]:
    for name in _PROGRAMS:
        yield name, _without_comments((_HOST / name).read_text()).encode()
    said = sshd_config.settings(krl=machine.desired.krl)
    if machine.desired.host_certificate:
        said = said | {"HostCertificate": f"{_KEY}-cert.pub"}
    index = ""
    for number, seed in enumerate(_seeds(machine)):
        file = seed.file
        index += f"{seed.kind} {file.mode:o} {seed.when} {number} {file.path}\n"
        yield f"files/{number}", file.content.encode("utf-8", "surrogateescape")
    yield "seed", index.encode()
    yield "lines", "".join(f"{k} {v}\n" for k, v in said.items()).encode()
    yield "drop-in", sshd_config.drop_in_of(said).encode()
    yield "block", sshd_config.block_of(said).encode()
    yield (
        "expect",
        "".join(
            f"{account} {keyword.lower()} {value}\n"
            for account in ("-", *machine.desired.accounts)
            for keyword, value in said.items()
        ).encode(),
    )
    yield "people", "".join(_people(machine.desired)).encode()
    yield "wanted", _wanted(machine).encode()


def _seeds(machine: Machine) -> Iterator[_Seed]:
    desired, trust = machine.desired, machine.trust
    news = {CA_KEYS: trust.ca_keys, ROOTS: trust.roots, CURRENT: trust.current}
    for path, content in (news | ({KRL: trust.krl} if desired.krl else {})).items():
        text = content.decode("utf-8", "surrogateescape")
        yield _Seed("trust", "new", HostFile(path, 0o644, text))
    for account, principals in desired.accounts.items():
        text = "".join(f"{principal}\n" for principal in principals)
        yield _Seed(
            "config", "always", HostFile(f"{PRINCIPALS}/{account}", 0o644, text)
        )
    rules = sudoers_of(desired)
    if rules is not None:
        yield _Seed("config", "always", HostFile(SUDOERS, 0o440, rules.decode()))
    if desired.source is not None:
        pull = Pull(desired.source.url, desired.source.pin, "rendered")
        yield from _seeds_of_pull(pull, renews=desired.host_certificate)


def _seeds_of_pull(pull: Pull, *, renews: bool) -> Iterator[_Seed]:
    """Yield the files of the pull; its configuration is the machine's to write."""
    for when, systemd in (("systemd", True), ("cron", False)):
        for file in host_files(pull, systemd=systemd, renews=renews):
            if file.path.startswith(("/etc/systemd/", "/etc/cron.d/")):
                yield _Seed("trust", when, file)
            elif systemd and not file.path.endswith("/pull.conf"):
                yield _Seed("trust", "pull", file)


def _people(desired: DesiredHost) -> Iterator[str]:
    for name, group in sorted(desired.groups.items()):
        yield f"group {name} {group.gid or '-'}\n"
    for name, user in sorted(desired.users.items()):
        words = (
            *(name, str(user.uid or "-"), user.home or f"/home/{name}"),
            *(user.shell or "-", user.password, ",".join(user.groups) or "-"),
        )
        yield f"gone {name}\n" if user.gone else f"user {' '.join(words)}\n"


def _wanted(machine: Machine) -> str:
    desired = machine.desired
    values = {
        "host": machine.host.lower(),
        "names": ",".join(machine.names),
        "url": desired.source.url.rstrip("/") if desired.source else "",
        "pin": desired.source.pin if desired.source else "",
        "taken": str(desired.taken),
        "drop_in": desired.drop_in,
        "pulls": "yes" if desired.source else "no",
        "renews": "yes" if desired.host_certificate and desired.source else "no",
        "end_sessions": "yes" if desired.end_sessions else "no",
        "powerful": " ".join(sorted(POWERFUL)),
    }
    return "".join(f"{name}={shlex.quote(v)}\n" for name, v in values.items())


def _without_comments(script: str) -> str:
    """Return a script of ours without the lines that are for its readers only."""
    return re.sub(r"(?m)^ *# .*\n|^ *#\n|^\n", "", script)
