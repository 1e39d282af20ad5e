"""How an ID token is proved. The steps are numbered in the code, too.

    1  form        one compact JWS of sane size, its JSON with one reading
    2  header      says that it is an ID token, and needs no extension
    3  issuer      exactly one that is configured
    4  algorithm   one that this issuer may use, whatever the token would like
    5  key         the issuer's own, fit for that algorithm
    6  signature   over the very bytes that were parsed
    7  purpose     an ID token, in its time, made for a client of ours
    8  binding     made for the subject key that was sent
    9  identity    whom it names

Up to 6 nothing the token says is believed: its issuer and key id only choose with
what it is checked.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import assert_never

from jwt.algorithms import get_default_algorithms

from ca.binding import audience_for, decode_base64url, nonce_for
from ca.errors import (
    Malformed,
    Misconfigured,
    TokenAlgorithmRefused,
    TokenBindingWrong,
    TokenIssuerUnknown,
    TokenSignatureInvalid,
)
from ca.identity import Binding, Identity, SignIn, VerifiedClaims
from ca.issuers import ALGORITHMS, ClientSettings, IssuerSettings
from ca.oidc import claims as rules
from ca.oidc.jwks import Clock, JWKSCache
from ca.oidc.token import Token, parse_token
from ca.waiting import in_step

# PyJWT's implementations, less `none` and the ones with shared secrets.
_ALGORITHMS = {
    name: algorithm
    for name, algorithm in get_default_algorithms().items()
    if name in ALGORITHMS
}


class Verifier:
    """Proves ID tokens of the configured issuers. Threads may share it."""

    def __init__(
        self,
        issuers: Sequence[IssuerSettings],
        *,
        origin: str,
        clock: Clock = time.monotonic,
    ) -> None:
        _refuse_misconfigured(issuers, origin)
        self._origin = origin
        self._issuers = {
            issuer.url: (issuer, JWKSCache(issuer, clock=clock)) for issuer in issuers
        }

    def verify(
        self, token: str, *, key_blob: bytes, salt: str | None, now: datetime
    ) -> SignIn:
        """Prove `token`, and that it was made for the subject key `key_blob`.

        `salt` is the unpadded base64url of 32 bytes, for clients whose binding is
        `nonce`. Raises a kind of `Unauthenticated`, or `IssuerUnavailable`.
        """
        parsed = parse_token(token)  # 1 and 2
        issuer, jwks = self._issuer_of(parsed)  # 3
        signed_claims = _verify_signature(parsed, issuer, jwks)  # 4, 5 and 6
        rules.refuse_other_kinds(signed_claims)  # 7
        issued, expires = rules.check_times(signed_claims, now=now)
        client, audience = rules.find_client(
            signed_claims, issuer.clients, origin=self._origin
        )
        match client.binding:  # 8
            case Binding.NONCE:
                _check_nonce(signed_claims, key_blob=key_blob, salt=salt)
            case Binding.AUDIENCE:
                bound = audience_for(self._origin, key_blob)
                _check_bound(audience, bound, hint=_ASK_FOR_AUDIENCE)
            case Binding.NONE:
                pass  # whoever comes first wins, and reaches no role
            case _:
                assert_never(client.binding)
        return SignIn(
            identity=_identity(signed_claims, issuer, client, now=now),  # 9
            token_sha256=_token_sha256(issuer, parsed),
            issued=issued,
            expires=expires,
            max_uses=client.max_uses,
        )

    def problems(self) -> list[str]:
        """Say, for each issuer whose tokens could not be verified now, why.

        Asks issuers whose keys are not at hand, and so makes them ready.
        """
        problems = [jwks.problem() for _, jwks in self._issuers.values()]
        return [problem for problem in problems if problem is not None]

    def _issuer_of(self, token: Token) -> tuple[IssuerSettings, JWKSCache]:
        unverified_issuer = token.unverified_claims.get("iss")
        # Compared as it is: a prefix, another case or a list is another issuer.
        if (
            not isinstance(unverified_issuer, str)
            or unverified_issuer not in self._issuers
        ):
            raise TokenIssuerUnknown("the token's issuer is not one of ours")
        return self._issuers[unverified_issuer]


def _refuse_misconfigured(issuers: Sequence[IssuerSettings], origin: str) -> None:
    if not issuers:
        raise Misconfigured("no issuer is configured")
    for values in (
        {issuer.url for issuer in issuers},
        {issuer.name for issuer in issuers},
    ):
        if len(values) != len(issuers):
            raise Misconfigured("two issuers have the same name or the same url")
    for issuer in issuers:
        for client in issuer.clients:
            if client.binding is Binding.AUDIENCE and client.id != origin:
                raise Misconfigured(
                    f"issuer {issuer.name!r}: a client whose binding is 'audience'"
                    f" must have the origin as its id, {origin!r}"
                )


def _verify_signature(
    token: Token, issuer: IssuerSettings, jwks: JWKSCache
) -> Mapping[str, object]:
    """Return the token's claims, which from here on are what the issuer said."""
    algorithm = token.unverified_algorithm
    if algorithm not in issuer.algorithms:
        raise TokenAlgorithmRefused(
            "the token is signed with an algorithm its issuer may not use"
        )
    key = jwks.find(token.unverified_kid, algorithm)
    verify = _ALGORITHMS[algorithm].verify
    if not in_step(verify, token.signed, key, token.signature):
        raise TokenSignatureInvalid("the token's signature does not verify")
    return token.unverified_claims


def _check_nonce(
    signed_claims: Mapping[str, object], *, key_blob: bytes, salt: str | None
) -> None:
    if salt is None:
        raise TokenBindingWrong("a token of this client needs the salt of its nonce")
    try:
        bound = nonce_for(key_blob, decode_base64url(salt))
    except Malformed as error:
        raise TokenBindingWrong(f"the salt is wrong: {error.detail}") from error
    _check_bound(signed_claims.get("nonce"), bound)


_ASK_FOR_AUDIENCE = (
    "get a token for the audience that `ca-login --key FILE --print-audience` prints"
)


def _check_bound(value: object, bound: str, *, hint: str | None = None) -> None:
    if not isinstance(value, str) or not hmac.compare_digest(
        value.encode(), bound.encode()
    ):
        raise TokenBindingWrong(
            "the token is not bound to the key that was sent", hint=hint
        )


def _identity(
    signed_claims: Mapping[str, object],
    issuer: IssuerSettings,
    client: ClientSettings,
    *,
    now: datetime,
) -> Identity:
    rules.check_methods(signed_claims)
    return Identity(
        issuer=issuer.name,
        subject=rules.read_subject(signed_claims),
        client=client.id,
        binding=client.binding,
        email=rules.read_verified_email(signed_claims),
        groups=rules.read_groups(signed_claims),
        auth_time=rules.read_auth_time(signed_claims, now=now),
        claims=VerifiedClaims(MappingProxyType(signed_claims)),
    )


def _token_sha256(issuer: IssuerSettings, token: Token) -> bytes:
    """Return what the token is spent under.

    Not over the signature, which for ECDSA has a second form that verifies; header
    and payload have one spelling, since step 1 refuses every other.
    """
    return hashlib.sha256(issuer.url.encode() + b"\0" + token.signed).digest()
