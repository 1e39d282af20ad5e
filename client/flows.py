"""Which way to sign in: as told, else what suits where we are.

    told            --browser, --device; else CA_LOGIN_FLOW; else `flow` in the profile
    a job's token   if a platform has one for us: nobody needs to sign in
    a browser       if one can be opened in front of the person
    a device code   otherwise

A flow that the CA has no client for is passed over, unless somebody told us to use it.
"""

import os
from collections.abc import Sequence

from ca.values import dataclass
from client import ambient, session
from client.failure import Misuse, SignInFailed
from client.messages import Client, Discovery, Issuer

BROWSER, DEVICE, CI = FLOWS = ("browser", "device", "ci")

VARIABLE = "CA_LOGIN_FLOW"


@dataclass(frozen=True, slots=True)
class Offer:
    """A client that the CA takes tokens of, and whose it is."""

    issuer: Issuer
    client: Client


def told(*, asked: str | None, kept: str | None) -> str | None:
    """Return the flow that somebody chose; raise `Misuse` for one there is not.

    `asked` is from the command line, `kept` from the profile.
    """
    for flow, where in (
        (asked, "the command line"),
        (os.environ.get(VARIABLE), VARIABLE),
        (kept, "the profile"),
    ):
        if flow:
            return parse(flow, where=where)
    return None


def parse(flow: str, *, where: str) -> str:
    """Return the name of a flow; raise `Misuse` for any other."""
    if flow not in FLOWS:
        raise Misuse(
            f"{where} names a flow that there is not: {flow!r}",
            hint=f"the flows are {', '.join(FLOWS)}",
        )
    return flow


def choose(
    discovery: Discovery, *, told: str | None, issuer: str | None
) -> tuple[str, Sequence[Offer]]:
    """Return the flow, and the clients that it is for, in the CA's order."""
    offers = _offers(discovery, issuer)
    flow = told or _suited({offer.client.flow for offer in offers})
    fitting = [offer for offer in offers if offer.client.flow == flow]
    if not fitting:
        raise SignInFailed(f"this CA has no sign-in of the kind {flow!r}", hint=_OTHERS)
    return flow, fitting


_OTHERS = "give a token: ca-login --token-file FILE"


def _offers(discovery: Discovery, name: str | None) -> list[Offer]:
    names = [issuer.name for issuer in discovery.issuers]
    if name is not None and name not in names:
        raise Misuse(
            f"this CA has no issuer {name!r}",
            hint=f"its issuers are {', '.join(names) or 'none'}",
        )
    return [
        Offer(issuer, client)
        for issuer in discovery.issuers
        if name in {None, issuer.name}
        for client in issuer.clients
    ]


def _suited(offered: set[str]) -> str:
    if ambient.is_there():
        return CI
    # Nobody reads a code in a job's log, and the job would wait for it.
    if ambient.is_unattended():
        raise ambient.missing()
    people = (BROWSER, DEVICE) if session.browsers() else (DEVICE, BROWSER)
    for flow in people:
        if flow in offered:
            return flow
    raise SignInFailed("this CA has no sign-in for people", hint=_OTHERS)
