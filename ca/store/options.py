"""What a transaction tells the engine that begins it, as execution options.

SQLite needs to know whether it will write, PostgreSQL when it must have ended.
"""

UNTIL = "daypass_until"
"""When to give the transaction up: a time of `time.monotonic`."""

WRITES = "daypass_writes"
"""Whether the transaction will write."""
