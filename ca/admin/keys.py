"""`ca-admin keys …`: sign new roots with the root key, on any machine."""

from pathlib import Path

from ca import bundle
from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.admin.files import replace_file
from ca.bundle import Roots
from ca.config import load_config
from ca.errors import Conflict, Malformed, Misconfigured
from ca.signing_key import FileKey
from ca.trust import load_roots, sign_roots

HELP = """\
usage: ca-admin keys sign-roots FILE --root-key PATH [OPTIONS]

  sign-roots FILE     show the text of new roots in FILE and sign it with the root key;
                      needs neither the CA's database nor its other keys

  --root-key PATH         the root key, as ca-admin init makes it in root/
  --passphrase-file PATH  its passphrase; unless said otherwise the file passphrase
                          beside the key
  --output PATH           where the signed roots go, which are replaced if they are
                          older; unless said otherwise to roots_file
  --config FILE           the configuration that names roots_file; also $DAYPASS_CONFIG.
                          Not needed with --output, so that another machine can sign
  --json                  the result as JSON

examples:
  ca-admin keys sign-roots roots.new --root-key /media/usb/root/root
  ca-admin keys sign-roots roots.new --root-key /media/usb/root/root \\
      --output roots.signed

exit codes: 0 done, 1 failed and nothing changed, 2 misuse
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `keys`."""
    actions = parser.add_subparsers(dest="action", required=True)
    action = actions.add_parser("sign-roots", allow_abbrev=False)
    action.help_text = HELP
    action.add_argument("file", metavar="FILE", type=Path)
    action.add_argument("--root-key", required=True, type=Path)
    action.add_argument("--passphrase-file", type=Path)
    action.add_argument("--output", type=Path)
    add_common(action)


def run(options: Options, output: Output) -> int:
    """Sign the roots, and put them where they belong in one moment."""
    place: Path = options.output or load_config(config_file(options)).roots_file
    text = _read(options.file)
    roots = _parse(options.file, text)
    _refuse_older(roots, text, place)
    # Whoever holds the root key decides by what is shown here, and by nothing else.
    output.note(f"to be signed:\n{text.decode('ascii').rstrip()}")
    passphrase_file = options.passphrase_file or options.root_key.parent / "passphrase"
    root_key = FileKey.open(options.root_key, passphrase_file)
    if root_key.line != roots.root_key:
        raise Conflict(
            f"{options.root_key} is {root_key.fingerprint}, which is not the root key"
            " that these roots name"
        )
    replace_file(place, sign_roots(roots, root_key))
    output.result(
        {"file": str(place), "version": roots.version},
        f"signed roots of version {roots.version} are in {place}",
    )
    return DONE


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


def _refuse_older(roots: Roots, text: bytes, place: Path) -> None:
    """Raise `Conflict` where readers would refuse the new roots as older ones."""
    if not place.exists():
        return
    there = load_roots(place)
    same = bundle.split_signed(there.document)[0] == text
    if roots.version <= there.roots.version and not same:
        raise Conflict(
            f"{place} has version {there.roots.version}, and these roots have"
            f" {roots.version}: nobody would take them",
            hint="raise the version, or write to another file with --output",
        )
