"""The tables. Times are integer Unix seconds; a serial is a decimal string.

Changing one means a migration in `ca/store/migrations` and a new `SCHEMA`.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    inspect,
    select,
    text,
)

SCHEMA = "0010"
"""The revision this code reads and writes; the store refuses any other."""

metadata = MetaData()

alembic_version = Table(
    "alembic_version", MetaData(), Column("version_num", String(32), primary_key=True)
)
"""Alembic's own; read here so that a signer need not import Alembic to check it."""

ledger_head = Table(
    "ledger_head",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("serial_base", BigInteger, nullable=False),
    Column("origin", Text),
    Column("stopped", Text),
    Column("tokens_from", BigInteger),
    Column("revocation_mark", BigInteger),
)
"""One row, id 1. Whoever writes to the ledger holds its lock first.

`origin` is the log's, null until a signer has opened it; `stopped` says why no signer
may issue, null where all may. ID tokens from before `tokens_from`, when lost entries
were last recovered, buy nothing; null if that never was. `revocation_mark` is another
after each revocation and block; null before the first.
"""

entries = Table(
    "entries",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("kind", String(32), nullable=False),
    Column("serial", String(20), unique=True),
    Column("leaf", LargeBinary, nullable=False),
    Column("record", LargeBinary),
    Column("to_be_signed", LargeBinary),
)
"""The ledger. `record` and `to_be_signed` may be erased once they are not needed.

`index` is that in the log plus the log's `serial_base`, so that a log that was closed
stays beside the one that followed, and its serials are found.
"""

_OF_HOSTS = text("kind = 'host-certificate'")

entries_of_hosts = Index(
    "entries_of_hosts",
    entries.c.index,
    sqlite_where=_OF_HOSTS,
    postgresql_where=_OF_HOSTS,
)
"""Finds the few that last for months among the many that last for a day."""

tree_nodes = Table(
    "tree_nodes",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)
"""The complete nodes of the tree over the leaves (`ca.merkle`); none ever changes.

`position` is that in the log's tree plus its `serial_base >> level`.
"""

token_uses = Table(
    "token_uses",
    metadata,
    Column("expires", BigInteger, primary_key=True, autoincrement=False),
    Column("token_sha256", LargeBinary(32), primary_key=True),
    Column("use", Integer, primary_key=True, autoincrement=False),
    Column("request_sha256", LargeBinary(32), nullable=False),
    Column("entry_index", BigInteger, ForeignKey("entries.index"), nullable=False),
    sqlite_with_rowid=False,
)
"""Which token bought which entry. The token itself is stored nowhere.

By when they end first, which a token says of itself: so those of one hour stand side by
side, and a batch writes a few pages for all of its tokens, not one for each.
"""

lost_serials = Table(
    "lost_serials",
    metadata,
    Column("first", String(20), primary_key=True),
    Column("last", String(20), nullable=False),
    Column("entry_index", BigInteger, nullable=False),
)
"""Runs of serials, both ends in, that were given, or may have been, and whose records
are lost: nobody knows who has them, so they are revoked for good."""

revoked_serials = Table(
    "revoked_serials",
    metadata,
    Column("serial", String(20), primary_key=True),
    Column("ca_key", LargeBinary, nullable=False),
    Column("ends", BigInteger, nullable=False),
    Column("entry_index", BigInteger, ForeignKey("entries.index"), nullable=False),
)
"""Revoked certificates. `ends` is their `valid_before`."""

revoked_ca_keys = Table(
    "revoked_ca_keys",
    metadata,
    Column("ca_key", LargeBinary, primary_key=True),
    Column("entry_index", BigInteger, ForeignKey("entries.index"), nullable=False),
    Column("time", BigInteger, nullable=False),
)
"""Revoked CA keys, for ever."""

blocks = Table(
    "blocks",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("issuer", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("entry_index", BigInteger, ForeignKey("entries.index"), nullable=False),
    Column("lifted_index", BigInteger, ForeignKey("entries.index")),
)
"""Who gets nothing, or which key, until `lifted_index` is set (`ca.store.barred`)."""

spent_requests = Table(
    "spent_requests",
    metadata,
    Column("id", LargeBinary(16), primary_key=True),
    Column("time", BigInteger, nullable=False, index=True),
)
"""Ids of signed requests, each spent once; forgotten when nobody could take the request
any more."""

rate_buckets = Table(
    "rate_buckets",
    metadata,
    Column("subject", LargeBinary(32), primary_key=True),
    Column("full_at", BigInteger, nullable=False),
)
"""How often somebody asks. `full_at` is in microseconds; a bucket without a row is
full."""

hosts = Table(
    "hosts",
    metadata,
    Column("id", String(63), primary_key=True),
    Column("names", Text, nullable=False),
    Column("pulls", Boolean, nullable=False),
    Column("registered", BigInteger, nullable=False),
    Column("entry_index", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
    Column("forgotten", BigInteger),
    Column("roots_version", BigInteger, nullable=False),
    Column("current_version", BigInteger, nullable=False),
    Column("alarm", Text),
)
"""The registry. `names` is a JSON list; `entry_index` is where the registration is on
record, with who did it; `seen` is when the host last proved itself; the versions are
those that it last reported, 0 before; `alarm` is what was wrong with its last report.
"""

host_keys = Table(
    "host_keys",
    metadata,
    Column("key_sha256", LargeBinary(32), primary_key=True),
    Column("host", String(63), ForeignKey("hosts.id"), nullable=False, index=True),
    Column("blob", LargeBinary, nullable=False),
)
"""The keys of the hosts that are not forgotten; each is one host's."""

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("token_sha256", LargeBinary(32), primary_key=True),
    Column("host", String(63)),
    Column("names", Text, nullable=False),
    Column("expires", BigInteger, nullable=False),
    Column("spent_by", String(63)),
)
"""What registers one host each, and for which id and names; null for any id. The token
itself is stored nowhere."""

policies_in_use = Table(
    "policies_in_use",
    metadata,
    Column("process", LargeBinary(16), primary_key=True),
    Column("policy_sha256", String(64), nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("seen", BigInteger, nullable=False),
)
"""By which policy each process decides (`ca.store.policies`)."""

trust_blobs = Table(
    "trust_blobs",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""The immutable parts of the trust bundle."""

trust_current = Table(
    "trust_current",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("published", BigInteger, nullable=False),
    Column("roots_sha256", String(64), nullable=False),
    Column("document", LargeBinary, nullable=False),
)
"""Each published *current*; the one of the highest version holds."""


def schema_of(connection: Connection) -> str:
    """Return the revision of a database, `none` for one that has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return "none"
    return connection.scalar(select(alembic_version)) or "none"
