"""Each write of the ledger fails, stored or not: no fork, nothing lost or twice.

After Sunlight's table of faults. Whoever is answered keeps the proof; in the end every
proof must hold in one tree. The half that most tests leave out is the write that failed
*but was stored*. `tests/interop/test_crash.py` does the same with kill -9.
"""

import contextlib

import pytest
import sqlalchemy as sa

from ca import merkle
from ca.errors import Conflict, LedgerStopped, StoreUnavailable
from ca.leaf import Leaf, render_leaf
from ca.ledger import EntryKind, HighWater, Ledger, Proved
from ca.ledger.entry import Place
from ca.ledger.recovery import Copy, recover
from ca.store import Forgotten, NewLog, Store, TokenUse
from tests.ledgers import (
    NOW,
    ORIGIN,
    append,
    check,
    checkpoint_signer,
    open_ledger,
    seen_in,
)

STATEMENTS = (
    "UPDATE ledger_head",
    "INSERT INTO entries",
    "INSERT INTO tree_nodes",
    "INSERT INTO token_uses",
)
COMMIT, HIGH_WATER = "COMMIT", "the high-water file"
EARLY = (*STATEMENTS, COMMIT)
LATE = (COMMIT, HIGH_WATER)


class Fault:
    """Lets one write fail once."""

    def __init__(self, write: str, *, stored: bool) -> None:
        self._write = write
        self._stored = stored
        self.is_armed = False

    def strike(self, write: str, *, stored: bool) -> None:
        """Fail here if this is the write, before or after it is stored."""
        if self.is_armed and write.startswith(self._write) and stored is self._stored:
            self.is_armed = False
            raise OSError("a fault")

    def strike_database(self, write: str, *, stored: bool) -> None:
        """Fail as a database does that goes on."""
        try:
            self.strike(write, stored=stored)
        except OSError as error:
            raise self._refusal("a fault") from error

    def install(self, engine: sa.Engine) -> None:
        """Stand between the store and its database."""
        dialect = engine.dialect
        self._refusal = dialect.loaded_dbapi.OperationalError

        def faulty(act, name_of):
            def do(*args):
                self.strike_database(name_of(*args), stored=False)
                act(*args)
                self.strike_database(name_of(*args), stored=True)

            return do

        def statement_of(_cursor, statement, *_rest):
            return statement

        # Here all that the store writes comes by.
        dialect.do_execute = faulty(dialect.do_execute, statement_of)  # type: ignore[method-assign] # nothing else sees it
        dialect.do_commit = faulty(dialect.do_commit, lambda _: COMMIT)  # type: ignore[method-assign]


class FaultyHighWater(HighWater):
    """The real file, whose sync may fail."""

    fault: Fault

    def raise_to(self, seen):
        try:
            self.fault.strike(HIGH_WATER, stored=False)
            super().raise_to(seen)
            self.fault.strike(HIGH_WATER, stored=True)
        except OSError as error:
            raise StoreUnavailable("a fault") from error


class House:
    """A ledger that can be shut and opened again."""

    def __init__(self, database, folder, fault: Fault) -> None:
        self._database = database
        self._file = folder / "high-water"
        self._fault = fault
        self.proofs: list[Proved] = []
        """What people were answered."""

    @contextlib.contextmanager
    def opened(self):
        store = Store.open(
            self._database.url, password_file=self._database.password_file
        )
        store.open_log(origin=ORIGIN, serial_base=0)
        self._fault.install(store._database.engine)  # noqa: SLF001 (nothing else sees inside)
        if not self._file.exists():
            open_ledger(store, self._file)
        signer = checkpoint_signer()
        high_water = FaultyHighWater(self._file, recognise=signer.recognise)
        high_water.fault = self._fault
        ledger = Ledger(store, signer=signer, high_water=high_water)
        ledger.open()
        try:
            yield ledger
        finally:
            store.close()

    def ask(self, ledger, token):
        """Ask as a laptop does: with a token, and with the newest checkpoint."""
        use = TokenUse(token.ljust(32), b"r" * 32, 1 << 40, 1, issued=1)
        seen = seen_in(self.proofs[-1].signed) if self.proofs else None
        proved = append(ledger, spends=use, seen=seen)
        self.proofs.append(proved)
        return proved


@pytest.mark.parametrize("stored", [False, True], ids=["not stored", "stored"])
@pytest.mark.parametrize("write", [*EARLY, HIGH_WATER])
@pytest.mark.parametrize("restarts", [False, True], ids=["goes on", "restarts"])
def test_a_write_that_fails_loses_nothing_and_doubles_nothing(
    database, tmp_path, write, stored, restarts
):
    fault = Fault(write, stored=stored)
    house = House(database, tmp_path, fault)
    is_committed = write == HIGH_WATER or (write == COMMIT and stored)
    with house.opened() as ledger:
        house.ask(ledger, b"ada")
        house.ask(ledger, b"ben")
        fault.is_armed = True

        with pytest.raises(StoreUnavailable):
            house.ask(ledger, b"cleo")

        assert not fault.is_armed
        assert ledger._store.log_head().tree.size == 2 + is_committed  # noqa: SLF001
        if not restarts:
            finish(house, ledger)
    if restarts:
        with house.opened() as ledger:
            finish(house, ledger)


def finish(house, ledger):
    """Go on after the fault; then everything that anybody holds must be in one tree."""
    house.ask(ledger, b"dora")
    again = house.ask(ledger, b"cleo")
    newest = seen_in(house.ask(ledger, b"eve").signed)
    store = ledger._store  # noqa: SLF001

    assert newest.size == 5
    assert ledger.problems() == []
    assert {proved.entry.serial for proved in house.proofs} == {1, 2, 3, 4, 5}
    assert again.entry.serial in {3, 4}
    for proved in house.proofs:
        old = check(proved, ledger.signer.key)
        plan = merkle.plan_consistency(old.size, newest.size)
        merkle.verify_consistency(
            old.size, old.root, newest.size, newest.root, store.hashes(plan)
        )
        assert store.entries(proved.entry.index, 1) == [proved.entry]


# --- A recovery -----------------------------------------------------------------------


@pytest.mark.parametrize("stored", [False, True], ids=["not stored", "stored"])
@pytest.mark.parametrize(
    "write", [*STATEMENTS[:3], "INSERT INTO l", COMMIT, HIGH_WATER]
)
def test_a_recovery_that_fails_is_done_again(database, tmp_path, write, stored):
    fault = Fault(write, stored=stored)
    house = House(database, tmp_path, fault)
    hashed = "00" * 32
    lost = render_leaf(Leaf("user-certificate", 5, 3, hashed, hashed))
    with house.opened() as ledger:
        leaves = [*(append(ledger).entry.leaf for _ in range(2)), lost]
        tree, _ = merkle.CompactTree().extend(map(merkle.leaf_hash, leaves))
        known = seen_in(ledger.signer.sign(tree))
        with pytest.raises(LedgerStopped):
            append(ledger, seen=known)
        store = ledger._store  # noqa: SLF001 (nothing else sees inside)
        fault.is_armed = True

        with pytest.raises(StoreUnavailable):
            recover(ledger, store, Copy(leaves), now=NOW)

        assert not fault.is_armed
    with house.opened() as ledger:
        store = ledger._store  # noqa: SLF001
        recover(ledger, store, Copy(leaves), now=NOW)
        proved = append(ledger, seen=known)

        assert (proved.entry.serial, check(proved, ledger.signer.key).size) == (5, 5)
        assert store.revocations().lost == ((3, 3),)
        assert ledger.problems() == []


# --- A new log ------------------------------------------------------------------------

BASE = 1 << 33
NEW_LOG = NewLog(
    origin="ca.example.com/log/2",
    serial_base=BASE,
    closed=ORIGIN,
    size=2,
    forgotten=Forgotten(((3, BASE),)),
    build=Place(EntryKind.ADMINISTRATION, 1, b"{}", None),
    now=2,
)


@pytest.mark.parametrize("stored", [False, True], ids=["not stored", "stored"])
@pytest.mark.parametrize(
    "write", [*STATEMENTS[:3], "DELETE FROM lost_serials", "INSERT INTO lost", COMMIT]
)
def test_a_new_log_that_fails_to_begin_is_begun_again(
    database, tmp_path, write, stored
):
    fault = Fault(write, stored=stored)
    house = House(database, tmp_path, fault)
    with house.opened() as ledger:
        kept = [append(ledger).entry for _ in range(2)]
        stop(ledger)
    store = Store.open(database.url, password_file=database.password_file)
    fault.install(store._database.engine)  # noqa: SLF001 (nothing else sees inside)
    fault.is_armed = True

    with pytest.raises(StoreUnavailable):
        store.begin_log(NEW_LOG)

    assert not fault.is_armed
    mark = store.revocation_mark()
    if write == COMMIT and stored:
        with pytest.raises(Conflict, match="holds 1 entries of the log"):
            store.begin_log(NEW_LOG)
    else:
        assert store.log_head().stopped is not None
        assert store.log_head().origin == ORIGIN
        store.begin_log(NEW_LOG)
        # What remembers who is barred looks again: serials were revoked.
        assert store.revocation_mark() != mark
    store.open_log(origin=NEW_LOG.origin, serial_base=BASE)
    (entry,) = store.entries(0, 9)
    assert (entry.index, store.log_head().tree.size) == (BASE, 1)
    assert store.log_head().next_index == BASE + 1
    assert [store.entry_by_serial(serial) for serial in (1, 2)] == kept
    assert database.ask('SELECT "first", "last" FROM lost_serials') == [
        ("3", str(BASE))
    ]
    store.close()


def stop(ledger):
    """Show the ledger a checkpoint that it does not contain."""
    tree, _ = merkle.CompactTree().extend([b"x" * 32] * 5)
    with pytest.raises(LedgerStopped):
        append(ledger, seen=seen_in(ledger.signer.sign(tree)))
