"""What a host says of itself: whom it trusts, since when, and how fresh that is."""

from deploy.facts import Facts
from deploy.sshd_config import CA_KEYS, FOLDER, PRINCIPALS
from deploy.trust import ROOTS, version_of


def describe(name: str, facts: Facts) -> tuple[dict[str, object], str]:
    """Return the same as a document and as text."""
    keys = _lines(facts, CA_KEYS)
    accounts = {
        path.rpartition("/")[2]: _lines(facts, path)
        for path in sorted(facts.files)
        if path.startswith(f"{PRINCIPALS}/")
    }
    in_force = facts.value("trustedusercakeys")
    document: dict[str, object] = {
        "host": name,
        "trusted_user_ca_keys": in_force,
        "ca_keys": keys,
        "accounts": accounts,
        "roots_version": version_of(facts, ROOTS),
        "pull": _pull(facts),
        "last_change": facts.last,
        "locked_by": facts.lock,
    }
    return document, "".join(f"{line}\n" for line in _text(name, document))


def _text(name: str, document: dict[str, object]) -> list[str]:
    ours = document["trusted_user_ca_keys"] == CA_KEYS
    keys = document["ca_keys"]
    count = len(keys) if isinstance(keys, list) else 0
    trusted = f"trusts {count} CA keys" if ours else "does not trust the CA"
    lines = [f"{name}: {trusted}"]
    version = document["roots_version"]
    if version is not None:
        lines.append(f"  roots of version {version}")
    accounts = document["accounts"]
    for account, principals in accounts.items() if isinstance(accounts, dict) else ():
        lines.append(f"  {account} takes {', '.join(principals)}")
    pull = document["pull"]
    if isinstance(pull, dict) and pull:
        said = ", ".join(f"{key} {value}" for key, value in pull.items())
        lines.append(f"  pull: {said}")
    if document["last_change"]:
        lines.append(f"  last change {document['last_change']}")
    if document["locked_by"]:
        lines.append(f"  being changed by {document['locked_by']}")
    return lines


def _lines(facts: Facts, path: str) -> list[str]:
    file = facts.files.get(path)
    return ((file and file.content) or "").splitlines()


def _pull(facts: Facts) -> dict[str, str]:
    """Return what the pull script noted, `key=value` a line."""
    pairs = (line.partition("=") for line in _lines(facts, f"{FOLDER}/status"))
    return {key: value for key, equals, value in pairs if equals}
