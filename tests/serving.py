"""Servers of the standard library in a thread of their own, at rest while nobody asks.

`serve_forever` looks up to see whether it is to end: a hundred times a second where
tests must not wait for it, which takes turns with whatever the process measures.
"""

import socket
import socketserver
import threading


class Serving:
    """Serves from now on, in a thread."""

    def __init__(self, server: socketserver.TCPServer) -> None:
        self._server = server
        self._ends = False
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ends:
            self._server.handle_request()

    def end(self) -> None:
        """Close the server, and return when it is closed; again is no change."""
        if self._ends:
            return
        self._ends = True
        # Somebody has to come for it to see.
        socket.create_connection(self._server.socket.getsockname()).close()
        self._thread.join()
        self._server.server_close()
