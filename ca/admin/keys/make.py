"""`ca-admin keys new`: make a key that may become one of ours."""

from pathlib import Path

from ca.admin.command import DONE, Options, Output, Parser
from ca.admin.files import create_file
from ca.errors import Misconfigured
from ca.signing_key import FileKey, KeyType


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `new`."""
    parser.add_argument("path", metavar="PATH", type=Path)
    parser.add_argument("--passphrase-file", type=Path)
    kinds = [key_type.value for key_type in KeyType]
    parser.add_argument("--key-type", choices=kinds, default=KeyType.ED25519.value)
    parser.add_argument("--json", action="store_true")


def run(options: Options, output: Output) -> int:
    """Make a key, encrypted, where there is none; nothing trusts it yet."""
    path: Path = options.path
    passphrase_file = options.passphrase_file or path.with_name("passphrase")
    key = FileKey.generate(KeyType(options.key_type))
    public = path.with_name(f"{path.name}.pub")
    try:
        passphrase = passphrase_file.read_bytes().strip()
        if not passphrase:
            raise Misconfigured(f"there is no passphrase in {passphrase_file}")
        create_file(path, key.encrypt(passphrase))
        create_file(public, f"{key.line} daypass {path.name}\n".encode())
    except OSError as error:
        raise Misconfigured(f"cannot make {path}: {error.strerror}") from error
    # As a signer will.
    FileKey.open(path, passphrase_file)
    output.result(
        {"file": str(path), "public": str(public), "fingerprint": key.fingerprint},
        f"{key.fingerprint} is in {path}, its public half in {public}",
    )
    return DONE
