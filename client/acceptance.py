"""Whether a certificate that came back may be installed.

Checked here: it certifies our key and nobody else's, is a user certificate, names
what was asked, was made by an active user CA key of the verified roots, and is good
by this machine's clock; what no certificate may ever say (invariant 7) is refused by
the parser. The CA's signature is `ssh_keygen.verify_certificate`'s to check. Whether
the principals are the right ones, only the CA's policy knows.
"""

from ca.bundle import Roots
from ca.certificate import Certificate, CertificateType, parse_certificate, parse_line
from ca.errors import BadRequest
from client.failure import BadAnswer, ClockWrong, Untrusted
from client.times import render_length
from client.trust import active

_MOST_BEHIND = 60
"""Seconds: a certificate begins that long before it was made, and no earlier."""

_MOST_AHEAD = 24 * 3600
"""Seconds: no user certificate lasts longer."""


def refuse_wrong_clock(behind: int) -> None:
    """Raise `ClockWrong` where no certificate could be good: save a wasted sign-in.

    `behind` is how many seconds the CA's clock is ahead of ours.
    """
    if not -_MOST_AHEAD < behind <= _MOST_BEHIND:
        raise _clock_wrong(behind)


def accept(
    line: str,
    *,
    subject_key: bytes,
    principals: tuple[str, ...],
    roots: Roots,
    now: float,
    behind: int,
) -> Certificate:
    """Return what the certificate says; raise unless it may be installed.

    `principals` are those that were asked for, none for what the rules give.
    """
    certificate = _parse(line)
    if certificate.type is not CertificateType.USER:
        raise Untrusted("the CA answered with a host certificate")
    if certificate.subject_key != subject_key:
        raise Untrusted("the CA answered with a certificate for another key")
    if principals and set(principals) != set(certificate.principals):
        raise Untrusted("the certificate is not for the principals that were asked for")
    if certificate.ca_key not in map(parse_line, active(roots.user_ca)):
        raise Untrusted(
            "the certificate was made by a key that hosts do not trust for it",
            hint="the CA may have changed its key just now; sign in again",
        )
    if now < certificate.valid_after or now >= certificate.valid_before:
        raise _clock_wrong(behind)
    return certificate


def _parse(line: str) -> Certificate:
    try:
        certificate, _ = parse_certificate(parse_line(line))
    except BadRequest as error:
        raise BadAnswer(
            f"the CA answered with something that is no certificate: {error.detail}"
        ) from error
    return certificate


def _clock_wrong(behind: int) -> ClockWrong:
    by = f"{render_length(abs(behind))} {'behind' if behind > 0 else 'ahead of'}"
    return ClockWrong(
        f"this machine's clock is {by} the CA's",
        hint="set it (timedatectl set-ntp true)",
    )
