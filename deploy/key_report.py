"""What `authorized-keys report` says: each key that opens an account, and its use."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deploy.authorized_keys import Entry, content_of, obstacles, parse
from deploy.desired import DesiredHost
from deploy.facts import Facts
from deploy.leftover import KeysFile
from deploy.retirement import leftover_of


@dataclass(frozen=True, slots=True)
class Place:
    """A key where it is."""

    host: str
    file: KeysFile
    entry: Entry
    used: str | None
    is_kept: bool
    is_replaced: bool
    """Whether the account takes certificates, so that the key may go."""
    obstacles: tuple[str, ...]


def places(host: str, facts: Facts, desired: DesiredHost) -> tuple[Place, ...]:
    """Return the keys on a host, in the order in which sshd would look at them."""
    found: list[Place] = []
    for file in facts.leftover.files:
        going = leftover_of(facts, desired, file)
        why = tuple(obstacles(facts, file))
        found += [
            Place(
                host,
                file,
                entry,
                facts.leftover.used.get((file.account, entry.fingerprint)),
                entry.fingerprint in desired.kept_keys,
                entry in going and file.account in desired.accounts,
                why,
            )
            for entry in parse(content_of(facts, file))
        ]
    return tuple(found)


def describe(
    every: Sequence[Place],
) -> Sequence[tuple[Mapping[str, object], str]]:
    """Return each key as a document and as text."""
    opens = Counter(place.entry.fingerprint for place in every)
    return [
        (_document(place, opens[place.entry.fingerprint]), _text(place, opens))
        for place in every
    ]


def _document(place: Place, opens: int) -> Mapping[str, object]:
    return {
        "host": place.host,
        "account": place.file.account,
        "file": place.file.path,
        "line": place.entry.number,
        "fingerprint": place.entry.fingerprint,
        "type": place.entry.type,
        "comment": place.entry.comment,
        "options": place.entry.options,
        "weakness": place.entry.weakness,
        "ignored_because": list(place.obstacles),
        "last_used": place.used,
        "opens": opens,
        "kept": place.is_kept,
        "replaced": place.is_replaced,
    }


def _text(place: Place, opens: Counter[str]) -> str:
    entry, count = place.entry, opens[place.entry.fingerprint]
    whose = entry.comment or "(nobody is named)"
    lines = [
        f"{place.host} {place.file.account}: {entry.fingerprint} {entry.type} {whose}",
        f"  {place.file.path} line {entry.number}, {_use(place)}",
    ]
    if count > 1:
        lines.append(f"  opens {count} accounts or hosts of these")
    if entry.options:
        lines.append(f"  options: {entry.options}")
    if entry.is_ca:
        lines.append("  a CA's: whoever it certifies comes in")
    if entry.weakness is not None:
        lines.append(f"  weak: {entry.weakness}")
    lines += [f"  sshd does not take it: {why}" for why in place.obstacles]
    lines.append(f"  {_fate(place)}")
    return "".join(f"{line}\n" for line in lines)


def _use(place: Place) -> str:
    return f"last used {place.used}" if place.used else "no use in the host's logs"


def _fate(place: Place) -> str:
    if place.is_kept:
        return "to keep, as deploy.toml says"
    if place.is_replaced:
        return f"replaced: {place.file.account} takes certificates"
    if place.entry.is_ca:
        return "not ours to retire"
    return f"the only kind of way in: {place.file.account} takes no certificates"
