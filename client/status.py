"""`ca-login status`: who am I, for which principals, until when. No network."""

import time

from ca.certificate import Certificate
from client import profile
from client.arguments import Parser
from client.check import problem_with
from client.description import describe
from client.failure import DONE, NoCertificate, exit_code
from client.keys import Held, KeyFiles
from client.terminal import Terminal
from client.times import render_length, render_moment

HELP = """\
ca-login status: who am I, for which principals, until when

  ca-login status              exit code 0: usable; 3: not
  ca-login status --json

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
"""


def run(argv: list[str], terminal: Terminal) -> int:
    """Show the installed certificate, or why it is of no use."""
    options = Parser("ca-login status", HELP).read(argv, terminal)
    chosen = profile.load(options.profile, terminal)
    terminal.step("find a usable certificate")
    terminal.again += chosen.words
    keys = KeyFiles(chosen.name)
    now = time.time()
    held = keys.held()
    problem = _problem(held, now=now)
    document: dict[str, object] = {
        "profile": chosen.name,
        "url": chosen.url,
        "usable": problem is None,
        "problem": problem,
        "key": str(keys.private),
        "certificate": str(keys.certificate),
        **(describe(held.certificate) if held else {}),
    }
    if held is None or problem is not None:
        return _unusable(document, f"{problem}", terminal)
    terminal.result(document, _render(held.certificate, keys, chosen.url, now=now))
    return DONE


def _problem(held: Held | None, *, now: float) -> str | None:
    """Return why ssh would not get in with what is installed."""
    if held is None:
        return problem_with(None, now=now)
    says = held.certificate
    if problem := problem_with((says.valid_after, says.valid_before), now=now):
        return problem
    if not held.key_matches:
        return "the key beside the certificate is not the one that it certifies"
    return None


def _unusable(document: dict[str, object], problem: str, terminal: Terminal) -> int:
    error = NoCertificate(problem)
    if not terminal.json:
        return terminal.fail(error)
    terminal.result(document)
    return exit_code(error)


def _render(certificate: Certificate, keys: KeyFiles, url: str, *, now: float) -> str:
    left = render_length(certificate.valid_before - now)
    until = render_moment(certificate.valid_before, now=now)
    return (
        f"ca           {url}\n"
        f"key ID       {certificate.key_id}\n"
        f"principals   {', '.join(certificate.principals)}\n"
        f"valid until  {until} ({left} left)\n"
        f"key          {keys.private}\n"
        f"certificate  {keys.certificate}"
    )
