"""The database: the ledger's rows, spent tokens, published trust.

    tables      what there is
    batch       which drafts of a batch get a place in the ledger
    engine      how a connection is opened and a transaction begun
    database    `Store`: one method, one transaction

What the database itself says never crosses this package's edge: it becomes
`StoreUnavailable`.
"""

from ca.store.batch import Draft, Entry, TokenUse
from ca.store.database import PublishedCurrent, Store

__all__ = ["Draft", "Entry", "PublishedCurrent", "Store", "TokenUse"]
