"""What is asked of the CA: the trust bundle, and canaries.

The bundle is proved by the pinned root key. Canaries are asked for with signed
requests, by the key and certificate of the operator, who has to be a provisioner.
"""

import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from client import api as client
from client.api import (
    CA,
    CanaryRequest,
    HostCertificateRequest,
    HostRegistration,
    Misuse,
    RequestSigner,
)
from deploy.canaries import Canaries, Canary
from deploy.desired import Desired
from deploy.host_certificate import Certify
from deploy.pulling import Register
from deploy.trust import Trust

_NONCE_BYTES = 16

_MOST = 256
"""Canaries that one request may ask for."""


def fetch_trust(desired: Desired) -> Trust:
    """Return what the CA says that hosts should trust, verified."""
    with CA(desired.ca) as authority:
        bundle = authority.bundle(desired.pin)
        return Trust.of(bundle, authority.krl(bundle))


def canaries(desired: Desired, key: Path | None) -> Canaries:
    """Return the canaries of one run; the CA is asked when the first is needed."""

    def mint(public_key: str, asked: Sequence[Canary], nonce: str) -> Sequence[str]:
        signer = _signer(key)
        lines: list[str] = []
        with CA(desired.ca) as authority:
            for start in range(0, len(asked), _MOST):
                some = [
                    client.Canary(one.principals[0], one.source)
                    for one in asked[start : start + _MOST]
                ]
                lines += authority.canaries(
                    CanaryRequest(public_key, some, nonce), signer
                )
        return lines

    return Canaries(mint, secrets.token_hex(_NONCE_BYTES))


def certifier(desired: Desired, key: Path | None) -> Callable[[Certify], str]:
    """Return what asks the CA for a host certificate, and answers with its line."""

    def certify(wanted: Certify) -> str:
        with CA(desired.ca) as authority:
            answer = authority.certify_host(
                HostCertificateRequest(wanted.public_key, wanted.names), _signer(key)
            )
        return answer.certificate

    return certify


def registrar(desired: Desired, key: Path | None) -> Callable[[Register], None]:
    """Return what has the CA know a host."""

    def register(wanted: Register) -> None:
        with CA(desired.ca) as authority:
            authority.register_host(
                HostRegistration(wanted.id, (wanted.key,), wanted.names), _signer(key)
            )

    return register


def _signer(key: Path | None) -> RequestSigner:
    if key is None:
        raise Misuse("no key is named that signs requests", hint="add --key FILE")
    return RequestSigner.open(key, key.with_name(f"{key.name}-cert.pub"))
