"""`ca-signer serve` that logs all that anybody would log at any level.

    python -m tests.debug_signer CONFIG

No setting of the signer turns this on; a test of what may be in the log does. It is
impatient, so that tests of that are short, and has one more route, `/large`, whose
answer is larger than what the system takes off a program's hands.
"""

import logging
import sys
from pathlib import Path

from flask import Flask, Response

from ca.authority import open_authority
from ca.config import load_config
from signer import sockets, worker
from signer.request_log import log_as_json
from signer.serve import Server

LARGE = 64 * 1024 * 1024
READ_SECONDS = 3
WRITE_SECONDS = 3
LINGER_SECONDS = 1


class DebugServer(Server):
    """A server with the level of everything turned down."""

    def load_config(self) -> None:
        super().load_config()
        self.cfg.set("loglevel", "debug")

    def load(self) -> Flask:
        app = super().load()
        app.add_url_rule("/large", view_func=lambda: Response(b"x" * LARGE))
        return app


def main() -> None:
    """Serve until told to stop."""
    worker.READ_SECONDS = READ_SECONDS
    worker.LINGER_SECONDS = LINGER_SECONDS
    sockets.WRITE_SECONDS = WRITE_SECONDS
    authority = open_authority(load_config(Path(sys.argv[1])))
    authority.store.close()
    log_as_json()
    logging.getLogger().setLevel(logging.DEBUG)
    DebugServer(authority).run()


if __name__ == "__main__":
    main()
