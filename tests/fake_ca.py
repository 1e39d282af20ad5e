r"""A CA on loopback that believes everybody, signs with ssh-keygen, and can lie.

    with FakeCA() as ca:
        ca.url, ca.pin
        ca.requests[-1]["principals"]             # what it was asked
        ca.answers["/v1/discovery"] = Answer(status=500)
        ca.raw["/v1/discovery"] = b"SSH-2.0-x\r\n"
        ca.validity = "+1h:+2h"                   # not yet valid
    del ca.ledger.leaves[30:]                 # its ledger goes backwards

What it signs is real: roots and current by ssh-keygen -Y, certificates by -s; so is its
ledger, which puts each certificate on record and proves it.
"""

import base64
import contextlib
import hashlib
import json
import subprocess
import tempfile
import threading
import time
from collections import Counter
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ca import bundle, wire
from ca.certificate import parse_line
from tests.fake_ledger import FakeLedger
from tests.fakes import Answer
from tests.serving import Serving

VERSION = 1795330000000
"""A version of the roots, in Unix milliseconds, as the real ones are."""

EMPTY_KRL = b"SSHKRL\n\0" + bytes((0, 0, 0, 1)) + bytes(32)
"""The smallest one: it revokes nothing."""

KEYS = ("root", "user_ca", "host_ca", "online", "other", "stranger")


@cache
def _key_folder() -> tempfile.TemporaryDirectory[str]:
    """Make the keys once for all fakes of a test run; gone when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="fake-ca-")
    for name in KEYS:
        make_key(Path(folder.name, name))
    return folder


def make_key(path: Path) -> None:
    """Make an Ed25519 key pair."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", path],
        check=True,
    )


def public_line(path: Path) -> str:
    """Return `<type> <base64>` of the public half of a key pair."""
    return " ".join(path.with_name(path.name + ".pub").read_text().split()[:2])


def key_file(name: str) -> Path:
    """Return the private half of one of the keys that all fakes have."""
    return Path(_key_folder().name, name)


def key_line(name: str) -> str:
    """Return its public half as `<type> <base64>`."""
    return public_line(key_file(name))


@cache
def _sign(text: bytes, namespace: str, key: Path) -> str:
    command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", str(key)]
    done = subprocess.run(command, input=text, check=True, capture_output=True)
    return done.stdout.decode()


class FakeCA:
    """A CA; as a context manager it listens."""

    def __init__(self) -> None:
        self.keys = Path(_key_folder().name)
        self.hits: Counter[str] = Counter()
        self.connections = 0
        self.requests: list[dict[str, Any]] = []
        """The bodies of the requests for certificates."""
        self.answers: dict[str, Answer] = {}
        """What a path answers instead."""
        self.raw: dict[str, bytes] = {}
        """What a path sends instead, without any HTTP around it."""
        self.delay_seconds = 0.0
        """Before each answer."""
        # What it puts into a certificate.
        self.key_id = "corp:ada@example.com"
        self.principals: tuple[str, ...] = ("ada", "deploy")
        self.validity = "-1m:+10h"
        self.signed_by = "user_ca"
        self.host = False
        self.public_key: str | None = None
        """Another key than the one that was sent."""
        self.left_out: list[dict[str, str]] = []
        self.flip_last_bit = False
        """Of the certificate, and so of its signature."""
        self.ledger = FakeLedger(self.keys, size=40)
        self._one_at_a_time = threading.Lock()
        # What it puts into its trust bundle.
        self.roots_version = VERSION
        self.current_version = VERSION
        self.began = int(time.time())
        self.expires_in = 86_400
        """Seconds after it began: what does not change is not signed anew."""
        self.roots_signed_by = "root"
        self.current_signed_by = "online"
        self.user_ca_state = bundle.KeyState.ACTIVE
        self.user_ca_named = "user_ca"
        self.online_state = bundle.KeyState.ACTIVE
        self.log_origin = self.ledger.origin
        self.closed_logs: tuple[bundle.ClosedLog, ...] = ()
        self.revoked_ca: tuple[str, ...] = ()
        self.host_domains: tuple[str, ...] = ("*.a.test",)
        self.krl = EMPTY_KRL
        self.krl_named: bytes | None = None
        """Another KRL than the one that is served, to be named by *current*."""
        # What it says about itself.
        self.clock_ahead = 0
        """Seconds that its clock is ahead of the machine's."""
        self.issuers: list[dict[str, Any]] = []
        self.host_patterns = ["*.a.test"]
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._serving = Serving(self._server)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._serving.end()

    @property
    def pin(self) -> str:
        """The root key's fingerprint."""
        return wire.fingerprint(parse_line(self.public("root")))

    def public(self, name: str) -> str:
        """Return the public line of one of its keys."""
        return public_line(self.keys / name)

    def trust_issuer(
        self, url: str, *, name: str = "corp", flow: str = "browser", **client: object
    ) -> dict[str, Any]:
        """Name an issuer with one client; return the client, to be changed."""
        ordinary = {"id": "ca-login", "flow": flow, "scopes": ["openid", "email"]}
        bound = {"binding": "audience" if flow == "ci" else "nonce"}
        one = ordinary | bound | client
        self.issuers.append({"name": name, "url": url, "clients": [one]})
        return one

    def roots(self) -> bytes:
        """Return the roots document as it is now."""
        active = bundle.KeyState.ACTIVE
        roots = bundle.Roots(
            version=self.roots_version,
            root_key=self.public("root"),
            log_origin=self.log_origin,
            serial_base=self.ledger.serial_base,
            user_ca=(
                bundle.TrustedKey(self.user_ca_state, self.public(self.user_ca_named)),
            ),
            host_ca=(
                bundle.HostCAKey(active, self.public("host_ca"), self.host_domains),
            ),
            online=(bundle.TrustedKey(self.online_state, self.public("online")),),
            closed_logs=self.closed_logs,
            revoked_ca=self.revoked_ca,
        )
        text = bundle.render_roots(roots)
        return self.sign(text, bundle.ROOTS_NAMESPACE, self.roots_signed_by)

    def current(self) -> bytes:
        """Return the current document as it is now."""
        krl = self.krl if self.krl_named is None else self.krl_named
        current = bundle.Current(
            version=self.current_version,
            expires=self.began + self.expires_in,
            roots_sha256=hashlib.sha256(self.roots()).hexdigest(),
            krl_sha256=hashlib.sha256(krl).hexdigest(),
        )
        text = bundle.render_current(current)
        return self.sign(text, bundle.CURRENT_NAMESPACE, self.current_signed_by)

    def sign(self, text: bytes, namespace: str, key: str) -> bytes:
        """Sign a text with one of its keys; Ed25519 signs the same way each time."""
        return bundle.join_signed(text, _sign(text, namespace, self.keys / key))

    def certify(self, public_key: str) -> str:
        """Return the line of a certificate for a key, made by ssh-keygen."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "key.pub")
            path.write_text(f"{self.public_key or public_key}\n")
            command = ["ssh-keygen", "-q", "-s", str(self.keys / self.signed_by)]
            command += ["-I", self.key_id, "-V", self.validity]
            command += ["-z", str(self.ledger.next_serial)]
            if self.principals:
                command += ["-n", ",".join(self.principals)]
            if self.host:
                command += ["-h"]
            subprocess.run([*command, path], check=True)
            line = Path(folder, "key-cert.pub").read_text()
        return _flip(line) if self.flip_last_bit else line

    # What follows answers HTTP.

    def answer(self, path: str, body: bytes) -> Answer:
        """Answer one request."""
        match path.split("/")[2:]:
            case ["discovery"]:
                return _json(
                    origin=self.url,
                    issuers=self.issuers,
                    host_patterns=self.host_patterns,
                    server_time=int(time.time()) + self.clock_ahead,
                    a_field_of_a_later_version=True,
                )
            case ["user-certificates"]:
                self.requests.append(json.loads(body))
                asked = self.requests[-1]
                with self._one_at_a_time:
                    line = self.certify(asked["public_key"])
                    proof = self.ledger.record(line, asked.get("checkpoint"))
                return _json(certificate=line, left_out=self.left_out, ledger=proof)
            case ["trust", "current"]:
                return _text(self.current())
            case ["trust", "blob", sha256]:
                is_krl = hashlib.sha256(self.krl).hexdigest() == sha256
                return _text(self.krl if is_krl else self.roots())
        return problem(404, "not_found", "there is no such thing")


def problem(status: int, code: str, detail: str, **more: object) -> Answer:
    """Return an RFC 9457 problem document."""
    document = {"title": "no", "status": status, "code": code, "detail": detail}
    body = json.dumps({**document, "request_id": "r-1", **more}).encode()
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def _json(**members: object) -> Answer:
    return Answer(
        200,
        json.dumps(members).encode(),
        {"Content-Type": "Application/JSON; charset=utf-8"},
    )


def _text(body: bytes) -> Answer:
    return Answer(200, body, {"Content-Type": "text/plain"})


def _flip(line: str) -> str:
    name, encoded, *comment = line.split(" ")
    blob = bytearray(wire.decode_base64(encoded))
    blob[-1] ^= 1

    return " ".join([name, base64.b64encode(blob).decode(), *comment])


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ca: FakeCA) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ca = ca

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True  # or each answer waits 40 ms for an ACK

    def setup(self) -> None:
        super().setup()
        self.server.ca.connections += 1

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        ca = self.server.ca
        ca.hits[self.path] += 1
        time.sleep(ca.delay_seconds)
        if self.path in ca.raw:
            self.wfile.write(ca.raw[self.path])
            self.close_connection = True
            return
        answer = ca.answers.get(self.path) or ca.answer(self.path, body)
        self.send_response(answer.status)
        length = {"Content-Length": str(len(answer.body))}
        for name, value in (length | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        if not answer.drip_seconds:
            self.wfile.write(answer.body)
            return
        for at in range(len(answer.body)):
            self.wfile.write(answer.body[at : at + 1])
            time.sleep(answer.drip_seconds)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests count hits."""
