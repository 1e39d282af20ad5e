"""TLS on a listener of ours: the certificate and key in the files as they are now."""

import logging
import socket
import ssl
from pathlib import Path

from ca.endpoints import TLSFiles, open_tls
from ca.errors import Misconfigured

_log = logging.getLogger(__name__)

_State = tuple[tuple[int, int], ...]
"""Of each file, what changes when it is replaced: inode and time."""


class TLS:
    """Speaks with the certificate that is in the files when somebody connects."""

    def __init__(self, files: TLSFiles) -> None:
        self._files = files
        self._state = self._look()
        self._context = open_tls(files)

    def wrap(self, sock: socket.socket) -> ssl.SSLSocket:
        """Return the socket as one that speaks TLS, once the client has greeted.

        It must not wait: the handshake then goes on whenever something is read.
        """
        self._renew()
        return self._context.wrap_socket(
            sock, server_side=True, do_handshake_on_connect=False
        )

    def _renew(self) -> None:
        state = self._look()
        if state == self._state:
            return
        # Not tried again until something changes. Two files are not replaced at once,
        # so for a moment they may not fit each other.
        self._state = state
        try:
            self._context = open_tls(self._files)
            _log.info("TLS certificate renewed")
        except Misconfigured as error:
            _log.warning("TLS certificate not renewed: %s", error.detail)

    def _look(self) -> _State:
        return tuple(map(_state_of, (self._files.certificate, self._files.key)))


def _state_of(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:
        return (0, 0)
    return (stat.st_ino, stat.st_mtime_ns)
