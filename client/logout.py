"""`ca-login logout`: remove the key and its certificate from this machine.

The certificate itself stays good until it ends, for whoever has a copy of its key:
revoking is the CA's to do.
"""

from client import in_agent, profile
from client.arguments import Parser
from client.failure import DONE, Unable
from client.keys import KeyFiles
from client.terminal import Terminal

HELP = """\
ca-login logout: remove the key and its certificate from this machine

  ca-login logout
  ca-login logout --profile NAME

They go from the files, and from your ssh-agent.

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
"""


def run(argv: list[str], terminal: Terminal) -> int:
    """Remove what a sign-in left, and say whether there was anything."""
    options = Parser("ca-login logout", HELP).read(argv, terminal)
    chosen = profile.load(options.profile, terminal)
    terminal.step("log out")
    keys = KeyFiles(chosen.name)
    all_of_them = (keys, *keys.others())
    removed = [held.remove() for held in all_of_them]
    try:
        removed.append(in_agent.forget([held.name for held in all_of_them]))
    except Unable as error:
        terminal.warn(f"what {error.detail.partition(' does')[0]} holds is not removed")
    terminal.say("logged out" if any(removed) else "nobody was signed in")
    terminal.result({"profile": chosen.name, "removed": any(removed)})
    return DONE
