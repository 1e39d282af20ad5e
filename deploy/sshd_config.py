"""Where our lines go in sshd's configuration, so that they are the ones that hold.

sshd takes the first value that it reads for a keyword, and does not say so when that is
somebody else's. So: a drop-in of our own, where the main file includes its folder
before any `Match` and nobody before ours sets the same; else a marked block at the top
of the main file, which nothing comes before. What stands in a `Match` block beats both.
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from deploy.facts import Facts

FOLDER = "/etc/ssh/daypass"
CA_KEYS = f"{FOLDER}/ca_keys"
KRL = f"{FOLDER}/revoked.krl"
PRINCIPALS = f"{FOLDER}/principals"

_BEGIN = (
    "# daypass: begin. ca-deploy keeps these lines; `ca-deploy rollback` removes them."
)
_END = "# daypass: end"
_HEADER = "# ca-deploy keeps this file; `ca-deploy rollback` removes it.\n"

_FIRST_WITH_INCLUDE = (8, 2)
_LINE = re.compile(r"\s*([A-Za-z]+)(?:\s*=\s*|\s+)(.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Setter:
    """A line that sets a keyword."""

    path: str
    line: int
    keyword: str
    value: str
    in_match: bool

    def __str__(self) -> str:
        return f"{self.path} line {self.line}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Which files of sshd's change: path to new content, None for a file that goes."""

    files: Mapping[str, str | None]
    folder: str | None
    """The drop-ins' folder, where the main file includes one."""


def settings(*, krl: bool) -> dict[str, str]:
    """Return what sshd is to be told about users, by keyword as it spells it."""
    said = {
        "TrustedUserCAKeys": CA_KEYS,
        "AuthorizedPrincipalsFile": f"{PRINCIPALS}/%u",
    }
    return said | {"RevokedKeys": KRL} if krl else said


def setters(facts: Facts) -> tuple[Setter, ...]:
    """Return every line that sets something, in the order in which sshd reads them.

    Ours are left out. An included file's `Match` ends with the file.
    """
    return tuple(_setters(facts, facts.config, without_block(_content(facts))))


def _setters(
    facts: Facts, path: str, text: str, *, in_match: bool = False
) -> Iterator[Setter]:
    for number, line in enumerate(text.splitlines(), 1):
        found = _LINE.match(line.partition("#")[0])
        if found is None:
            continue
        keyword, value = found[1].lower(), found[2]
        if keyword == "match":
            in_match = value.lower() != "all"
        elif keyword == "include":
            for name in _included(facts, value):
                text_of = _foreign(facts, name)
                yield from _setters(facts, name, text_of, in_match=in_match)
        else:
            yield Setter(path, number, keyword, value, in_match)


def place(facts: Facts, name: str, said: Mapping[str, str]) -> Placement:
    """Return the files that make `said` hold, by a drop-in called `name` if possible.

    Both ways are computed without what we put there before, so that the same facts but
    for our own files always lead to the same place.
    """
    main = _content(facts)
    plain = without_block(main)
    folder = _folder(facts, plain)
    drop_in = None if folder is None else f"{folder}/{name}"
    files: dict[str, str | None] = {
        path: None
        for path, file in sorted(facts.files.items())
        if file.content is not None and file.content.startswith(_HEADER)
    }
    if drop_in is not None and not _beaten(facts, plain, drop_in, said):
        files[drop_in] = drop_in_of(said)
        main_after = plain
    else:
        main_after = block_of(said) + plain
    if main_after != main:
        files[facts.config] = main_after
    return Placement(files, folder)


def drop_in_of(said: Mapping[str, str]) -> str:
    """Return the content of our drop-in."""
    return _HEADER + _lines_of(said)


def block_of(said: Mapping[str, str]) -> str:
    """Return the lines that go to the top of a main file."""
    return f"{_BEGIN}\n{_lines_of(said)}{_END}\n"


def _lines_of(said: Mapping[str, str]) -> str:
    return "".join(f"{keyword} {value}\n" for keyword, value in said.items())


def without_block(text: str) -> str:
    """Return a main file without the lines that we keep in it."""
    before, begin, rest = text.partition(f"{_BEGIN}\n")
    _, end, after = rest.partition(f"{_END}\n")
    return before + after if begin and end else text


def _folder(facts: Facts, plain: str) -> str | None:
    """Return the folder of drop-ins that holds for everybody, if there is one."""
    if facts.version < _FIRST_WITH_INCLUDE:
        return None
    for line in plain.splitlines():
        found = _LINE.match(line.partition("#")[0])
        if found is not None and found[1].lower() == "match":
            return None
        for path in _include_of(line):
            if path.name in {"*.conf", "*"} and str(path.parent) in facts.files:
                return str(path.parent)
    return None


def _beaten(facts: Facts, plain: str, drop_in: str, said: Mapping[str, str]) -> bool:
    """Say whether something that sshd reads before our drop-in sets what ours does."""
    # Every HostCertificate counts; of the others the first.
    ours = {keyword.lower() for keyword in said} - {"hostcertificate"}
    folder = PurePosixPath(drop_in).parent
    for setter in _setters(facts, facts.config, plain):
        if setter.path == facts.config:
            above = plain.splitlines()[: setter.line - 1]
            if any(
                path.parent == folder for line in above for path in _include_of(line)
            ):
                return False
        elif PurePosixPath(setter.path).parent == folder and setter.path > drop_in:
            return False
        if setter.keyword in ours and not setter.in_match:
            return True
    return False


def _include_of(line: str) -> list[PurePosixPath]:
    """Return the patterns of a line, if it is an Include; they begin in /etc/ssh."""
    found = _LINE.match(line.partition("#")[0])
    if found is None or found[1].lower() != "include":
        return []
    return [PurePosixPath("/etc/ssh", w) for w in found[2].replace('"', "").split()]


def _included(facts: Facts, value: str) -> list[str]:
    names: list[str] = []
    for pattern in _include_of(f"Include {value}"):
        names += sorted(n for n in facts.files if fnmatch.fnmatchcase(n, str(pattern)))
    return names


def _content(facts: Facts) -> str:
    file = facts.files.get(facts.config)
    return "" if file is None or file.content is None else file.content


def _foreign(facts: Facts, name: str) -> str:
    """Return the content of an included file, unless it is ours."""
    content = facts.files[name].content or ""
    return "" if content.startswith(_HEADER) else content
