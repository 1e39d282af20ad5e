"""`ca-deploy render`: what other tools carry to hosts, printed.

ca-keys      the lines of a TrustedUserCAKeys file, which needs no package of ours
sh           one script that does all that `apply` does but for the logins
cloud-init   the same, as user data
"""

from pathlib import Path
from typing import TYPE_CHECKING

from client.api import CA, Misuse, parse_pin

if TYPE_CHECKING:
    from deploy.options import Options

_TOKEN_CHARACTERS = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
)


def render(options: "Options") -> str:
    """Return what was asked for; raise `Misuse`, or what the CA's bundle lacks."""
    if options.format in {None, "ca-keys"}:
        if options.url is None or options.pin is None:
            raise Misuse(
                "render takes the CA's URL and --pin, or --format sh or cloud-init",
                hint="ca-deploy render --help",
            )
        return render_ca_keys(options.url, pin=options.pin)
    if options.url is not None or options.pin is not None:
        raise Misuse(f"with --format {options.format}, URL and pin are in deploy.toml")
    return _render_machine(options)


def render_ca_keys(url: str, *, pin: str) -> str:
    """Return the lines of a `TrustedUserCAKeys` file, each with its newline."""
    with CA(url) as authority:
        bundle = authority.bundle(parse_pin(pin))
    return "".join(f"{key}\n" for key in bundle.roots.user_ca_keys())


def _render_machine(options: "Options") -> str:
    from deploy import bootstrap, desired  # noqa: PLC0415 they need msgspec
    from deploy.trust import Trust  # noqa: PLC0415

    if options.format == "sh" and options.join_token:
        raise Misuse(
            "a script holds no secret: give the file with the token to the script",
            hint="sh SCRIPT FILE-WITH-A-JOIN-TOKEN",
        )
    file = desired.load(Path(options.file))
    wanted = file.for_host({"all", *options.group})
    for group in options.group:
        if group not in file.groups:
            raise Misuse(f"--group {group}: there is no such group in {options.file}")
    if not wanted.accounts:
        raise Misuse(f"{options.file} gives it no account, so nobody could come in")
    token = _read_token(options.join_token) if options.join_token else None
    with CA(file.ca) as authority:
        bundle = authority.bundle(file.pin)
        trust = Trust.of(bundle, authority.krl(bundle))
    machine = bootstrap.Machine(wanted, trust, options.id, tuple(options.name))
    script = bootstrap.render_script(machine)
    if options.format == "sh":
        return script
    return bootstrap.render_cloud_init(script, token)


def _read_token(name: str) -> str:
    try:
        token = Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Misuse(f"cannot read {name}: {error}") from error
    if not token or set(token) - _TOKEN_CHARACTERS:
        raise Misuse(
            f"{name} holds no join token", hint="ca-admin hosts join-token --id ID"
        )
    return token
