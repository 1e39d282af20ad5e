"""`ca-login ensure`: a good certificate afterwards, or a plain no. Made for ssh.

    good? ──no──▶ may anybody be asked? ──▶ lock ──▶ good by now? ──no──▶ sign in

ssh runs it at every connection (`Match … exec`), and so does everything that runs ssh:
an editor in the background, `ssh -G`, fifty forks of Ansible. So it asks nobody where
there is no terminal, or where `CA_LOGIN_NEVER_ASK` is set; and however many run at
once, one of them signs in and the others wait for what comes of it.
"""

from client import lock, login, profile, usable
from client.arguments import Parser
from client.failure import DONE, SignInFailed, SignInNeeded
from client.keys import KeyFiles
from client.profile import Profile
from client.terminal import Terminal, is_there

HELP = """\
ca-login ensure: have a good certificate, and sign in for it if there is none

  ca-login ensure             exit code 0: there is one; else as ca-login has them

For `Match exec`, as `ca-login ssh-config` writes it. While the certificate is good it
is as quick as check. Without a terminal to ask on, or with CA_LOGIN_NEVER_ASK set, it
signs nobody in and ends with 4. However many run at once, one of them signs in.

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     show each step
"""


def run(argv: list[str], terminal: Terminal) -> int:
    """Sign in, unless the certificate is good or becomes so meanwhile."""
    options = Parser("ca-login ensure", HELP).read(argv, terminal)
    chosen = profile.load(options.profile, terminal)
    terminal.again += chosen.words
    terminal.step("find a usable certificate")
    signed_in = ensure(chosen, terminal)
    terminal.result({"profile": chosen.name, "signed_in": signed_in})
    return DONE


def ensure(chosen: Profile, terminal: Terminal) -> bool:
    """Have a good certificate afterwards; return whether that took a sign-in."""
    keys = KeyFiles(chosen.name)
    if is_good(keys):
        return False
    if not is_there():
        raise SignInNeeded("there is no terminal to ask on")
    terminal.speak_to_the_person()
    with lock.held(
        profile.lock_of(chosen),
        waiting=lambda: terminal.say("waiting for another ca-login to sign in"),
    ) as failed:
        if is_good(keys):
            return False
        if failed:
            raise SignInFailed("the sign-in that this one waited for failed")
        login.sign_in(chosen, keys, login.Options(), terminal)
    return True


def is_good(keys: KeyFiles) -> bool:
    """Say whether a login can begin: the certificate is good, and its key is there."""
    if not usable.is_good(str(keys.certificate), for_seconds=usable.MARGIN):
        return False
    if not keys.in_agent:
        return True
    # Imported here because ssh runs this at every connection.
    from client import in_agent  # noqa: PLC0415

    return in_agent.holds(keys)
