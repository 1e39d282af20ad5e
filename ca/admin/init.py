"""`ca-admin init DIR`: a new CA that works as it stands.

Everything is made in a folder beside `DIR` and renamed when it is whole, so that a
failure leaves nothing half-made.
"""

import secrets
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from ca.admin import database, templates
from ca.admin.command import DONE, Options, Output, Parser
from ca.admin.files import create_file
from ca.admin.keys.draft import parse_domains
from ca.admin.templates import Answers
from ca.authority import read_policy
from ca.bundle import HostCAKey, KeyState, Roots, TrustedKey
from ca.config import load_config
from ca.errors import Misconfigured
from ca.signing_key import FileKey, KeyType
from ca.trust import sign_roots

__all__ = ["HELP", "Answers", "Made", "add_arguments", "make", "run"]

HELP = """\
usage: ca-admin init DIR [--origin URL] [--issuer URL] [--client-id ID]
                         [--email-domain DOMAIN] [--key-type TYPE]
                         [--host-domains LIST] [--json]

Make a new CA in DIR, which must not exist or be empty: configuration and policy with a
comment on each setting, database, four keys, signed roots. Prints the root key's
fingerprint, which is the pin that everybody needs.

  --origin URL            the CA's one public URL (http://127.0.0.1:8440)
  --issuer URL            the identity provider (https://login.example.com)
  --client-id ID          what the provider calls ca-login (daypass)
  --email-domain DOMAIN   whose addresses get in (example.com)
  --key-type TYPE         of user and host CA key: ed25519 (unless said otherwise),
                          ecdsa or rsa for hosts and hardware that know no Ed25519
  --host-domains LIST     the hosts whose certificates laptops will believe, as
                          *.prod.example,db.example (none, until new roots say so)

examples:
  ca-admin init /etc/daypass --origin https://ca.example.com \\
      --issuer https://login.example.com --client-id daypass \\
      --email-domain example.com

exit codes: 0 done, 1 failed and nothing made, 2 misuse
"""

_NEXT_STEPS = """\
made {folder}

next:
  1. put the issuer and its client id into {folder}/daypass.toml
  2. say who may have what in {folder}/policy.toml
  3. move {folder}/root to a place that is offline: nothing here needs it
  4. ca-signer serve --config {folder}/daypass.toml
  5. each developer: ca-login setup {origin} --pin {pin}
"""


@dataclass(frozen=True, slots=True)
class Made:
    """What to tell the operator."""

    root_fingerprint: str
    next_steps: str


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `init`."""
    parser.add_argument("folder", metavar="DIR")
    parser.add_argument("--origin", default="http://127.0.0.1:8440")
    parser.add_argument("--issuer", default="https://login.example.com")
    parser.add_argument("--client-id", default="daypass")
    parser.add_argument("--email-domain", default="example.com")
    kinds = [key_type.value for key_type in KeyType]
    parser.add_argument("--key-type", choices=kinds, default=KeyType.ED25519.value)
    parser.add_argument("--host-domains")
    parser.add_argument("--json", action="store_true")


def run(options: Options, output: Output) -> int:
    """Make the CA; print the pin, and what to do next."""
    made = make(
        Path(options.folder),
        Answers(
            origin=options.origin,
            issuer_url=options.issuer,
            client_id=options.client_id,
            email_domain=options.email_domain,
            key_type=KeyType(options.key_type),
            host_domains=parse_domains(options.host_domains) or (),
        ),
    )
    facts = {"folder": options.folder, "root_key": made.root_fingerprint}
    output.result(facts, f"root key {made.root_fingerprint}")
    output.note(made.next_steps.rstrip())
    return DONE


def make(folder: Path, answers: Answers) -> Made:
    """Make a CA in `folder`, which must not exist or be empty."""
    try:
        if folder.exists() and any(folder.iterdir()):
            raise Misconfigured(
                f"{folder} is not empty, and a CA is never written over",
                hint="name a folder that does not exist",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    except OSError as error:
        raise Misconfigured(f"cannot make {folder}: {error.strerror}") from error
    try:
        fingerprint = _fill(draft, answers)
        draft.rename(folder)
    except OSError as error:
        raise Misconfigured(f"cannot make {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    steps = _NEXT_STEPS.format(folder=folder, origin=answers.origin, pin=fingerprint)
    return Made(fingerprint, steps)


def _fill(folder: Path, answers: Answers) -> str:
    ca = answers.key_type
    user_ca, host_ca, online = _write_keys(
        folder / "keys", {"user_ca": ca, "host_ca": ca, "online": KeyType.ED25519}
    )
    (root,) = _write_keys(folder / "root", {"root": KeyType.ED25519})
    roots = Roots(
        version=int(datetime.now(UTC).timestamp() * 1000),
        root_key=root.line,
        log_origin=f"{urlsplit(answers.origin).netloc}/log/1",
        serial_base=0,
        user_ca=(TrustedKey(KeyState.ACTIVE, user_ca.line),),
        host_ca=(HostCAKey(KeyState.ACTIVE, host_ca.line, answers.host_domains),),
        online=(TrustedKey(KeyState.ACTIVE, online.line),),
    )
    create_file(folder / "roots", sign_roots(roots, root))
    create_file(folder / "daypass.toml", templates.configuration(answers).encode())
    create_file(folder / "policy.toml", templates.policy(answers).encode())
    create_file(folder / "daypass.db", b"")
    config = load_config(folder / "daypass.toml")
    read_policy(config)
    database.migrate(config.database_url)
    return root.fingerprint


def _write_keys(folder: Path, key_types: Mapping[str, KeyType]) -> list[FileKey]:
    """Make keys in a folder of their own, under one random passphrase beside them."""
    folder.mkdir(mode=0o700)
    # 256 random bits: rounds would slow nobody down but each start of a signer.
    passphrase = secrets.token_urlsafe(32).encode()
    create_file(folder / "passphrase", passphrase + b"\n")
    keys = [FileKey.generate(key_type) for key_type in key_types.values()]
    for name, key in zip(key_types, keys, strict=True):
        create_file(folder / name, key.encrypt(passphrase, kdf_rounds=1))
        create_file(folder / f"{name}.pub", f"{key.line} daypass {name}\n".encode())
    return keys
