"""Users and groups of a host, as its own files have them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

PEOPLE = frozenset({"user", "group", "uid", "gid"})
"""The records of a report that are about them."""

MISSING = "missing"
FOREIGN = "foreign"
"""Known to the host, but not from `/etc/passwd` or `/etc/group`: a directory's."""


@dataclass(frozen=True, slots=True)
class User:
    """A user, without a secret."""

    state: str
    """`missing`, `foreign`, or the password's kind: `locked` (`!`), `empty`, `none`
    (`*`) or `set`."""
    uid: str = ""
    ends: int | None = None
    """The day on which it expires, counted from the first of 1970."""
    home: str = ""
    shell: str = ""
    groups: tuple[str, ...] = ()
    """The primary one first."""

    @property
    def is_there(self) -> bool:
        """Whether the host's own files have it."""
        return self.state not in {MISSING, FOREIGN}


@dataclass(frozen=True, slots=True)
class People:
    """What a host said about those it was asked about."""

    users: Mapping[str, User] = field(default_factory=dict)
    groups: Mapping[str, str] = field(default_factory=dict)
    """Name to gid, or `missing`, or `foreign`."""
    owners: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """`uid` or `gid`, and a number, to whose it is."""


class PeopleDraft:
    """The same, as the records come."""

    def __init__(self) -> None:
        self._users: dict[str, User] = {}
        self._groups: dict[str, str] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def take(self, name: str, words: Sequence[str], lines: Sequence[str]) -> None:
        """Take a record; raise `ValueError` or `IndexError` for an odd one."""
        match name:
            case "user":
                self._users[words[0]] = _user(words[1:], lines)
            case "group":
                self._groups[words[0]] = words[1]
            case _:
                self._owners[name, words[0]] = words[1]

    def whole(self) -> People:
        """Return what was taken."""
        return People(self._users, self._groups, self._owners)


def _user(words: Sequence[str], lines: Sequence[str]) -> User:
    if words[0] in {MISSING, FOREIGN}:
        return User(words[0])
    uid, _, state, ends = words
    home, shell, groups = lines
    last = None if ends == "-" else int(ends)
    return User(state, uid, last, home, shell, tuple(groups.split()))
