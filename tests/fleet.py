"""An operator with targets to deploy to, and a CA that mints canaries for them.

The CA is a key in this process that makes certificates exactly as the policy's canary
rules do; `tests/deploy/test_end_to_end.py` has the real one, over HTTP.
"""

import getpass
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from ca.certificate import CertificateType, parse_line, render_line
from deploy import apply
from deploy.apply import Operator
from deploy.canaries import Canaries, Canary
from deploy.connection import Connections
from deploy.desired import DesiredHost
from deploy.facts import Facts
from deploy.host_certificate import Certify, Named, names_of
from deploy.inventory import Endpoint, Resolver
from deploy.leftover import QUESTION
from deploy.plan import make_plan, make_undo
from deploy.planned import Plan
from deploy.proof import Way
from deploy.pulling import Register
from deploy.retirement import make_restoration, make_retirement
from deploy.root import Password, Root, become_of
from deploy.trust import Trust
from tests.certificates import ThrowawayCA, certificate
from tests.targets import PASSWORD, Login, Target

NONCE = "0123456789abcdef"
_SERIALS = count(1 << 40)
EMPTY_KRL = b"SSHKRL\n\0" + (1).to_bytes(4) + bytes(32)
"""What `ssh-keygen -k` writes without keys, but for the time (PROTOCOL.krl)."""


@dataclass
class Office:
    """Where an operator sits: a CA, a key that hosts let in, and an ssh_config."""

    folder: Path
    login: Login
    ca: ThrowawayCA = field(default_factory=ThrowawayCA)
    clock_seconds: int = 60
    password: str = PASSWORD
    registered: list[Register] = field(default_factory=list)
    minter: "Office | None" = None
    """Whose CA makes the canaries, where it is not ours."""

    @property
    def trust(self) -> Trust:
        """What the CA publishes."""
        keys = f"{self.ca.line}\n".encode()
        roots, current = b"daypass-roots-v1\nversion 7\n", b"version 9\n"
        return Trust(7, 9, keys, roots, current, EMPTY_KRL, (self.ca.line,))

    @property
    def config(self) -> Path:
        """The operator's ssh_config."""
        return self.folder / "ssh_config"

    def know(self, *targets: Target, users: Sequence[str] = ()) -> None:
        """Write known_hosts and ssh_config for targets, called t0, t1 and so on."""
        known = self.folder / "known_hosts"
        known.write_text("".join(target.known_hosts for target in targets))
        lines = [
            f"Host t{number}\n  HostName {target.address}\n  Port {target.port}\n"
            f"  User {users[number] if number < len(users) else 'root'}\n"
            for number, target in enumerate(targets)
        ]
        common = (
            f"Host *\n  IdentityFile {self.login.key}\n  IdentityAgent none\n"
            f"  UserKnownHostsFile {known}\n  GlobalKnownHostsFile /dev/null\n"
        )
        self.config.write_text("".join(lines) + common)

    def mint(self, key: str, asked: Sequence[Canary], nonce: str) -> list[str]:
        """Make canaries, as `ca.policy.decide_canary` grants them."""
        now = int(time.time())
        return [
            render_line(
                self.ca.certify(
                    certificate(
                        subject_key=parse_line(key),
                        serial=next(_SERIALS),
                        principals=canary.principals,
                        valid_after=now - 60,
                        valid_before=now + 600,
                        critical_options={
                            "force-command": f"echo {nonce}",
                            "source-address": f"{canary.source}/32",
                        },
                        extensions=(),
                    )
                ),
                "canary",
            ).strip()
            for canary in asked
        ]

    def certify_host(self, wanted: Certify) -> str:
        """Make a host certificate; the one CA key here certifies hosts, too."""
        now = int(time.time())
        made = certificate(
            type=CertificateType.HOST,
            subject_key=parse_line(wanted.public_key),
            key_id="host",
            principals=wanted.names,
            valid_after=now - 60,
            valid_before=now + 3600,
            extensions=(),
        )
        return render_line(self.ca.certify(made), "host")

    def operator(self) -> Operator:
        """Return who is at work, with canaries of a new run."""
        return Operator(
            getpass.getuser(),
            Canaries((self.minter or self).mint, NONCE),
            self.certify_host,
            self.registered.append,
            (self.ca.line,),
            self.clock_seconds,
        )

    @asynccontextmanager
    async def on(self, name: str, become: str | None = None) -> AsyncIterator["Visit"]:
        """Come to a host as root."""
        resolver = Resolver(self.config)
        async with Connections(resolver) as connections:
            endpoint = await resolver.resolve(name)
            connection = await connections.open(endpoint)
            async with connection:
                root = Root(
                    connection,
                    name,
                    become_of(endpoint.user, become),
                    Password(self.password),
                )
                yield Visit(self, name, root, Way(connections, endpoint))


@dataclass(frozen=True)
class Visit:
    """A stay on one host."""

    office: Office
    name: str
    root: Root
    way: Way

    @property
    def endpoint(self) -> Endpoint:
        """How we came."""
        return self.way.endpoint

    async def plan(self, desired: DesiredHost) -> tuple[Facts, Plan]:
        """Look, and plan."""
        return await apply.plan(
            self.root,
            Named(self.name, names_of(self.name, self.endpoint.address)),
            desired,
            self.office.trust,
        )

    async def undo(self, desired: DesiredHost) -> Plan:
        """Look, and take the last change back."""
        facts = await apply.gather(self.root, desired.questions)
        made = make_undo(self.name, facts)
        operator = self.office.operator()
        await apply.apply(self.root, self.way, (facts, made), operator)
        return made

    async def keys(self, desired: DesiredHost) -> tuple[Facts, Plan]:
        """Look at everything, also at authorized keys; plan what takes these away."""
        questions = (*desired.questions, QUESTION)
        facts = await apply.gather(self.root, questions)
        names = names_of(self.name, self.endpoint.address)
        named = Named(self.name, names)
        trust = self.office.trust
        whole = make_plan(named, facts, desired, trust, now=int(time.time()))
        return facts, make_retirement(whole, facts, desired)

    async def retire(
        self, desired: DesiredHost, observe: apply.Observer = lambda _: None
    ) -> Plan:
        """Take leftover keys away."""
        seen = await self.keys(desired)
        await apply.apply(self.root, self.way, seen, self.office.operator(), observe)
        return seen[1]

    async def change(self, seen: tuple[Facts, Plan]) -> None:
        """Do what a plan says that was made before."""
        await apply.apply(self.root, self.way, seen, self.office.operator())

    async def restore(self, desired: DesiredHost) -> Plan:
        """Bring back what the last retirement took away."""
        facts, _ = await self.keys(desired)
        made = make_restoration(self.name, facts)
        operator = self.office.operator()
        await apply.apply(self.root, self.way, (facts, made), operator)
        return made

    async def apply(
        self, desired: DesiredHost, observe: apply.Observer = lambda _: None
    ) -> Plan:
        """Look, plan and apply."""
        seen = await self.plan(desired)
        await apply.apply(self.root, self.way, seen, self.office.operator(), observe)
        return seen[1]
