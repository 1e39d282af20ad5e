"""What a run says while it goes: a live table, plain lines, or JSON.

A table is drawn only where there is a terminal; what is worth keeping are lines.
"""

import sys
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from deploy.fleet import Event
from deploy.output import Output
from deploy.waves import Outcome

_ROWS = 20
"""Of hosts that something is being done to: a screen, no more."""


class Watcher:
    """Shows events as they come."""

    def __init__(self, output: Output, count: int) -> None:
        self._output = output
        self._count = count
        self._busy: dict[str, str] = {}
        self._ended: Counter[str] = Counter()
        self._live: Live | None = None
        if not output.as_json and sys.stderr.isatty():
            self._live = Live(console=Console(stderr=True), transient=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the table away; what is worth keeping stands in lines."""
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        ended = event.what in set(Outcome)
        if self._output.as_json:
            document = {"host": event.host, "event": event.what}
            detail = {"detail": event.detail} if event.detail else {}
            self._output.result({**document, **detail}, "")
        elif ended or self._live is None:
            why = f": {event.detail}" if event.detail else ""
            self._output.note(f"{event.host}: {event.what}{why}")
        self._busy.pop(event.host, None)
        if ended:
            self._ended[event.what] += 1
        else:
            self._busy[event.host] = event.what
        if self._live is not None:
            self._live.update(self._table())

    def _table(self) -> Table:
        counts = [f"{count} {what}" for what, count in sorted(self._ended.items())]
        table = Table(title=f"{self._count} hosts: {', '.join(counts) or 'begun'}")
        table.add_column("host")
        table.add_column("done last")
        for host, what in list(self._busy.items())[-_ROWS:]:
            table.add_row(host, what)
        return table
