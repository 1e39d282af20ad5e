"""`ca-admin check-config`: what is in force, or what is wrong with it."""

from collections.abc import Iterator
from typing import Any

from ca.admin.command import DONE, Options, Output, Parser, add_common, config_file
from ca.authority import Authority, open_authority
from ca.config import Config, load_config

HELP = """\
usage: ca-admin check-config [--config FILE] [--json]

Open all that a signer would open; print what is in force, or name the file and the key
that is wrong. Nothing is changed.

examples:
  ca-admin check-config --config /etc/daypass/daypass.toml

exit codes: 0 a signer would start, 1 it would not, 2 misuse
"""


def add_arguments(parser: Parser) -> None:
    """Say what may be typed behind `check-config`."""
    add_common(parser)


def run(options: Options, output: Output) -> int:
    """Print what is in force, or raise what a signer would stop with at its start."""
    config = load_config(config_file(options))
    authority = open_authority(config)
    authority.store.close()
    facts = _facts(authority)
    clients = list(_clients(config))
    lines = [f"{name} {value}" for name, value in facts.items()]
    lines.extend(
        f"issuer {client['issuer']} {client['url']} client {client['client']}"
        f" flow {client['flow']} binding {client['binding']}"
        f" algorithms {','.join(client['algorithms'])}"
        for client in clients
    )
    document = {name.replace(" ", "_"): value for name, value in facts.items()}
    output.result({**document, "clients": clients}, "\n".join(lines))
    return DONE


def _facts(authority: Authority) -> dict[str, str]:
    config, host_ca_key = authority.config, authority.host_ca_key
    return {
        "origin": config.origin,
        "listen": config.server.listen,
        "database": config.database_url,
        "user CA key": authority.user_ca_key.fingerprint,
        "host CA key": "none" if host_ca_key is None else host_ca_key.fingerprint,
        "online key": authority.trust.online_key_fingerprint,
        "root key": authority.trust.root_key_fingerprint,
        "policy": authority.policy.sha256,
    }


def _clients(config: Config) -> Iterator[dict[str, Any]]:
    for issuer in config.issuers:
        for client in issuer.clients:
            yield {
                "issuer": issuer.name,
                "url": issuer.url,
                "client": client.id,
                "flow": client.flow,
                "binding": client.binding,
                "algorithms": issuer.algorithms,
            }
