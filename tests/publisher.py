"""A CA that publishes trust bundles, as hosts see it: right ones, and any other.

    with Publisher() as ca:
        ca.publish(revoked=(17,))              # a newer version of everything
        ca.publish(expires_in=-1)              # right, but out of date
        ca.current = ca.current[:-1]           # truncated
        ca.answers["/v1/trust/current"] = Answer(status=404)
        ca.posted["/v1/host-reports"]          # what hosts sent

Signed in Python, with the keys of `Publisher.keys`; what hosts make of it is judged by
OpenSSH.
"""

import contextlib
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

from ca import sshsig, wire
from tests.certificates import ThrowawayCA
from tests.fakes import Answer
from tests.serving import Serving
from tests.signing import Holder, holder

ROOTS, CURRENT = "daypass-roots", "daypass-current"
"""The namespaces of the two signatures."""


def sign(text: bytes, namespace: str, key: Holder) -> bytes:
    """Return a text with its armoured signature behind it."""
    signed = key.sign_data(sshsig.signed_data(namespace, text))
    signature = sshsig.Signature(key.key, namespace, signed)
    return text + sshsig.render_armour(signature).encode()


def lines(*words: str) -> bytes:
    """Return lines of text as a document has them."""
    return "".join(f"{line}\n" for line in words).encode()


def make_krl(ca: ThrowawayCA, serials: Sequence[int], *, version: int = 0) -> bytes:
    """Return a KRL made by ssh-keygen."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "ca.pub").write_text(f"{ca.line}\n")
        (folder / "serials").write_text("".join(f"serial: {n}\n" for n in serials))
        command = ["ssh-keygen", "-q", "-k", "-f", "krl", "-s", "ca.pub"]
        command += ["-z", str(version), "serials"]
        subprocess.run(command, cwd=folder, check=True)
        return (folder / "krl").read_bytes()


class Publisher:
    """Publishes; as a context manager it listens."""

    def __init__(self) -> None:
        self.root, self.online, self.staged, self.retiring, self.stranger = (
            holder() for _ in range(5)
        )
        self.user_ca, self.next_user_ca, self.host_ca = (
            ThrowawayCA() for _ in range(3)
        )
        self.version = 1_795_330_000_000
        self.blobs: dict[str, bytes] = {}
        self.roots = self.current = self.krl = b""
        """The newest documents."""
        self.answers: dict[str, Answer] = {}
        """What a path answers instead; a prefix that ends in / is for all below it."""
        self.before: Callable[[str], None] = lambda _path: None
        """Called with each path before it is answered."""
        self.posted: defaultdict[str, list[bytes]] = defaultdict(list)
        self.hits: Counter[str] = Counter()
        self.not_modified = 0
        """How often a host was told that nothing is new."""
        self.report_status = 204
        self.certificate: Callable[[bytes], bytes] = lambda _request: b""
        """Makes the answer to a renewal."""
        self._server = _Server(self)
        self._server.timeout = 5
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.publish()

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
        return wire.fingerprint(self.root.key)

    def publish(
        self,
        *,
        revoked: Sequence[int] = (),
        user_ca: Sequence[ThrowawayCA] | None = None,
        krl: bytes | None = None,
        roots: bytes | None = None,
        expires_in: int = 86_400,
    ) -> None:
        """Publish a version above all before it."""
        self.version += 1
        if krl is None:
            krl = make_krl(self.user_ca, revoked, version=self.version)
        self.krl = krl
        if roots is None:
            trusted = (self.user_ca,) if user_ca is None else user_ca
            roots = sign(self.roots_text(user_ca=trusted), ROOTS, self.root)
        self.roots = roots
        self.current = sign(
            self.current_text(expires_in=expires_in), CURRENT, self.online
        )
        for blob in (self.krl, self.roots):
            self.blobs[sha256(blob).hexdigest()] = blob

    def roots_text(
        self,
        *,
        user_ca: Sequence[ThrowawayCA] = (),
        more: Sequence[str] = (),
        version: int | None = None,
        root: Holder | None = None,
    ) -> bytes:
        """Return the text of roots; `more` are lines at their end."""
        return lines(
            "daypass-roots-v1",
            f"version {version or self.version}",
            f"root {(root or self.root).line}",
            "log ca.example.com 0",
            *(f"user-ca active {ca.line}" for ca in user_ca or (self.user_ca,)),
            f"host-ca active {self.host_ca.line} *.example.com",
            f"online active {self.online.line}",
            f"online staged {self.staged.line}",
            f"online retiring {self.retiring.line}",
            *more,
        )

    def current_text(
        self, *, expires_in: int = 86_400, version: int | None = None
    ) -> bytes:
        """Return the text of current, for what is published."""
        return lines(
            "daypass-current-v1",
            f"version {version or self.version}",
            f"expires {int(time.time()) + expires_in}",
            f"roots {sha256(self.roots).hexdigest()}",
            f"krl {sha256(self.krl).hexdigest()}",
        )

    # What follows answers HTTP.

    def answer(self, path: str, etag: str | None) -> Answer:
        """Answer a GET."""
        self.hits[path] += 1
        self.before(path)
        prefix = path[: path.rfind("/") + 1]
        if path in self.answers or prefix in self.answers:
            return self.answers.get(path) or self.answers[prefix]
        if path == "/v1/trust/current":
            ours = f'"{sha256(self.current).hexdigest()}"'
            if etag == ours:
                self.not_modified += 1
                return Answer(304, b"", {"ETag": ours})
            return Answer(200, self.current, {"ETag": ours})
        blob = self.blobs.get(path.removeprefix("/v1/trust/blob/"))
        return Answer(404, b"no such thing") if blob is None else Answer(200, blob)

    def take(self, path: str, body: bytes) -> Answer:
        """Answer a POST."""
        self.hits[path] += 1
        self.posted[path].append(body)
        self.before(path)
        if path in self.answers:
            return self.answers[path]
        if path == "/v1/host-reports":
            return Answer(self.report_status, b"")
        return Answer(200, self.certificate(body))


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, ca: Publisher) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ca = ca

    def handle_error(self, *_: object) -> None:
        """Say nothing: hosts that are killed hang up."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        self._send(self.server.ca.answer(self.path, self.headers["If-None-Match"]))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._send(self.server.ca.take(self.path, body))

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        length = {"Content-Length": str(len(answer.body))}
        for name, value in (length | dict(answer.headers)).items():
            self.send_header(name, value)
        with contextlib.suppress(OSError):
            self.end_headers()
            step = 1 if answer.drip_seconds else max(len(answer.body), 1)
            for at in range(0, len(answer.body), step):
                self.wfile.write(answer.body[at : at + step])
                time.sleep(answer.drip_seconds)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests count hits."""
