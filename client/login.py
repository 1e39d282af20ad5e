"""Bare `ca-login`: the life of a sign-in. Read this first.

    key ──prove──▶ ID token ──ask──▶ certificate ──check──▶ installed ──▶ one line
     ▲                                     ▲
     └ new each time                       ├ against roots proved by the pin
                                           └ on the ledger, which only ever grows

Each step needs the result of the one before. Nothing that ssh reads changes before the
certificate has passed every check; whatever fails before that leaves the key and the
certificate of the morning as they were.
"""

import os
import time

from ca.binding import audience_for
from ca.certificate import Certificate, parse_line, refuse_principal
from ca.errors import BadRequest, Denied
from ca.values import dataclass, field, replace
from client import acceptance, flows, ledger, lock, profile, prove, receipt
from client.api import CA, SignRequest, SignResponse
from client.arguments import Parser, one_of
from client.description import describe
from client.failure import DONE, Misuse, SignInNeeded
from client.keys import Attempt, ExistingKey, KeyFiles
from client.profile import Profile
from client.receipt import Asked
from client.terminal import Terminal
from client.times import parse_length, render_length, render_moment

HELP = """\
ca-login: sign in once, then ssh for a workday

  ca-login setup https://ca.example.com --pin SHA256:...   once, on a new machine
  ca-login                                 sign in: by browser, by a code for another
                                           device, or in CI without a question
  ca-login --principal root --reason "disk full on db1"    more than usual, and why
  ca-login --validity 1h                   less long than usual
  ca-login --device                        by a code, wherever we are
  ca-login --key ~/.ssh/id_ed25519_sk      for a key that you have, also a FIDO key
  ca-login --token-file FILE               with an ID token that you have; - is stdin
  ca-login check                           is the certificate good: the exit code
  ca-login ensure                          for ssh: sign in, if it is not
  ca-login ssh-config install              have ssh use all this by itself
  ca-login ssh | sftp | scp ... HOST       sign in if need be, and log in
  ca-login exec -- COMMAND                 the same for rsync, git, Ansible
  ca-login export --ppk FILE               for PuTTY and WinSCP
  ca-login why USER@HOST                   why a login fails, and what to type next
  ca-login doctor                          is this machine in order
  ca-login status                          who am I, until when
  ca-login logout                          remove key and certificate

  --profile NAME    which CA, where there are several
  --principal P     an account to log in as; again for more
  --validity T      how long: 8h, 30m, 1h30m
  --reason TEXT     for the record
  --browser         sign in by browser, wherever we are
  --no-open         only print the URL, open no browser
  --issuer NAME     at which identity provider, where there are several
  --agent HOW       never (the default): the key is in a file; auto: in your ssh-agent,
                    too; only: nowhere else
  --print-audience  of --key: for which audience CI must get a token for that key
  --json            the result as JSON, on standard output
  -v, --verbose     show each step, and what was not granted

The key and its certificate are ~/.ssh/daypass/PROFILE and PROFILE-cert.pub. A key
that you have stays where it is.

BROWSER names the browser, as elsewhere; CA_LOGIN_FLOW is browser, device or ci, and so
is "flow" in ~/.config/daypass/PROFILE.json, where "agent" is what --agent is. In CI the
token is in CA_LOGIN_ID_TOKEN, in the file CA_LOGIN_TOKEN_FILE, or had from GitHub
Actions.

exit codes: 0 done, 1 failed, 2 misuse, 3 no usable certificate, 4 sign-in needed or
refused, 5 denied by policy, 6 approval pending, 7 CA unreachable, 8 clock wrong,
9 drift found, 130 interrupted
"""

NEVER_ASK = "CA_LOGIN_NEVER_ASK"
"""Set by who runs ssh only to see what it would do: nobody is signed in then."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked on the command line."""

    profile: str | None = None
    principals: tuple[str, ...] = ()
    validity_seconds: int | None = None
    reason: str | None = None
    key: str | None = None
    agent: str | None = None
    print_audience: bool = False
    how: prove.How = field(default_factory=prove.How)


def run(argv: list[str], terminal: Terminal) -> int:
    """Sign in, and say until when that lasts."""
    options = _parse(argv, terminal)
    chosen = profile.load(options.profile, terminal)
    terminal.again += chosen.words
    terminal.step("find the key")
    existing = None if options.key is None else ExistingKey.find(options.key)
    if options.print_audience:
        return _print_audience(chosen, existing, terminal)
    keys = KeyFiles(chosen.name, existing)
    # Whoever runs `ensure` waits for us; we wait for nobody, who may have gone home.
    with lock.held(profile.lock_of(chosen)):
        sign_in(chosen, keys, options, terminal)
    return DONE


def sign_in(
    chosen: Profile, keys: KeyFiles, options: Options, terminal: Terminal
) -> None:
    """Sign in, and say until when that lasts."""
    if os.environ.get(NEVER_ASK):
        raise SignInNeeded(f"{NEVER_ASK} is set, so nobody signs in")
    now = time.time()
    for held in (keys, *keys.others()):
        held.discard_expired(now)
    with CA(chosen.url) as ca:
        try:
            certificate, response = _sign_in(ca, chosen, keys, options, terminal)
        except Denied as denied:
            most = prove.freshness_in(denied.detail)
            if most is None or options.how.fresh_seconds is not None:
                raise
            terminal.say("policy wants a fresh sign-in for this; once more")
            options = replace(options, how=replace(options.how, fresh_seconds=most))
            certificate, response = _sign_in(ca, chosen, keys, options, terminal)
    _say(chosen, keys, certificate, response, terminal)


def _print_audience(
    chosen: Profile, existing: ExistingKey | None, terminal: Terminal
) -> int:
    """Say which audience binds a token to a key, for who must ask before we are run."""
    if existing is None:
        raise Misuse("an audience is for one key", hint="add --key FILE")
    terminal.step(f"ask {chosen.url} for its origin")
    with CA(chosen.url) as ca:
        audience = audience_for(ca.discovery().origin, parse_line(existing.line))
    terminal.result({"audience": audience}, audience)
    return DONE


def _sign_in(
    ca: CA, chosen: Profile, keys: KeyFiles, options: Options, terminal: Terminal
) -> tuple[Certificate, SignResponse]:
    """Go from no key to an installed certificate."""
    terminal.step(f"begin a sign-in at {ca.url}")
    discovery = ca.discovery()
    behind = discovery.server_time - int(time.time())
    acceptance.refuse_wrong_clock(behind)

    # Before the token, which is for this key alone.
    terminal.step("make a key" if options.key is None else f"take {options.key}")
    mode = _agent_mode(chosen, options)
    with keys.attempt(in_memory=mode == "only") as attempt:
        public_key, key_blob = attempt.public_key()
        told = flows.told(asked=options.how.flow, kept=chosen.flow)
        how = replace(options.how, flow=told)
        proof = prove.prove(discovery, key_blob, how, terminal)

        terminal.step(f"get a certificate from {ca.url}")
        seen = profile.recall_ledger(chosen)
        response = ca.sign(_request(public_key, proof, options, seen))

        asked = Asked(key_blob, options.principals, behind, seen)
        certificate = receipt.check(ca, chosen, response, asked, terminal)

        terminal.step("install the certificate")
        attempt.add_certificate(response.certificate)
        _install(keys, attempt, certificate, mode, terminal)
    return certificate, response


def _agent_mode(chosen: Profile, options: Options) -> str:
    """Return what is to become of the agent: never, auto or only."""
    if not (options.agent or chosen.agent):
        return "never"
    # Imported here because hardly anybody's sign-in needs it.
    from client import in_agent  # noqa: PLC0415

    return in_agent.told(
        asked=options.agent, kept=chosen.agent, own_key=options.key is not None
    )


def _install(
    keys: KeyFiles,
    attempt: Attempt,
    certificate: Certificate,
    mode: str,
    terminal: Terminal,
) -> None:
    """Put the pair where ssh finds it; leave nothing older in the agent."""
    if mode == "never" and not os.environ.get("SSH_AUTH_SOCK"):
        keys.install(attempt)
        return
    from client import in_agent  # noqa: PLC0415 as above

    if mode == in_agent.ONLY:
        in_agent.put_only(attempt, certificate, keys.name, terminal)
    keys.install(attempt)
    if mode == in_agent.AUTO:
        in_agent.put_as_well(attempt, certificate, keys.name, terminal)
    in_agent.forget_quietly([keys.name], but=certificate.subject_key)


def _request(
    public_key: str, proof: prove.Proof, options: Options, seen: ledger.Seen | None
) -> SignRequest:
    return SignRequest(
        public_key=public_key,
        id_token=proof.id_token,
        salt=proof.salt,
        principals=options.principals,
        validity_seconds=options.validity_seconds,
        reason=options.reason,
        checkpoint=None if seen is None else seen.note,
    )


def _say(
    chosen: Profile,
    keys: KeyFiles,
    certificate: Certificate,
    response: SignResponse,
    terminal: Terminal,
) -> None:
    now = time.time()
    until = render_moment(certificate.valid_before, now=now)
    left_out = response.left_out
    more = f"; {len(left_out)} left out, see -v" if left_out else ""
    terminal.say(
        f"signed in as {certificate.key_id} for {', '.join(certificate.principals)}"
        f" until {until} ({render_length(certificate.valid_before - now)})"
        + ("" if terminal.verbose else more)
    )
    for item in left_out:
        terminal.detail(f"left out: {item.what}: {item.reason}")
    terminal.result(
        {
            "profile": chosen.name,
            "key": str(keys.private),
            "certificate": str(keys.certificate),
            **describe(certificate),
            "left_out": [{"what": i.what, "reason": i.reason} for i in left_out],
        }
    )


def parser() -> Parser:
    """Return what reads the arguments."""
    made = Parser("ca-login", HELP)
    made.add_option("--principal", principal, many=True)
    made.add_option("--validity", parse_length)
    made.add_option("--agent", one_of("--agent", profile.AGENT_MODES))
    for name in ("--reason", "--key", "--issuer", "--token-file"):
        made.add_option(name)
    for name in ("--print-audience", "--no-open", "--browser", "--device"):
        made.add_switch(name)
    made.exclude("--browser", "--device", "--token-file")
    return made


def _parse(argv: list[str], terminal: Terminal) -> Options:
    values = parser().read(argv, terminal)
    flow = flows.BROWSER if values.browser else None
    return Options(
        profile=values.profile,
        principals=values.principal,
        validity_seconds=values.validity,
        reason=values.reason,
        key=values.key,
        agent=values.agent,
        print_audience=values.print_audience,
        how=prove.How(
            flow=flows.DEVICE if values.device else flow,
            issuer=values.issuer,
            token_file=values.token_file,
            open_browser=not values.no_open,
        ),
    )


def principal(name: str) -> str:
    """Return a principal as it was typed; raise `Misuse`."""
    try:
        refuse_principal(name)
    except BadRequest as error:
        raise Misuse(error.detail, hint=error.hint) from error
    return name
