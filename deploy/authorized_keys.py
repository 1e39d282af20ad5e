"""What is in an authorized_keys file, and what would keep sshd from reading it.

Pure. A line is what sshd makes of it (sshd(8), AUTHORIZED_KEYS FILE FORMAT): options,
if any, then the key's type, the key in base64, and a comment.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from ca.certificate import parse_line
from ca.errors import CAError
from ca.public_key import parse_public_key
from ca.wire import fingerprint
from deploy.facts import Facts, File
from deploy.leftover import KeysFile

_TYPES = re.compile(
    r"(?:ssh-(?:rsa|dss|ed25519)|ecdsa-sha2-nistp(?:256|384|521)"
    r"|sk-(?:ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)",
    re.ASCII,
)
_OPTIONS = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+')

_GROUP_WRITES, _OTHERS_WRITE, _OTHERS_READ = 5, 8, 7
"""Where `ls -l` says so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A key that opens an account."""

    number: int
    """Of its line, from 1."""
    options: str
    type: str
    fingerprint: str
    comment: str
    weakness: str | None

    @property
    def is_ca(self) -> bool:
        """Whether it is a CA's, so that certificates open the account, not the key."""
        return "cert-authority" in self.options.lower()


def parse(content: str) -> tuple[Entry, ...]:
    """Return the keys in a file; what is no key to sshd is left out."""
    found = (_entry(n, line.strip()) for n, line in enumerate(content.split("\n"), 1))
    return tuple(entry for entry in found if entry is not None)


def _entry(number: int, line: str) -> Entry | None:
    options = ""
    if not line or line.startswith("#"):
        return None
    if _TYPES.match(line) is None:
        said = _OPTIONS.match(line)
        options = said[0] if said else ""
        line = line[len(options) :].strip()
    kind, _, rest = line.partition(" ")
    words = rest.split(maxsplit=1)
    if _TYPES.fullmatch(kind) is None or not words:
        return None
    key = f"{kind} {words[0]}"
    try:
        blob = parse_line(key)
    except CAError:
        return None
    comment = words[1] if len(words) > 1 else ""
    return Entry(number, options, kind, fingerprint(blob), comment, _weakness(key))


def _weakness(key: str) -> str | None:
    try:
        parse_public_key(key)
    except CAError as error:
        return error.detail
    return None


def obstacles(facts: Facts, file: KeysFile) -> Iterator[str]:
    """Say in words why sshd would not take keys from a file (misc.c, `safe_path`)."""
    found = facts.files.get(file.path)
    if found is not None and found.is_regular and not _is_readable(found, file.uid):
        yield (
            f"{file.account} cannot read {file.path}, which is {found.mode[1:]} and "
            f"belongs to uid {found.owner}: chown {file.account}, chmod 600"
        )
    for path in _judged(file) if file.is_strict else ():
        if path in facts.files:
            yield from _of_mode(path, facts.files[path], file)


def _of_mode(path: str, found: File, file: KeysFile) -> Iterator[str]:
    if found.owner not in {"0", file.uid}:
        yield f"{path} belongs to uid {found.owner}, and not to {file.account}"
    ordinary = "600" if path == file.path else "755" if path == file.home else "700"
    if found.mode[_OTHERS_WRITE] == "w":
        yield f"{path} is writable by everybody: chmod {ordinary}"
    if found.mode[_GROUP_WRITES] == "w":
        # Debian's patch "user-group-modes" takes a group with nobody else in it.
        but = (
            ", but on Debian if nobody else is in it" if found.group == file.uid else ""
        )
        yield f"{path} is writable by its group: chmod {ordinary}{but}"


def _judged(file: KeysFile) -> Iterator[str]:
    """Yield what sshd judges: the file, and the folders up to the home, or to all."""
    yield file.path
    for parent in PurePosixPath(file.path).parents:
        yield str(parent)
        if str(parent) == file.home:
            return


def _is_readable(found: File, uid: str) -> bool:
    return uid in {"0", found.owner} or found.mode[_OTHERS_READ] == "r"


def content_of(facts: Facts, file: KeysFile) -> str:
    """Return what is in a file, as it came; empty where it is a link."""
    found = facts.files.get(file.path)
    return (found.content or "") if found and found.is_regular else ""


def owners(facts: Facts) -> Mapping[str, tuple[KeysFile, ...]]:
    """Return the files by their paths: one may be that of several accounts."""
    by_path: dict[str, tuple[KeysFile, ...]] = {}
    for file in facts.leftover.files:
        by_path[file.path] = (*by_path.get(file.path, ()), file)
    return by_path
