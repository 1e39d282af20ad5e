"""`ca-login check` when there is something to say; `client.usable` is the fast way.

Like that one it reads the certificate and nothing else.
"""

import time

from client import profile, usable
from client.arguments import Parser
from client.failure import DONE, NO_CERTIFICATE, NoCertificate
from client.terminal import Terminal
from client.times import render_length

HELP = """\
ca-login check: is the certificate good now; at once, without network

  ca-login check              exit code 0: it is; 3: it is not
  ca-login check -v           and why
  ca-login check --json

It reads the certificate and nothing else, and says nothing unless asked, so ssh can run
it at every connection: Match host *.example.com exec "ca-login check"

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     say why, or for how long
"""


def run(argv: list[str], terminal: Terminal) -> int:
    """Say whether the certificate is good, and more to who asks."""
    options = Parser("ca-login check", HELP).read(argv, terminal)
    terminal.step("find a usable certificate")
    if options.profile is not None:
        profile.path_of(options.profile)  # or the name cannot be one
        terminal.again += f" --profile {options.profile}"
    path = usable.certificate_of(options.profile)
    validity, now = usable.validity_in(path), time.time()
    problem = problem_with(validity, now=now)
    terminal.result(
        {
            "certificate": path,
            "usable": problem is None,
            "problem": problem,
            "valid_before": validity and validity[1],
        }
    )
    if problem is None and validity is not None:
        terminal.detail(f"{path} is good for {render_length(validity[1] - now)}")
        return DONE
    if terminal.verbose and not terminal.json:
        raise NoCertificate(f"{problem}")
    return NO_CERTIFICATE


def problem_with(validity: tuple[int, int] | None, *, now: float) -> str | None:
    """Return why a certificate of that validity, or none, is of no use now."""
    if validity is None:
        return "there is no certificate"
    valid_after, valid_before = validity
    if now >= valid_before:
        return f"the certificate ended {render_length(now - valid_before)} ago"
    if now < valid_after:
        begins = render_length(valid_after - now)
        return f"the certificate begins in {begins}; this machine's clock may be wrong"
    return None
