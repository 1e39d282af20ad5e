"""What was published before, for hosts that say which of it they have."""

import hashlib
from dataclasses import dataclass

from ca import bundle
from ca.store import Store

_REMEMBERED = 256
"""Versions; more than are published in a day without an accident."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A *current* that was published."""

    sha256: str
    """Hex; of the document, its signature included."""
    roots_version: int


class History:
    """Looks versions of *current* up, each once: what one says never changes."""

    def __init__(self, store: Store, *, remembers: int = _REMEMBERED) -> None:
        self._store = store
        self._remembers = remembers
        self._known: dict[int, Publication] = {}

    def find(self, version: int) -> Publication | None:
        """Return what was published as this version, or None."""
        known = self._known.get(version)
        return self._look_up(version) if known is None else known

    def _look_up(self, version: int) -> Publication | None:
        published = self._store.published(version)
        if published is None:
            return None
        roots = self._store.blob(published.roots_sha256) or b""
        text, _armour = bundle.split_signed(roots)
        found = Publication(
            sha256=hashlib.sha256(published.document).hexdigest(),
            roots_version=bundle.parse_roots(text).version,
        )
        if len(self._known) >= self._remembers:
            self._known.clear()
        self._known[version] = found
        return found
