"""`ca-deploy render`: the lines of a host's TrustedUserCAKeys file."""

from client.api import CA, parse_pin


def render(url: str, *, pin: str) -> str:
    """Return the lines of a `TrustedUserCAKeys` file, each with its newline."""
    with CA(url) as authority:
        bundle = authority.bundle(parse_pin(pin))
    return "".join(f"{key}\n" for key in bundle.roots.user_ca_keys())
