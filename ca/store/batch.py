"""Which drafts of one batch get a place in the ledger, and which are refused.

No database here: `Store.append` reads what was there, and writes what this decides, in
one transaction under the lock of the ledger's head.
"""

from collections.abc import Callable, Mapping

from msgspec import Struct

from ca.errors import CAError, RateLimited, TokenSpent
from ca.store.barred import Bearer
from ca.store.buckets import Take
from ca.store.tree import Seen


class Entry(Struct, frozen=True):
    """One entry of the ledger, as it stands on disk."""

    index: int
    """Where it is in the tables. In its log it is at `index - serial_base`, so that its
    serial is the next number, and a new log begins behind what the last one had."""
    time: int
    kind: str
    serial: int | None
    """None for what is not about one certificate."""
    leaf: bytes
    record: bytes | None
    """None once it was erased."""
    to_be_signed: bytes | None
    """None once it was erased, and for what is not about one certificate."""


class TokenUse(Struct, frozen=True):
    """One use of an ID token, to be spent together with the entry it buys."""

    token_sha256: bytes
    request_sha256: bytes
    """What the token was spent on: the same request again gets the same entry."""
    expires: int
    max_uses: int
    takes: Take | None = None
    """What it takes from the bucket of whoever asks, also where it buys nothing."""
    issued: int = 0
    """The token's `iat`; one without counts as older than any recovery."""


class Draft(Struct, frozen=True):
    """An entry that waits for its place."""

    build: Callable[[int, int], Entry]
    """Makes the entry from its index and serial; pure, called under the head's lock."""
    spends: TokenUse | None = None
    seen: Seen | None = None
    """The newest checkpoint that whoever asks has."""
    bearer: Bearer | None = None
    """Whom it is for, where somebody may be kept from having it."""


class Spent(Struct, frozen=True):
    """One use of a token, as it stands on disk."""

    expires: int
    token_sha256: bytes
    use: int
    """Which of the token's uses this is, from 1."""
    request_sha256: bytes
    entry_index: int


class Batch:
    """The drafts of one transaction, placed one after the other."""

    def __init__(
        self,
        *,
        first: int,
        size: int,
        tokens_from: int,
        spent: list[Spent],
        full_at: Mapping[bytes, int],
        refusal: Callable[[Bearer], CAError | None],
    ) -> None:
        self._first = first
        self._next = first + size
        self._tokens_from = tokens_from
        self._uses: dict[bytes, list[Spent]] = {}
        for use in spent:
            self._uses.setdefault(use.token_sha256, []).append(use)
        self.entries: list[Entry] = []
        """The new entries, in order."""
        self.spent: list[Spent] = []
        """The new uses of tokens."""
        self._full_at = full_at
        self._refusal = refusal
        self.taken: dict[bytes, int] = {}
        """The buckets that were taken from, as they are now."""

    def place(self, draft: Draft) -> Entry | int | CAError:
        """Return the new entry, the index of the one already bought, or a refusal."""
        settled = self._before(draft)
        if settled is not None:
            return settled
        # Design invariant 2: unique, increasing, and checkable from the index.
        entry = draft.build(self._next, self._next + 1)
        self._next += 1
        self.entries.append(entry)
        if draft.spends is not None:
            self._spend(draft.spends, entry.index)
        return entry

    def _before(self, draft: Draft) -> int | CAError | None:
        """Return what there is instead of a new entry."""
        if draft.spends is not None:
            limited = self._limited(draft.spends.takes)
            if limited is not None:
                return limited
        if draft.bearer is not None:
            barred = self._refusal(draft.bearer)
            if barred is not None:
                return barred
        return None if draft.spends is None else self._settled(draft.spends)

    def _limited(self, takes: Take | None) -> RateLimited | None:
        if takes is None:
            return None
        before = self.taken.get(takes.subject, self._full_at.get(takes.subject, 0))
        try:
            self.taken[takes.subject] = takes.allowed(before)
        except RateLimited as refusal:
            return refusal
        return None

    def _settled(self, spends: TokenUse) -> int | CAError | None:
        earlier = self._uses.get(spends.token_sha256, [])
        # What it bought before the ledger lost entries is not known, or on a log that
        # was closed, where nothing can be proved any more.
        closed = [use for use in earlier if use.entry_index < self._first]
        if closed or spends.issued < self._tokens_from:
            return TokenSpent(
                "this ID token is from before the ledger was recovered",
                hint="sign in again",
            )
        for use in earlier:
            if use.request_sha256 == spends.request_sha256:
                return use.entry_index
        if len(earlier) >= spends.max_uses:
            return TokenSpent(
                "this ID token has already bought a certificate for another request",
                hint="sign in again",
            )
        return None

    def _spend(self, spends: TokenUse, entry_index: int) -> None:
        earlier = self._uses.setdefault(spends.token_sha256, [])
        use = Spent(
            expires=spends.expires,
            token_sha256=spends.token_sha256,
            use=len(earlier) + 1,
            request_sha256=spends.request_sha256,
            entry_index=entry_index,
        )
        earlier.append(use)
        self.spent.append(use)
