"""Hosts of a test's own, and what they say to the CA, right but for one thing.

    web = FakeHost("web1")
    web.report(published, at=NOW)              # a signed document, as bytes
    web.renewal(at=NOW, time=0)                # the same with another time

`tests.signing` does the same for people.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from ca import bundle, host_documents, sshsig
from ca.host_documents import NAMESPACE, Document, Join, Renewal, Report
from ca.hosts import NewHost
from ca.store import PublishedCurrent
from tests.signing import ORIGIN, Holder, holder

D = TypeVar("D", Report, Renewal, Join)


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
