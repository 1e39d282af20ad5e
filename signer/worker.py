"""A process of the signer: reads requests whole, then has threads work on them.

Gunicorn's own threads read from the connection while they hold one of the few threads,
and its event loop waits up to two seconds for a client that leaves its connection open
after the answer. Some twenty slow clients were enough to stop everybody else. Here the
event loop reads, without waiting for anybody, and a thread gets a request that has
arrived whole; what has not arrived after `READ_SECONDS` ends.

A connection ends with the answer, unless that was a certificate for a plain request
(`signer.plain`): of such a one there is no doubt where it ends, so no other can be
smuggled in behind it.
"""

import os
import re
import select
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, NamedTuple

from gunicorn.http import RequestParser
from gunicorn.http.errors import LimitRequestHeaders
from gunicorn.workers.gthread import TConn, ThreadWorker

from signer import no_request, plain, sockets
from signer.app import plain_way_of, unchanged_of
from signer.crews import Crews
from signer.plain import Plain
from signer.share import Share
from signer.whole import LARGEST_HEAD, is_whole

READ_SECONDS = 10
"""Within which a request must have arrived, from when the connection was accepted, or
the one before was answered."""

LINGER_SECONDS = 2
"""How long a connection stays open after the answer, so that what the client was still
sending does not reset it (RFC 9112 section 9.6)."""

LOOK_SECONDS = 1
"""How often the process looks whether its parent lives, and tells that it does itself:
the parent waits for thirty."""

MOST_CONNECTIONS = 512
"""At once, in one process; more wait in the system's queue."""

MOST_STAY = MOST_CONNECTIONS // 2
"""With how many, at most, a process lets one stay: the rest is for who is new."""

_ACCEPTED = 16
"""Connections, at most, that one process takes before it looks what else there is."""

_EMPTY_LINES = re.compile(rb"(?:\r\n)+")

_Queue = deque["_Connection"]


class _Connection(TConn):
    """A client's connection, and what has arrived on it."""

    initialized: bool

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.received = bytearray()
        self.ends = True
        """Whether it ends with the answer."""
        self.stayed = False
        """Whether it has had an answer already."""

    def add(self, data: bytes) -> None:
        """Add what has arrived of a request.

        Some end a body with one more line, which begins no request (RFC 9112 section
        2.2). An answer to it would pass for the one to the next.
        """
        self.received += data
        if self.stayed and (lines := _EMPTY_LINES.match(self.received)):
            self.received = self.received[lines.end() :]

    def init(self) -> None:
        """Parse what has arrived, and never read on."""
        if not self.initialized:
            self.initialized = True
            self.parser = RequestParser(self.cfg, [bytes(self.received)], self.client)


class _Member(NamedTuple):
    """A request that a crew works on."""

    connection: _Connection
    request: Plain


class Worker(ThreadWorker):
    """A process with one event loop, which reads, and threads, which work.

    Of gunicorn's two queues, `pending_conns` are those that a request is read from and
    `keepalived_conns` those that linger; both are in the order of their time-outs.
    """

    _look_at = 0.0
    _looks_around = True

    def run(self) -> None:
        """Serve until told to stop."""
        self._crews = Crews(
            steady=ThreadPoolExecutor(1),
            threads=self.tpool,
            others=ThreadPoolExecutor(self.cfg.threads),
            answer=self._answer,
            finish=self._finish,
            defer=self.method_queue.defer,
        )
        self._unchanged = unchanged_of(self.wsgi)
        self._listeners = {
            sock: (sock.getsockname(), int(sock.family)) for sock in self.sockets
        }
        self._share = Share(self.app.counters, processes=self.cfg.workers)
        super().run()

    def notify(self) -> None:
        """Tell the parent that we live: at each turn, it would be told too often."""
        now = time.monotonic()
        self._looks_around = now >= self._look_at
        if self._looks_around:
            self._look_at = now + LOOK_SECONDS
            super().notify()

    def is_parent_alive(self) -> bool:
        """Look whether the parent lives, as often as it is told that we do."""
        return not self._looks_around or super().is_parent_alive()

    def set_accept_enabled(self, enabled: bool) -> None:  # noqa: FBT001 (gunicorn's)
        """Begin or cease to accept; the system wakes one process for a connection.

        It would wake all of them, and all but one in vain.
        """
        super().set_accept_enabled(enabled)
        if not enabled or not hasattr(select, "EPOLLEXCLUSIVE"):
            return  # not Linux
        # Python's selectors have no word for it, only what they stand on.
        epoll = self.poller._selector  # noqa: SLF001
        for listener in self.sockets:
            epoll.unregister(listener)  # it cannot be added later (epoll_ctl(2))
            epoll.register(listener, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Read what has arrived, all of it, before a crew takes its share."""
        super().wait_for_and_dispatch_events(timeout)
        self._share.compare(self.nr_conns)
        self._crews.send()

    def accept(self, listener: socket.socket) -> None:
        """Accept who waits to be, and begin to read from them.

        One by one, but for those that a crew will work on together.
        """
        # While a crew of ours works, another process has time to take it.
        if self._crews.waiting and self._share.leaves_next():
            return
        for _ in range(min(_ACCEPTED, MOST_CONNECTIONS - self.nr_conns)):
            if not self._accept_one(listener) or not self._crews.waiting:
                break

    def _accept_one(self, listener: socket.socket) -> bool:
        """Accept a connection; return whether there was one."""
        server, family = self._listeners[listener]
        try:
            # What `accept` does, less making a socket: most are answered without one.
            descriptor, client = listener._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except OSError:
            # Gone again, or taken by another process; or no file descriptor left: then
            # somebody has to leave first, within seconds.
            return False
        os.set_blocking(descriptor, False)
        speaks_tls = self.app.tls is not None and not self._is_for_metrics(server)
        # Mostly the request is there already: then nobody has to watch for it.
        data = None if speaks_tls else sockets.read(descriptor)
        write = partial(os.write, descriptor)
        if data == b"" or (data and self._is_unchanged(data, server, write)):
            os.close(descriptor)
            return True
        sock = socket.socket(family, socket.SOCK_STREAM, 0, descriptor)
        sock.settimeout(0)
        if speaks_tls:
            try:
                sock = self.app.tls.wrap(sock)
            except OSError:
                sock.close()
                return True
        self.nr_conns += 1
        connection = _Connection(self.cfg, sock, client, server)
        connection.received += data or b""
        if is_whole(connection.received):
            self.enqueue_req(connection)
        else:
            self._watch(connection, self.pending_conns, self._receive, READ_SECONDS)
        return True

    def _watch(
        self,
        connection: _Connection,
        queue: _Queue,
        callback: Callable[[_Connection, socket.socket], None],
        seconds: float,
    ) -> None:
        connection.timeout = time.monotonic() + seconds
        queue.append(connection)
        self.poller.register(
            connection.sock, selectors.EVENT_READ, partial(callback, connection)
        )

    def _unwatch(self, connection: _Connection, queue: _Queue) -> None:
        self.poller.unregister(connection.sock)
        queue.remove(connection)

    def _receive(self, connection: _Connection, sock: socket.socket) -> None:
        """Take what has arrived."""
        data = sockets.receive(sock)
        if data is None:
            return
        connection.add(data)
        if data and not is_whole(connection.received):
            return
        self._unwatch(connection, self.pending_conns)
        if data:
            self._hand_on(connection)
        else:
            self._drop(connection)

    def _hand_on(self, connection: _Connection) -> None:
        """Hand a request that is whole to a thread, unless no thread is needed."""
        sock = connection.sock
        if self._is_unchanged(connection.received, connection.server, sock.send):
            with suppress(OSError):
                sockets.end(sock)
            self._drop(connection)
        else:
            self.enqueue_req(connection)

    def _read_next(self, connection: _Connection) -> None:
        """Begin to read the next request on a connection."""
        connection.sock.settimeout(0)
        connection.ends = connection.stayed = True
        connection.received.clear()
        data = sockets.receive(connection.sock)
        if data == b"":
            self._drop(connection)
            return
        connection.add(data or b"")
        if is_whole(connection.received):
            self._hand_on(connection)
        else:
            self._watch(connection, self.pending_conns, self._receive, READ_SECONDS)

    def _is_for_metrics(self, server: Any) -> bool:
        """Tell whether it came to the listener that serves nothing else."""
        return bool(server[1] == self.app.metrics_port)

    def _is_unchanged(
        self,
        received: bytes | bytearray,
        server: Any,
        send: Callable[[bytes], object],
    ) -> bool:
        """Answer a host that has the newest bundle; tell whether it was one."""
        answer = self._unchanged.answer(received)
        if answer is None or self._is_for_metrics(server):
            return False
        # It fits into what the system keeps for the client. If not, they ask again.
        with suppress(OSError):
            send(answer)
        return True

    def enqueue_req(self, conn: _Connection) -> None:
        """Have a thread work on a request: alone, or with others like it."""
        request = None
        if not self._is_for_metrics(conn.server):
            request = plain.parse(conn.received)
        if request is None:
            super().enqueue_req(conn)
        else:
            self._crews.add(_Member(conn, request))

    def _answer(self, member: _Member) -> None:
        """Answer a plain request, as one of a crew."""
        connection, request = member
        try:
            reply = plain_way_of(self.wsgi).answer(
                request,
                remote=connection.client[0],
                ends=not (request.may_stay and self._may_stay()),
            )
        except Exception as error:  # noqa: BLE001 (it ends here)
            self.handle_error(None, connection.sock, connection.client, error)
            return
        # Who has left may ask again for what was bought.
        with suppress(OSError):
            sockets.send_together(connection.sock, reply.data)
            connection.ends = reply.ends

    def _may_stay(self) -> bool:
        """Tell whether this process keeps a connection for another request."""
        return (
            bool(self.alive)
            and self.nr_conns <= MOST_STAY
            and not self._share.sends_away()
        )

    def _finish(self, member: _Member) -> None:
        if member.connection.ends:
            self.finish_request(member.connection, None)
        else:
            self._read_next(member.connection)

    def handle(self, conn: _Connection) -> bool:
        """Work on a request, in a thread. The connection ends with the answer."""
        conn.data_ready = True
        head = conn.received[: LARGEST_HEAD + 4]
        if len(conn.received) > LARGEST_HEAD and b"\r\n\r\n" not in head:
            error = LimitRequestHeaders("head")
            self.handle_error(None, conn.sock, conn.client, error)
        else:
            super().handle(conn)
        return False

    def handle_request(self, req: Any, conn: _Connection) -> Any:
        """Answer a request; a client that does not take the answer keeps no thread."""
        conn.sock.settimeout(sockets.WRITE_SECONDS)
        return super().handle_request(req, conn)

    def finish_request(self, conn: _Connection, fs: object) -> None:
        """End our half of the connection, and leave the last word to the client."""
        del fs
        conn.sock.settimeout(0)
        try:
            sockets.end(conn.sock)
        except OSError:
            self._drop(conn)
            return
        # Mostly they had all of the answer already, and have left.
        if sockets.receive(conn.sock) == b"":
            self._drop(conn)
        else:
            self._watch(conn, self.keepalived_conns, self._linger, LINGER_SECONDS)

    def _linger(self, connection: _Connection, sock: socket.socket) -> None:
        """Throw away what the client still sends, until it is done or late."""
        if sockets.receive(sock) == b"":
            self._unwatch(connection, self.keepalived_conns)
            self._drop(connection)

    def murder_pending(self) -> None:
        """End the connections whose request has not arrived in time.

        When the process is to stop, those that have said nothing yet are late sooner.
        """
        now = time.monotonic()
        patience = 0 if self.alive else READ_SECONDS - LINGER_SECONDS
        for connection in list(self.pending_conns):
            late = 0 if connection.received else patience
            if connection.timeout > now + late:
                continue
            if connection.received:
                status = HTTPStatus.REQUEST_TIMEOUT
                no_request.refuse(connection.sock, connection.client, status, "slow")
            elif self._has_come(connection):
                continue
            self._unwatch(connection, self.pending_conns)
            self._drop(connection)

    def _has_come(self, connection: _Connection) -> bool:
        """Take what came in the last moment; tell whether something did."""
        self._receive(connection, connection.sock)
        return bool(connection.received) or connection not in self.pending_conns

    def _drop(self, connection: _Connection) -> None:
        self.nr_conns -= 1
        connection.close()

    def handle_error(
        self, req: object, client: socket.socket, addr: Any, exc: BaseException
    ) -> None:
        """Answer what is no request, or a fault of ours."""
        del req
        no_request.refuse_for(exc, client, addr)
