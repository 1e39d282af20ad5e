"""What may be wrong with this laptop's side of a login, looked at piece by piece.

Each function looks at one thing, and returns its `Cause`, or None when it is as it
should be. `client.why` asks for what bears on one login, `client.doctor` for all.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ca.certificate import parse_certificate, parse_line
from ca.errors import BadRequest, CAError
from client import agent, files, ssh_config, ssh_keygen
from client.acceptance import refuse_wrong_clock
from client.api import CA, Bundle
from client.cause import Cause
from client.check import problem_with
from client.failure import NO_CERTIFICATE, exit_code
from client.keys import Held, KeyFiles
from client.profile import Profile
from client.trust import active

_OTHERS = 0o077
_OTHERS_WRITE = 0o022


def certificate(chosen: Profile, held: Held | None) -> Cause | None:
    """Look whether there is a certificate that is good by this machine's clock."""
    says = None if held is None else held.certificate
    validity = None if says is None else (says.valid_after, says.valid_before)
    now = time.time()
    problem = problem_with(validity, now=now)
    again = f"ca-login{chosen.words}"
    if says is None:
        return Cause("no_certificate", f"{problem}", again, NO_CERTIFICATE)
    if now >= says.valid_before:
        return Cause("certificate_expired", f"{problem}", again, NO_CERTIFICATE)
    if problem is not None:
        return Cause("certificate_not_yet_valid", problem, again, NO_CERTIFICATE)
    if held is not None and not held.key_matches:
        return Cause(
            "key_mismatch",
            "the key beside the certificate is not the one that it certifies",
            again,
            NO_CERTIFICATE,
        )
    return None


def standing(chosen: Profile, held: Held, ca: CA, bundle: Bundle) -> Cause | None:
    """Look whether the CA stands by the certificate: neither it nor its key is out."""
    keys = KeyFiles(chosen.name)
    says = held.certificate
    if says.ca_key not in map(parse_line, active(bundle.roots.user_ca)):
        return Cause(
            "ca_key_retired",
            "the CA no longer signs with the key that made the certificate, and hosts"
            " that know it no longer take it",
            f"ca-login{chosen.words}",
            NO_CERTIFICATE,
        )
    krl = ca.krl(bundle)
    with files.scratch() as folder:
        path = folder / "krl"
        files.create(path, krl, durable=False)
        revoked = bool(krl) and ssh_keygen.is_revoked(keys.certificate, path)
    if revoked:
        return Cause(
            "certificate_revoked",
            f"the certificate (serial {says.serial}) is revoked",
            "ask whoever runs the CA why; if it was only that certificate:"
            f" ca-login{chosen.words}",
            NO_CERTIFICATE,
        )
    return None


def clock(behind: int) -> Cause | None:
    """Look whether the clocks agree; `behind` is how far the CA's is ahead of ours."""
    try:
        refuse_wrong_clock(behind)
    except CAError as error:
        return of_error(error)
    return None


def of_error(error: CAError) -> Cause:
    """Return what came out as an exception."""
    hint = error.hint or "ca-login doctor -v"
    return Cause(error.code, error.detail, hint, exit_code(error))


def key_mode(keys: KeyFiles) -> Cause | None:
    """Look whether ssh will take the private key: not one that others may read."""
    key = keys.private
    if not key.exists() or sys.platform == "win32" or keys.in_agent:
        return None
    if not key.stat().st_mode & _OTHERS:
        return None
    return Cause(
        "key_mode",
        f"ssh ignores {key}, which others may read",
        f"chmod 600 {key}",
        NO_CERTIFICATE,
    )


def config_mode(own: Path) -> Cause | None:
    """Look whether ssh will read a person's own configuration (readconf.c)."""
    if not own.exists() or sys.platform == "win32":
        return None
    stat = own.stat()
    if stat.st_uid in {0, os.getuid()} and not stat.st_mode & _OTHERS_WRITE:
        return None
    return Cause(
        "config_mode",
        f"ssh refuses {own}, which somebody else may write",
        f"chmod go-w {own}",
    )


def include(chosen: Profile, own: Path) -> Cause | None:
    """Look whether a configuration has our line, and where it holds for all hosts."""
    again = f"ca-login ssh-config install{chosen.words}"
    block = ssh_config.path_of(chosen)
    lines = (files.read(own) or b"").splitlines()
    ours = [at for at, line in enumerate(lines) if ssh_config.is_include(line)]
    if not ours or not block.exists():
        missing = (
            f"{own} does not include it" if block.exists() else "there is no block"
        )
        return Cause(
            "ssh_config_missing",
            f"ssh does not know of the certificate: {missing}",
            again,
        )
    first = next(at for at, line in enumerate(lines) if _says_something(line))
    if ours[0] == first:
        return None
    before = lines[first].decode(errors="replace").strip()
    return Cause(
        "include_order",
        f"in {own} our Include stands below {before!r} (line {first + 1}), which comes"
        " first, or is the only one that it holds for",
        again,
    )


def _says_something(line: bytes) -> bool:
    return bool(line.strip()) and not line.strip().startswith(b"#")


def stale_in_agent(agent_: agent.Agent, *, now: float) -> Sequence[agent.Identity]:
    """Return what an agent holds of ours that opens nothing any more."""
    return [
        one
        for one in agent_.identities()
        if one.comment.startswith(agent.PREFIX) and _has_ended(one.blob, now=now)
    ]


def _has_ended(blob: bytes, *, now: float) -> bool:
    try:
        says, _ = parse_certificate(blob)
    except BadRequest:
        return False
    return says.valid_before <= now


def source_address(held: Held, address: str, port: int) -> Cause | None:
    """Look whether the certificate is good from where this machine reaches a host."""
    import ipaddress  # noqa: PLC0415 only ever here
    import socket  # noqa: PLC0415

    allowed = dict(held.certificate.critical_options).get("source-address")
    if allowed is None:
        return None
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:  # which sends nothing
            probe.connect((address, port))
            here = ipaddress.ip_address(probe.getsockname()[0])
    except (OSError, ValueError):
        return None  # there is no way there any more, so nothing to compare with
    networks = [ipaddress.ip_network(one, strict=False) for one in allowed.split(",")]
    if any(here in network for network in networks):
        return None
    return Cause(
        "source_address",
        f"the certificate is good from {allowed} alone, and this machine reaches the"
        f" host from {here}",
        "connect from there (the VPN?), or sign in here: ca-login",
        NO_CERTIFICATE,
    )
