"""GitHub's token service for jobs, over a real socket.

    with GitHub() as github:
        github.environment        # what it puts into a job's environment
        github.audiences          # for which audiences tokens were asked

`sign` makes the token for an audience; on its own it makes one that nobody believes.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.fakes import Answer
from tests.serving import Serving


def believed_by_nobody(_audience: str) -> str:
    """Make a token of the right form, and no more."""
    return "eyJh.eyJz.c2ln"


class GitHub:
    """Makes tokens while the `with` block runs, for who has the job's secret."""

    def __init__(self, sign: Callable[[str], str] = believed_by_nobody) -> None:
        self.sign = sign
        self.secret = secrets.token_urlsafe()
        """What a job proves itself with."""
        self.answer: Answer | None = None
        """What it says instead."""
        self.audiences: list[str] = []
        self.targets: list[str] = []
        self.made: list[str] = []
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._serving = Serving(self._server)
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._serving.end()

    @property
    def environment(self) -> Mapping[str, str]:
        """What a job with `id-token: write` finds, beside much else."""
        return {
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.secret,
        }

    def give(self, target: str, authorization: str | None) -> Answer:
        """Answer one request."""
        self.targets.append(target)
        if self.answer is not None:
            return self.answer
        if authorization != f"Bearer {self.secret}":
            return _json(401, message="the job is not known")
        (audience,) = parse_qs(urlsplit(target).query)["audience"]
        self.audiences.append(audience)
        self.made.append(self.sign(audience))
        return _json(200, count=len(self.made[-1]), value=self.made[-1])


def _json(status: int, **members: object) -> Answer:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(status, json.dumps(members).encode(), headers)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, github: GitHub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.github = github


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        answer = self.server.github.give(self.path, self.headers["Authorization"])
        self.send_response(answer.status)
        length = {"Content-Length": str(len(answer.body))}
        for name, value in (length | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
