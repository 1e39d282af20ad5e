"""Authorized keys that are on a host: where sshd looks, and when they were used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RECORDS = frozenset({"keysfile", "keyscommand", "used", "retired", "back"})
"""The records of a report that are about them."""

QUESTION = "keys=all"
"""What a host is asked."""


@dataclass(frozen=True, slots=True)
class KeysFile:
    """A file in which sshd looks for the keys of an account."""

    account: str
    uid: str
    is_strict: bool
    """Whether sshd minds who else could write there (`StrictModes`)."""
    home: str
    path: str


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a host said of authorized keys; empty where it was not asked."""

    files: tuple[KeysFile, ...] = ()
    command: str | None = None
    """A program that gives keys, too: nobody can list these."""
    used: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Account and fingerprint to when, as the log has it."""
    retired: str | None = None
    """The name of the change that took some away."""
    back: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What was there before it: path to its owner and content."""


class LeftoverDraft:
    """The same, as the records come."""

    def __init__(self) -> None:
        self._files: list[KeysFile] = []
        self._command: str | None = None
        self._used: dict[tuple[str, str], str] = {}
        self._retired: str | None = None
        self._back: dict[str, tuple[str, str]] = {}

    def take(self, name: str, words: Sequence[str], lines: Sequence[str]) -> None:
        """Take a record; raise `ValueError` or `IndexError` for an odd one."""
        rest = " ".join(words)
        match name:
            case "keysfile":
                account, uid, strict, home, *path = words
                file = KeysFile(account, uid, strict != "no", home, " ".join(path))
                self._files.append(file)
            case "keyscommand":
                self._command = rest
            case "used":
                self._used[words[0], words[1]] = " ".join(words[2:])
            case "retired":
                self._retired = rest
            case _:
                content = "".join(f"{line}\n" for line in lines)
                self._back[" ".join(words[1:])] = (words[0], content)

    def whole(self) -> Leftover:
        """Return what was taken."""
        return Leftover(
            tuple(self._files), self._command, self._used, self._retired, self._back
        )
