"""How a signed request is proved. The steps are numbered in the code, too.

    1  form         one header, of exactly our form
    2  certificate  a user certificate that our user CA signed
    3  signature    by exactly that certificate's key, over this very request
    4  bounds       the request is a minute old at most; the certificate is good now,
                    and from where the request comes
    5  record       it is what is on record under its serial
    6  worth        an ID token bought it: what a signed request bought signs none;
                    neither it nor its CA key is revoked, nobody blocked
    7  once         its id was never seen; durable before anything is answered

Up to 3 nothing the request says is believed, and nothing is looked up for it: whoever
fails there learns no more than what he sent. Who passes all of it is whom the ID token
named that bought the certificate, on the word of the record.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, ip_network

import msgspec
from msgspec import Struct

from ca import authorization, certificate, ssh_signature, sshsig, wire
from ca.authorization import LEEWAY_SECONDS, Authorization, Call
from ca.certificate import Certificate, CertificateType
from ca.errors import (
    AuthorizationMalformed,
    BadRequest,
    CertificateDerived,
    CertificateElsewhere,
    CertificateForeign,
    CertificateNotLive,
    CertificateUnrecorded,
    Malformed,
    RequestTimeWrong,
    SignatureInvalid,
)
from ca.identity import Identity, identity_from_record
from ca.limits import Limits
from ca.store import Bearer, Recorded, Store, targets_of

REMEMBERED = timedelta(hours=1)
"""How long ids are kept, far beyond the minute for which a request is good: the clocks
of two signers may differ, and a clock may be set back."""

_AGAIN = "sign in again: ca-login"


@dataclass(frozen=True, slots=True)
class SignedBy:
    """Who signed a request, and the certificate that they did it with."""

    identity: Identity
    """As the ID token proved it that bought the certificate."""
    certificate: Certificate
    serial: int


class RequestVerifier:
    """Proves signed requests to one CA. Thread-safe."""

    def __init__(
        self,
        store: Store,
        limits: Limits,
        *,
        origin: str,
        user_ca_keys: frozenset[bytes],
    ) -> None:
        self._store = store
        self._limits = limits
        self._origin = origin
        self._user_ca_keys = user_ca_keys
        """The blobs of those that hosts trust, whichever of them signs now."""

    def verify(
        self,
        call: Call,
        header: str | None,
        *,
        source: IPv4Address | IPv6Address,
        now: datetime,
    ) -> SignedBy:
        """Prove the request, and spend its id: once only.

        `header` is its `Authorization`, `source` the peer's address. Raises a kind of
        `Unauthenticated`, `Blocked`, `RequestReplayed`, `RateLimited` or
        `StoreUnavailable`.
        """
        shown = _parse(header)  # 1
        says, to_be_signed = self._ours(shown.certificate)  # 2
        self._verify_signature(call, shown, says)  # 3
        _refuse_other_times(shown, says, now=now)  # 4
        _refuse_other_places(says, source)
        on_record = self._store.recorded(says.serial)
        identity = _identity(on_record, to_be_signed, says)  # 5 and 6
        # In one transaction with 7, under the ledger's lock: on all signers at once.
        self._store.spend_request(
            shown.id,
            time=shown.time,
            forget_before=int((now - REMEMBERED).timestamp()),
            takes=self._limits.of_identity(identity, now=now),
            bearer=_bearer(identity, says),
        )
        return SignedBy(identity, says, says.serial)

    def _ours(self, blob: bytes) -> tuple[Certificate, bytes]:
        """Return what the certificate says and the bytes that our CA signed."""
        try:
            says, signature = certificate.parse_certificate(blob)
        except BadRequest as error:
            raise _foreign() from error
        if (
            says.ca_key not in self._user_ca_keys
            or says.type is not CertificateType.USER
        ):
            raise _foreign()
        to_be_signed = blob[: -len(wire.string(signature))]
        try:
            ssh_signature.verify(says.ca_key, signature, to_be_signed)
        except (Malformed, SignatureInvalid) as error:
            raise _foreign() from error
        return says, to_be_signed

    def _verify_signature(
        self, call: Call, shown: Authorization, says: Certificate
    ) -> None:
        try:
            _verify_sshsig(call, shown, says, origin=self._origin)
        except Malformed as error:
            raise AuthorizationMalformed(
                f"the signature of the request is wrong: {error.detail}"
            ) from error
        except SignatureInvalid as error:
            raise SignatureInvalid(
                f"the request is not signed with its certificate's key: {error.detail}",
                hint=error.hint
                or f"it covers method, path, query, body and {self._origin}: use the CA"
                " by exactly this URL",
            ) from error


def _verify_sshsig(
    call: Call, shown: Authorization, says: Certificate, *, origin: str
) -> None:
    signature = sshsig.parse_blob(shown.signature)
    # NOTE: what has to be signed, and by which key, is known without the signature:
    # what it says of both only has to agree.
    if signature.namespace != authorization.NAMESPACE:
        raise SignatureInvalid("it is a signature for another purpose")
    if signature.public_key != says.subject_key:
        raise SignatureInvalid("it names another key")
    signed = authorization.message(
        call,
        origin=origin,
        time=shown.time,
        id_=shown.id,
        certificate=shown.certificate,
    )
    data = sshsig.signed_data(authorization.NAMESPACE, signed)
    ssh_signature.verify(says.subject_key, signature.signature, data)


def _foreign() -> CertificateForeign:
    return CertificateForeign(
        "the certificate is not a user certificate that this CA signed",
        hint="use the one that ca-login installed for this CA",
    )


def _parse(header: str | None) -> Authorization:
    if not is_signed(header):
        raise AuthorizationMalformed(
            "this has to be asked with a signed request",
            hint="ca-login signs in; docs/architecture.md has the header's form",
        )
    try:
        return authorization.parse(header or "")
    except Malformed as error:
        raise AuthorizationMalformed(error.detail) from error


def is_signed(header: str | None) -> bool:
    """Tell whether an `Authorization` header means to be one of a signed request."""
    return header is not None and header.partition(" ")[0] == authorization.SCHEME


def _refuse_other_times(
    shown: Authorization, says: Certificate, *, now: datetime
) -> None:
    at = now.timestamp()
    if abs(at - shown.time) > LEEWAY_SECONDS:
        raise RequestTimeWrong(
            f"the request was not signed within {LEEWAY_SECONDS} seconds of now",
            hint="compare this machine's clock with the CA's",
        )
    if not says.valid_after <= at < says.valid_before:
        raise CertificateNotLive("the certificate is not valid now", hint=_AGAIN)


def _refuse_other_places(says: Certificate, source: IPv4Address | IPv6Address) -> None:
    # sshd holds a certificate to it; a thief of key and certificate must not get
    # around that here.
    allowed = says.critical_options.get("source-address")
    if allowed is not None and not any(
        source in ip_network(network) for network in allowed.split(",")
    ):
        raise CertificateElsewhere(
            f"the certificate is good from {allowed} only, not from {source}",
            hint="ask from there, or sign with a certificate without that bound",
        )


class _Record(Struct, frozen=True):
    """What has to be in the record of a certificate that signs requests."""

    identity: object
    parent_serial: str | None


class _Leaf(Struct, frozen=True):
    record_sha256: str


def _identity(
    on_record: Recorded | None, to_be_signed: bytes, says: Certificate
) -> Identity:
    """Return whom the record names, if it is this certificate's; raise otherwise."""
    if (
        on_record is None
        or on_record.to_be_signed != to_be_signed
        or on_record.record is None
    ):
        raise _unrecorded()
    try:
        record = msgspec.json.decode(on_record.record, type=_Record)
        leaf = msgspec.json.decode(on_record.leaf, type=_Leaf)
        identity = identity_from_record(record.identity)
    except (msgspec.DecodeError, Malformed) as error:
        raise _unrecorded() from error
    # The leaf and the certificate itself commit to what the record may say: it alone
    # could have been changed.
    if (
        leaf.record_sha256 != sha256(on_record.record).hexdigest()
        or identity.key_id != says.key_id
    ):
        raise _unrecorded()
    if record.parent_serial is not None:
        raise CertificateDerived(
            "a certificate that a signed request bought signs no requests",
            hint="sign with the certificate of the sign-in",
        )
    return identity


def _bearer(identity: Identity, says: Certificate) -> Bearer:
    targets = partial(
        targets_of,
        issuer=identity.issuer,
        subject=identity.subject,
        email=identity.email,
        key=says.subject_key,
    )
    return Bearer(targets, says.ca_key, says.serial)


def _unrecorded() -> CertificateUnrecorded:
    return CertificateUnrecorded(
        "there is no record, or no longer, of who this certificate was made for",
        hint=_AGAIN,
    )
