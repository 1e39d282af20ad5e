"""A CA of a test's own: its folder, the opened `Authority`, a real signer.

    with FakeIdP() as idp:
        config_file = make_ca(tmp_path / "ca", idp)
        with opened(config_file) as authority: ...     # in this process
        with Signer(config_file) as signer:            # `ca-signer serve`
            answer = signer.sign(request_of(idp))

Everything is as `ca-admin init` makes it; `rewrite` changes what a test wants changed.
No pytest in here: the demo and the benchmark use it too.
"""

import getpass
import http.client
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

import msgspec

from ca import wire
from ca.admin import init
from ca.authority import Authority, open_authority
from ca.binding import SALT_BYTES, encode_base64url, nonce_for
from ca.certificate import Certificate, parse_certificate, parse_line
from ca.config import load_config
from ca.messages import SignRequest, SignResponse
from ca.signing_key import KeyType
from tests.fakes import CLIENT, FakeIdP
from tests.jose import ed25519_key

ROOT = Path(__file__).parent.parent
LOOPBACK = "127.0.0.1"
PATIENCE_SECONDS = 60.0
"""How long a busy machine may take for what is otherwise done in a second."""

SERVE = (sys.executable, "-m", "signer", "serve", "--config")


UNLIMITED = {
    "requests_per_minute = 60\n": "requests_per_minute = 60000\n",
    "refusals_per_minute = 120": "refusals_per_minute = 60000",
}
"""Tests ask more often than people do."""


def make_ca(
    folder: Path,
    idp: FakeIdP,
    *,
    origin: str | None = None,
    key_type: KeyType = KeyType.ED25519,
) -> Path:
    """Make a CA that believes `idp`; return the path of its `daypass.toml`."""
    answers = init.Answers(
        origin=origin or f"http://{LOOPBACK}:8440",
        issuer_url=idp.issuer,
        client_id=CLIENT,
        email_domain="example.com",
        key_type=key_type,
    )
    init.make(folder, answers)
    rewrite(folder / "daypass.toml", UNLIMITED)
    return folder / "daypass.toml"


def let_in_our_account(config_file: Path) -> None:
    """Have policy give everybody the account that the tests run as."""
    user = getpass.getuser()
    rewrite(
        config_file.with_name("policy.toml"),
        {
            'principals = ["{email_local}"]\n': f'principals = ["{user}"]\n',
            'gets     = ["ada"]': f'gets     = ["{user}"]',
        },
    )


def rewrite(file: Path, changes: Mapping[str, str]) -> None:
    """Replace texts in a file; each must stand there once.

    The file is replaced as a whole, so that whoever reads it meanwhile sees the old
    one or the new one.
    """
    text = file.read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, f"{file.name} has {text.count(old)} of {old!r}"
        text = text.replace(old, new)
    write_whole(file, text)


def write_whole(file: Path, text: str) -> None:
    """Write a file aside and rename it into place."""
    draft = file.with_name(f".{file.name}.new")
    draft.write_text(text)
    draft.replace(file)


UNBOUND = {'flow = "browser"': 'flow = "ci"', 'binding = "nonce"': 'binding = "none"'}
"""What makes the first to come with a token win."""


@contextmanager
def opened(config_file: Path) -> Iterator[Authority]:
    """Open the authority in this process, and close its database at the end."""
    authority = open_authority(load_config(config_file))
    try:
        yield authority
    finally:
        authority.store.close()


def subject_key(generation: int | None = None) -> str:
    """Return the line of a new Ed25519 public key, or the same for the same number."""
    if generation is None:
        generation = secrets.randbits(64)
    public = ed25519_key(generation).public_key().public_bytes_raw()
    blob = wire.text("ssh-ed25519") + wire.string(public)
    return f"ssh-ed25519 {b64encode(blob).decode()}"


def request_of(
    idp: FakeIdP,
    user: str = "ada",
    *,
    key: str | None = None,
    claims: Mapping[str, object] = MappingProxyType({}),
    **wishes: Any,
) -> SignRequest:
    """Return a request with a fresh token of `user`, bound to the key by its nonce."""
    public_key = key or subject_key()
    salt = secrets.token_bytes(SALT_BYTES)
    token = idp.token(
        sub=user,
        nonce=nonce_for(parse_line(public_key), salt),
        **{"auth_time": int(idp.now())} | idp.people[user] | dict(claims),
    )
    return SignRequest(
        public_key=public_key, id_token=token, salt=encode_base64url(salt), **wishes
    )


def certificate_in(answer: SignResponse) -> Certificate:
    """Return what the certificate in an answer says."""
    return parse_certificate(parse_line(answer.certificate))[0]


def to_be_signed_in(answer: SignResponse) -> bytes:
    """Return the bytes that the CA key signed for an answer."""
    blob = parse_line(answer.certificate)
    _, signature = parse_certificate(blob)
    return blob[: -len(wire.string(signature))]


@dataclass(frozen=True)
class Answer:
    """What a signer answered over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def certificate(self) -> SignResponse:
        """The certificate that must be in it."""
        assert self.status == http.HTTPStatus.OK, self.body
        return msgspec.json.decode(self.body, type=SignResponse)


class CannotStart(Exception):
    """The signer ended instead of serving; says what it said."""


class Signer:
    """A real `ca-signer serve` on loopback, which serves while the `with` block runs.

    It gets a port of its own, in a copy of the configuration beside the original, so
    that several can serve one CA. `port` is for a CA whose origin names one, `command`
    for another program that takes the configuration as its last word, and `trust` is
    the certificate of one that serves TLS.
    """

    def __init__(
        self,
        config_file: Path,
        *,
        port: int | None = None,
        processes: int = 1,
        command: tuple[str, ...] = SERVE,
        trust: Path | None = None,
    ) -> None:
        # Held for as long as we live, so that nobody else is given the port: Linux
        # lets a server listen on it all the same when both set SO_REUSEADDR.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((LOOPBACK, port or 0))
        self.port: int = self._holder.getsockname()[1]
        self.config_file = config_file.with_name(f"signer-{self.port}.toml")
        write_whole(self.config_file, config_file.read_text())
        rewrite(
            self.config_file,
            {
                f'listen = "{LOOPBACK}:8440"': f'listen = "{LOOPBACK}:{self.port}"',
                "processes = 2": f"processes = {processes}",
            },
        )
        self.log = config_file.with_name(f"signer-{self.port}.log")
        """Everything it has said since it was first started."""
        self._trust = trust
        self._command = (*command, str(self.config_file))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it, and give the port back."""
        self.stop()
        self._holder.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        scheme = "http" if self._trust is None else "https"
        return f"{scheme}://{LOOPBACK}:{self.port}"

    @property
    def process_id(self) -> int:
        """Of the parent process, which takes the signals."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers that it is ready."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            wait_until(self._is_ready)
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise CannotStart(self.log.read_text())
        try:
            return self.get("/readyz").status == http.HTTPStatus.OK
        except ConnectionError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent process."""
        os.kill(self.process_id, number)

    def stop(self) -> int:
        """Ask it to end, and wait; return its exit status."""
        assert self._process is not None
        self._process.terminate()
        try:
            return self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def get(self, path: str) -> Answer:
        """Ask for a path."""
        return self.ask("GET", path)

    def sign(self, request: SignRequest) -> Answer:
        """Ask for a certificate."""
        return self.ask("POST", "/v1/user-certificates", msgspec.json.encode(request))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Answer:
        """Send one request on a connection of its own; a body goes as JSON."""
        connection = self._connection()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, {**kind, **headers})
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self._trust is None:
            return http.client.HTTPConnection(
                LOOPBACK, self.port, timeout=PATIENCE_SECONDS
            )
        context = ssl.create_default_context(cafile=self._trust)
        return http.client.HTTPSConnection(
            LOOPBACK, self.port, timeout=PATIENCE_SECONDS, context=context
        )

    def said(self) -> list[Any]:
        """Return the whole lines of its log, decoded."""
        *lines, _unfinished = self.log.read_text().split("\n")
        return [json.loads(line) for line in lines]


def wait_until(
    condition: Callable[[], object], *, seconds: float = PATIENCE_SECONDS
) -> None:
    """Return when `condition` holds; raise `TimeoutError` when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s")
        time.sleep(0.01)


def children(parent):
    """Return the process ids of what a process has started."""
    task = f"/proc/{parent}/task/{parent}/children"
    with open(task) as file:  # noqa: PTH123 (not a file on a disk)
        return [int(word) for word in file.read().split()]
