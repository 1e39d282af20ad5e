"""`ca-admin keys sign-roots`: the root key signs, on any machine, what it was shown."""

from pathlib import Path

from ca import bundle
from ca.admin.command import (
    DONE,
    Options,
    Output,
    Parser,
    add_common,
    agreed,
    config_file,
)
from ca.admin.files import replace_file
from ca.bundle import Roots
from ca.config import load_config
from ca.errors import CAError, Conflict, Malformed, Misconfigured
from ca.signing_key import FileKey
from ca.trust import load_roots, sign_roots
from ca.trust.draft import differences, refuse_successor, refuse_unsound, warnings


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `sign-roots`."""
    parser.add_argument("file", metavar="FILE", type=Path)
    parser.add_argument("--root-key", required=True, type=Path)
    parser.add_argument("--passphrase-file", type=Path)
    parser.add_argument("--present", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--yes", action="store_true")
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Sign the roots, and put them where they belong in one moment."""
    place: Path = options.output or load_config(config_file(options)).roots_file
    text = _read(options.file)
    roots = _parse(options.file, text)
    _judge(roots, text, options.present or place, output)
    passphrase_file = options.passphrase_file or options.root_key.parent / "passphrase"
    root_key = FileKey.open(options.root_key, passphrase_file)
    if root_key.line != roots.root_key:
        raise Conflict(
            f"{options.root_key} is {root_key.fingerprint}, which is not the root key"
            " that these roots name"
        )
    # Whoever holds the root key decides by what was shown, and by nothing else.
    if not options.yes and not agreed("sign these roots?"):
        raise Conflict("the roots were not agreed to, and nothing is signed")
    replace_file(place, sign_roots(roots, root_key))
    output.result(
        {"file": str(place), "version": roots.version},
        f"signed roots of version {roots.version} are in {place}",
    )
    return DONE


def _judge(roots: Roots, text: bytes, present: Path, output: Output) -> None:
    """Show what is to be signed and what it changes; raise for what nobody would take.

    The same once more is no change.
    """
    try:
        refuse_unsound(roots)
    except CAError as error:
        raise Misconfigured(f"the roots list a bad key: {error.detail}") from error
    output.note(f"to be signed:\n{text.decode('ascii').rstrip()}")
    if present.exists():
        there = load_roots(present)
        if bundle.split_signed(there.document)[0] != text:
            refuse_successor(there.roots, roots)
            output.note("\nwhat changes:")
            for line in differences(there.roots, roots):
                output.note(f"  {line}")
    else:
        output.note(
            f"\nthere are no roots in {present} to compare with: read all of it"
        )
    for line in warnings(roots):
        output.note(f"ca-admin: warning: {line}")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error


def _parse(file: Path, text: bytes) -> Roots:
    try:
        return bundle.parse_roots(text)
    except Malformed as error:
        raise Misconfigured(f"{file}: {error.detail}") from error
