"""The bytes of rows, as sources send and as sinks take them: what must be known to go from one to the other without
a Python object for each value.

A source describes how its log holds changes (`LoggedForm`) and how it answers a query (`CopiedForm`), a sink what it
stages (`StagedForm`). Codecs compile these descriptions into functions of one table, or give them to the compiled twin.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Protocol, overload

from schemas.changes import Row
from schemas.large_values import FiledMessage, LargeValue
from schemas.types.logical import LogicalType


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
