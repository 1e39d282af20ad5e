"""The CA, as seen from outside: everything there is to ask it over HTTP.

The only module that `deploy` imports; what else it needs from here it finds under
these names. A refusal arrives as the exception of `ca.errors` that the CA raised.
"""

import hashlib
import re
from collections.abc import Mapping

from ca import errors
from ca.authorization import Call
from ca.errors import CAError
from client import trust
from client.failure import (
    BadAnswer,
    Misuse,
    Refused,
    Unreachable,
    Untrusted,
    exit_code,
)
from client.https import DEADLINE, Answer, Site
from client.messages import (
    Client,
    Discovery,
    Issuer,
    LeftOut,
    SignRequest,
    SignResponse,
    read_discovery,
    read_sign_response,
    text,
)
from client.provisioning import (
    Canary,
    CanaryRequest,
    HostCertificateRequest,
    HostRegistration,
    read_canaries,
)
from client.signing import ExplainRequest, NarrowerRequest, RequestSigner
from client.trust import Bundle, Known

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "CA",
    "LARGEST_KRL",
    "BadAnswer",
    "Bundle",
    "Canary",
    "CanaryRequest",
    "Client",
    "Discovery",
    "ExplainRequest",
    "HostCertificateRequest",
    "HostRegistration",
    "Issuer",
    "Known",
    "LeftOut",
    "Misuse",
    "NarrowerRequest",
    "Refused",
    "RequestSigner",
    "SignRequest",
    "SignResponse",
    "Unreachable",
    "Untrusted",
    "exit_code",
    "parse_pin",
]

_PIN = re.compile(r"SHA256:[A-Za-z0-9+/]{43}", re.ASCII)
_DONE = frozenset({200, 201})

LARGEST_KRL = 8 * 1024 * 1024
"""In bytes; the CA publishes no larger one."""

_BY_CODE: Mapping[str, type[CAError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CAError) and kind is not CAError
}


def parse_pin(pin: str) -> str:
    """Return the fingerprint of a root key as it was typed; raise `Misuse`."""
    if _PIN.fullmatch(pin) is None:
        raise Misuse(
            "a pin is SHA256: and 43 characters",
            hint="take it from the last line of `ca-admin init`",
        )
    return pin


class CA:
    """A CA at one URL; nothing here talks to any other."""

    def __init__(self, url: str, *, deadline: float = DEADLINE) -> None:
        if "?" in url:
            raise Misuse("the URL of a CA has no query")
        self._site = Site(url, deadline=deadline)

    @property
    def url(self) -> str:
        """The URL it was given, without a slash at the end."""
        return self._site.url

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self._site.close()

    def discovery(self) -> Discovery:
        """Ask who may vouch for whom, and what time it is there."""
        return read_discovery(self._get("/v1/discovery").document())

    def sign(self, request: SignRequest) -> SignResponse:
        """Ask for a certificate. What comes back is not yet checked."""
        answer = self._site.post(
            "/v1/user-certificates",
            request.to_json(),
            content_type="application/json",
        )
        return read_sign_response(_accepted(answer).document())

    def narrower(self, request: NarrowerRequest, signer: RequestSigner) -> SignResponse:
        """Ask for a certificate for another key, with less than the signer's has.

        It ends with the signer's, and signs no requests. Not yet checked.
        """
        answer = self._signed("/v1/user-certificates", request.to_json(), signer)
        return read_sign_response(answer.document())

    def explain(
        self, request: ExplainRequest, signer: RequestSigner
    ) -> Mapping[str, object]:
        """Ask what each rule of the policy makes of a request, and why.

        The document is the CA's own, as `/openapi.json` describes it.
        """
        return self._signed("/v1/explain", request.to_json(), signer).document()

    def canaries(
        self, request: CanaryRequest, signer: RequestSigner
    ) -> tuple[str, ...]:
        """Ask for certificates that prove logins; their lines, in the same order."""
        answer = self._signed("/v1/canary-certificates", request.to_json(), signer)
        return read_canaries(answer.document(), len(request.canaries))

    def certify_host(
        self, request: HostCertificateRequest, signer: RequestSigner
    ) -> SignResponse:
        """Ask for a host certificate. What comes back is not yet checked."""
        answer = self._signed("/v1/host-certificates", request.to_json(), signer)
        return read_sign_response(answer.document())

    def register_host(
        self, registration: HostRegistration, signer: RequestSigner
    ) -> None:
        """Have the CA know a host, so that revocations wait for it."""
        self._signed("/v1/hosts", registration.to_json(), signer)

    def bundle(self, pin: str, *, known: Known | None = None) -> Bundle:
        """Fetch and verify the trust bundle under the pinned root key.

        `known` is what to remember of an earlier one (`Bundle.known()`): the answer is
        never older, and roots that have not changed are not fetched again.
        """
        current_document = self._get("/v1/trust/current").body
        named = trust.named_roots(current_document)
        if known is None or hashlib.sha256(known.roots_document).hexdigest() != named:
            roots_document = self._roots(named)
        else:
            roots_document = known.roots_document
        return trust.verify(current_document, roots_document, pin=pin, known=known)

    def krl(self, bundle: Bundle) -> bytes:
        """Fetch the KRL that a verified bundle names; raise `Untrusted` for another."""
        named = bundle.current.krl_sha256
        path = f"/v1/trust/blob/{named}"
        content = _accepted(self._site.get(path, most=LARGEST_KRL)).body
        if hashlib.sha256(content).hexdigest() != named:
            raise Untrusted(
                "the KRL is not the one that the CA's trust bundle names",
                hint="do not go on; ask whoever runs the CA",
            )
        return content

    def unverified_root_fingerprint(self) -> str:
        """Return the fingerprint the CA claims for its root key, for a person to judge.

        Nothing is proved by it: `bundle` with that pin is what proves something.
        """
        named = trust.named_roots(self._get("/v1/trust/current").body)
        return trust.root_fingerprint(self._roots(named))

    def _signed(self, path: str, body: bytes, signer: RequestSigner) -> Answer:
        call = Call("POST", self._site.target(path), body)
        header = signer.sign(call, origin=self._site.name)
        answer = self._site.post(
            path,
            body,
            content_type="application/json",
            headers={"Authorization": header},
        )
        return _accepted(answer)

    def _roots(self, sha256: str) -> bytes:
        return self._get(f"/v1/trust/blob/{sha256}").body

    def _get(self, path: str) -> Answer:
        return _accepted(self._site.get(path))


def _accepted(answer: Answer) -> Answer:
    """Return an answer of success; raise what any other says."""
    if answer.status in _DONE:
        return answer
    raise _read_problem(answer.document(), site=answer.site)


def _read_problem(problem: Mapping[str, object], *, site: str) -> CAError:
    """Make the exception that an RFC 9457 problem document stands for."""
    code, detail = text(problem, "code"), text(problem, "detail")
    hint = problem.get("hint")
    why = f"{site} says: {detail} ({code}, request {problem.get('request_id')})"
    kind = _BY_CODE.get(code, Refused)
    return kind(why, hint=hint if isinstance(hint, str) else None)
