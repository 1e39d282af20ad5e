"""Hosts of a test's own, and what they say to the CA, right but for one thing.

    web = FakeHost("web1")
    web.report(published, at=NOW)              # a signed document, as bytes
    web.renewal(at=NOW, time=0)                # the same with another time

`tests.signing` does the same for people.
"""

import sqlite3
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from ca import bundle, host_documents, sshsig
from ca.authority import Authority
from ca.host_documents import NAMESPACE, Document, Join, Renewal, Report
from ca.hosts import NewHost
from ca.store import PublishedCurrent
from tests.signing import ORIGIN, Holder, holder

D = TypeVar("D", Report, Renewal, Join)


def publish(authority: Authority, *, now: datetime) -> tuple[PublishedCurrent, int]:
    """Return what is published at that time, and the version of its roots."""
    authority.trust.current(now=now)
    newest = authority.store.newest_current()
    assert newest is not None
    text, _armour = bundle.split_signed(authority.trust.blob(newest.roots_sha256))
    return newest, bundle.parse_roots(text).version


def empty_registry(authority: Authority) -> None:
    """Take all hosts and join tokens out of an SQLite database."""
    file = authority.config.file.with_name("daypass.db")
    with sqlite3.connect(file) as connection:
        for table in ("host_keys", "hosts", "join_tokens"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 (names of ours)


@dataclass(frozen=True)
class FakeHost:
    """A machine with one host key."""

    id: str
    key: Holder = field(default_factory=holder)
    names: tuple[str, ...] = ()
    origin: str = ORIGIN

    def new(self, *, pulls: bool = True) -> NewHost:
        """Return how it is registered."""
        return NewHost(id=self.id, names=self.names, keys=(self.key.line,), pulls=pulls)

    def report(
        self,
        published: PublishedCurrent,
        *,
        at: datetime,
        roots_version: int = 1,
        **changes: Any,
    ) -> bytes:
        """Say that it has applied this bundle."""
        says = Report(
            host=self.id,
            origin=self.origin,
            roots_version=roots_version,
            current_version=published.version,
            current_sha256=sha256(published.document).hexdigest(),
            time=int(at.timestamp()),
        )
        return self.sign(says, **changes)

    def renewal(self, *, at: datetime, **changes: Any) -> bytes:
        """Ask for a certificate."""
        says = Renewal(self.id, self.origin, self.key.line, int(at.timestamp()))
        return self.sign(says, **changes)

    def join(self, token: str, *, at: datetime, **changes: Any) -> bytes:
        """Introduce itself."""
        says = Join(
            origin=self.origin,
            host=self.id,
            names=self.names,
            keys=(self.key.line,),
            pulls=True,
            token=token,
            time=int(at.timestamp()),
        )
        return self.sign(says, **changes)

    def sign(self, says: Document, **changes: Any) -> bytes:
        """Sign a document; changes are to what it says, or `namespace`, or `signer`.

        `text` changes the text after it was signed.
        """
        namespace = changes.pop("namespace", NAMESPACE)
        signer: Holder = changes.pop("signer", self.key)
        alter = changes.pop("text", bytes)
        text = host_documents.render(replace(says, **changes))
        signature = sshsig.Signature(
            public_key=self.key.key,
            namespace=namespace,
            signature=signer.sign_data(sshsig.signed_data(namespace, text)),
        )
        return bundle.join_signed(alter(text), sshsig.render_armour(signature))
