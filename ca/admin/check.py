"""`ca-admin check-config`: what is in force, or what is wrong with it."""

from pathlib import Path

from ca.authority import open_authority
from ca.config import load_config


def describe(config_file: Path) -> str:
    """Open all that the configuration names; return what is in force, in lines.

    Raises what a signer would stop with at its start.
    """
    config = load_config(config_file)
    authority = open_authority(config)
    authority.store.close()
    policy = authority.policy
    lines = [
        f"origin {config.origin}",
        f"listen {config.server.listen}",
        f"database {config.database_url}",
        f"user CA key {authority.user_ca_key.fingerprint}",
        f"online key {authority.trust.online_key_fingerprint}",
        f"root key {authority.trust.root_key_fingerprint}",
        f"policy {policy.sha256}",
    ]
    lines.extend(
        f"issuer {issuer.name} {issuer.url} client {client.id}"
        f" binding {client.binding} algorithms {','.join(issuer.algorithms)}"
        for issuer in config.issuers
        for client in issuer.clients
    )
    return "".join(line + "\n" for line in lines)
