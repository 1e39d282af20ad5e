"""`ca-login ssh-config`: have ssh find key, certificate and host CA by itself.

    ~/.ssh/config               Include daypass/*.conf      one line, the first
    ~/.ssh/daypass/NAME.conf    the block for one CA's hosts

A person's own file gets that one line and is otherwise left as it is; without it
everything is as before. Which hosts are meant, the CA says, and is believed only as far
as a name can go: a pattern that is no more than wildcards would mean other people's
hosts. Where there is no good certificate, and nobody to sign in, the second half of the
block does not apply, and ssh offers what it did before us.
"""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ca.values import replace
from client import files, profile
from client.api import CA
from client.arguments import Parser, one_of
from client.failure import DONE, BadAnswer, Misuse
from client.keys import Attempt, KeyFiles
from client.profile import Profile
from client.terminal import Terminal

HELP = """\
ca-login ssh-config: have ssh use the certificate by itself, for the CA's hosts

  ca-login ssh-config install     include our block from ~/.ssh/config
  ca-login ssh-config print       show the block, and change nothing
  ca-login ssh-config remove      as it was before

install puts one line, the first, into ~/.ssh/config, keeps the file as it was beside
it as config.before-daypass, and writes ~/.ssh/daypass/PROFILE.conf: for the CA's hosts,
and no other, ssh then runs `ca-login ensure`, offers our key alone, and believes the
hosts that the CA vouches for. Again, it asks the CA anew which hosts those are.

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     show each step
"""

ACTIONS = ("install", "print", "remove")
_PATTERN = re.compile(r"!?[A-Za-z0-9*?._:-]*[A-Za-z0-9][A-Za-z0-9*?._:-]*", re.ASCII)
"""Nothing that ends a line, a word or a list, and not wildcards alone."""

_SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
"""What ssh reads unless told otherwise."""

_SYSTEM_CONFIG = "/etc/ssh/ssh_config"


def run(argv: list[str], terminal: Terminal) -> int:
    """Install, print or remove the block of one profile."""
    options = parser().read(argv, terminal)
    action = one_of("what to do", ACTIONS)(options.action)
    chosen = profile.load(options.profile, terminal)
    if action == "install":
        return _install(chosen, terminal)
    if action == "print":
        return _print(chosen, terminal)
    return _remove(chosen, terminal)


def parser() -> Parser:
    """Return what reads the command's arguments."""
    made = Parser("ca-login ssh-config", HELP)
    made.add_positional("ACTION")
    return made


def _install(chosen: Profile, terminal: Terminal) -> int:
    terminal.step(f"ask {chosen.url} for its hosts")
    chosen = _with_patterns(chosen)
    terminal.step("install the block for ssh")
    block, own = path_of(chosen), own_config()
    for name in (known_hosts_of(chosen), revoked_hosts_of(chosen)):
        # ssh refuses every host where the second is missing.
        if not name.exists():
            files.write(name, b"")
    files.write(block, render(chosen).encode())
    before = files.read(own) or b""
    line = f"Include {include_word()}\n".encode()
    backup = (
        _replace(own, line + _without_include(before))
        if before[: len(line)] != line
        else None
    )
    hosts = ", ".join(chosen.host_patterns)
    terminal.say(f"ssh uses the certificate for {hosts}: {block}, included in {own}")
    terminal.result(
        {
            "profile": chosen.name,
            "host_patterns": list(chosen.host_patterns),
            "path": str(block),
            "config": str(own),
            "backup": backup and str(backup),
        }
    )
    return DONE


def _print(chosen: Profile, terminal: Terminal) -> int:
    if not chosen.host_patterns:
        terminal.step(f"ask {chosen.url} for its hosts")
        chosen = replace(chosen, host_patterns=_ask(chosen))
    block = render(chosen)
    terminal.result({"profile": chosen.name, "block": block}, block.rstrip("\n"))
    return DONE


def _remove(chosen: Profile, terminal: Terminal) -> int:
    terminal.step("remove the block for ssh")
    block, own = path_of(chosen), own_config()
    removed = block.exists()
    with files.explained(f"remove {block}"):
        block.unlink(missing_ok=True)
    before = files.read(own) or b""
    after, backup = _without_include(before), None
    # The line is for the blocks of other profiles as well.
    if after != before and not list(block.parent.glob("*.conf")):
        backup = _replace(own, after)
    terminal.say(f"removed {block}" if removed else "there was nothing to remove")
    terminal.result(
        {
            "profile": chosen.name,
            "removed": removed,
            "config": str(own),
            "backup": backup and str(backup),
        }
    )
    return DONE


def _with_patterns(chosen: Profile) -> Profile:
    """Ask the CA for its hosts, and keep the answer in the profile."""
    known = replace(chosen, host_patterns=_ask(chosen))
    if known != chosen:
        profile.save(known)
    return known


def _ask(chosen: Profile) -> tuple[str, ...]:
    with CA(chosen.url) as ca:
        patterns = ca.discovery().host_patterns
    if not patterns:
        raise Misuse(
            "this CA does not say which hosts are its own",
            hint="have host_patterns set on the CA, or: ca-login ssh HOST",
        )
    return refuse_wild(patterns)


def refuse_wild(patterns: Sequence[str]) -> tuple[str, ...]:
    """Return the patterns; raise `BadAnswer` for one that may not stand in our file."""
    for pattern in patterns:
        if _PATTERN.fullmatch(pattern) is None:
            raise BadAnswer(
                f"the CA names hosts by {pattern!r}, which is no pattern of its own",
                hint="tell whoever runs the CA",
            )
    return tuple(patterns)


# --- The block --------------------------------------------------------------------


def path_of(chosen: Profile) -> Path:
    """Return our file for one profile, which `~/.ssh/config` includes."""
    return KeyFiles(chosen.name).folder / f"{chosen.name}.conf"


def known_hosts_of(chosen: Profile) -> Path:
    """Return the file with the CA's host CA keys, each for its own domains."""
    return path_of(chosen).with_suffix(".known_hosts")


def revoked_hosts_of(chosen: Profile) -> Path:
    """Return the file with the host keys that the CA has revoked."""
    return path_of(chosen).with_suffix(".revoked_hosts")


def render(chosen: Profile) -> str:
    """Return the block for one profile.

    `Host` names the hosts once more: editors list hosts by it, and take the words of
    a `Match` line for names.
    """
    patterns = refuse_wild(chosen.host_patterns)
    exec_ = f"{own_command()} ensure{chosen.words}".replace("%", "%%")
    return (
        f"# Written by: ca-login ssh-config install{chosen.words}\n"
        f"Host {' '.join(patterns)}\n"
        + _indented(believe(chosen))
        + f'Match host {",".join(patterns)} exec "{exec_}"\n'
        + _indented(offer(KeyFiles(chosen.name)))
    )


def believe(chosen: Profile) -> list[str]:
    """Return what has ssh believe the CA's hosts, for the domains in the file alone.

    Not `UserKnownHostsFile`, which would end `UpdateHostKeys` for a person's own.
    """
    known = quoted(known_hosts_of(chosen))
    return [
        f"GlobalKnownHostsFile {_SYSTEM_KNOWN_HOSTS} {known}",
        f"RevokedHostKeys {quoted(revoked_hosts_of(chosen))}",
    ]


def session(chosen: Profile, pair: KeyFiles | Attempt) -> str:
    """Return a whole configuration: a pair for every host, then what holds anyway."""
    believed = ""
    if chosen.host_patterns:
        patterns = " ".join(refuse_wild(chosen.host_patterns))
        believed = f"Host {patterns}\n{_indented(believe(chosen))}"
    included = (quoted(own_config()), _SYSTEM_CONFIG)
    return (
        f"Host *\n{_indented(offer(pair))}{believed}"
        f"Host *\n{_indented([f'Include {file}' for file in included])}"
    )


def offer(pair: KeyFiles | Attempt) -> list[str]:
    """Return what has ssh offer our key and no other.

    Six keys of an agent's are as many as a host listens to.
    """
    return [
        f"IdentityFile {quoted(pair.private, percent=True)}",
        f"CertificateFile {quoted(pair.certificate, percent=True)}",
        "IdentitiesOnly yes",
    ]


def _indented(lines: Sequence[str]) -> str:
    return "".join(f"    {line}\n" for line in lines)


def quoted(path: Path, *, percent: bool = False) -> str:
    """Return a path as one word of ssh_config; raise `Misuse` where it cannot be."""
    word = str(path).replace("\\", "/")
    if any(char in '"\n\r' for char in word):
        raise Misuse(f"ssh_config cannot name {word!r}", hint="move the home folder")
    word = word.replace("%", "%%") if percent else word
    return f'"{word}"' if re.search(r"[\s#=]", word) else word


def own_command() -> str:
    """Return how the person's shell starts us, from wherever ssh was started."""
    # Imported here because a sign-in asks only where our files are.
    import shlex  # noqa: PLC0415

    typed = Path(sys.argv[0]).absolute()
    if typed.suffix == ".pyz":
        # By the Python that runs it now: `env python3` may find an older one.
        return shlex.join([sys.executable, str(typed)])
    beside = Path(sys.executable).with_name("ca-login")
    for path in (typed, beside):
        if path.name.startswith("ca-login") and os.access(path, os.X_OK):
            return shlex.join([str(path)])
    return "ca-login"


# --- The person's own file --------------------------------------------------------


def own_config() -> Path:
    """Return `~/.ssh/config`, or what it is a link to."""
    return (KeyFiles(profile.DEFAULT).folder.parent / "config").resolve()


def include_word() -> str:
    """Return what to include: a path below `~/.ssh` where that is where we are.

    ssh finds `~` in the password database, whatever HOME says; and Windows' ssh takes
    no path that begins with a drive.
    """
    folder = KeyFiles(profile.DEFAULT).folder
    if sys.platform != "win32":
        import pwd  # noqa: PLC0415 not on Windows

        if Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh/daypass") != folder:
            return quoted(folder / "*.conf")
    return "daypass/*.conf"


def is_include(line: bytes) -> bool:
    """Say whether a line of ssh_config is the one of ours."""
    keyword, _, word = line.strip().partition(b" ")
    ours = {b"daypass/*.conf", include_word().encode()}
    return keyword.lower() == b"include" and word.strip() in ours


def _without_include(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(line for line in lines if not is_include(line))


def _replace(own: Path, content: bytes) -> Path | None:
    """Put the person's file in place whole; return where the one before is kept."""
    before = files.read(own)
    files.make_folder(own.parent)
    if before is None:
        files.replace(own, content, mode=0o600)
        return None
    mode = own.stat().st_mode & 0o777
    backup = own.with_name(f"{own.name}.before-daypass")
    files.replace(backup, before, mode=mode)
    files.replace(own, content, mode=mode)
    return backup
