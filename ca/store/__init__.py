"""The database: the ledger's rows, spent tokens, published trust.

    tables      what there is
    batch       which drafts of a batch get a place in the ledger
    tree        the tree over the leaves: what a batch takes of it, and adds
    append      one batch's transaction
    barred      who is blocked, and what is revoked: who gets nothing
    revoked     the same, as it is written and read
    bulk        what each append executes, handed to the driver as it is
    recover     lost entries taken back
    new_log     a log given up for a new one
    lost        serials whose records are lost
    locks       files that one process at a time holds
    requests    what a signed request needs: a record, and an id spent once
    change      one entry, and the rows that it is about
    hosts       the registry of hosts, and join tokens
    policies    by which policy each process decides
    pages       certificates on record, newest first, a page at a time
    engine      how the database at a URL is opened: `sqlite` or `postgresql`
    transactions  how a transaction is run, and run again
    database    `Store`: one method, one transaction

What the database itself says never crosses this package's edge: it becomes
`StoreUnavailable`.
"""

from ca.store.append import Appended
from ca.store.barred import Bearer, Target, targets_of, targets_of_key
from ca.store.batch import Draft, Entry, TokenUse
from ca.store.buckets import MINUTE, Take, limited
from ca.store.change import Write
from ca.store.database import (
    LogHead,
    PublicationMark,
    PublishedCurrent,
    Store,
    publishing,
)
from ca.store.hosts import JoinToken, Reported, StoredHost
from ca.store.lost import Forgotten
from ca.store.new_log import NewLog
from ca.store.pages import Span, StoredCertificate
from ca.store.policies import PolicyInUse
from ca.store.recover import Recovered, Recovery
from ca.store.requests import Recorded
from ca.store.revoked import Act, Block, Decide, Revocations, RevokedSerial
from ca.store.tree import Growth, Seen

__all__ = [
    "MINUTE",
    "Act",
    "Appended",
    "Bearer",
    "Block",
    "Decide",
    "Draft",
    "Entry",
    "Forgotten",
    "Growth",
    "JoinToken",
    "LogHead",
    "NewLog",
    "PolicyInUse",
    "PublicationMark",
    "PublishedCurrent",
    "Recorded",
    "Recovered",
    "Recovery",
    "Reported",
    "Revocations",
    "RevokedSerial",
    "Seen",
    "Span",
    "Store",
    "StoredCertificate",
    "StoredHost",
    "Take",
    "Target",
    "TokenUse",
    "Write",
    "limited",
    "publishing",
    "targets_of",
    "targets_of_key",
]
