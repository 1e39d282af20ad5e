"""`ca-login setup`: first contact, the one moment when a person vouches for a CA.

After it, everything the CA says about trust is proved by the pinned root key.
"""

from ca.values import dataclass
from client import profile
from client.api import CA, parse_pin
from client.arguments import Parser, one_of
from client.failure import DONE, Misuse, Untrusted
from client.flows import FLOWS
from client.profile import AGENT_MODES, DEFAULT, Profile
from client.terminal import Terminal, ask

HELP = """\
ca-login setup: get to know a CA, once on a new machine

  ca-login setup https://ca.example.com --pin SHA256:...
  ca-login setup https://ca.example.com            shows the fingerprint, and asks
  ca-login setup https://ca.example.org --profile other

  --pin SHA256:...  the root key's fingerprint, as `ca-admin init` printed it
  --profile NAME    what to call this CA (default: default)
  --flow FLOW       always sign in by browser, device or ci; else by what suits
  --agent HOW       whether your ssh-agent is to have each day's key: never, auto, only
  --json            the result as JSON, on standard output
  -v, --verbose     show each step
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked on the command line."""

    url: str
    pin: str | None
    name: str
    flow: str | None
    agent: str | None


def run(argv: list[str], terminal: Terminal) -> int:
    """Pin a CA's root key and write its profile."""
    options = _parse(argv, terminal)
    terminal.step(f"set up {options.url}")
    with CA(options.url) as ca:
        before = profile.find(options.name)
        pin = options.pin or (before.pin if before else _ask_for_pin(ca))
        flow = options.flow or (before.flow if before else None)
        hosts = before.host_patterns if before else ()
        agent = options.agent or (before.agent if before else None)
        chosen = Profile(options.name, ca.url, pin, flow, hosts, agent)
        _refuse_other(before, chosen)
        bundle = ca.bundle(pin, known=profile.recall(chosen))
    profile.remember(chosen, bundle.known())
    path = profile.path_of(chosen.name) if before else profile.save(chosen)
    terminal.say(f"set up {chosen.url} in {path}; now: ca-login{chosen.words}")
    terminal.result(
        {"profile": chosen.name, "url": chosen.url, "pin": pin, "path": str(path)}
    )
    return DONE


def _ask_for_pin(ca: CA) -> str:
    """Show the fingerprint the CA claims, and return it when a person says so."""
    pin = ca.unverified_root_fingerprint()
    # The hint does not repeat the fingerprint: pasted from here it would prove nothing.
    agreed = ask(
        f"{ca.url} says that its root key is\n    {pin}\n"
        "compare it with what whoever runs the CA gave you. Is it the same?",
        otherwise=f"ca-login setup {ca.url} --pin SHA256:...",
    )
    if not agreed:
        raise Untrusted(
            "the fingerprint was not confirmed; nothing was written",
            hint="ask whoever runs the CA for it",
        )
    return pin


def _refuse_other(before: Profile | None, chosen: Profile) -> None:
    """Never change whom a profile trusts by typing a command twice."""
    if before is None or before == chosen:
        return
    path = profile.path_of(before.name)
    if (before.url, before.pin) == (chosen.url, chosen.pin):
        raise Misuse(
            f"the profile {before.name!r} is there, with another flow or agent",
            hint=f"change the keys flow and agent in {path}",
        )
    raise Misuse(
        f"the profile {before.name!r} is for {before.url} with {before.pin}",
        hint=f"add --profile NAME for another CA, or first: rm {path}",
    )


def parser() -> Parser:
    """Return what reads the arguments."""
    made = Parser("ca-login setup", HELP)
    made.add_positional("URL")
    made.add_option("--pin", parse_pin)
    made.add_option("--flow", one_of("--flow", FLOWS))
    made.add_option("--agent", one_of("--agent", AGENT_MODES))
    return made


def _parse(argv: list[str], terminal: Terminal) -> Options:
    values = parser().read(argv, terminal)
    return Options(
        url=values.url,
        pin=values.pin,
        name=DEFAULT if values.profile is None else values.profile,
        flow=values.flow,
        agent=values.agent,
    )
