"""Run the application under gunicorn: several processes, each with threads.

Each process opens its own `Authority` after the fork, so that database connections and
locks are never shared. SIGHUP rereads the policy in every process and restarts none:
a policy that is wrong must not take a signer down. The parent rereads it too, and a
process that takes the place of one that died begins with the parent's.
"""

import gc
import os
import signal
from pathlib import Path
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from ca.authority import Authority, open_authority
from ca.authorization import LONGEST
from signer import metrics
from signer.app import create_app, utc_now
from signer.tls import TLS
from signer.worker import MOST_CONNECTIONS, Worker

GRACE_SECONDS = 10
"""How long requests under way may take to end when the signer is told to stop."""


class _Log(Logger):
    """Gunicorn's own words, which go where ours go: into one JSON log."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class _PolicyArbiter(Arbiter):
    """Gunicorn's parent process, with a SIGHUP that reloads policy, not code."""

    def spawn_worker(self) -> Any:
        """Fork a worker, which gets no SIGHUP before it has its handler.

        It would end it, or be lost; held from before the fork, it arrives then.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        try:
            return super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def handle_hup(self) -> None:
        self.app.reload_policy()
        self.kill_workers(signal.SIGHUP)


class Server(BaseApplication):
    """The signer as a gunicorn application."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        """The parent's, whose database is closed; in a worker, the worker's own."""
        self.counters = metrics.new_counters(
            processes=authority.config.server.processes
        )
        """Of all processes; this one is the parent."""
        self.metrics_port: int | None = None
        """Where no TLS is spoken, and no path but one is served."""
        self.tls: TLS | None = None
        """What a worker's connections speak, where it is not plain HTTP."""
        super().__init__()

    def load_config(self) -> None:
        """Set what gunicorn needs; its own files and variables are not read."""
        server, files = self._authority.config.server, self._authority.config.tls
        settings: dict[str, Any] = {
            "bind": [server.listen, *filter(None, [server.metrics_listen])],
            "workers": server.processes,
            "worker_class": Worker,
            "worker_connections": MOST_CONNECTIONS,
            "keepalive": 0,
            "threads": server.threads,
            "graceful_timeout": GRACE_SECONDS,
            # Not whichever is installed: this is the one that tests have tried.
            "http_parser": "python",
            "limit_request_line": 2048,
            "limit_request_fields": 32,
            "limit_request_field_size": LONGEST,
            "forwarded_allow_ips": "",
            "worker_tmp_dir": _memory_folder(),
            "control_socket_disable": True,
            "accesslog": None,
            # Its own would log the path, at a level that somebody may turn on.
            "pre_request": lambda _worker, _request: None,
            "logger_class": _Log,
            "pre_fork": self._choose_row,
            "post_fork": self._begin_worker,
            "post_worker_init": self._reload_on_hup,
            # Only to have it known: `signer.tls` speaks with them.
            "certfile": files and str(files.certificate),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Open the authority, in the worker."""
        before = self._authority
        self._authority = open_authority(before.config, before=before)
        files = self._authority.config.tls
        self.tls = None if files is None else TLS(files)
        app = create_app(self._authority, counters=self.counters)
        listen = self._authority.config.server.metrics_listen
        if listen is not None:
            self.metrics_port = int(listen.rpartition(":")[2])
            self._serve_metrics(app, self.metrics_port)
        # What is there by now stays: no collection has to go through it again.
        gc.freeze()
        return app

    def _serve_metrics(self, app: Flask, port: int) -> None:
        """Let nothing but metrics be served on that port, and them nowhere else."""
        ordinary = app.wsgi_app
        ours = metrics.application(self._authority, self.counters, utc_now)

        def divided(environ: Any, start: Any) -> Any:
            at_metrics = environ["SERVER_PORT"] == str(port)
            return (ours if at_metrics else ordinary)(environ, start)

        app.wsgi_app = divided  # type: ignore[method-assign, assignment]  # as Flask has it done

    def run(self) -> None:
        """Serve until told to stop."""
        _PolicyArbiter(self).run()

    def reload_policy(self) -> None:
        """Take the policy file as it is now, in this process."""
        self._authority.reload_policy()

    def _choose_row(self, arbiter: Any, worker: Any) -> None:
        taken = {living.counters_row for living in arbiter.WORKERS.values()}
        worker.counters_row = self.counters.free_row(taken)

    def _begin_worker(self, _arbiter: object, worker: Any) -> None:
        self.counters.take_row(worker.counters_row)

    def _reload_on_hup(self, _worker: object) -> None:
        signal.signal(signal.SIGHUP, lambda _signal, _frame: self.reload_policy())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def _memory_folder() -> str | None:
    """Return a folder in memory for gunicorn's heartbeat files, where there is one."""
    folder = Path("/dev/shm")  # noqa: S108 (gunicorn makes and unlinks its own files)
    return str(folder) if os.access(folder, os.W_OK) else None
