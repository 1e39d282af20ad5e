"""`ca-login export`: the key and its certificate for PuTTY and WinSCP. No network."""

import time
from pathlib import Path

from ca.certificate import parse_line, split_key
from ca.errors import BadRequest
from client import files, profile
from client.arguments import Parser
from client.check import problem_with
from client.failure import DONE, Misuse, NoCertificate, Unable
from client.keys import KeyFiles
from client.ppk import read_seed, render_ppk
from client.terminal import Terminal
from client.times import render_moment

HELP = """\
ca-login export: the key and its certificate in one file, for PuTTY and WinSCP

  ca-login export --ppk work.ppk
  plink -i work.ppk deploy@web1.example.com

FILE is replaced, readable for you alone, without a passphrase, and of no use once the
certificate has ended: export again after each sign-in. PuTTY 0.78 and later.

  --ppk FILE        where to
  --profile NAME    which CA, where there are several
  --json            the result as JSON, on standard output
  -v, --verbose     show each step
"""

_FIDO = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")


def parser() -> Parser:
    """Return what reads the arguments."""
    made = Parser("ca-login export", HELP)
    made.add_option("--ppk", Path)
    return made


def run(argv: list[str], terminal: Terminal) -> int:
    """Write what is installed as a `.ppk` file."""
    options = parser().read(argv, terminal)
    if options.ppk is None:
        raise Misuse("--ppk is missing", hint="ca-login export --help")
    chosen = profile.load(options.profile, terminal)
    terminal.step(f"export the certificate to {options.ppk}")
    terminal.again += chosen.words
    keys, now = KeyFiles(chosen.name), time.time()
    held = keys.held()
    says = None if held is None else held.certificate
    validity = None if says is None else (says.valid_after, says.valid_before)
    problem = problem_with(validity, now=now)
    if says is None or problem is not None:
        raise NoCertificate(f"{problem}")
    _refuse_own_key(keys, split_key(says.subject_key)[0], options.ppk)
    ppk = render_ppk(
        certificate=_blob(keys),
        seed=_seed(keys, says.subject_key),
        comment=f"daypass:{chosen.name}",
    )
    with files.explained(f"write {options.ppk}"):
        folder = options.ppk.parent.resolve(strict=True)
    files.replace(folder / options.ppk.name, ppk)
    until = render_moment(says.valid_before, now=now)
    terminal.say(f"wrote {options.ppk}, good until {until}")
    terminal.result({"ppk": str(options.ppk), "valid_before": says.valid_before})
    return DONE


def _refuse_own_key(keys: KeyFiles, key_type: str, ppk: Path) -> None:
    """Refuse keys that are not ours to open, or that nobody can take out."""
    if key_type in _FIDO:
        raise Unable(
            "the key is in a FIDO token, which does not hand it out, and PuTTY cannot"
            " ask one",
            hint="sign in without --key for a key that PuTTY can use: ca-login",
        )
    if keys.in_agent:
        raise Unable(
            "the key is in the agent alone, which does not hand it out",
            hint="sign in with it in a file: ca-login --agent auto",
        )
    own = keys.existing()
    if own is not None:
        raise Unable(
            f"the key is {own}, your own, which ca-login does not open",
            hint=f"puttygen {own} --certificate {keys.certificate} -o {ppk}",
        )


def _blob(keys: KeyFiles) -> bytes:
    return parse_line((files.read(keys.certificate) or b"").decode("ascii"))


def _seed(keys: KeyFiles, subject_key: bytes) -> bytes:
    try:
        return read_seed(files.read(keys.private) or b"", public_key=subject_key)
    except BadRequest as error:
        raise Unable(f"{keys.private} is of no use: {error.detail}") from error
