"""The real signer, which kills or stops itself at a named point of a request.

    python -m tests.crashing_signer CONFIG

It dies when the file `crash` beside the configuration names the point that it has
come to, and takes the file away first, so that it dies once. Its parent is gunicorn,
which puts a new process in its place. A file `hang` lets it hang instead, until
somebody sends it SIGCONT.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import Flask

from ca.authority import Authority, open_authority
from ca.config import Config, load_config
from ca.signing_key import SigningKey
from ca.store import Appended, Draft, Seen
from signer.app import plain_way_of
from signer.plain import Plain, PlainWay, Reply
from signer.request_log import log_as_json
from signer.serve import Server

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

POINTS = (
    "before the append",
    "before the commit",
    "after the commit",
    "before the high water",
    "in the high water",
    "after the high water",
    "before signing",
    "after signing",
    "before the answer",
)
"""In the order in which a request comes to them."""

DURABLE_FROM = POINTS.index("after the commit")
"""From this point on the entry must be there when the process is gone."""


class Fuse:
    """Knows where to die."""

    def __init__(self, config: Config) -> None:
        self._folder = config.file.parent

    def reach(self, point: str) -> None:
        """Die or hang here if this is the point: no cleaning up."""
        for name, number in (("crash", signal.SIGKILL), ("hang", signal.SIGSTOP)):
            file = self._folder / name
            if file.exists() and file.read_text() == point:
                file.unlink()
                # This thread: sent to the process, another might take the signal, and
                # on a busy machine this one would go on for a while.
                signal.pthread_kill(threading.get_ident(), number)


class CrashingServer(Server):
    """The signer with its parts wrapped."""

    def load(self) -> Flask:
        """Open the real authority and wrap its parts."""
        app = super().load()
        authority = self._authority
        fuse = Fuse(authority.config)
        authority.user_ca_key = CrashingKey(authority.user_ca_key, fuse)
        _wrap_store(authority, fuse)
        _wrap_high_water(authority, fuse)
        app.wsgi_app = _before_the_answer(app.wsgi_app, fuse)  # type: ignore[assignment, method-assign] # Flask's own way to wrap
        _wrap_plain_way(plain_way_of(app), fuse)
        return app


class CrashingKey(SigningKey):
    """The real user CA key between two points."""

    def __init__(self, key: SigningKey, fuse: Fuse) -> None:
        self.blob = key.blob
        self._key = key
        self._fuse = fuse

    def sign(self, data: bytes) -> bytes:
        """Sign, and perhaps die before or after."""
        self._fuse.reach("before signing")
        signature = self._key.sign(data)
        self._fuse.reach("after signing")
        return signature


def _wrap_store(authority: Authority, fuse: Fuse) -> None:
    store = authority.store
    append = store.append

    def crashing_append(drafts: Sequence[Draft], **known: Any) -> Appended:
        fuse.reach("before the append")
        appended = append(drafts, **known)
        fuse.reach("after the commit")
        return appended

    store.append = crashing_append  # type: ignore[method-assign] # a wrapper, as on the tin

    def before_commit(_connection: sa.Connection) -> None:
        fuse.reach("before the commit")

    sa.event.listen(store._database.engine, "commit", before_commit)  # noqa: SLF001 (nothing else sees inside a transaction)


def _wrap_high_water(authority: Authority, fuse: Fuse) -> None:
    high_water = authority.ledger.high_water
    raise_to, sync = high_water.raise_to, os.fdatasync

    def crashing_raise_to(seen: Seen) -> None:
        fuse.reach("before the high water")
        raise_to(seen)
        fuse.reach("after the high water")

    def crashing_sync(descriptor: int) -> None:
        fuse.reach("in the high water")
        sync(descriptor)

    high_water.raise_to = crashing_raise_to  # type: ignore[method-assign] # a wrapper, as above
    os.fdatasync = crashing_sync  # type: ignore[assignment] # nobody else calls it


def _before_the_answer(app: "WSGIApplication", fuse: Fuse) -> "WSGIApplication":
    def answer(
        environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        body = app(environ, start_response)
        if environ["REQUEST_METHOD"] == "POST":
            fuse.reach("before the answer")
        return body

    return answer


def _wrap_plain_way(plain_way: PlainWay, fuse: Fuse) -> None:
    answer = plain_way.answer

    def crashing_answer(plain: Plain, *, remote: str, ends: bool) -> Reply:
        answered = answer(plain, remote=remote, ends=ends)
        fuse.reach("before the answer")
        return answered

    plain_way.answer = crashing_answer  # type: ignore[method-assign] # a wrapper, as above


if __name__ == "__main__":
    opened = open_authority(load_config(Path(sys.argv[1])))
    opened.store.close()
    log_as_json()
    CrashingServer(opened).run()
