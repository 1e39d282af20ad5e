"""`ca-login why`: the cause of a login that fails, not its symptom.

    try it, to the door ──in──▶ done: and by which key
          │ refused
          ├─ ssh names the cause ─────────────▶ `client.cause`
          └─ the host says no, without a word:
               what of ours is wrong here? ───▶ `client.inspection`
               was our certificate offered?
               does the CA stand by it?
               is it for that account, from here?

A host never says why it refuses a certificate. What is left after all that is the
host's own configuration, and then the answer says what to look for there.
"""

import time
from collections.abc import Iterator

from ca.errors import CAError
from ca.values import replace
from client import account, inspection, profile, trial
from client.api import CA
from client.arguments import Parser
from client.cause import Cause, in_words
from client.failure import DONE, Misuse
from client.keys import Held, KeyFiles
from client.openssh import CommandLine, effective, parse
from client.profile import Profile
from client.question import Question, offering
from client.terminal import Terminal
from client.trial import Trial

HELP = """\
ca-login why: the cause of a login that fails, and the next command to type

  ca-login why ada@web1.example.com
  ca-login why -p 2222 -J bastion.example.com root@db1.example.com
  ca-login why --json ada@web1.example.com

It tries the login as ssh would, with ssh's own options, to the host's door and no
further: nothing runs there, and nobody is signed in. Then it looks at the certificate,
at what ssh offered, and asks the CA. A host itself never says why it refuses.

exit code 0: ssh gets in; 3: not with this certificate; 5: policy does not give that
account; 7: the CA is needed, and unreachable; 8: the clock is wrong; else 1

  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     show what ssh says
"""


def parser() -> Parser:
    """Return what reads the arguments."""
    made = Parser("ca-login why", HELP)
    made.leave_rest()
    return made


def run(argv: list[str], terminal: Terminal) -> int:
    """Try the login, and name what stands in its way."""
    options = parser().read(argv, terminal)
    line = parse("ssh", options.rest)
    if not line.words:
        raise Misuse("which login is it about", hint="ca-login why --help")
    chosen = profile.load(options.profile, terminal)
    terminal.again += chosen.words
    line = replace(line, words=line.words[:1])
    terminal.step(f"log in to {line.words[0]}")
    tried = _try(line, terminal)
    if tried.let_in:
        return _gets_in(line, tried, terminal)
    cause = _explain(chosen, line, tried, terminal)
    terminal.say(f"error: could not log in to {line.words[0]}")
    cause.say(terminal)
    terminal.result(
        {"host": line.words[0], "works": False, "with": None, "cause": cause.document}
    )
    return cause.status


def _try(line: CommandLine, terminal: Terminal) -> Trial:
    tried = trial.attempt(line)
    for said in tried.lines:
        terminal.detail(f"ssh: {said}")
    return tried


def _gets_in(line: CommandLine, tried: Trial, terminal: Terminal) -> int:
    by = tried.accepted
    what = "" if by is None else f" by {'certificate' if by.is_certificate else 'key'}"
    name = "" if by is None else f" {by.name}"
    terminal.say(f"{line.words[0]} lets you in{what}{name}")
    terminal.result(
        {
            "host": line.words[0],
            "works": True,
            "with": None if by is None else by.name,
            "cause": None,
        }
    )
    return DONE


def _explain(
    chosen: Profile, line: CommandLine, tried: Trial, terminal: Terminal
) -> Cause:
    """Return why a login was not let in."""
    found = in_words(tried, line.words[0])
    if found and found.code in {"config_mode", "config_error"}:
        return found  # and `ssh -G` would not read it either
    settings = effective(line, line.words[0], None)
    if cause := _on_the_way(line, settings, terminal):
        return cause
    if found is not None:
        return found
    keys = KeyFiles(chosen.name)
    question = Question(chosen, keys, keys.held(), line, dict(settings))
    return next(_causes(question, tried, terminal))


def _on_the_way(
    line: CommandLine, settings: dict[str, str], terminal: Terminal
) -> Cause | None:
    """Look whether the host that is jumped through is what refuses."""
    jump = settings.get("proxyjump", "none").partition(",")[0]
    if jump == "none":
        return None
    kept = tuple(one for one in line.options if one[0] not in "lpJ")
    first = replace(line, options=kept, words=(f"ssh://{jump}",))
    terminal.step(f"log in to {jump}, which is on the way")
    tried = _try(first, terminal)
    if tried.let_in:
        return None
    found = in_words(tried, jump)
    why = "it lets nobody in by what ssh offers" if found is None else found.why
    return Cause(
        "jump_host" if found is None else found.code,
        f"on the way, at {jump}: {why}",
        f"ca-login why {jump}" if found is None else found.hint,
    )


def _causes(question: Question, tried: Trial, terminal: Terminal) -> Iterator[Cause]:
    """Yield what may have had a host say no, the surest first; always something."""
    terminal.step("look at the certificate")
    mine = inspection.certificate(question.chosen, question.held)
    if mine is not None:
        yield _with_the_ca(mine, question)
    if found := offering(question, tried):
        yield found
    if (held := question.held) is not None:
        terminal.step(f"ask {question.chosen.url} about the certificate")
        yield from _asked(question, held, tried, terminal)
    yield _refused(question)


def _with_the_ca(cause: Cause, question: Question) -> Cause:
    """Say instead what keeps a person from signing in, where something does."""
    try:
        with CA(question.chosen.url) as ca:
            behind = ca.discovery().server_time - int(time.time())
    except CAError as error:
        because = inspection.of_error(error)
        return replace(because, why=f"{cause.why}, and {because.why}")
    return inspection.clock(behind) or cause


def _asked(
    question: Question, held: Held, tried: Trial, terminal: Terminal
) -> Iterator[Cause]:
    """Yield what the CA, the certificate and the host's other accounts tell."""
    try:
        with CA(question.chosen.url) as ca:
            bundle = ca.bundle(
                question.chosen.pin, known=profile.recall(question.chosen)
            )
            if cause := inspection.standing(question.chosen, held, ca, bundle):
                yield cause
    except CAError as error:
        terminal.warn(f"the CA could not be asked: {error.detail}")
    where = tried.find(r"Connecting to .* \[(.+)\] port (\d+)")
    if where and (cause := inspection.source_address(held, where[1], int(where[2]))):
        yield cause
    if question.user not in held.certificate.principals:
        terminal.step("try the accounts that the certificate is for")
        yield account.judge(question, held)


def _refused(question: Question) -> Cause:
    """Say what can only be seen on the host."""
    serial = "" if question.held is None else str(question.held.certificate.serial)
    return Cause(
        "refused_by_host",
        f"nothing is wrong with the certificate here, and the host refuses it for"
        f" {question.user}: it may not trust the CA, not know that account, have other"
        " principals for it, or a wrong clock",
        f"on the host: journalctl -u ssh -u sshd | grep -e 'serial {serial}' -e"
        " 'Certificate invalid' -e principal",
    )
