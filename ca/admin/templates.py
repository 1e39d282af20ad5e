"""The files that `ca-admin init` writes, with a comment on each setting."""

import json
from dataclasses import dataclass

from ca.signing_key import KeyType


@dataclass(frozen=True, slots=True)
class Answers:
    """What differs between one new CA and another."""

    origin: str
    issuer_url: str
    client_id: str
    email_domain: str
    key_type: KeyType = KeyType.ED25519
    """Of user and host CA key."""
    host_domains: tuple[str, ...] = ()
    """What the host CA key may speak for, in the roots."""


def configuration(answers: Answers) -> str:
    """Return `daypass.toml`."""
    return _CONFIGURATION.format(
        origin=_quoted(answers.origin),
        issuer_url=_quoted(answers.issuer_url),
        client_id=_quoted(answers.client_id),
        host_pattern=_quoted(f"*.{answers.email_domain}"),
    )


def policy(answers: Answers) -> str:
    """Return `policy.toml`."""
    return _POLICY.format(
        email_domain=_quoted(answers.email_domain),
        email=_quoted(f"ada@{answers.email_domain}"),
        stranger=_quoted(f"ada@not-{answers.email_domain}"),
    )


def _quoted(text: str) -> str:
    # A JSON string is a TOML basic string.
    return json.dumps(text, ensure_ascii=False)


_CONFIGURATION = """\
# A Daypass certificate authority. Paths are relative to this file; unknown keys are
# errors; secrets are never in here, only where to find them.
# After a change: ca-admin check-config, then restart the signer.

# The CA's one public URL, as laptops reach it: https, or http on loopback. It is
# bound into what CI tokens and signed requests prove.
origin = {origin}

# Who may have what. Reread on SIGHUP. Who can write it can be anyone, everywhere.
policy_file = "policy.toml"

# Which CA keys hosts and laptops trust, signed by the root key. The signer only hands
# it out: readers check the signature.
roots_file = "roots"

# What this signer remembers of the ledger: by it a database is known that was taken
# back to an earlier state. Never copy it along with the database; each signer machine
# has its own.
high_water_file = "high-water"

# ssh_config patterns of the hosts that trust this CA, told to ca-login.
host_patterns = [{host_pattern}]

[server]
# address:port. Anything but loopback needs TLS: here, or at a trusted proxy.
listen = "127.0.0.1:8440"
# The certificate and its chain, and its private key, as PEM files.
# tls_certificate = "tls/certificate.pem"
# tls_key = "tls/key.pem"
# Where monitoring finds /metrics, in plain HTTP. Another port than above.
# metrics_listen = "127.0.0.1:8441"
# Worker processes. In each, one thread works on the requests for certificates that have
# arrived, 32 at most, and so many threads on all others.
processes = 2
threads = 16
# Networks whose X-Forwarded-For is believed, as ["10.1.0.0/24"]. Who controls an
# address in them chooses the address that `require.source` in policy looks at.
trusted_proxies = []

[database]
# Where the ledger is. Loss of it is loss of the record: back it up. For several
# machines: "postgresql+psycopg://daypass@db.example.com/daypass?sslmode=verify-full"
url = "sqlite:///daypass.db"
# Holds the database server's password, on one line.
# password_file = "database_password"

[user_ca_key]
# Signs people's certificates. Who holds it and its passphrase is the CA.
file = "keys/user_ca"
passphrase_file = "keys/passphrase"
# Or in an ssh-agent: its socket, and which of its keys. Who can connect to it can have
# anything signed, but not take the key away. Any key here may be in one.
# agent = "/run/daypass/agent"
# public_key = "keys/user_ca.pub"

[host_ca_key]
# Signs hosts' certificates. Who holds it can be any host; without it there are none.
file = "keys/host_ca"
passphrase_file = "keys/passphrase"

[online_key]
# Signs which roots hold now. Cannot add a CA key: only the root key can.
file = "keys/online"
passphrase_file = "keys/passphrase"

[subject_keys]
# RSA keys with fewer bits are refused; 2048 is the least that can be set.
least_rsa_bits = 3072

[limits]
# Requests of one identity, at all signers together.
requests_per_minute = 60
# Requests of one address that were refused; after so many it is not listened to.
refusals_per_minute = 120

[hosts]
# How long after its last report a host is called stale, and is forgotten by itself.
stale_after = "2h"
forget_after = "90d"

# An identity provider. Whoever controls it can be anyone that policy lets in.
[[issuer]]
# Ours for it: used in policy.toml and at the front of each key ID. Never reuse one.
name = "corp"
# Its issuer URL, exactly as its tokens spell it (`iss`).
url = {issuer_url}
# What it may sign ID tokens with.
algorithms = ["RS256"]

[[issuer.client]]
# The client id that the provider knows ca-login by. One for each way to sign in, for
# only by its client can policy tell them apart: add a table for each other flow.
id = {client_id}
# How ca-login comes by a token: with a "browser", with a code that is typed in at
# another "device", or in "ci" from the platform that runs the job.
flow = "browser"
# What ties a token to one key: "nonce" (people's sign-ins), "audience" (CI that lets us
# choose it), or "none", where the first to come wins and no role is ever reached.
binding = "nonce"
# How many certificates one token may buy; above 1 only in CI, with binding "none".
max_uses = 1
# What ca-login asks the provider for.
scopes = ["openid", "email", "profile"]
# Where a browser is sent back to, http://127.0.0.1:PORT/callback: the host may also be
# "localhost", and where the provider does not take any port, name some, as [8765].
redirect_host = "127.0.0.1"
redirect_ports = []
# The client secret, for the providers that give one to programs on laptops all the
# same. It is no secret: everybody who asks the signer is told it.
public_secret = ""
# What else to say to the provider when a sign-in begins, as {{ prompt = "login" }}.
# Only claims of the token show whether the provider heeded it.
parameters = {{}}
"""

_POLICY = """\
# Who may have which principals, for how long. Nothing is granted that is not written
# here. The tests at the end run whenever this file is loaded; a signer whose policy
# fails one goes on with the policy before.

[[rule]]
name       = "developers"
issuer     = "corp"
match      = {{ email_domain = {email_domain} }}
principals = ["{{email_local}}"]
validity   = "10h"
extensions = ["permit-pty", "permit-port-forwarding"]

# A rule that answers only when its principal is asked for by name:
#
# [[rule]]
# name       = "root in production"
# issuer     = "corp"
# on_request = true
# match      = {{ groups = ["oncall"], email_domain = {email_domain} }}
# require    = {{ max_auth_age = "1h", reason = true }}
# principals = ["root"]
# validity   = "30m"
# extensions = ["permit-pty"]

[[test]]
identity = {{ issuer = "corp", email = {email}, email_verified = true }}
gets     = ["ada"]

[[test]]
identity = {{ issuer = "corp", email = {stranger}, email_verified = true }}
gets     = []
"""
