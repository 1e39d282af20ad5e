"""A process's share of the connections that stay, so that none does all the work.

Whoever keeps a connection gets what is asked on it next. So the processes of a signer
tell each other how many connections they have, and one that has more than its share
sends some away, which come back to whichever process is free.
"""

import math

from signer.counters import Counters

CONNECTIONS = "connections"
"""The counters' column for it."""


class Share:
    """What one process has, beside the others."""

    def __init__(self, counters: Counters, *, processes: int) -> None:
        self._counters = counters
        self._processes = processes
        self._has_more = False
        self._sent_away = False

    def compare(self, connections: int) -> None:
        """Tell the others how many this process has, and look how many they have."""
        self._counters.latest(CONNECTIONS, connections)
        every = sum(self._counters.values(CONNECTIONS))
        self._has_more = connections > math.ceil(every / self._processes)

    def sends_away(self) -> bool:
        """Tell whether a connection is one too many: at most one until the next look.

        All at once, most would be sent away in vain.
        """
        sends = self._has_more
        self._has_more = False
        self._sent_away |= sends
        return sends

    def leaves_next(self) -> bool:
        """Tell whether to leave the next connection to others: once for one sent away.

        It comes back at once, and to who sent it: that process is reading just then.
        """
        leaves = self._sent_away
        self._sent_away = False
        return leaves
