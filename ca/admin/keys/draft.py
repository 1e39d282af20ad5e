"""`ca-admin keys draft-roots`: the text of new roots, for the root key to sign."""

import sys
from datetime import UTC, datetime
from pathlib import Path

from ca import bundle
from ca.admin.command import (
    DONE,
    Misuse,
    Options,
    Output,
    Parser,
    add_common,
    config_file,
)
from ca.certificate import parse_line
from ca.config import load_config
from ca.errors import BadRequest, CAError, Malformed, Misconfigured
from ca.trust import load_roots
from ca.trust.draft import Wanted, differences, draft, refuse_unsound, warnings

_KEYS = ("user-ca", "host-ca", "online", "retire", "drop", "revoke-ca")


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `draft-roots`."""
    parser.add_argument("--host-domains")
    for name in _KEYS:
        parser.add_argument(f"--{name}", action="append", default=[], type=Path)
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Print the text of new roots on standard output, and what they change."""
    present = load_roots(load_config(config_file(options)).roots_file).roots
    roots = draft(present, _wanted(options), now=datetime.now(UTC))
    refuse_unsound(roots)
    text = bundle.render_roots(roots).decode()
    output.result({"version": roots.version, "roots": text}, text.removesuffix("\n"))
    sys.stdout.flush()
    for line in (*differences(present, roots), *warnings(roots)):
        output.note(f"ca-admin: {line}")
    return DONE


def _wanted(options: Options) -> Wanted:
    keys = {
        name.replace("-", "_"): tuple(
            map(_read, getattr(options, name.replace("-", "_")))
        )
        for name in _KEYS
    }
    return Wanted(
        host_domains=parse_domains(options.host_domains),
        user_ca=keys["user_ca"],
        host_ca=keys["host_ca"],
        online=keys["online"],
        retire=keys["retire"],
        drop=keys["drop"],
        revoke=keys["revoke_ca"],
    )


def parse_domains(text: str | None) -> tuple[str, ...] | None:
    """Return the host patterns in a list with commas; raise `Misuse`."""
    if text is None:
        return None
    try:
        return bundle.parse_domains(text)
    except Malformed as error:
        raise Misuse(
            f"{text!r} are no hosts that a host CA key could speak for",
            hint="write *.prod.example,db.example; never * alone",
        ) from error


def _read(file: Path) -> str:
    """Return `<type> <base64>` of a public key file; its comment may be anything."""
    try:
        line = " ".join(file.read_text(encoding="utf-8").split()[:2])
        parse_line(line)
    except OSError as error:
        raise Misconfigured(f"cannot read {file}: {error.strerror}") from error
    except (BadRequest, UnicodeDecodeError) as error:
        why = error.detail if isinstance(error, CAError) else "not text"
        raise Misconfigured(f"{file} is no public key file: {why}") from error
    return line
