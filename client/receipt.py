"""What the CA answered with, checked in full before anything may be installed.

roots, proved by the pin ──▶ the certificate is what was asked ──▶ it is on record
"""

import time

from ca.certificate import Certificate
from ca.values import dataclass
from client import acceptance, host_trust, ledger, profile
from client.api import CA, Bundle, SignResponse
from client.failure import LedgerUntrue, Unable
from client.profile import Profile
from client.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Asked:
    """What a certificate must answer to."""

    subject_key: bytes
    principals: tuple[str, ...]
    """None for what the rules give."""
    behind: int
    """Seconds that the CA's clock is ahead of ours."""
    seen: ledger.Seen | None
    """The checkpoint that went with the request."""


def check(
    ca: CA, chosen: Profile, response: SignResponse, asked: Asked, terminal: Terminal
) -> Certificate:
    """Return what the certificate says; raise unless it may be installed."""
    terminal.step(f"check the certificate from {ca.url}")
    bundle = _fetch_bundle(ca, chosen, terminal)
    certificate = acceptance.accept(
        response.certificate,
        subject_key=asked.subject_key,
        principals=asked.principals,
        roots=bundle.roots,
        now=time.time(),
        behind=asked.behind,
    )
    _check_ledger(response, bundle, chosen, asked.seen, terminal)
    return certificate


def _fetch_bundle(ca: CA, chosen: Profile, terminal: Terminal) -> Bundle:
    """Return the verified bundle, and remember it when it is news."""
    known = profile.recall(chosen)
    bundle = ca.bundle(chosen.pin, known=known)
    if bundle.known() != known:
        profile.remember(chosen, bundle.known())
    if bundle.current.expires <= time.time():
        terminal.warn("the CA's trust bundle has run out; tell whoever runs the CA")
    host_trust.refresh(ca, chosen, bundle, terminal)
    return bundle


def _check_ledger(
    response: SignResponse,
    bundle: Bundle,
    chosen: Profile,
    before: ledger.Seen | None,
    terminal: Terminal,
) -> None:
    """Install nothing that is not on a ledger which only grew; remember what it was."""
    terminal.step("find the certificate on the CA's ledger")
    try:
        proved = ledger.verify(
            response.ledger, response.certificate, roots=bundle.roots, before=before
        )
    except LedgerUntrue as error:
        error.hint = _what_to_do(chosen, error)
        raise
    if proved.warning is not None:
        terminal.warn(proved.warning)
    if proved.seen != before:
        profile.remember_ledger(chosen, proved.seen)


def _what_to_do(chosen: Profile, error: LedgerUntrue) -> str:
    """Keep the evidence, and say where it is."""
    try:
        kept = f"the proof is in {profile.keep_evidence(chosen, error.evidence)}"
    except Unable as unable:
        kept = f"the proof could not be kept ({unable.detail})"
    return (
        "do not use what this CA gives you, and tell whoever looks after security, not"
        f" only whoever runs the CA; {kept}"
    )
