"""Authorized keys that certificates have replaced: which go, which stay, and back.

Pure, as `deploy.plan` is, and of the same kind: plans, with diffs and an id. A key goes
only where the host is what `deploy.toml` says and the account takes certificates; then
the same logins as ever have to prove it. What goes is moved, never deleted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from deploy.authorized_keys import Entry, content_of, obstacles, owners, parse
from deploy.desired import DesiredHost, Keys
from deploy.facts import Facts, File
from deploy.leftover import KeysFile
from deploy.planned import Change, Kind, Plan

_SLOT = "retired"


def make_retirement(whole: Plan, facts: Facts, desired: DesiredHost) -> Plan:
    """Return what takes leftover keys away; `whole` is the plan for everything else."""
    made = replace(
        whole, changes=(), effects=(), risks=(), certify=None, register=None, slot=_SLOT
    )
    if desired.authorized_keys is Keys.KEEP:
        return made
    changes: list[Change] = []
    risks: list[str] = []
    unread: list[str] = []
    for path, files in owners(facts).items():
        stays = _reason_to_stay(facts, desired, files)
        if stays is None and facts.files[path].content is None:
            unread.append(f"{path} is longer than anybody writes: see what is in it")
        elif stays is None:
            changes += _change(facts, desired, path, files[0])
        elif leftover_of(facts, desired, files[0]) or not facts.files[path].is_regular:
            risks.append(f"{path} stays: {stays}")
    blockers = whole.blockers
    if whole.changes:
        blockers += ("it is not yet as deploy.toml says: ca-deploy apply",)
    return replace(
        made,
        changes=tuple(changes),
        risks=(*risks, *_risks(facts, desired)) if changes else (),
        blockers=(*unread, *(blockers if changes else ())),
    )


def make_restoration(host: str, facts: Facts) -> Plan:
    """Return what brings back the keys that the last retirement took away.

    What was added since stays.
    """
    changes = []
    for path, (owner, content) in facts.leftover.back.items():
        before = facts.files.get(path)
        now = (before.content or "") if before is not None else ""
        lines = now.split("\n")
        missing = [line for line in content.splitlines() if line not in lines]
        if missing:
            after = now + "".join(f"{line}\n" for line in missing)
            changes.append(_as_change(path, owner, before, after))
    last = facts.leftover.retired
    blockers = () if last else ("no keys of it are retired",)
    return Plan(
        host,
        tuple(changes),
        (),
        {},
        None,
        (),
        blockers,
        undoes=last or "-",
        slot=_SLOT,
    )


def leftover_of(
    facts: Facts, desired: DesiredHost, file: KeysFile
) -> tuple[Entry, ...]:
    """Return the keys in a file that are not to stay."""
    return tuple(
        entry
        for entry in parse(content_of(facts, file))
        if entry.fingerprint not in desired.kept_keys and not entry.is_ca
    )


def _reason_to_stay(
    facts: Facts, desired: DesiredHost, files: Sequence[KeysFile]
) -> str | None:
    if not facts.files[files[0].path].is_regular:
        return "it is a link, and whoever made it has to say what it leads to"
    without = sorted({f.account for f in files} - set(desired.accounts))
    if without:
        return f"{', '.join(without)} takes no certificates"
    folder = facts.files.get(files[0].path.rpartition("/")[0])
    if folder is None or folder.owner not in {files[0].uid, "0"}:
        return "its folder is somebody else's"
    if folder.owner == "0" and _is_inside(files[0]):
        return f"its folder is root's, within the home of {files[0].account}"
    if folder.owner == "0" and not _is_roots_alone(facts, files[0].path):
        return "others than root can write above it, or it is below a link"
    return None


def _is_roots_alone(facts: Facts, path: str) -> bool:
    """Say whether root can write there, and never into what another made a link."""
    parents = [str(parent) for parent in PurePosixPath(path).parents][:-1]
    found = [facts.files.get(parent) for parent in parents]
    return all(
        folder is not None
        and (folder.mode[0], folder.owner, folder.mode[8]) == ("d", "0", "-")
        and (folder.mode[5] == "-" or folder.group == "0")
        for folder in found
    )


def _is_inside(file: KeysFile) -> bool:
    """Say whether it is where its owner, and not root, decides what there is."""
    return file.path.startswith(f"{file.home}/") and file.uid != "0"


def _change(
    facts: Facts, desired: DesiredHost, path: str, file: KeysFile
) -> Iterator[Change]:
    going = {entry.number for entry in leftover_of(facts, desired, file)}
    before = facts.files[path]
    if not going:
        return
    content = content_of(facts, file)
    lines = content.split("\n")
    kept = [line for n, line in enumerate(lines, 1) if n not in going]
    staying = [e for e in parse(content) if e.number not in going]
    after = "\n".join(kept) if staying else None
    folder = facts.files[path.rpartition("/")[0]]
    yield _as_change(
        path, "root" if folder.owner == "0" else file.account, before, after
    )


def _as_change(path: str, owner: str, before: File | None, after: str | None) -> Change:
    content = None if after is None else after.encode("utf-8", "surrogateescape")
    return Change(Kind.KEYS, path, before, content, None, owner)


def _risks(facts: Facts, desired: DesiredHost) -> Iterator[str]:
    """Say what to mind of a host on which keys are retired."""
    if facts.leftover.command is not None:
        yield f"{facts.leftover.command} gives sshd keys, too, and is left alone"
    kept = False
    for files in owners(facts).values():
        for entry in parse(content_of(facts, files[0])):
            where = f"{files[0].path} line {entry.number}"
            if entry.is_ca:
                yield f"{where} trusts another CA ({entry.fingerprint}), and stays"
            elif entry.fingerprint in desired.kept_keys:
                kept = True
                for why in obstacles(facts, files[0]):
                    yield f"sshd does not take the key to keep in {where}: {why}"
    if not kept:
        yield (
            "no key to keep is on it: while there are no certificates, only its "
            "console lets anybody in"
        )
