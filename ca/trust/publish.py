"""Publish the trust bundle: signed roots as the operator gave them, KRL, *current*.

    revocations ──▶ KRL ──▶ *current* ──gate──▶ published, if nobody was faster

The roots come signed by the root key, which no process of the signer can open; this
module can only say which roots hold now (design invariant 10). No thread looks for
news: whoever is asked compares a number.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from ca import bundle, wire
from ca.bundle import Current
from ca.certificate import parse_line
from ca.errors import (
    BadRequest,
    CAError,
    Conflict,
    Malformed,
    NotFound,
    PublicationRefused,
)
from ca.krl import KRL, parse_krl, render_krl
from ca.signing_key import SigningKey
from ca.store import PublicationMark, PublishedCurrent, Store, Write, publishing
from ca.trust import gate
from ca.trust.history import History
from ca.trust.revocations import CLOCK_SKEW, ca_keys_of, krl_of, says_the_same
from ca.trust.roots import (
    SignedRoots,
    change_of,
    parse_signed_roots,
    require_active,
)

REFRESH = timedelta(hours=1)
"""A *current* older than this is published anew when next asked for."""

LIFE = timedelta(days=2)
"""How long a *current* is news. Readers that see no newer one raise an alarm then;
two days let a signer be down over a night without one."""

AGAIN = timedelta(seconds=10)
"""How soon what did not pass the gate is tried once more, unless it has changed."""

_ATTEMPTS = 5

_log = logging.getLogger(__name__)


class OnRecord(Protocol):
    """`Ledger.change` for entries about the CA's keys."""

    def __call__(
        self, write: Write, /, *, record: Mapping[str, object], now: datetime
    ) -> object:
        """Put a record on the ledger, with what `write` changes, in one commit."""


@dataclass(frozen=True, slots=True)
class _Published:
    """A *current* as published, and what it says."""

    stored: PublishedCurrent
    says: Current


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a *current* names, before it names it."""

    roots: SignedRoots
    krl: KRL
    krl_bytes: bytes

    @property
    def krl_sha256(self) -> str:
        """Hex SHA-256 of the KRL."""
        return hashlib.sha256(self.krl_bytes).hexdigest()


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why nothing was published, and what there was to publish."""

    why: CAError
    mark: PublicationMark
    at: datetime


class Trust:
    """The bundle as the signer serves it. Thread-safe."""

    def __init__(
        self,
        store: Store,
        *,
        signed_roots: SignedRoots,
        online_key: SigningKey,
        on_record: OnRecord,
        render: Callable[[KRL], bytes] = render_krl,
    ) -> None:
        """`render` writes KRLs, and is not believed: the gate judges its bytes.

        `on_record` writes together with an entry of the ledger.
        """
        self.history = History(store)
        self._store = store
        self._signed_roots = signed_roots
        self._online_key = online_key
        self._render = render
        self._on_record = on_record
        self._latest: tuple[PublishedCurrent, PublicationMark] | None = None
        """With the store's mark at which there was nothing newer to say."""
        self._failure: _Failure | None = None
        self._one_at_a_time = threading.Lock()

    @property
    def root_key_fingerprint(self) -> str:
        """What readers pin."""
        return wire.fingerprint(parse_line(self._signed_roots.roots.root_key))

    @property
    def online_key_fingerprint(self) -> str:
        """Of the key that signs *current*."""
        return self._online_key.fingerprint

    def current(self, *, now: datetime) -> bytes:
        """Return the newest *current*, as a signed document.

        All that is revoked by now is in it, on whichever signer that was, unless what
        would say so did not pass the gate; then it is the last good one. Raises what
        kept it from being published where there is none.
        """
        latest = self._news(now)
        if latest is None:
            with self._one_at_a_time:
                latest = self._news(now) or self._renewed(now)
        return latest.document

    def blob(self, sha256: str) -> bytes:
        """Return an immutable part of the bundle; raise `NotFound`."""
        content = self._store.blob(sha256)
        if content is None:
            raise NotFound("no part of the trust bundle has this hash")
        return content

    def problems(self) -> list[str]:
        """Say why what is published is not what it should be."""
        failure = self._failure
        if failure is None:
            return []
        return [f"the trust bundle is not published anew: {failure.why.detail}"]

    @property
    def failed_at(self) -> datetime | None:
        """When the last attempt to publish failed; None where the last one did not."""
        return None if self._failure is None else self._failure.at

    def _news(self, now: datetime) -> PublishedCurrent | None:
        """Return what was published last, unless there may be more to say by now."""
        if self._latest is None:
            return None
        stored, mark = self._latest
        is_news = _is_fresh(stored, now) and mark == self._store.publication_mark()
        return stored if is_news else None

    def _renewed(self, now: datetime) -> PublishedCurrent:
        mark = self._store.publication_mark()
        failure = self._failure
        if failure is None or failure.mark != mark or abs(now - failure.at) >= AGAIN:
            try:
                published = self._publish(now)
            except CAError as why:
                failure = self._failure = _Failure(why, mark, now)
                _log.error("the trust bundle is not published anew: %s", why.detail)
            else:
                self._failure = None
                return published
        newest = self._store.newest_current()
        if newest is None or _read(newest) is None:
            raise type(failure.why)(failure.why.detail, hint=failure.why.hint)
        return newest

    def _publish(self, now: datetime) -> PublishedCurrent:
        for _ in range(_ATTEMPTS):
            # First the mark: what is revoked from here on, the next one publishes.
            mark = self._store.publication_mark()
            newest = self._newest()
            version = max(mark.version + 1, int(now.timestamp() * 1000))
            parts = self._parts(newest, version=version, now=now)
            if newest is not None and _holds_on(newest, parts, now=now):
                self._latest = (newest.stored, mark)
                return newest.stored
            made = self._make(parts, version=version, now=now)
            # The parts first: whoever sees the new *current* must find what it names.
            self._store.add_blob(parts.roots.sha256, parts.roots.document)
            self._store.add_blob(parts.krl_sha256, parts.krl_bytes)
            if self._put(made, parts.roots, mark=mark, now=now):
                self._latest = (made, replace(mark, version=version))
                _log.info("trust bundle published", extra=_told(made, parts))
                return made
        raise PublicationRefused("something was published or revoked meanwhile")

    def _put(
        self,
        made: PublishedCurrent,
        roots: SignedRoots,
        *,
        mark: PublicationMark,
        now: datetime,
    ) -> bool:
        """Publish it, unless somebody was faster; other roots, with an entry.

        Which CA keys hosts take cannot change unseen by who watches the ledger.
        """
        # As it is stored: one that this program cannot read named roots, too.
        before = self._store.newest_current()
        if before is None or before.roots_sha256 == roots.sha256:
            return self._store.publish(made, unless_since=mark)
        record = change_of(roots, before_sha256=before.roots_sha256)
        try:
            self._on_record(publishing(made, unless_since=mark), record=record, now=now)
        except Conflict:
            return False
        return True

    def _newest(self) -> _Published | None:
        stored = self._store.newest_current()
        says = None if stored is None else _read(stored)
        return None if stored is None or says is None else _Published(stored, says)

    def _parts(
        self, newest: _Published | None, *, version: int, now: datetime
    ) -> _Parts:
        """Return what is to be published: the same KRL while it says the same."""
        roots = self._roots(newest)
        since = int((now - CLOCK_SKEW).timestamp())
        revocations = self._store.revocations(since=since)
        krl = krl_of(revocations, roots.roots, version=version, now=now)
        if newest is not None:
            content = self._store.blob(newest.says.krl_sha256) or b""
            published = _read_krl(content)
            if published is not None and says_the_same(published, krl):
                return _Parts(roots, published, content)
        return _Parts(roots, krl, self._render(krl))

    def _roots(self, newest: _Published | None) -> SignedRoots:
        """Return our roots, or newer ones that another signer has published."""
        ours = self._signed_roots
        if newest is None or newest.says.roots_sha256 == ours.sha256:
            return ours
        document = self._store.blob(newest.says.roots_sha256)
        if document is None:
            return ours
        published = parse_signed_roots(document)
        if published.roots.root_key != ours.roots.root_key:
            return ours
        if published.roots.version == ours.roots.version:
            raise PublicationRefused(
                f"roots of version {ours.roots.version} are published that say"
                " something else than roots_file",
                hint="sign the roots again, with a higher version",
            )
        return max(ours, published, key=lambda signed: signed.roots.version)

    def _make(self, parts: _Parts, *, version: int, now: datetime) -> PublishedCurrent:
        """Return a signed *current* that has passed the gate."""
        roots = parts.roots.roots
        root_key, online_key = parse_line(roots.root_key), self._online_key
        gate.judge_krl(parts.krl_bytes, meant=parts.krl, ca_keys=ca_keys_of(roots))
        require_active(online_key, roots.online)
        gate.judge_signed(
            parts.roots.document, namespace=bundle.ROOTS_NAMESPACE, key=root_key
        )
        says = Current(
            version=version,
            expires=int((now + LIFE).timestamp()),
            roots_sha256=parts.roots.sha256,
            krl_sha256=parts.krl_sha256,
        )
        text = bundle.render_current(says)
        armour = online_key.sign_message(bundle.CURRENT_NAMESPACE, text)
        document = bundle.join_signed(text, armour)
        gate.judge_signed(
            document, namespace=bundle.CURRENT_NAMESPACE, key=online_key.blob
        )
        return PublishedCurrent(
            version=version,
            published=int(now.timestamp()),
            roots_sha256=parts.roots.sha256,
            document=document,
        )


def _told(made: PublishedCurrent, parts: _Parts) -> dict[str, object]:
    return {
        "version": made.version,
        "roots_version": parts.roots.roots.version,
        "krl_version": parts.krl.version,
        "krl_bytes": len(parts.krl_bytes),
    }


def _is_fresh(stored: PublishedCurrent, now: datetime) -> bool:
    age = now - datetime.fromtimestamp(stored.published, UTC)
    # A clock that was set back must not keep an old one alive for ever.
    return timedelta(0) <= age < REFRESH


def _holds_on(newest: _Published, parts: _Parts, *, now: datetime) -> bool:
    named = (newest.says.roots_sha256, newest.says.krl_sha256)
    return _is_fresh(newest.stored, now) and named == (
        parts.roots.sha256,
        parts.krl_sha256,
    )


def _read(stored: PublishedCurrent) -> Current | None:
    """Return what a published *current* says; None for one of an older program."""
    try:
        return bundle.parse_current(bundle.split_signed(stored.document)[0])
    except Malformed:
        return None


def _read_krl(content: bytes) -> KRL | None:
    try:
        return parse_krl(content)
    except BadRequest:
        return None
