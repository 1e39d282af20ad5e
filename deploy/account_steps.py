"""Users, groups and sudo: from what a host has to what it should have, in steps.

Pure. A step is a line for `deploy/host/accounts.sh`, which does it with the host's own
programs. A user is made without a password, and is locked and expired rather than
removed: who owned its files stays known, and its number is not given to somebody else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.people import FOREIGN, MISSING, People, User

if TYPE_CHECKING:
    from deploy.desired import DesiredHost, UserTable
    from deploy.facts import Facts

POWERFUL = frozenset(
    {
        *("adm", "disk", "docker", "incus-admin", "libvirt", "lxd"),
        *("root", "shadow", "sudo", "wheel"),
    }
)
"""Groups that make root of their members, or let them read what others may not."""

_SECONDS_A_DAY = 86400

_WORDS: Mapping[str, str] = {
    "group-add": "made, gid {1}",
    "group-del": "removed",
    "user-add": "made, uid {1}, home {2}, shell {3}, no password",
    "user-del": "removed; the home stays",
    "user-join": "joins {1}",
    "user-leave": "leaves {1}",
    "user-shell": "gets the shell {1}",
    "user-password": "has no password any more: only keys and certificates open it",
    "user-renew": "does not end any more",
    "user-lock": "locked and expired: nothing opens it; the home stays",
    "user-secret": "gets back the password, and the end, that it had",
}
_UNDOES_LATER: Mapping[str, str | None] = {"user-del": "user-lock", "group-del": None}
"""What takes the place of a removal once time has passed: by then they own files."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What is to be done to one user or group."""

    whom: str
    """`user NAME` or `group NAME`."""
    lines: tuple[str, ...]


def describe(whom: str, steps: bytes) -> str:
    """Return steps in words, as a diff would have them."""
    said = [f"--- {whom}\n+++ {whom}\n"]
    for line in steps.decode().splitlines():
        what, *words = line.split()
        given = [w if w != "-" else "as the host gives" for w in words]
        said.append(f"+{_WORDS[what].format(*given)}\n")
    return "".join(said)


def steps(facts: "Facts", desired: "DesiredHost", *, now: int) -> tuple[Steps, ...]:
    """Return what to do, groups first; `now` in Unix seconds."""
    people = facts.people
    made = [
        Steps(f"group {name}", (f"group-add {name} {group.gid or '-'}",))
        for name, group in sorted(desired.groups.items())
        if people.groups.get(name) == MISSING
    ]
    for name, wanted in sorted(desired.users.items()):
        found = people.users.get(name, User(MISSING))
        lines = tuple(_of_user(name, wanted, found, today=now // _SECONDS_A_DAY))
        if lines:
            made.append(Steps(f"user {name}", lines))
    return tuple(made)


def undoing(facts: "Facts") -> tuple[Steps, ...]:
    """Return what takes the last change's steps back, long after it was proved."""
    found: dict[str, list[str]] = {}
    for line in facts.unaccount:
        what, name, *words = line.split()
        later = _UNDOES_LATER.get(what, what)
        if later is None or what not in _WORDS:
            continue
        kept = [] if later != what else words
        whom = f"{what.partition('-')[0]} {name}"
        found.setdefault(whom, []).append(" ".join([later, name, *kept]))
    return tuple(
        Steps(whom, tuple(dict.fromkeys(lines))) for whom, lines in found.items()
    )


def _of_user(
    name: str, wanted: "UserTable", found: User, *, today: int
) -> Iterator[str]:
    ended = found.ends is not None and found.ends <= today
    if wanted.gone:
        if found.is_there and not (found.state == "locked" and ended):
            yield f"user-lock {name}"
        return
    if not found.is_there:
        home = wanted.home or f"/home/{name}"
        yield f"user-add {name} {wanted.uid or '-'} {home} {wanted.shell or '-'}"
    elif wanted.shell not in {None, found.shell}:
        yield f"user-shell {name} {wanted.shell}"
    yield from _of_groups(name, wanted, found)
    if found.is_there and found.state != "none" and wanted.password != "keep":  # noqa: S105 no password, a word
        yield f"user-password {name}"
    if ended:
        yield f"user-renew {name}"


def _of_groups(name: str, wanted: "UserTable", found: User) -> Iterator[str]:
    for group in wanted.groups:
        if group not in found.groups:
            yield f"user-join {name} {group}"
    for group in found.groups[1:]:
        if group in POWERFUL and group not in wanted.groups:
            yield f"user-leave {name} {group}"


def against(
    facts: "Facts", desired: "DesiredHost", made: Sequence[Steps]
) -> Iterator[str]:
    """Say why what is wanted cannot be, or would end badly."""
    people = facts.people
    for name, group in sorted(desired.groups.items()):
        yield from _number(people, "gid", name, group.gid, people.groups.get(name))
    for name, wanted in sorted(desired.users.items()):
        found = people.users.get(name, User(MISSING))
        if found.state == FOREIGN:
            yield f"the user {name} comes from a directory, not from /etc/passwd"
        elif wanted.gone:
            yield from _against_removal(facts, name, found)
        else:
            uid = found.uid if found.is_there else MISSING
            yield from _number(people, "uid", name, wanted.uid, uid)
            yield from _against_user(people, desired, name, found)
    yield from _against_tools(facts, desired, made)


def _number(
    people: People, kind: str, name: str, wanted: int | None, found: str | None
) -> Iterator[str]:
    if found == FOREIGN:
        yield f"the group {name} comes from a directory, not from /etc/group"
    elif wanted is None:
        return
    elif found not in {MISSING, str(wanted)}:
        yield (
            f"{name} has the {kind} {found}, not {wanted}: changing it would leave its "
            "files to whoever has that number next"
        )
    elif people.owners.get((kind, str(wanted)), name) != name:
        yield f"the {kind} {wanted} is {people.owners[kind, str(wanted)]}'s already"


def _against_removal(facts: "Facts", name: str, found: User) -> Iterator[str]:
    if found.uid == "0":
        yield f"{name} is root by another name, and is not locked by us"
    if name == facts.login:
        yield f"you came in as {name}: who locks it would lock you out"


def _against_user(
    people: People, desired: "DesiredHost", name: str, found: User
) -> Iterator[str]:
    wanted = desired.users[name]
    for group in wanted.groups:
        if people.groups.get(group) == MISSING and group not in desired.groups:
            yield f"{name} is to be in {group}, and there is no such group; declare it"
    if found.is_there and wanted.home not in {None, found.home}:
        yield f"{name} has its home in {found.home}: move it yourself, then go on"


def _against_tools(
    facts: "Facts", desired: "DesiredHost", made: Sequence[Steps]
) -> Iterator[str]:
    if made and "useradd" not in facts.tools:
        yield (
            "it has no useradd, usermod and so on, which users and groups are changed "
            "with: a package called shadow or passwd has them"
        )
    if desired.sudoers and "visudo" not in facts.tools:
        yield "it has no visudo to check lines for sudo with"
    elif desired.sudoers and "sudoers.d" not in facts.tools:
        yield "its /etc/sudoers does not include /etc/sudoers.d, where ours would be"


def risks(facts: "Facts", made: Sequence[Steps]) -> Iterator[str]:
    """Say what to mind of steps."""
    for each in made:
        for line in each.lines:
            what, name, *_ = line.split()
            if what == "user-lock":
                yield f"sessions and jobs of {name} that run now go on until they end"
            if what == "user-password" and facts.people.users[name].state == "locked":
                yield f"{name} was locked by somebody, and is opened"
