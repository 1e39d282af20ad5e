"""What one host is, as `deploy/host/facts.sh` reports it.

The report is read strictly: a record that we do not know, or none at its end, means
that the script and this module do not fit, or that something on the host wrote into it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import resources

from deploy.failure import BadReport
from deploy.leftover import QUESTION, RECORDS, Leftover, LeftoverDraft
from deploy.people import PEOPLE, People, PeopleDraft

_HOST = resources.files("deploy") / "host"
_SCRIPT = (_HOST / "facts.sh").read_text()
_LEFTOVER = (_HOST / "leftover.sh").read_text()


def script(questions: Collection[str]) -> str:
    """Return what prints the report; its arguments are SSH_CONNECTION and these."""
    return _LEFTOVER + _SCRIPT if QUESTION in questions else _SCRIPT


_HEADER = "daypass-facts-v1"
_LONGEST = 16 << 20
_MISSING = "missing"

Effective = Mapping[str, tuple[str, ...]]
"""Keyword in lower case to the values that `sshd -T` prints, one a line."""


@dataclass(frozen=True, slots=True)
class Account:
    """An account that certificates are to open."""

    state: str
    """`missing`, `locked` (`!` in shadow), `empty` (no password) or `open`."""
    uid: str = ""
    home: str = ""
    shell: str = ""

    @property
    def runs_commands(self) -> bool:
        """Whether its shell is one, as far as its name tells."""
        return self.shell.rpartition("/")[2] not in {"nologin", "false", "true"}


@dataclass(frozen=True, slots=True)
class File:
    """A file on the host; only those that are text have their content with them."""

    mode: str
    """As `ls -l` prints it, type first."""
    owner: str
    group: str
    sum: str
    """`CRC-length`, as POSIX `cksum` counts them."""
    content: str | None = None

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, and not a pipe, a link or a folder."""
        return self.mode.startswith("-")


@dataclass(frozen=True, slots=True)
class Facts:
    """What one host is."""

    is_root: bool
    connection: tuple[str, str, str, str]
    """Our address and port, and the host's, as the host sees them."""
    clock: int
    """Unix seconds, when it reported."""
    os: str
    manager: str
    """`systemd`, `openrc` or `none`."""
    selinux: str
    space_kb: int
    is_served: bool
    """Whether it was OpenSSH's sshd that let us in."""
    listener: str | None
    """Process id of the sshd that listens; None where another program does."""
    unit: str | None
    sshd: str
    config: str
    version: tuple[int, int]
    tools: frozenset[str] = frozenset()
    relative: str | None = None
    """How sshd was started, where that was by a relative path."""
    command: str = ""
    """The command line of the listener."""
    options: tuple[str, ...] = ()
    """Of its command line, which win over every file."""
    broken: str | None = None
    """What `sshd -t` complains about."""
    effective: Mapping[str, Effective] = field(default_factory=dict)
    """By account; under "" what holds for nobody in particular."""
    accounts: Mapping[str, Account] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files of others that sshd asks: what `ssh-keygen -l` says of them."""
    host_keys: Mapping[str, str] = field(default_factory=dict)
    """Path of a private key of the host's to its public key, `TYPE BASE64`."""
    lock: str | None = None
    """Who is changing the host now."""
    last: str | None = None
    """The name of the last change that was proved."""
    undo: Mapping[str, str | None] = field(default_factory=dict)
    """What was there before it: path to content, None for no file."""
    unaccount: tuple[str, ...] = ()
    """What undoes its steps on users and groups, in that order."""
    login: str = "root"
    """Who we came in as."""
    people: People = field(default_factory=People)
    leftover: Leftover = field(default_factory=Leftover)

    def value(self, keyword: str, account: str = "") -> str:
        """Return what holds for a keyword; "none" where nothing does."""
        values = self.effective.get(account, {}).get(keyword, ())
        return " ".join(values) or "none"


@dataclass(slots=True)
class _Record:
    words: list[str]
    lines: list[str]

    @property
    def rest(self) -> str:
        return " ".join(self.words[1:])

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


def parse_facts(report: bytes) -> Facts:
    """Parse a report; raise `BadReport`."""
    records = list(_records(report))
    if not records or records[0].words != [_HEADER] or records[-1].words != ["end"]:
        raise BadReport(
            "the report about the host is not whole",
            hint="try again; where it stays, run the host's /bin/sh by hand",
        )
    draft = _Draft()
    for record in records[1:-1]:
        try:
            draft.take(record)
        except (ValueError, IndexError, KeyError) as error:
            raise BadReport(
                f"an odd record {record.words[0]!r} about the host"
            ) from error
    try:
        return Facts(**draft.values)  # type: ignore[arg-type]  # each by its name below
    except TypeError as error:
        raise BadReport(
            f"the report about the host lacks something: {error}"
        ) from error


def _records(report: bytes) -> Iterator[_Record]:
    # NOTE: surrogateescape, so that a file with odd bytes is the same bytes again.
    record = None
    for line in report[:_LONGEST].decode("utf-8", "surrogateescape").split("\n"):
        if line.startswith("= "):
            if record is not None:
                yield record
            record = _Record(line[2:].split(" "), [])
        elif record is not None and line.startswith("> "):
            record.lines.append(line[2:])
        elif record is not None and line:
            raise BadReport("something wrote into the report about the host")
    if record is not None:
        yield record


class _Draft:
    """The fields of `Facts`, as the records come."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.effective: dict[str, Effective] = {}
        self.accounts: dict[str, Account] = {}
        self.named: dict[str, tuple[str, ...]] = {}
        self.tools: set[str] = set()
        self.undo: dict[str, str | None] = {}
        self.host_keys: dict[str, str] = {}
        self.options: list[str] = []
        self.unaccount: list[str] = []
        self.people = PeopleDraft()
        self.leftover = LeftoverDraft()
        self.single: dict[str, object] = {}

    @property
    def values(self) -> dict[str, object]:
        return {
            **self.single,
            "files": self.files,
            "effective": self.effective,
            "accounts": self.accounts,
            "named": self.named,
            "undo": self.undo,
            "host_keys": self.host_keys,
            "tools": frozenset(self.tools),
            "options": tuple(self.options),
            "unaccount": tuple(self.unaccount),
            "people": self.people.whole(),
            "leftover": self.leftover.whole(),
        }

    def take(self, record: _Record) -> None:
        name, *words = record.words
        match name:
            case "file":
                self._file(record)
            case "named":
                self.named[record.rest] = ()
            case "effective":
                self.effective[words[0] if words else ""] = _effective(record.lines)
            case "account":
                self.accounts[words[0]] = _account(words[1:])
            case "tool":
                self.tools.add(words[0])
            case "option":
                self.options.append(record.rest.strip())
            case "unaccount":
                self.unaccount.append(record.rest)
            case _:
                self._rest(name, words, record)

    def _rest(self, name: str, words: list[str], record: _Record) -> None:
        if name in PEOPLE:
            self.people.take(name, words, record.lines)
        elif name in RECORDS:
            self.leftover.take(name, words, record.lines)
        elif name == "undo":
            was_absent = words[0] == "absent"
            self.undo[" ".join(words[1:])] = None if was_absent else record.text
        elif name == "hostkey":
            if record.lines:
                self.host_keys[record.rest] = " ".join(record.lines[0].split()[:2])
        else:
            self.single |= _single(name, words, record)

    def _file(self, record: _Record) -> None:
        _, mode, *words = record.words
        if mode == "absent":
            return
        owner, group, total, *path = words
        name = " ".join(path)
        if name in self.named:
            self.named[name] = tuple(record.lines)
        content = record.text if record.lines or total.endswith("-0") else None
        self.files[name] = File(mode, owner, group, total, content)


def _single(name: str, words: list[str], record: _Record) -> dict[str, object]:
    """Return the fields that a record stands for; raise `KeyError` for any other."""
    return _TEXTS.get(name, _FIELDS.get(name, _unknown))(words, record)


def _unknown(_: list[str], record: _Record) -> dict[str, object]:
    raise KeyError(record.words[0])


_Reader = Callable[[list[str], _Record], dict[str, object]]

_TEXTS: Mapping[str, _Reader] = {
    name: lambda _, record: {record.words[0]: record.rest}
    for name in (
        *("os", "manager", "selinux", "sshd", "config", "command", "relative"),
        *("lock", "last", "login"),
    )
}

_FIELDS: Mapping[str, _Reader] = {
    "root": lambda words, _: {"is_root": words == ["0"]},
    "served": lambda words, _: {"is_served": words == ["yes"]},
    "connection": lambda words, _: {"connection": tuple([*words, *["-"] * 4][:4])},
    "clock": lambda words, _: {"clock": int(words[0])},
    "space": lambda words, _: {"space_kb": int(words[0])},
    "listener": lambda words, _: {"listener": _some(words[0]), "unit": _some(words[1])},
    "version": lambda _, record: {"version": _version(record.rest)},
    "test": lambda words, record: {
        "broken": None if words == ["ok"] else record.text.strip()
    },
}


def _some(word: str) -> str | None:
    return None if word == "-" else word


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.removeprefix("OpenSSH_").partition("p")[0].partition(".")
    return int(major), int(minor)


def _account(words: list[str]) -> Account:
    if words == [_MISSING]:
        return Account(_MISSING)
    uid, home, shell = " ".join(words[1:]).split(":", 2)
    return Account(words[0], uid, home, shell)


def _effective(lines: list[str]) -> Effective:
    values: dict[str, tuple[str, ...]] = {}
    for line in lines:
        keyword, _, value = line.partition(" ")
        values[keyword.lower()] = (*values.get(keyword.lower(), ()), value)
    return values
