"""Events that hold rows, and the table maps before them: images, compression, and which table it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from capture.sources.mysql import binlog
from capture.sources.mysql.compression import mariadb_unpacked
from capture.sources.mysql.images import ImageForm, Images
from capture.sources.mysql.packets import Packet, length_at
from capture.sources.mysql.refusals import UNREADABLE, unreadable
from capture.sources.mysql.statements import Statement
from capture.sources.mysql.versions import Resolved, Versions
from schemas.changes import UNCHANGED, Row, RowChanges, SchemaChange, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import PIECE_BYTES
from schemas.loopback import APPLIED_TABLE
from schemas.table import TableSchema

_BODY = 1 + binlog.HEADER_BYTES

OPS = {
    binlog.WRITE_ROWS_1: "c",
    binlog.UPDATE_ROWS_1: "u",
    binlog.DELETE_ROWS_1: "d",
    binlog.WRITE_ROWS: "c",
    binlog.UPDATE_ROWS: "u",
    binlog.DELETE_ROWS: "d",
    binlog.PARTIAL_UPDATE_ROWS: "u",
    binlog.WRITE_ROWS_COMPRESSED: "c",
    binlog.UPDATE_ROWS_COMPRESSED: "u",
    binlog.DELETE_ROWS_COMPRESSED: "d",
}
_COMPRESSED = frozenset({binlog.WRITE_ROWS_COMPRESSED, binlog.UPDATE_ROWS_COMPRESSED, binlog.DELETE_ROWS_COMPRESSED})
_SECOND_FORM = frozenset({binlog.WRITE_ROWS, binlog.UPDATE_ROWS, binlog.DELETE_ROWS, binlog.PARTIAL_UPDATE_ROWS})


_NOT_WANTED = Resolved(None)


class Maps:
    """The table maps that are in force in a log."""

    def __init__(self, versions: Versions, *, is_mariadb: bool, skips_applied: bool = False) -> None:
        """`skips_applied`: what an applier's transactions hold behind their mark is of no table that is wanted."""
        self._skips_applied = skips_applied
        self._is_applied = False
        self._marks: set[bytes] = set()
        """The table that marks such transactions, as in `_known`."""
        self._versions = versions
        self._is_mariadb = is_mariadb
        self._known: dict[bytes, Resolved] = {}
        """By the map event's body but for the map's number: a server that opens a table again gives it another one."""
        self._current: dict[bytes, Resolved] = {}
        """By the map's number, of this transaction: each statement has its maps before its rows."""

    def begin(self) -> None:
        """Begin a transaction."""
        self._is_applied = False
        self._current.clear()

    def read(self, body: bytes) -> list[SchemaChange]:
        """Go on with a map event's body; return what is to be announced before its rows. Raises SOURCE_SCHEMA."""
        number, shown = body[:6], body[6:]
        resolved = self._known.get(shown)
        changes: list[SchemaChange] = []
        if resolved is None:
            found = binlog.parse_table_map(body, 0, is_mariadb=self._is_mariadb)
            resolved, changes = self._versions.resolve(found)
            self._known[shown] = resolved
            if self._skips_applied and found.table == APPLIED_TABLE:
                self._marks.add(shown)
        if shown in self._marks:
            self._is_applied = True
        self._current[number] = resolved
        return changes

    def find(self, number: bytes) -> Resolved:
        """Return the table of rows. Raises ValueError for those that have no map."""
        resolved = self._current.get(number)
        if resolved is None:
            raise ValueError("rows without their table's map")
        return _NOT_WANTED if self._is_applied else resolved

    def leaves_out(self, statement: Statement) -> bool:
        """Tell whether a truncate is an applier's, and so left out as the rows of its transactions are."""
        return self._skips_applied and statement.is_applied

    def forget(self, changes: list[SchemaChange]) -> None:
        """Tables were announced: readers of other maps of theirs stand for the version before."""
        names = {change.name for change in changes}
        self._known = {
            shown: resolved
            for shown, resolved in self._known.items()
            if resolved.table is None or resolved.table.name not in names or resolved.table is changes[-1].after
        }

    def clear(self) -> None:
        """A statement may have changed a table: look again."""
        self._known.clear()
        self._marks.clear()


def read_rows(
    resolved: Resolved,
    table: TableSchema,
    kind: int,
    m: Packet,
    end: int,
    txn: Transaction,
    directory: str | None = None,
) -> Sequence[RowChanges]:
    """Return the changes in an event of a table that is wanted; unread, if the compiled twin can have them so.

    Where that takes more memory than such changes should, large ones stay unread in files in `directory`, each by
    itself; but those that the source must complete, inserts and changes of keys whose images lack columns, are read.
    Errors have the table's name.
    """
    try:
        at = _BODY + 8
        if kind in _SECOND_FORM:
            at += int.from_bytes(m[at : at + 2], "little")
        width, at = length_at(m, at)
        size = (width + 7) // 8
        first = m[at : at + size]
        at += size
        op = OPS[kind]
        old, new = (b"", first) if op == "c" else (first, b"")
        if op == "u":
            new = m[at : at + size]
            at += size
        if kind in _COMPRESSED:
            m, at = mariadb_unpacked(m, at, end, directory), 0
            end = len(m)
        form, is_partial = resolved.form, kind == binlog.PARTIAL_UPDATE_ROWS
        if not is_partial and all(form.is_whole(image) for image in (old, new) if image):
            if not isinstance(m, bytes):
                return _unread(table, txn, form, form.cut_large(op, m, at, end))
            if form.is_for_twin:
                changes = RowChanges(table, txn)
                changes.form, changes.messages = form, form.cut(op, m, at, end)
                return (changes,)
        elif not isinstance(m, bytes) and op != "c" and table.key:
            form = resolved.part_form(Images(old, new, is_partial))
            return _partly_unread(table, txn, form, form.cut_large(op, m, at, end))
        before, after = resolved.rows(old, new, is_partial=is_partial)(bytes(m), at, end)
        return (RowChanges(table, txn, [op] * len(before), before, after),)
    except UNREADABLE as error:
        raise unreadable(error, table=str(table.name)) from error
    except TailraceError as error:
        error.table = error.table or str(table.name)
        raise


def _unread(table: TableSchema, txn: Transaction, form: ImageForm, messages: Iterable[Packet]) -> list[RowChanges]:
    """Return runs of changes: small ones together, of which an event may have very many, and each large one alone."""
    runs: list[RowChanges] = []
    for message in messages:
        is_large = not isinstance(message, bytes)
        if not runs or is_large or runs[-1].filed is not None:
            runs.append(RowChanges(table, txn))
            runs[-1].form = form
        if isinstance(message, bytes):
            runs[-1].messages.append(message)
        else:
            runs[-1].filed = message
    return runs


def _partly_unread(
    table: TableSchema, txn: Transaction, form: ImageForm, messages: Iterable[Packet]
) -> list[RowChanges]:
    """Return runs of changes whose images lack columns: each large one unread and alone, unless its key changes."""
    runs: list[RowChanges] = []
    for message in messages:
        filed = None if isinstance(message, bytes) else message
        change = form.read(bytes(message) if filed is None else form.take_out(filed, PIECE_BYTES)[0])
        if filed is not None and change[0] == "u" and _moves(table, *change[1:]):
            change, filed = form.read(bytes(filed)), None
        if not runs or filed is not None or runs[-1].filed is not None:
            runs.append(RowChanges(table, txn))
        if filed is None:
            runs[-1].add(*change)
        else:
            runs[-1].form, runs[-1].filed = form, filed
    return runs


def _moves(table: TableSchema, before: Row | None, after: Row | None) -> bool:
    """Tell whether an update changes the key."""
    return before is not None and after is not None and any(before[i] != after[i] for i in table.key)


def make_whole(changes: RowChanges, complete: Callable[[RowChanges], None]) -> None:
    """See to it that the changes of an event have the rows that they must have; inserts are completed by the source.

    Raises PREREQUISITE where a row without a key cannot be told.
    """
    if changes.messages or changes.filed is not None:
        return
    is_insert = changes.ops[0] == "c"
    rows = changes.after if is_insert else () if changes.table.key else changes.before
    if not any(UNCHANGED in row for row in rows if row is not None):
        return
    if is_insert:
        complete(changes)
    else:
        raise TailraceError(
            ErrorKind.PREREQUISITE,
            "the log does not have the whole old row of a table without a key",
            remedy="set global binlog_row_image = 'FULL', or give the table a key",
            table=str(changes.table.name),
        )
