"""`ca-login ssh`, `sftp`, `scp` and `exec`: from nothing to a shell, in one command.

    good certificate? ──no──▶ sign in ──▶ become ssh, which is given one file (-F):
    our key, the CA's hosts, then the person's own configuration and the system's

A file and not options, because ssh hands it on to the ssh that it jumps through. ssh
takes our place, so its exit code, its signals and its terminal are its own. Only
`--one-shot` stays behind, to take a key away that nobody is to find.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

from client import files, lock, login, profile, receipt, ssh_config, usable
from client.api import CA, NarrowerRequest, RequestSigner
from client.arguments import Parser
from client.ensure import is_good
from client.failure import Misuse, SignInFailed, Unable
from client.keys import Attempt, KeyFiles
from client.openssh import CommandLine, needed_extensions, parse
from client.profile import Profile
from client.receipt import Asked
from client.terminal import Terminal
from client.times import parse_length

HELPS: Mapping[str, str] = {
    "ssh": """\
ca-login ssh: sign in if need be, then ssh

  ca-login ssh ada@web1.example.com
  ca-login ssh -J bastion.example.com ada@web1.example.com uptime
  ca-login ssh --principal root --reason "disk full" root@db1.example.com
  ca-login ssh --one-shot -L 5432:localhost:5432 ada@db1.example.com

Our options come first. What follows is ssh's, which takes our place: its options, its
exit code and its terminal are its own. ~/.ssh/config holds; our key is offered first.

  --principal P     another than a day begins with; again for more. Somebody signs in
                    for it, and what comes of it is kept apart for as long as it is good
  --reason TEXT     for the record, where policy wants one
  --validity T      of --principal: how long, as 30m
  --one-shot        a key and a certificate for this alone, for five minutes, with the
                    extensions that these options need; no browser while the day's lasts
  --profile NAME    which CA, where there are several
  --json            a failure of ours as JSON, on standard output
""",
    "sftp": """\
ca-login sftp: sign in if need be, then sftp

  ca-login sftp ada@web1.example.com
  ca-login sftp --one-shot -b commands ada@web1.example.com

As ca-login ssh, with the same options of ours: --principal, --reason, --validity,
--one-shot, --profile, --json.
""",
    "scp": """\
ca-login scp: sign in if need be, then scp

  ca-login scp -r site ada@web1.example.com:/srv
  ca-login scp --one-shot ada@web1.example.com:/var/log/syslog .

As ca-login ssh, with the same options of ours: --principal, --reason, --validity,
--one-shot, --profile, --json.
""",
    "exec": """\
ca-login exec: sign in if need be, then run any command that runs ssh

  ca-login exec -- rsync -a site/ ada@web1.example.com:/srv/
  ca-login exec -- ansible-playbook site.yml
  ca-login exec -- git pull
  ca-login exec -- sh -c 'ssh -F "$DAYPASS_SSH_CONFIG" ada@web1.example.com'

rsync, git and Ansible are told by RSYNC_RSH, GIT_SSH_COMMAND and
ANSIBLE_SSH_COMMON_ARGS, anything else by DAYPASS_SSH_CONFIG, a file for ssh -F. The
command takes our place: its exit code is its own.

  --principal P, --reason TEXT, --validity T    as for ca-login ssh
  --profile NAME    which CA, where there are several
  --json            a failure of ours as JSON, on standard output
""",
}

_ONE_SHOT_SECONDS = 300


def parser(tool: str) -> Parser:
    """Return what reads the arguments of one of the four."""
    made = Parser(f"ca-login {tool}", HELPS[tool])
    made.add_option("--principal", login.principal, many=True)
    made.add_option("--validity", parse_length)
    made.add_option("--reason")
    if tool != "exec":
        made.add_switch("--one-shot")
        made.exclude("--one-shot", "--principal")
    made.leave_rest()
    return made


def _run(tool: str, argv: list[str], terminal: Terminal) -> int:
    """Have a good certificate, then run what was typed."""
    options = parser(tool).read(argv, terminal)
    if not options.rest:
        raise Misuse("there is nothing to run", hint=f"ca-login {tool} --help")
    chosen = profile.load(options.profile, terminal)
    terminal.again += chosen.words
    terminal.step("find a usable certificate")
    keys = _signed_in(chosen, options, terminal)
    _write_config(chosen, keys, keys.ssh_config)
    terminal.step(f"run {tool if tool != 'exec' else options.rest[0]}")
    apart = {usable.APART: "1"} if options.principal else {}
    if tool == "exec":
        _become(options.rest, apart | _told(keys.ssh_config))
    line = parse(tool, options.rest)
    if not options.one_shot:
        _become(_command(line, options.rest, keys.ssh_config), apart)
    return _once(chosen, keys, line, options.rest, terminal)


COMMANDS = {tool: partial(_run, tool) for tool in HELPS}


def _signed_in(
    chosen: Profile, options: SimpleNamespace, terminal: Terminal
) -> KeyFiles:
    """Return key and certificate that are good; sign in for them if need be."""
    keys = KeyFiles(chosen.name, principals=options.principal)
    if is_good(keys):
        return keys
    wanted = login.Options(
        principals=options.principal,
        validity_seconds=options.validity,
        reason=options.reason,
    )
    with lock.held(
        profile.lock_of(chosen),
        waiting=lambda: terminal.say("waiting for another ca-login to sign in"),
    ) as failed:
        if is_good(keys):
            return keys
        if failed:
            raise SignInFailed("the sign-in that this one waited for failed")
        login.sign_in(chosen, keys, wanted, terminal)
    return keys


def _write_config(chosen: Profile, keys: KeyFiles, path: Path) -> None:
    """Write the one file that ssh is given, unless it is there already."""
    content = ssh_config.session(chosen, keys).encode()
    if files.read(path) != content:
        files.replace(path, content)


def _command(line: CommandLine, rest: Sequence[str], config: Path) -> list[str]:
    """Return what to run. Who gives a file of their own gets our options beside it."""
    if not line.has("F"):
        return [line.tool, "-F", str(config), *rest]
    ours = (
        f"IdentityFile={config.with_name('key')}",
        f"CertificateFile={config.with_name('key-cert.pub')}",
        "IdentitiesOnly=yes",
    )
    return [line.tool, *(word for one in ours for word in ("-o", one)), *rest]


def _told(config: Path) -> dict[str, str]:
    """Return the variables that have others give our file to ssh."""
    word = shlex.quote(str(config))

    def more(name: str, otherwise: str) -> str:
        return f"{os.environ.get(name) or otherwise} -F {word}".strip()

    return {
        "DAYPASS_SSH_CONFIG": str(config),
        "RSYNC_RSH": more("RSYNC_RSH", "ssh"),
        "GIT_SSH_COMMAND": more("GIT_SSH_COMMAND", "ssh"),
        "ANSIBLE_SSH_COMMON_ARGS": more("ANSIBLE_SSH_COMMON_ARGS", ""),
    }


def _become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    """Let a command take our place; raise `Unable` where it cannot be run."""
    sys.stdout.flush()
    try:
        os.execvpe(command[0], list(command), {**os.environ, **environment})  # noqa: S606 what was typed
    except OSError as error:
        raise Unable(f"{command[0]} cannot be run: {error.strerror}") from error


# --- One shot ---------------------------------------------------------------------


def _once(
    chosen: Profile,
    morning: KeyFiles,
    line: CommandLine,
    rest: Sequence[str],
    terminal: Terminal,
) -> int:
    """Run with a key and a certificate of their own, and leave neither behind."""
    terminal.step("find what these options need")
    needed = needed_extensions(line, str(morning.ssh_config))
    with morning.attempt() as attempt:
        _certify_once(chosen, morning, attempt, needed, terminal)
        config = attempt.folder / "ssh_config"
        files.create(config, ssh_config.session(chosen, attempt).encode())
        terminal.step(f"run {line.tool}")
        return _wait_for(_command(line, rest, config))


def _certify_once(
    chosen: Profile,
    morning: KeyFiles,
    attempt: Attempt,
    needed: frozenset[str],
    terminal: Terminal,
) -> None:
    """Have a new key certified with less than the day's certificate has."""
    held = morning.held()
    if held is None:
        raise Unable("the certificate went away meanwhile", hint=terminal.again)
    has = held.certificate
    public_key, key_blob = attempt.public_key()
    seen = profile.recall_ledger(chosen)
    request = NarrowerRequest(
        public_key=public_key,
        principals=has.principals,
        validity_seconds=min(_ONE_SHOT_SECONDS, has.valid_before - int(time.time())),
        extensions=tuple(sorted(needed.intersection(has.extensions))),
        checkpoint=None if seen is None else seen.note,
    )
    signer = RequestSigner.open(morning.private, morning.certificate)
    terminal.step(f"get a certificate from {chosen.url}")
    with CA(chosen.url) as ca:
        response = ca.narrower(request, signer)
        asked = Asked(key_blob, has.principals, behind=0, seen=seen)
        receipt.check(ca, chosen, response, asked, terminal)
    attempt.add_certificate(response.certificate)


def _wait_for(command: Sequence[str]) -> int:
    """Run a command to its end; return its exit code as a shell would."""
    try:
        process = subprocess.Popen(  # noqa: S603 what was typed
            list(command), env={**os.environ, usable.APART: "1"}
        )
    except OSError as error:
        raise Unable(f"{command[0]} cannot be run: {error.strerror}") from error
    # Ctrl-C is for it to judge; what would end us ends it, so that we can clean up.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda which, _: process.send_signal(which))
    status = process.wait()
    return status if status >= 0 else 128 - status
