"""Changes as they flow from a source to its publisher, and from a topic to a sink: batches of plain tuples.

A row is a tuple in the order of its table's columns. A batch is for one table and one schema version, and the
transaction's facts stand once for a run of rows, never per row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from schemas.errors import TailraceError
from schemas.large_values import FiledMessage
from schemas.position import Position
from schemas.table import TableName, TableSchema

if TYPE_CHECKING:
    from schemas.row_forms import LoggedForm

Row = tuple[Any, ...]
"""Canonical values in column order; `UNCHANGED` where the log did not hold the value."""


class Unchanged:
    """The type of `UNCHANGED`: a value that the log did not hold, since the change left it as it was."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNCHANGED"

    def __reduce__(self) -> str:
        return "UNCHANGED"


UNCHANGED = Unchanged()


@dataclass(slots=True)
class Transaction:
    """The facts of one source transaction."""

    id: str
    """As the source prints it (PostgreSQL: the xid)."""
    xid: int
    """The number that snapshots decide visibility by; 0 where the engine has none."""
    commit: int
    """The `commit` of the transaction's position."""
    commit_ts_us: int
    """Commit time, microseconds since the epoch, by the source's clock."""


class RowChanges:
    """A run of row changes of one table, in one transaction: three parallel lists.

    A log may leave them unread: then `messages` holds them for `form`, and the lists are made when one is asked for.
    """

    __slots__ = ("_after", "_before", "_ops", "filed", "form", "left_out", "messages", "table", "txn")

    def __init__(
        self,
        table: TableSchema,
        txn: Transaction,
        ops: list[str] | None = None,
        before: list[Row | None] | None = None,
        after: list[Row | None] | None = None,
    ) -> None:
        self.table = table
        self.txn = txn
        self._ops: list[str] = [] if ops is None else ops
        self._before: list[Row | None] = [] if before is None else before
        self._after: list[Row | None] = [] if after is None else after
        self.form: LoggedForm | None = None
        """What reads `messages`."""
        self.messages: list[bytes] = []
        """The changes as the log holds them; empty once they are read."""
        self.filed: FiledMessage | None = None
        """One change that is alone, as the log holds it, and not in memory; None once it is read."""
        self.left_out = 0
        """Changes that the log has in the run beside these, and that filters have taken out."""

    @property
    def count(self) -> int:
        """How many changes these are."""
        return len(self.messages) or len(self._ops) or int(self.filed is not None)

    @property
    def ops(self) -> list[str]:
        """`c`, `u` or `d`."""
        self.read()
        return self._ops

    @property
    def before(self) -> list[Row | None]:
        """The old row of an update or delete as far as the log has it: None, the key columns with UNCHANGED elsewhere,
        or the whole row (`full_before`). An update has an old row only if its key changed or the log keeps whole rows.
        """
        self.read()
        return self._before

    @property
    def after(self) -> list[Row | None]:
        """The new row; None for a delete."""
        self.read()
        return self._after

    def unread(self, messages: list[bytes]) -> RowChanges:
        """Return a run of the same transaction with other messages, which are unread, too."""
        run = RowChanges(self.table, self.txn)
        run.form, run.messages = self.form, messages
        return run

    def add(self, op: str, before: Row | None, after: Row | None) -> None:
        """Append a change to a run whose changes are read."""
        self._ops.append(op)
        self._before.append(before)
        self._after.append(after)

    def read(self) -> None:
        """Make the lists, unless they are made. Raises DECODE."""
        if self.messages or self.filed is not None:
            assert self.form is not None
            try:
                messages = self.messages if self.filed is None else [bytes(self.filed)]
                changes = [self.form.read(message) for message in messages]
            except TailraceError as error:
                self.place(error)
                raise
            self._ops, self._before, self._after = map(list, zip(*changes, strict=True))
            self.messages, self.filed = [], None

    def place(self, error: TailraceError) -> None:
        """Let an error that a change raised say whose it is."""
        error.table = error.table or str(self.table.name)
        error.position = error.position or f"transaction {self.txn.id}"

    def drop(self, count: int) -> None:
        """Leave the first changes out."""
        if self.messages:
            del self.messages[:count]
        elif self.filed is not None:
            self.filed = None if count else self.filed
        else:
            for changes in (self._ops, self._before, self._after):
                del changes[:count]

    def join(self, other: RowChanges) -> bool:
        """Append the changes of another run of the same table and transaction; tell whether that was possible: both
        must be read, or both unread in the same form.
        """
        if self.filed is not None or other.filed is not None:
            return False
        if self.messages and other.messages and self.form is other.form:
            self.messages += other.messages
        elif not self.messages and not other.messages:
            self._ops += other._ops
            self._before += other._before
            self._after += other._after
        else:
            return False
        return True


@dataclass(slots=True)
class Truncate:
    """One or more tables were emptied by one statement."""

    tables: list[TableSchema]
    txn: Transaction


@dataclass(slots=True)
class SchemaChange:
    """The log goes on with a new version of a table, or without it (`after` is None)."""

    name: TableName
    before: TableSchema | None
    after: TableSchema | None
    is_certain: bool = True
    """False where it cannot be told which columns of the two versions are the same ones."""
    is_applied: bool = False
    """Whether an applier has done it, after the side that the targets are on: they have it already. With both versions,
    whichever they are: so is what comes next of the table."""
    is_rewritten: bool = False  # With both versions the same: rows have changed that the log does not name.


@dataclass(slots=True)
class LogMessage:
    """A message that somebody wrote into the source's log by hand."""

    prefix: str
    content: bytes
    txn: Transaction | None


@dataclass(slots=True)
class Begin:
    """A transaction's changes follow."""

    txn: Transaction


@dataclass(slots=True)
class Commit:
    """A transaction's changes are complete; `position` is the one after it."""

    txn: Transaction
    position: Position


@dataclass(slots=True)
class Heartbeat:
    """The log is read up to `position`, and no transaction is open."""

    position: Position


class SmallTransactions:
    """Whole transactions that follow each other, each of one unread row of the same table: one object for all of them,
    since what is done for a transaction costs several times what is done for its row.
    """

    __slots__ = ("facts", "form", "messages", "table")

    def __init__(self, table: TableSchema, form: LoggedForm) -> None:
        self.table = table
        self.form = form
        """What reads `messages`."""
        self.messages: list[bytes] = []
        """The row of each, as the log holds it."""
        self.facts: list[tuple[int, int, int, int]] = []
        """Of each `commit`, `commit_ts_us` and `xid`, as `Transaction` has them, and the `commit` of the position
        after it."""

    def transaction(self, index: int) -> Transaction:
        """Return one of the transactions."""
        commit, commit_ts_us, xid, _ = self.facts[index]
        return Transaction(str(xid), xid, commit, commit_ts_us)

    def apart(self) -> Iterator[Begin | RowChanges | Commit]:
        """Yield what a log yields of them one by one."""
        for index, message in enumerate(self.messages):
            txn = self.transaction(index)
            run = RowChanges(self.table, txn)
            run.form, run.messages = self.form, [message]
            yield Begin(txn)
            yield run
            yield Commit(txn, Position(self.facts[index][3]))


Change = RowChanges | Truncate | SchemaChange | LogMessage | Begin | Commit | Heartbeat | SmallTransactions
"""What a log reader yields, in log order."""
