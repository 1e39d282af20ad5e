"""What can go wrong on this side of HTTP, and the exit code of every failure.

The CA's own refusals keep their classes from `ca.errors`; these come beside them,
each a direct child of `CAError` because none of them ever crosses HTTP.
"""

from collections.abc import Mapping

from ca.errors import (
    CAError,
    Denied,
    RateLimited,
    RequestTimeWrong,
    TokenSpent,
    Unauthenticated,
    Unavailable,
)


class Misuse(CAError):
    """The command was typed wrong, or needs what is not here."""

    code = "misuse"


class NoCertificate(CAError):
    """There is no certificate that would open anything now."""

    code = "no_certificate"


class SignInNeeded(CAError):
    """Somebody has to sign in, and nobody may be asked."""

    code = "sign_in_needed"


class SignInFailed(CAError):
    """The identity provider or the person did not complete the sign-in."""

    code = "sign_in_failed"


class Unreachable(CAError):
    """A server does not answer, or not in time."""

    code = "unreachable"


class ClockWrong(CAError):
    """This machine's clock and the CA's are too far apart for a certificate."""

    code = "clock_wrong"


class BadAnswer(CAError):
    """A server answered something that makes no sense."""

    code = "bad_answer"


class Untrusted(CAError):
    """An answer makes sense but does not prove what it must."""

    code = "untrusted"


class LedgerUntrue(Untrusted):
    """The CA's ledger contradicts itself, or what this machine knows of it."""

    code = "ledger_untrue"

    def __init__(
        self, detail: str, *, evidence: Mapping[str, bytes], hint: str | None = None
    ) -> None:
        super().__init__(detail, hint=hint)
        self.evidence = evidence
        """What proves it to somebody else, by the names of the files to keep it in."""


class Refused(CAError):
    """The CA refused with a code that this version does not know."""

    code = "refused"


class Unable(CAError):
    """This machine cannot do it: a file, a folder or a program."""

    code = "unable"


DONE = 0
FAILED = 1
NO_CERTIFICATE = 3
DENIED = 5
INTERRUPTED = 130

_EXIT_CODES: Mapping[type[CAError], int] = {
    CAError: FAILED,
    Misuse: 2,
    NoCertificate: NO_CERTIFICATE,
    Unauthenticated: 4,
    SignInFailed: 4,
    SignInNeeded: 4,
    TokenSpent: 4,
    Denied: DENIED,
    RateLimited: 7,
    Unavailable: 7,
    Unreachable: 7,
    ClockWrong: 8,
    RequestTimeWrong: 8,
}
"""By class; a class that is not here has its nearest parent's (design section 7)."""


def exit_code(error: CAError) -> int:
    """Return the exit code that tells a script what kind of failure this was."""
    return next(
        _EXIT_CODES[kind] for kind in type(error).__mro__ if kind in _EXIT_CODES
    )
