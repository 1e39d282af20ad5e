"""The database: the ledger's rows, spent tokens, published trust.

    tables      what there is
    batch       which drafts of a batch get a place in the ledger
    requests    what a signed request needs: a record, and an id spent once
    pages       certificates on record, newest first, a page at a time
    engine      how the database at a URL is opened: `sqlite` or `postgresql`
    transactions  how a transaction is run, and run again
    database    `Store`: one method, one transaction

What the database itself says never crosses this package's edge: it becomes
`StoreUnavailable`.
"""

from ca.store.batch import Draft, Entry, TokenUse
from ca.store.buckets import MINUTE, Take, limited
from ca.store.database import PublishedCurrent, Store
from ca.store.pages import Span, StoredCertificate
from ca.store.requests import Recorded

__all__ = [
    "MINUTE",
    "Draft",
    "Entry",
    "PublishedCurrent",
    "Recorded",
    "Span",
    "Store",
    "StoredCertificate",
    "Take",
    "TokenUse",
    "limited",
]
