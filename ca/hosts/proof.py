"""Prove that a host sent what claims to come from it.

    1  form         a text of ours, and one SSHSIG below it
    2  key          that signed: one on record for exactly this host
    3  signature    by that key, over exactly this text, for this purpose
    4  bounds       for this CA, and five minutes old at most

Reports and renewals say nothing that must not be said twice; who shows one again within
the five minutes learns nothing, and changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ca import bundle, host_documents, ssh_signature, sshsig
from ca.errors import HostUnknown, Malformed, RequestTimeWrong, SignatureInvalid
from ca.host_documents import Join, Renewal, Report
from ca.store import Store, StoredHost

LEEWAY_SECONDS = 300
"""Hosts' clocks are kept less well than laptops', and much depends on their calls."""


D = TypeVar("D", Report, Renewal, Join)


@dataclass(frozen=True, slots=True)
class Proved(Generic[D]):
    """What a host said, and which one it was."""

    says: D
    host: StoredHost
    text: bytes


@dataclass(frozen=True, slots=True)
class Unproved(Generic[D]):
    """What somebody says in the name of a host."""

    says: D
    signature: sshsig.Signature
    text: bytes


def open_document(document: bytes, parse: Callable[[bytes], D]) -> Unproved[D]:
    """Parse a document; raise `Malformed`. Nothing of it is believed yet."""
    text, armour = bundle.split_signed(document)
    return Unproved(parse(text), sshsig.parse_armour(armour), text)


def prove_host(
    store: Store,
    document: bytes,
    parse: Callable[[bytes], D],
    *,
    origin: str,
    now: datetime,
) -> Proved[D]:
    """Return what a registered host said.

    Raises `Malformed`, `HostUnknown`, `SignatureInvalid` or `RequestTimeWrong`.
    """
    unproved = open_document(document, parse)  # 1
    key = unproved.signature.public_key
    host = store.hosts.owner(key)  # 2
    if host is None or host.id != unproved.says.host:
        raise HostUnknown(
            "no key that this host is registered with has signed this",
            hint="register the host, with this key",
        )
    verify(unproved, key)  # 3
    refuse_elsewhere(unproved, origin=origin, now=now)  # 4
    return Proved(unproved.says, host, unproved.text)


def verify(unproved: Unproved[D], key: bytes) -> None:
    """Raise `SignatureInvalid` unless this key signed the text as a host's."""
    signature = unproved.signature
    # NOTE: what has to be signed, and by which key, is known without the signature:
    # what it says of both only has to agree.
    if signature.namespace != host_documents.NAMESPACE or signature.public_key != key:
        raise SignatureInvalid("it is a signature for another purpose, or by another")
    data = sshsig.signed_data(host_documents.NAMESPACE, unproved.text)
    try:
        ssh_signature.verify(key, signature.signature, data)
    except Malformed as error:
        raise SignatureInvalid(f"the signature is wrong: {error.detail}") from error


def refuse_elsewhere(unproved: Unproved[D], *, origin: str, now: datetime) -> None:
    """Raise unless this was said to this CA, just now."""
    if unproved.says.origin != origin:
        raise SignatureInvalid(
            "this was signed for another CA", hint=f"the origin of this one is {origin}"
        )
    if abs(now.timestamp() - unproved.says.time) > LEEWAY_SECONDS:
        raise RequestTimeWrong(
            f"this was not signed within {LEEWAY_SECONDS} seconds of now",
            hint="compare this machine's clock with the CA's",
        )
