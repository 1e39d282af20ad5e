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
from pathlib import Path

from ca import wire
from ca.errors import CAError
from ca.values import dataclass, replace
from client import agent, inspection, profile, ssh_config, trial
from client.api import CA, ExplainRequest, RequestSigner
from client.arguments import Parser
from client.cause import Cause, in_words
from client.failure import DONE, NO_CERTIFICATE, Misuse
from client.keys import Held, KeyFiles
from client.openssh import CommandLine, effective, parse
from client.profile import Profile
from client.prove import freshness_in
from client.terminal import Terminal
from client.trial import Offer, Trial

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

_OTHERS_TRIED = 2
"""Accounts to try besides: a host that counts refusals shuts an address out."""


@dataclass(frozen=True, slots=True)
class Question:
    """One login that is asked about."""

    chosen: Profile
    keys: KeyFiles
    held: Held | None
    line: CommandLine
    settings: dict[str, str]
    """What `ssh -G` makes of it."""

    @property
    def host(self) -> str:
        """The host as it was typed."""
        return self.line.words[0]

    @property
    def user(self) -> str:
        """The account that it is about."""
        return self.settings.get("user", "")

    def is_ours(self, offer: Offer) -> bool:
        """Say whether that is the certificate of the day."""
        if self.held is None or not offer.is_certificate:
            return False
        return offer.fingerprint == wire.fingerprint(self.held.certificate.subject_key)


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
    chosen = profile.load(options.profile)
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
    if found := _offering(question, tried):
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


# --- Did ssh offer it? ------------------------------------------------------------


def _offering(question: Question, tried: Trial) -> Cause | None:
    """Look whether the certificate was offered, in time, and could be used."""
    ours = [one for one in tried.offers if question.is_ours(one)]
    if ours and tried.accepted in ours:
        return inspection.key_mode(question.keys) or _unusable(question)
    if ours:
        return None
    if tried.find(r"Too many authentication failures"):
        return _too_many(question, tried)
    return _not_offered(question)


def _unusable(question: Question) -> Cause:
    return Cause(
        "key_unusable",
        "the host takes the certificate, and ssh cannot sign with the key beside it"
        + (" in the agent" if question.keys.in_agent else ""),
        f"ca-login{question.chosen.words}",
        NO_CERTIFICATE,
    )


def _too_many(question: Question, tried: Trial) -> Cause:
    """Say what was offered before ours, so that the host had enough."""
    found = agent.find()
    stale = inspection.stale_in_agent(found, now=time.time()) if found else ()
    if stale:
        return Cause(
            "stale_in_agent",
            f"the agent holds {len(stale)} certificates of ours that have ended, and"
            " the host had enough of them before it saw the good one",
            f"ca-login{question.chosen.words}, which removes them",
        )
    return Cause(
        "too_many_keys",
        f"ssh showed {len(tried.offers)} other keys first, and the host had enough of"
        " them before it saw the certificate (IdentitiesOnly is not set)",
        _install(question),
    )


def _not_offered(question: Question) -> Cause:
    """Say why ssh, which ran, did not offer a certificate that is good."""
    if question.settings.get("pubkeyauthentication") in {"no", "false"}:
        return Cause(
            "public_key_off",
            "ssh is told not to log in by key at all (PubkeyAuthentication no)",
            f"ssh -o PubkeyAuthentication=yes {question.host}",
        )
    if missing := inspection.include(question.chosen, _config_of(question.line)):
        return missing
    return Cause(
        "host_not_ours",
        f"ssh offers the certificate to {', '.join(question.chosen.host_patterns)},"
        f" and {question.settings.get('host', question.host)} is none of these",
        f"ca-login ssh{question.chosen.words} {question.host}",
    )


def _config_of(line: CommandLine) -> Path:
    """Return the person's configuration, or the one that `-F` names."""
    named = [value for letter, value in line.options if letter == "F" and value]
    return Path(named[-1]) if named else ssh_config.own_config()


def _install(question: Question) -> str:
    return f"ca-login ssh-config install{question.chosen.words}"


# --- Is it the certificate? -------------------------------------------------------


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
        yield _principal(question, held)


def _principal(question: Question, held: Held) -> Cause:
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
        5,
    )


def _bare(host: str) -> str:
    return host.removeprefix("ssh://").rpartition("@")[2]


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
