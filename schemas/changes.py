"""Changes as they flow from a source to its publisher, and from a topic to a sink: batches of plain tuples.

A row is a tuple in the order of its table's columns. A batch is for one table and one schema version, and the
transaction's facts stand once for a run of rows, never per row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, overload

from schemas.errors import TailraceError
from schemas.large_values import FiledMessage, LargeValue
from schemas.position import Position
from schemas.table import TableName, TableSchema
from schemas.types.logical import LogicalType

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


class WrittenForm(Protocol):
    """How rows of one table come from their source: what the compiled twin must know to write them as they are."""

    @property
    def writer(self) -> str:
        """The class that writes them, one of `schemas.twin.WRITERS`."""
        ...

    def take_out(self, message: bytes | FiledMessage, least: int) -> tuple[bytes, list[LargeValue]]:
        """Return the message with stand-ins for values of `least` bytes and more, and these; or none, where they do not
        stand in it as they are. Raises DECODE.
        """
        ...

    def kind(self, column: int) -> int | None:
        """Return how a column is read, one of `schemas.twin.kinds`; None if the twin cannot read the form."""
        ...

    def value(self, column: int) -> Callable[[bytes, int, int], Any]:
        """Return the function that reads a column's value between two offsets of a message, or raises."""
        ...

    def plan(self) -> Mapping[str, Any]:
        """Return what the class must know besides. `labels`: the texts of the columns of the kind LABEL."""
        ...


class LoggedForm(WrittenForm, Protocol):
    """How a log holds the row changes of one table, one in each message."""

    @property
    def lines(self) -> LoggedLines | None:
        """Source text that reads a message; None: only the twin and `read` do."""
        ...

    def read(self, message: bytes) -> tuple[str, Row | None, Row | None]:
        """Return a change as the lists of `RowChanges` hold it. Raises DECODE."""
        ...


class LoggedLines(Protocol):
    """Source text that reads a message's row, for encoders to compile into functions that turn a message into a record
    without a row in between.

    The lines stand in a function where the message is `m`; they may use the variables `k`, `l`, `n`, `p`, `q` and all
    names that end in a digit, and what `names` holds. Whatever they cannot read makes them raise: `LoggedForm.read` has
    it then.
    """

    @property
    def names(self) -> Mapping[str, Any]:
        """What the lines refer to."""
        ...

    @property
    def op_lines(self) -> Sequence[str]:
        """The lines that set `op` (`c`, `u` or `d`)."""
        ...

    def row_lines(self, utf8: Collection[int]) -> list[str]:
        """Read the new row of a `c` or `u` into `v0`, `v1`, …; the columns in `utf8` as UTF-8 bytes instead of str."""
        ...

    def key_lines(self, utf8: Collection[int]) -> list[str]:
        """Read the columns of the key of a `d` likewise."""
        ...

    def old_lines(self, utf8: Collection[int]) -> list[str]:
        """Read the whole old row of a `u` or `d`, if that is what the message holds."""
        ...

    def next_lines(self, utf8: Collection[int]) -> list[str]:
        """Read the new row of a `u` that follows an old one."""
        ...

    @property
    def end_lines(self) -> Sequence[str]:
        """See to it that nothing follows an old row."""
        ...

    def reads_utf8(self, column: int) -> bool:
        """Tell whether a column's text is in the log as it is in records, so that it may be in `utf8`."""
        ...


class CopiedForm(WrittenForm, Protocol):
    """How the rows of a table come that a source is asked for: what reads them, whole or by the compiled twin."""

    def read(self, packets: Sequence[bytes]) -> list[Row]:
        """Return the rows. Raises DECODE."""
        ...


class UnreadRows(Sequence[Row]):
    """Rows as a source has sent them, which are read when one is asked for. Raises DECODE then."""

    __slots__ = ("_filed", "_rows", "form", "packets")

    def __init__(self, form: CopiedForm, packets: list[bytes], filed: FiledMessage | None = None) -> None:
        """`filed` is a row that is alone, and not in memory."""
        self.form = form
        """What reads `packets`."""
        self.packets = packets
        """The rows as they came; empty once they are read: nothing is held twice."""
        self._filed = filed
        self._rows: list[Row] | None = None

    @property
    def is_read(self) -> bool:
        """Whether somebody has asked for a row, or there are no packets to be had without."""
        return self._rows is not None or self._filed is not None

    def __len__(self) -> int:
        if self._filed is not None:
            return 1
        return len(self.packets) if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        return self._read()[index]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._read())

    def cut(self, least: int) -> list[LargeValue]:
        """Take values of `least` bytes and more out of a row that is alone and unread: it has stand-ins then."""
        row = self._filed if self._filed is not None else self.packets[0] if len(self.packets) == 1 else b""
        if len(row) < least:
            return []
        packet, values = self.form.take_out(row, least)
        self.packets, self._filed = [packet], None
        return values

    def _read(self) -> list[Row]:
        if self._rows is None:
            self._rows = self.form.read(self.packets if self._filed is None else [bytes(self._filed)])
            self.packets, self._filed = [], None
        return self._rows


class StagedForm(Protocol):
    """How a sink stages the rows of one table: source text that makes bytes of a row's values, for decoders to compile
    into functions that turn a record into what the sink sends without a row in between. Equal forms make equal bytes.

    The lines stand in a function where the values are `v0`, `v1`, …, and `full` is false if any of them is None. They
    put the bytes into `line`; they may use all names that end in a digit, and what `names` holds. Values that they
    cannot write make them raise: then the sink is given the row, and refuses it.
    """

    writer: ClassVar[str]
    """The class of the compiled twin that writes such lines (`schemas.twin.WRITERS`)."""

    @property
    def names(self) -> Mapping[str, Any]:
        """What the lines refer to."""
        ...

    def lines(self, utf8: Collection[int]) -> list[str]:
        """Make `line` of the values; the texts of the columns in `utf8` are UTF-8 bytes instead of str."""
        ...

    def takes_utf8(self, column: int) -> bool:
        """Tell whether a column may be in `utf8`."""
        ...

    def plan(self, types: Sequence[LogicalType]) -> list[tuple[int, int]] | None:
        """Return each column's kind (`schemas.twin.kinds`) and the length of its field (0: any) for the compiled twin,
        or None where a line is anything but the fields of all columns in their order.
        """
        ...

    def field(self, column: int) -> Callable[[Any], bytes]:
        """Return the function that makes the field of one column's value, or raises as the lines do."""
        ...


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


APPLIED_PREFIX = "tailrace.applied"
"""Prefix of the log message that an applier begins its transactions with, where it is to keep them from coming back."""


APPLIED_TABLE = "tailrace_applied"
"""The table that an applier writes first in its transactions for the same end, where a log holds no messages."""

APPLIED_COMMENT = "/* tailrace.applied */"
"""What an applier's definitions begin with there, which are no part of any transaction."""

APPLIED_DROP_COMMENT = "/* tailrace.applied drop */"
"""The same, of a statement that changes nothing of a table which the next one drops: a server writes that anew."""

APPLIED_DDL_PREFIX = "tailrace.applied.ddl"
"""Prefix of the log message that stands before an applier's definition: a JSON document with `event` (`created`,
`altered` or `dropped`) and `table`, as the target calls it."""


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
