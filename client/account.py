"""Whether a certificate is for the account that was asked for, and which would do."""

from ca.errors import CAError
from client import trial
from client.api import CA, ExplainRequest, RequestSigner
from client.cause import Cause
from client.failure import DENIED, NO_CERTIFICATE
from client.keys import Held
from client.prove import freshness_in
from client.question import Question

_OTHERS_TRIED = 2
"""Accounts to try besides: a host that counts refusals shuts an address out."""


def judge(question: Question, held: Held) -> Cause:
    """Say which account would do, or how to get that one."""
    has = held.certificate.principals
    why = (
        f"the certificate is for {', '.join(has)}, and the host lets none of these in"
        f" as {question.user}"
    )
    working = _account_that_works(question, has)
    if working is not None:
        host = f"{working}@{_bare(question.host)}"
        return Cause(
            "wrong_principal",
            f"{why}; it does let {working} in",
            f"ssh {host}",
            NO_CERTIFICATE,
        )
    return _from_policy(question, why)


def _account_that_works(question: Question, has: tuple[str, ...]) -> str | None:
    for name in has[:_OTHERS_TRIED]:
        if trial.attempt(question.line, user=name).let_in:
            return name
    return None


def _from_policy(question: Question, why: str) -> Cause:
    """Ask the CA whether the account that is wanted can be had."""
    wanted, words = question.user, question.chosen.words
    get = f"ca-login ssh{words} --principal {wanted}"
    try:
        signer = RequestSigner.open(question.keys.private, question.keys.certificate)
        with CA(question.chosen.url) as ca:
            plain = ca.explain(ExplainRequest((wanted,)), signer)
            reasoned = ca.explain(ExplainRequest((wanted,), reason="why"), signer)
    except CAError as error:
        return Cause(
            "wrong_principal",
            f"{why}; whether you may have it, the CA could not be asked:"
            f" {error.detail}",
            f"{get} {question.host}",
            NO_CERTIFICATE,
        )
    for answer, more in ((plain, ""), (reasoned, ' --reason "..."')):
        refusal = str(answer.get("refusal", ""))
        if answer.get("granted") is not None or freshness_in(refusal) is not None:
            return Cause(
                "wrong_principal",
                f"{why}; policy gives {wanted} to you when you ask for it by name",
                f"{get}{more} {question.host}",
                NO_CERTIFICATE,
            )
    return Cause(
        "denied_by_policy",
        f"{why}; policy does not give {wanted} to you: {reasoned.get('refusal')}",
        "ask whoever runs the CA, or log in as another",
        DENIED,
    )


def _bare(host: str) -> str:
    return host.removeprefix("ssh://").rpartition("@")[2]
