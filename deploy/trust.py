"""The trust files of a host: what the CA says, and nothing that we say.

They only ever move forward. A host may have pulled newer ones than we know; then its
own stay. *current* changes daily, so it is written only along with something else.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from client.api import Bundle
from deploy.facts import Facts
from deploy.sshd_config import CA_KEYS, FOLDER, KRL

ROOTS = f"{FOLDER}/roots"
CURRENT = f"{FOLDER}/current"

_VERSION = re.compile(r"^version ([0-9]{1,19})$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Trust:
    """What a verified bundle says, as files."""

    roots_version: int
    current_version: int
    ca_keys: bytes
    roots: bytes
    current: bytes
    krl: bytes
    host_ca_keys: tuple[str, ...] = ()
    """Which may certify hosts; `<type> <base64>`."""

    @classmethod
    def of(cls, bundle: Bundle, krl: bytes) -> "Trust":
        """Return the files of a verified bundle, with the KRL that it names."""
        lines = "".join(f"{key}\n" for key in bundle.roots.user_ca_keys())
        return cls(
            bundle.roots.version,
            bundle.current.version,
            lines.encode(),
            bundle.roots_document,
            bundle.current_document,
            krl,
            tuple(trusted.key for trusted in bundle.roots.host_ca),
        )

    def is_older_than(self, facts: Facts) -> bool:
        """Say whether the host has pulled newer roots than these."""
        found = version_of(facts, ROOTS)
        return found is not None and found > self.roots_version

    def key_types(self) -> frozenset[str]:
        """Return the types of the user CA keys."""
        return frozenset(line.split()[0] for line in self.ca_keys.decode().splitlines())

    def files(self, facts: Facts, *, krl: bool) -> Mapping[str, bytes]:
        """Return what to write: nothing where the host has it, or newer."""
        if self.is_older_than(facts):
            return {}
        wanted = {CA_KEYS: self.ca_keys, ROOTS: self.roots}
        files = {
            path: content
            for path, content in wanted.items()
            if not _is(facts, path, content)
        }
        # A KRL has no version to read here; the *current* beside it has.
        known = version_of(facts, CURRENT)
        lacks = {CURRENT, KRL} - set(facts.files) if krl else set()
        if lacks or (files and (known is None or known < self.current_version)):
            files |= {CURRENT: self.current} | ({KRL: self.krl} if krl else {})
        return files


def version_of(facts: Facts, path: str) -> int | None:
    """Return the version of a document on a host, if it is there and has one."""
    file = facts.files.get(path)
    found = _VERSION.search((file and file.content) or "")
    return None if found is None else int(found[1])


def _is(facts: Facts, path: str, content: bytes) -> bool:
    file = facts.files.get(path)
    if file is None or file.content is None:
        return False
    ours = file.mode == "-rw-r--r--" and (file.owner, file.group) == ("0", "0")
    return ours and file.content.encode("utf-8", "surrogateescape") == content
