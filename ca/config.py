"""`daypass.toml`: read once into frozen, validated values, or what is wrong with it.

Unknown keys are errors, paths are relative to the file, secrets are never in it: only
where to find them. A default here is the strictest value, and `ca-admin init` writes
every setting out. Each says what someone who controls it could do.
"""

import tomllib
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from ca.endpoints import (
    TLSFiles,
    database_url,
    refuse_exposed_listener,
    refuse_shared_listener,
)
from ca.errors import Misconfigured
from ca.identity import Binding
from ca.issuers import ClientSettings, Flow, IssuerSettings, refuse_insecure_url
from ca.policy.durations import parse_duration
from ca.policy.shape import at

Text = Annotated[str, Meta(min_length=1, max_length=1024)]
Network = IPv4Network | IPv6Network

_LONGEST_SILENCE = timedelta(days=3650)


class _Table(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class KeyTable(_Table, frozen=True):
    """Where one of our private keys is: in a file, or in an ssh-agent."""

    file: Text | None = None
    """An encrypted OpenSSH key file. Who holds it and its passphrase is the CA."""
    passphrase_file: Text | None = None
    """Holds the passphrase, on one line. As precious as the key."""
    agent: Text | None = None
    """The Unix socket of an ssh-agent. Who can connect to it can have anything signed,
    for as long as that is so."""
    public_key: Text | None = None
    """A `.pub` file: which of the agent's keys. Not trusted: the roots must list it."""


class ServerTable(_Table, frozen=True):
    """How the signer listens."""

    listen: Text
    """`address:port`. Anything but loopback needs TLS: here, or at a trusted proxy."""
    tls_certificate: Text | None = None
    """The certificate for the CA's URL and its chain, PEM. Read when it changes."""
    tls_key: Text | None = None
    """Its private key, PEM. Who holds it can read ID tokens and answer as the CA."""
    metrics_listen: Text | None = None
    """`address:port` of `/metrics`, in plain HTTP, for whoever can reach it. They learn
    how much is going on, and nobody's name."""
    processes: Annotated[int, Meta(ge=1, le=64)] = 2
    """Worker processes. They share nothing but the database."""
    threads: Annotated[int, Meta(ge=1, le=256)] = 16
    """Requests that one process works on at once, besides those for certificates."""
    trusted_proxies: tuple[Text, ...] = ()
    """Networks whose `X-Forwarded-For` is believed. Who controls an address in them
    chooses the address that `require.source` in policy is checked against."""


class DatabaseTable(_Table, frozen=True):
    """Where the ledger and all other state is."""

    url: Text
    """An SQLAlchemy URL: `sqlite:///FILE` for the embedded default, or
    `postgresql+psycopg://USER@HOST/NAME`. Who can write there can lose records and let
    a token be spent twice, but gets nothing signed that policy does not grant."""
    password_file: Text | None = None
    """Holds the database server's password, on one line. As precious as what is
    there."""


class LimitsTable(_Table, frozen=True):
    """How often somebody may ask, at all signers together."""

    requests_per_minute: Annotated[int, Meta(ge=1, le=60_000)] = 60
    """Of one identity. Who can raise it can have one person fill the ledger."""
    refusals_per_minute: Annotated[int, Meta(ge=1, le=60_000)] = 120
    """To one address, or one /64 of IPv6; then nothing of it is looked at any more. Who
    can lower it can keep out all who share an address."""


class HostsTable(_Table, frozen=True):
    """What becomes of registered hosts that are silent."""

    stale_after: Text = "2h"
    """How long after its last report a host that pulls is called stale."""
    forget_after: Text = "90d"
    """How long after it a host is forgotten by itself. Who can lower it can have
    revocations not wait for hosts that still let people in."""


class SubjectKeyTable(_Table, frozen=True):
    """Which keys may be certified."""

    least_rsa_bits: Annotated[int, Meta(ge=2048, le=16384)] = 3072


class ClientTable(_Table, frozen=True):
    """One client id that an issuer knows us by."""

    id: Text
    """The `aud` of its ID tokens. With another's id, another's tokens buy access."""
    flow: Flow
    """How `ca-login` gets a token of it: `browser`, `device` or `ci`."""
    binding: Binding
    """What ties a token to one key: `nonce`, `audience`, or `none` in so many words."""
    max_uses: Annotated[int, Meta(ge=1, le=1000)] = 1
    """How many certificates one token may buy; above 1 only with `ci` and `none`."""
    scopes: tuple[Text, ...] = ("openid", "email", "profile")
    """What `ca-login` asks the issuer for."""
    redirect_host: Text = "127.0.0.1"
    """What the browser is sent back to, `127.0.0.1` or `localhost`."""
    redirect_ports: tuple[int, ...] = ()
    """The ports it may be sent back to; empty for any."""
    public_secret: Annotated[str, Meta(max_length=255)] = ""
    """For providers that want one though all laptops have it. Everybody is told it."""
    parameters: dict[str, str] = msgspec.field(default_factory=dict)
    """What else a sign-in begins with. Who controls it cannot replace what we say."""


class IssuerTable(_Table, frozen=True):
    """An identity provider. Whoever controls it can be anyone that policy lets in."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    """Ours for it, used in policy and at the front of each key ID."""
    url: Text
    """Its `iss`, exactly as its tokens spell it; https, or http on loopback."""
    client: Annotated[tuple[ClientTable, ...], Meta(min_length=1)]
    algorithms: Annotated[tuple[Text, ...], Meta(min_length=1)] = ("RS256",)
    """What it may sign ID tokens with (OpenID Connect's default is RS256)."""


class ConfigFile(_Table, frozen=True):
    """The shape of `daypass.toml`."""

    origin: Text
    """The CA's one public URL. Certificates of CI are bound to it."""
    policy_file: Text
    """Who may have what. Who can write it can be anyone, everywhere."""
    roots_file: Text
    """The roots, signed by the root key. Not trusted: readers check the signature."""
    high_water_file: Text
    """The newest checkpoint that this signer has shown. Who can write it can stop all
    signers, or make this one blind to a ledger that lost entries."""
    server: ServerTable
    database: DatabaseTable
    user_ca_key: KeyTable
    online_key: KeyTable
    issuer: Annotated[tuple[IssuerTable, ...], Meta(min_length=1)]
    host_ca_key: KeyTable | None = None
    """Signs hosts' certificates; without it there are none. Who holds it can be any
    host."""
    host_patterns: tuple[Text, ...] = ()
    """`ssh_config` patterns of the hosts that trust this CA, for `ca-login`."""
    subject_keys: SubjectKeyTable = SubjectKeyTable()
    limits: LimitsTable = LimitsTable()
    hosts: HostsTable = HostsTable()


@dataclass(frozen=True, slots=True)
class FileLocation:
    """An encrypted key file, as absolute paths."""

    file: Path
    passphrase_file: Path


@dataclass(frozen=True, slots=True)
class AgentLocation:
    """A key in an ssh-agent, as absolute paths."""

    agent: Path
    public_key: Path


@dataclass(frozen=True, slots=True)
class Silence:
    """What becomes of hosts that report nothing, and after how long."""

    stale_after: timedelta
    forget_after: timedelta


KeyLocation = FileLocation | AgentLocation
"""Where one of our private keys is."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the signer works by: validated, paths absolute."""

    file: Path
    origin: str
    policy_file: Path
    roots_file: Path
    high_water_file: Path
    server: ServerTable
    tls: TLSFiles | None
    trusted_proxies: tuple[Network, ...]
    database_url: str
    database_password_file: Path | None
    user_ca_key: KeyLocation
    host_ca_key: KeyLocation | None
    online_key: KeyLocation
    issuers: tuple[IssuerSettings, ...]
    host_patterns: tuple[str, ...]
    least_rsa_bits: int
    limits: LimitsTable
    hosts: Silence


def load_config(file: Path) -> Config:
    """Read and validate a configuration; raise `Misconfigured` naming file and key."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
        shape = msgspec.convert(table, ConfigFile)
        return _validate(shape, file.absolute())
    except OSError as error:
        raise Misconfigured(
            f"cannot read {file}: {error.strerror}",
            hint="make a configuration with: ca-admin init DIR",
        ) from error
    except (ValueError, RecursionError) as error:
        raise Misconfigured(f"{file}: {error}") from error
    except Misconfigured as error:
        raise Misconfigured(f"{file}: {error.detail}", hint=error.hint) from error


def _validate(shape: ConfigFile, file: Path) -> Config:
    # Audiences and signed requests are bound to it: it must have one spelling.
    refuse_insecure_url(shape.origin, what="origin", bare=True)
    server = shape.server
    tls = TLSFiles.named(server.tls_certificate, server.tls_key, folder=file.parent)
    refuse_exposed_listener(
        server.listen, encrypted=tls is not None, proxies=server.trusted_proxies
    )
    if server.metrics_listen is not None:
        refuse_shared_listener(server.metrics_listen, server.listen)
    return Config(
        file=file,
        origin=shape.origin,
        policy_file=file.parent / shape.policy_file,
        roots_file=file.parent / shape.roots_file,
        high_water_file=file.parent / shape.high_water_file,
        server=shape.server,
        tls=tls,
        trusted_proxies=tuple(map(_network, shape.server.trusted_proxies)),
        database_url=database_url(shape.database.url, file.parent),
        database_password_file=_beside(file, shape.database.password_file),
        user_ca_key=_key_location("user_ca_key", shape.user_ca_key, file.parent),
        host_ca_key=(
            None
            if shape.host_ca_key is None
            else _key_location("host_ca_key", shape.host_ca_key, file.parent)
        ),
        online_key=_key_location("online_key", shape.online_key, file.parent),
        issuers=_issuers(shape.issuer),
        host_patterns=shape.host_patterns,
        least_rsa_bits=shape.subject_keys.least_rsa_bits,
        limits=shape.limits,
        hosts=_silence(shape.hosts),
    )


def _silence(table: HostsTable) -> Silence:
    with at("hosts"):
        silence = Silence(
            parse_duration(table.stale_after, most=_LONGEST_SILENCE),
            parse_duration(table.forget_after, most=_LONGEST_SILENCE),
        )
        if silence.forget_after <= silence.stale_after:
            raise Misconfigured("forget_after must be longer than stale_after")
    return silence


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise Misconfigured(f"server.trusted_proxies: {error}") from error


def _key_location(name: str, table: KeyTable, folder: Path) -> KeyLocation:
    match table:
        case KeyTable(str(file), str(passphrase_file), None, None):
            return FileLocation(folder / file, folder / passphrase_file)
        case KeyTable(None, None, str(agent), str(public_key)):
            return AgentLocation(folder / agent, folder / public_key)
    raise Misconfigured(
        f"{name}: a key is in a file or in an ssh-agent",
        hint="name file and passphrase_file, or agent and public_key, and no other",
    )


def _beside(file: Path, name: str | None) -> Path | None:
    return None if name is None else file.parent / name


def _issuers(tables: tuple[IssuerTable, ...]) -> tuple[IssuerSettings, ...]:
    for what in ("name", "url"):
        values = [getattr(table, what) for table in tables]
        if len(set(values)) != len(values):
            raise Misconfigured(f"issuer: two have the same {what}")
    return tuple(_issuer(table) for table in tables)


def _issuer(table: IssuerTable) -> IssuerSettings:
    return IssuerSettings(
        name=table.name,
        url=table.url,
        clients=tuple(
            ClientSettings(
                id=client.id,
                flow=client.flow,
                binding=client.binding,
                max_uses=client.max_uses,
                scopes=client.scopes,
                redirect_host=client.redirect_host,
                redirect_ports=client.redirect_ports,
                public_secret=client.public_secret or None,
                parameters=client.parameters,
            )
            for client in table.client
        ),
        algorithms=table.algorithms,
    )
