"""Every error that Daypass reports on purpose.

    CAError
    ├── BadRequest                   what was sent makes no sense
    │   └── Malformed                bytes or text that do not parse
    ├── UnacceptableKey              a subject key that may not be certified
    ├── Unauthenticated              the caller has not proved who they are
    │   ├── SignatureInvalid         an SSH signature does not hold
    │   ├── AuthorizationMalformed   not the header of a signed request
    │   ├── RequestTimeWrong         signed more than a minute from now
    │   ├── CertificateForeign       not a user certificate of this CA
    │   ├── CertificateNotLive       it has ended, or has not begun
    │   ├── CertificateElsewhere     it is good from other addresses only
    │   ├── CertificateUnrecorded    not on record, or no longer
    │   ├── CertificateDerived       bought with a signed request, so it signs none
    │   ├── CertificateRevoked       revoked
    │   ├── HostUnknown              signed by no key of a registered host
    │   ├── JoinTokenRefused         not a join token, or one that is used up
    │   ├── TokenMalformed           not one compact JWS with sane JSON in it
    │   ├── TokenTypeRefused         an access token, logout token, unknown `crit`
    │   ├── TokenIssuerUnknown       not an issuer of ours
    │   ├── TokenAlgorithmRefused    not an algorithm the issuer may use
    │   ├── TokenKeyUnknown          no such key in the issuer's JWKS
    │   ├── TokenSignatureInvalid    the signature does not verify
    │   ├── TokenAudienceWrong       made for another client
    │   ├── TokenExpired             past its `exp`
    │   ├── TokenNotYetValid         before its `iat` or `nbf`
    │   ├── TokenClaimInvalid        a claim is missing or of the wrong form
    │   └── TokenBindingWrong        not bound to the key that was sent
    ├── Denied                       proved, and policy says no
    │   └── Blocked                  kept out by an admin, whatever policy says
    ├── NotFound
    ├── Conflict                     contradicts what is on record
    │   ├── RequestReplayed          a signed request that was sent before
    │   ├── ReportOutdated           a host reports less than it did before
    │   ├── BundleUnknown            a host reports a bundle that we never published
    │   └── TokenSpent               the token already bought a certificate
    ├── RateLimited                  more requests than one may send
    └── Unavailable                  our side cannot do it now
        ├── IssuerUnavailable        the identity provider does not answer
        ├── KeyUnavailable           a private key cannot be opened or used
        ├── StoreUnavailable         the database refuses
        ├── LedgerStopped            records were lost, and an operator must recover
        ├── PublicationRefused       what would be published did not pass the gate
        └── Misconfigured            a file an operator wrote is wrong

`signer.problems` maps each class to an HTTP status; a test fails for a class that
has none. Names carry no `Error` suffix: `raise Denied(...)` reads as what it is.
"""


class CAError(Exception):
    """An expected failure, safe to show to the person who caused it."""

    code = "error"
    """Stable name of the failure, part of the HTTP API."""

    def __init__(self, detail: str, *, hint: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        """What failed and why; never a token, a secret or another person's data."""
        self.hint = hint
        """What to do next, where we know."""


class BadRequest(CAError):
    """What was sent makes no sense."""

    code = "bad_request"


class Malformed(BadRequest):
    """Bytes or text that do not parse."""

    code = "malformed"


class UnacceptableKey(CAError):
    """A subject key that may not be certified."""

    code = "unacceptable_key"


class Unauthenticated(CAError):
    """The caller has not proved who they are."""

    code = "unauthenticated"


class SignatureInvalid(Unauthenticated):
    """An SSH signature does not verify, or is of a kind that counts for nothing."""

    code = "signature_invalid"


class AuthorizationMalformed(Unauthenticated):
    """The `Authorization` header is not that of a signed request."""

    code = "authorization_malformed"


class RequestTimeWrong(Unauthenticated):
    """The request was signed too long ago, or in the future."""

    code = "request_time_wrong"


class CertificateForeign(Unauthenticated):
    """The request shows something else than a user certificate of this CA."""

    code = "certificate_foreign"


class CertificateNotLive(Unauthenticated):
    """The request's certificate has ended, or has not begun."""

    code = "certificate_not_live"


class CertificateElsewhere(Unauthenticated):
    """The request's certificate is good from other addresses only."""

    code = "certificate_elsewhere"


class CertificateUnrecorded(Unauthenticated):
    """The request's certificate is not on record, or is no longer."""

    code = "certificate_unrecorded"


class CertificateDerived(Unauthenticated):
    """The request's certificate was itself bought with a signed request."""

    code = "certificate_derived"


class CertificateRevoked(Unauthenticated):
    """The certificate that somebody shows, or asks for again, is revoked."""

    code = "certificate_revoked"


class HostUnknown(Unauthenticated):
    """No key of a registered host signed this, or the host was forgotten."""

    code = "host_unknown"


class JoinTokenRefused(Unauthenticated):
    """The join token is none of ours, has ended, is spent, or is for another host."""

    code = "join_token_refused"


class TokenMalformed(Unauthenticated):
    """Not one compact JWS with sane JSON in it."""

    code = "token_malformed"


class TokenTypeRefused(Unauthenticated):
    """A token of another kind: access token, logout token, unknown `crit`."""

    code = "token_type_refused"


class TokenIssuerUnknown(Unauthenticated):
    """The token's issuer is not in our configuration."""

    code = "token_issuer_unknown"


class TokenAlgorithmRefused(Unauthenticated):
    """The token's algorithm is not one its issuer may use."""

    code = "token_algorithm_refused"


class TokenKeyUnknown(Unauthenticated):
    """The issuer's JWKS holds no usable key of the token's `kid`."""

    code = "token_key_unknown"


class TokenSignatureInvalid(Unauthenticated):
    """The token's signature does not verify."""

    code = "token_signature_invalid"


class TokenAudienceWrong(Unauthenticated):
    """The token was made for another client."""

    code = "token_audience_wrong"


class TokenExpired(Unauthenticated):
    """The token is past its `exp`."""

    code = "token_expired"


class TokenNotYetValid(Unauthenticated):
    """The token is before its `iat` or `nbf`."""

    code = "token_not_yet_valid"


class TokenClaimInvalid(Unauthenticated):
    """A claim is missing or of the wrong form."""

    code = "token_claim_invalid"


class TokenBindingWrong(Unauthenticated):
    """The token is not bound to the subject key that was sent."""

    code = "token_binding_wrong"


class Denied(CAError):
    """The caller is proved, and policy says no."""

    code = "denied"


class Blocked(Denied):
    """An admin has blocked the person, or the key."""

    code = "blocked"


class NotFound(CAError):
    """There is no such thing, or none the caller may see."""

    code = "not_found"


class Conflict(CAError):
    """The request contradicts what is on record."""

    code = "conflict"


class RequestReplayed(Conflict):
    """The signed request was sent before."""

    code = "request_replayed"


class ReportOutdated(Conflict):
    """A host reports an older version than it did before."""

    code = "report_outdated"


class BundleUnknown(Conflict):
    """A host reports a trust bundle that this CA never published."""

    code = "bundle_unknown"


class TokenSpent(Conflict):
    """The token already bought a certificate for another request."""

    code = "token_spent"


class RateLimited(CAError):
    """More requests than one may send."""

    code = "rate_limited"

    def __init__(
        self,
        detail: str,
        *,
        hint: str | None = None,
        retry_after: int = 1,
        subject: bytes = b"",
    ) -> None:
        super().__init__(detail, hint=hint)
        self.retry_after = retry_after
        """Seconds until the next one may succeed."""
        self.subject = subject
        """Whose bucket is empty; a hash, never shown."""


class Unavailable(CAError):
    """Our side cannot do it now; the same request may work later."""

    code = "unavailable"


class IssuerUnavailable(Unavailable):
    """The identity provider does not answer, or answers nonsense."""

    code = "issuer_unavailable"


class KeyUnavailable(Unavailable):
    """A private key cannot be opened or used."""

    code = "key_unavailable"


class StoreUnavailable(Unavailable):
    """The database cannot be read or written."""

    code = "store_unavailable"


class LedgerStopped(Unavailable):
    """The ledger lacks what it once showed; nothing is issued until it is recovered."""

    code = "ledger_stopped"


class PublicationRefused(Unavailable):
    """What would be published did not pass the gate, and nothing was before."""

    code = "publication_refused"


class Misconfigured(Unavailable):
    """A file that an operator wrote is missing or wrong."""

    code = "misconfigured"
