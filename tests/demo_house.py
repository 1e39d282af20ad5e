"""The CA of the demo, and the two hosts that trust it."""

import getpass
from dataclasses import dataclass
from pathlib import Path

from ca import wire
from ca.certificate import parse_line
from tests.authority import Signer
from tests.demo_stage import BIN, Person, Stage, found
from tests.fakes import CLIENT
from tests.sshd import LOOPBACK, Sshd

ACCOUNT = getpass.getuser()
"""The one account there is on both hosts: an ordinary user's sshd serves no other."""

POLICY = """\
[[rule]]
name       = "developers"
issuer     = "corp"
match      = { groups = ["dev"] }
principals = ["deploy"]
validity   = "10h"
extensions = ["permit-pty"]

[[rule]]
name       = "on call"
issuer     = "corp"
match      = { groups = ["oncall"] }
principals = ["dba"]
validity   = "2h"
extensions = ["permit-pty"]

[[test]]
identity = { issuer = "corp", groups = ["dev"] }
gets     = ["deploy"]
"""

SSH_CONFIG = """\
Host {name}
  HostName {address}
  Port {port}
  User {account}
  UserKnownHostsFile {known_hosts}
  StrictHostKeyChecking yes
  IdentityFile {key}
  CertificateFile {key}-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  LogLevel ERROR
"""


@dataclass(frozen=True)
class House:
    """The CA and the hosts that trust it."""

    signer: Signer
    ca_fingerprint: str
    """Of the user CA key that the verified roots name."""
    bastion: Sshd
    database: Sshd

    @property
    def hosts(self) -> dict[str, Sshd]:
        """The hosts by the names that people type."""
        return {"bastion": self.bastion, "database": self.database}


def found_ca(stage: Stage, operator: Person) -> tuple[Signer, str]:
    """Make a CA and serve it; return the signer and the root key's fingerprint."""
    tell = operator.narrator
    tell.say("Keys, configuration, database and signed roots, in one command.")
    port = stage.port()
    origin = f"http://{LOOPBACK}:{port}"
    said = operator.types(
        f"ca-admin init ca --origin {origin}"
        f" --issuer {stage.provider.issuer} --client-id {CLIENT}"
    )
    tell.answered(said.output)
    pin = found(r"root key (SHA256:\S{43})", said.output)[1]

    folder = operator.home / "ca"
    (folder / "policy.toml").write_text(POLICY)
    tell.say('Its policy.toml: "dev" may log in as deploy, "oncall" as dba too.')
    signer = Signer(
        folder / "daypass.toml",
        port=port,
        processes=2,
        command=(str(BIN / "ca-signer"), "serve", "--config"),
    )
    tell.typed("operator", f"ca-signer serve --config ca/{signer.config_file.name} &")
    return stage.start(signer), pin


def open_hosts(stage: Stage, operator: Person, signer: Signer, pin: str) -> House:
    """Start two sshd that trust the CA for one principal each."""
    tell = operator.narrator
    tell.say("Which keys to trust is proved by the root key's fingerprint, the pin.")
    trusted = operator.home / "trusted"
    operator.types(f"ca-deploy render {signer.url} --pin {pin}", into=trusted)
    (ca_key,) = trusted.read_text().splitlines()
    hosts = []
    for name, principal in (("bastion", "deploy"), ("database", "dba")):
        folder = stage.folder / name
        folder.mkdir()
        (folder / "principals").write_text(f"{principal}\n")
        trust = (
            f"TrustedUserCAKeys {trusted}",
            f"AuthorizedPrincipalsFile {folder}/principals",
        )
        hosts.append(stage.start(Sshd(folder, trust)))
    bastion, database = hosts
    tell.say("Each is an sshd on this machine, whose principals file holds one word.")
    tell.answered(f"bastion, port {bastion.port}: deploy")
    tell.answered(f"database, port {database.port}: dba")
    return House(signer, wire.fingerprint(parse_line(ca_key)), bastion, database)


def meet_ca(person: Person, house: House, pin: str) -> None:
    """Do what a new laptop needs once: pin the CA, and know the hosts."""
    person.types(f"ca-login setup {house.signer.url} --pin {pin}")
    write_ssh_config(person, house, person.home / ".ssh/daypass/default")


def write_ssh_config(person: Person, house: House, key: Path) -> None:
    """Write where the hosts are, and which key to log in with."""
    blocks = (
        SSH_CONFIG.format(
            name=name,
            address=LOOPBACK,
            port=sshd.port,
            account=ACCOUNT,
            known_hosts=sshd.known_hosts,
            key=key,
        )
        for name, sshd in house.hosts.items()
    )
    (person.home / "ssh_config").write_text("\n".join(blocks))
