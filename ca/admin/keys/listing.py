"""`ca-admin keys list`: the keys that the roots name, and where each of ours is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ca import wire
from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.bundle import HostCAKey, Roots
from ca.certificate import parse_line
from ca.config import Config, FileLocation, KeyLocation, load_config
from ca.errors import KeyUnavailable
from ca.signing_key import open_key
from ca.trust import load_roots


@dataclass(frozen=True, slots=True)
class Line:
    """One key."""

    what: str
    state: str
    key: str
    """`<type> <base64>`."""
    domains: tuple[str, ...] = ()


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `list`."""
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Print each key of the roots, and what is wrong with those that we should have."""
    config = load_config(config_file(options))
    ours: dict[str, str] = {}
    for name, location in _locations(config).items():
        try:
            ours[open_key(location).line] = _place(location)
        except KeyUnavailable as error:
            output.note(f"ca-admin: {name} cannot be opened: {error.detail}")
    for line in _lines(load_roots(config.roots_file).roots):
        output.result(*_say(line, ours.get(line.key)))
    return DONE


def _locations(config: Config) -> Mapping[str, KeyLocation]:
    named = {
        "user_ca_key": config.user_ca_key,
        "host_ca_key": config.host_ca_key,
        "online_key": config.online_key,
    }
    return {name: place for name, place in named.items() if place is not None}


def _place(location: KeyLocation) -> str:
    if isinstance(location, FileLocation):
        return str(location.file)
    return f"agent {location.agent}"


def _lines(roots: Roots) -> Iterator[Line]:
    yield Line("root key", "pinned", roots.root_key)
    for what, keys in (
        ("user CA key", roots.user_ca),
        ("host CA key", roots.host_ca),
        ("online key", roots.online),
    ):
        for one in keys:
            domains = one.domains if isinstance(one, HostCAKey) else ()
            yield Line(what, one.state, one.key, domains)
    for key in roots.revoked_ca:
        yield Line("CA key", "revoked", key)


def _say(line: Line, place: str | None) -> tuple[dict[str, object], str]:
    blob = parse_line(line.key)
    fingerprint = wire.fingerprint(blob)
    document: dict[str, object] = {
        "key": line.what,
        "state": line.state,
        "type": wire.Reader(blob).text(),
        "fingerprint": fingerprint,
        "domains": list(line.domains),
        "where": place,
    }
    about = f" for {', '.join(line.domains)}" if line.domains else ""
    where = f" in {place}" if place else ""
    return document, f"{line.state:<8} {line.what:<11} {fingerprint}{about}{where}"
