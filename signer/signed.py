"""Prove who signed the request that is being answered."""

from datetime import datetime

from flask import request

from ca.authority import Authority
from ca.authorization import Call
from ca.signed_request import SignedBy, is_signed
from signer.exchange import note
from signer.peer import caller_of


def request_is_signed() -> bool:
    """Tell whether the request means to be a signed one; nothing is proved by it."""
    return is_signed(request.headers.get("Authorization"))


def prove_signer(authority: Authority, *, now: datetime) -> SignedBy:
    """Return who signed the request; raise a kind of `Unauthenticated` for others.

    Comes before the body is looked at, and spends the request's id.
    """
    call = Call(
        method=request.method,
        # As the caller sent it: routing sees the path decoded, and tidied up.
        target=request.environ["RAW_URI"],
        body=request.get_data(),
    )
    signed_by = authority.request_verifier.verify(
        call,
        request.headers.get("Authorization"),
        source=caller_of(authority).address,
        now=now,
    )
    note(signed_by=str(signed_by.serial))
    return signed_by
