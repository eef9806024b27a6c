"""Which version of a table the log goes on with: table maps compared with the versions in force and the catalogue.

A map with full metadata is the authority: names, types, charsets and values are those of the rows that follow. One
without is taken as the version in force, else as the catalogue has it now, if that looks the same column by column.
Where neither does, nothing tells what its rows hold: they are left out, and the table begins anew with what the
catalogue has, whose load sees all of them. Where nothing is loaded, or such rows come behind the place where the log
ended then, reading stops. No value goes out under a wrong name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

from capture.source import RELOAD
from capture.sources.mysql import binlog
from capture.sources.mysql.binlog import TableMap, real_type
from capture.sources.mysql.catalog import ENGINE, Catalog, is_hash, layout, with_nulls
from capture.sources.mysql.images import ImageForm, Images, image_form
from capture.sources.mysql.natives import UTF8, Native, matches, of_log, parse_native
from capture.sources.mysql.rows import Image, MappedReader, Rows, compile_rows
from capture.sources.mysql.statements import Effect, Statement
from capture.sources.mysql.types import compressed, logical_type, reader
from runtime.logging import get_logger
from schemas.changes import SchemaChange, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.selection import Selection
from schemas.table import Column, GeneratedColumn, TableName, TableSchema

log = get_logger(__name__)

_FULL = "set global binlog_row_metadata = 'FULL'"
_ROW = "set global binlog_format = 'ROW', and end the sessions that keep another one"
_SEQUENCE = (
    *("next_not_cached_value", "minimum_value", "maximum_value", "start_value"),
    *("increment", "cache_size", "cycle_option", "cycle_count"),
)
"""The columns of a sequence of MariaDB, which is logged as a table is."""
_OF_VERSIONS = (("row_start", False), ("row_end", False))
_VERSION_TYPES = frozenset({binlog.TIMESTAMP, binlog.TIMESTAMP2, binlog.LONGLONG})
"""Of these columns: moments, or numbers of transactions."""


class LeftOut(NamedTuple):
    """A table whose rows nobody can read, and where the log ended when the catalogue had other columns than they."""

    name: TableName
    end: int

    def check(self, commit: int) -> None:
        """Raise SOURCE_SCHEMA for a row behind that place: no statement has led to other columns, and no load sees it.

        The catalogue shows the user some columns only, for one.
        """
        if commit > self.end:
            raise _untold(self.name)


@dataclass(slots=True)
class Resolved:
    """A table of the log as rows are read from it. `table` is None where its rows are not wanted."""

    table: TableSchema | None
    columns: tuple[MappedReader, ...] = ()
    readers: dict[tuple[bytes, bytes, bool], Rows] = field(default_factory=dict)
    """By the bitmaps of the images, and by whether JSON values may stand there in part."""
    form: ImageForm = field(init=False)
    """How rows that have all columns can be left unread."""
    part_forms: dict[Images, ImageForm] = field(default_factory=dict)
    """How others can."""
    left_out: LeftOut | None = None
    """Set where they are wanted, and cannot be read."""

    def __post_init__(self) -> None:
        key = self.table.key if self.table is not None else ()
        self.form = image_form(self.columns, self.rows, key)

    def rows(self, before: bytes, after: bytes, *, is_partial: bool = False) -> Rows:
        """Return the reader of a row event with these bitmaps; an empty one stands for an image that is not there."""
        found = self.readers.get((before, after, is_partial))
        if found is None:
            assert self.table is not None
            table = self.table
            found = self.readers[before, after, is_partial] = compile_rows(
                self.columns,
                len(table.columns),
                table.key,
                _image(before, len(self.columns)),
                _image(after, len(self.columns)),
                whole_before=table.full_before,
                is_partial=is_partial,
            )[0]
        return found

    def part_form(self, images: Images) -> ImageForm:
        """Return how large rows with such images can be left unread."""
        found = self.part_forms.get(images)
        if found is None:
            assert self.table is not None
            rows = partial(self.rows, is_partial=images.is_partial)
            found = self.part_forms[images] = ImageForm(self.columns, rows, None, self.table.key, images)
        return found


class Versions:
    """The table versions in force, by name."""

    def __init__(
        self,
        catalog: Catalog,
        selection: Selection,
        tables: Sequence[TableSchema],
        zero_dates: str,
        *,
        folds_names: bool,
        loads: bool = True,
        source_end: Callable[[], int] = lambda: 0,
        visible_end: Callable[[Transaction], int] = lambda txn: txn.commit,
    ) -> None:
        """`loads`: whether a table that begins anew is loaded. `source_end` returns where the source's log ends;
        `visible_end` waits until a transaction can be seen, and returns up to where all can be.
        """
        self._catalog = catalog
        self._selection = selection
        self._folds_names = folds_names
        self._tables = {table.name: table for table in tables}
        self._zero_dates = zero_dates
        self._loads = loads
        self._source_end = source_end
        self._visible_end = visible_end
        self._rewritten: dict[TableName, int] = {}
        """Up to where the load sees everything that rows without names have led to."""
        self._left_out: dict[TableName, LeftOut | None] = {}
        """Tables that have begun anew for rows that nothing tells the columns of, until a statement concerns them."""
        self._is_of_map = False
        """Whether the version that was made last is a map's, and not the catalogue's."""
        self._leaving: set[TableName] = set()
        """Tables that an applier is about to drop."""
        self._stale: set[TableName] = set()
        """Tables that a statement may have changed since: without full metadata only the catalogue can tell."""

    def charset(self, collation: int) -> str:
        """Return the charset of a collation; UTF-8 where the server does not list it."""
        return self._catalog.charsets.by_collation.get(collation, UTF8)

    def concerned(self, statement: Statement) -> list[TableName]:
        """Return the selected tables that a statement names, as the log's maps spell them."""
        if statement.databases:
            databases = {self._folded(name) for name in statement.databases}
            return [name for name in self._tables if self._folded(name.schema) in databases]
        known = {self._folded(str(name)): name for name in self._tables}
        found: dict[TableName, None] = {}
        for name in statement.names:
            same = known.get(self._folded(str(name)))
            if same is None and self._folds_names:
                name = TableName(name.schema.lower(), name.table.lower())
            if same is not None or self._selection.takes(name):
                found[same or name] = None
        return list(found)

    def in_force(self, names: Iterable[TableName]) -> list[TableSchema]:
        """Return the versions in force of those tables that have one."""
        return [table for table in map(self._tables.get, names) if table is not None]

    def follow(self, effect: Effect, name: TableName, *, is_applied: bool) -> list[SchemaChange]:
        """Return what to announce of a table that a statement concerns, which may be an applier's (`is_applied`)."""
        # Rows behind it may be behind the load, too, that those before it have led to.
        self._left_out.pop(name, None)
        if effect is Effect.TRUNCATE:
            return []
        if effect is Effect.LEAVE and is_applied:
            # At once: the statement that drops it does not say whose it is.
            self._leaving.add(name)
            return self._forget(name, is_applied=True)
        if effect is Effect.DROP:
            is_applied = name in self._leaving
            self._leaving.discard(name)
            # If it has come again the log has yet to say so, and who has made it.
            return self._forget(name, is_applied=is_applied)
        if effect is Effect.FILL:
            come = self._appeared(name, is_applied=is_applied)
            if come and not self._loads:
                raise _unnamed(name)
            return come
        if effect in (Effect.REPLACE, Effect.CREATE) or (effect is Effect.TIGHTEN and self._is_tightened(name)):
            gone = self._forget(name, is_applied=is_applied) if effect is not Effect.CREATE else []
            return [*gone, *self._appeared(name, is_applied=is_applied)]
        self._stale.add(name)
        current = self._tables.get(name) if is_applied else None
        return [SchemaChange(name, current, current, is_applied=True)] if current is not None else []

    def _is_tightened(self, name: TableName) -> bool:
        """Tell whether a column of a table had nulls in the version in force, and may have none now."""
        before, now = self._tables.get(name), self._catalog.find_table(name)
        loose = {column.name for column in before.columns if column.nullable} if before is not None else set()
        return now is not None and any(column.name in loose and not column.nullable for column in now.columns)

    def wait_for(self, txn: Transaction) -> None:
        """Wait until what a transaction has done can be seen in the catalogue, and by loads."""
        self._visible_end(txn)

    def rewritten(self, effect: Effect, names: Iterable[TableName], txn: Transaction) -> list[SchemaChange]:
        """Return what to announce of tables of which a transaction writes rows that the log does not name, or which it
        may have emptied: they are loaded anew, and the loads see what is there. Raises PREREQUISITE of rows where
        nothing is loaded.
        """
        changes: list[SchemaChange] = []
        for name in names:
            table = self._tables.get(name)
            if table is None or txn.commit <= self._rewritten.get(name, -1):
                continue
            if not self._loads and effect is Effect.WRITE:
                raise _unnamed(name)
            if name not in self._rewritten:
                said = "a statement wrote rows that are not in the log, or took some away: the table is loaded again"
                log.warning(said, table=str(name), remedy=_ROW)
            self._rewritten[name] = self._visible_end(txn)
            changes.append(SchemaChange(name, table, table, is_rewritten=True))
        return changes

    def _forget(self, name: TableName, *, is_applied: bool) -> list[SchemaChange]:
        """A table goes, or goes on with other rows: return the change that says that it is gone, if it was there."""
        before = self._tables.pop(name, None)
        return [SchemaChange(name, before, None, is_applied=is_applied)] if before is not None else []

    def _appeared(self, name: TableName, *, is_applied: bool) -> list[SchemaChange]:
        """A table may be new: return the change that says so, if the catalogue has it and it is wanted."""
        is_new = name not in self._tables and self._selection.takes(name)
        now = self._catalog.find_table(name) if is_new else None
        if now is None:
            return []
        self._tables[name] = now
        return [SchemaChange(name, None, now, is_applied=is_applied)]

    def _folded(self, text: str) -> str:
        return text.lower() if self._folds_names else text

    def resolve(self, shown: TableMap) -> tuple[Resolved, list[SchemaChange]]:
        """Return how rows behind a map are read, and what to announce before them. Raises SOURCE_SCHEMA."""
        name = TableName(shown.database, shown.table)
        if not self._selection.takes(name) or tuple(column.name for column in shown.columns) == _SEQUENCE:
            return Resolved(None), []
        before = self._tables.get(name)
        if before is None or name in self._stale or not self._fits(shown, before):
            found = self._version(name, shown, before)
            if found is None:
                changes = self._leave_out(name)
                return Resolved(None, left_out=self._left_out[name]), changes
            table = found
            self._stale.discard(name)
        else:
            table = before
        self._left_out.pop(name, None)
        if before is not None and (table is before or table.fingerprint == before.fingerprint):
            return Resolved(before, self._readers(shown, before)), []
        self._tables[name] = table
        # A map says nothing of what rows that are there got when a column was added.
        is_certain = before is None or not self._is_of_map or set(table.column_names) <= set(before.column_names)
        return Resolved(table, self._readers(shown, table)), [SchemaChange(name, before, table, is_certain=is_certain)]

    def _leave_out(self, name: TableName) -> list[SchemaChange]:
        """Return what to announce in the place of rows that cannot be read: once, for as many as follow each other.

        The catalogue has other columns: so all of them stand before a statement that is in the log by now, and whatever
        load begins now sees them.
        """
        if name in self._left_out:
            return []
        changes = [*self._forget(name, is_applied=False), *self._appeared(name, is_applied=False)]
        is_there = any(change.after is not None for change in changes)
        self._left_out[name] = LeftOut(name, self._source_end()) if is_there else None
        if is_there:
            said = "rows left out whose columns nothing tells: the table is loaded again"
            log.warning(said, table=str(name), remedy=_FULL)
        return changes

    def _version(self, name: TableName, shown: TableMap, before: TableSchema | None) -> TableSchema | None:
        """Return the version whose rows follow a map; None where nothing tells, and a load will see them."""
        now = self._catalog.find_table(name)
        self._is_of_map = False
        if now is not None and self._fits(shown, now):
            return now
        if now is None and (self._catalog.is_versioned(name) or (before is None and self._catalog.is_partial(name))):
            # No load will, either: from here on it is not captured.
            return None
        if shown.is_full and not _keeps_history(shown):
            self._is_of_map = True
            return self._described_by(name, shown, before or now)
        if before is not None and self._fits(shown, before):
            return before
        if self._loads or (before is None and (_keeps_history(shown) or name in self._catalog.names())):
            # What is there and no table is a sequence.
            return None
        raise _untold(name)

    def _fits(self, shown: TableMap, table: TableSchema) -> bool:
        """Tell whether a map's columns are those of a version."""
        columns = layout(table)
        if len(columns) != len(shown.columns):
            return False
        charsets = self._catalog.charsets
        for column, (name, native, _) in zip(shown.columns, columns, strict=True):
            if column.name is not None and column.name != name:
                return False
            known = parse_native(native)
            if not matches(self._native(table.name, column, known), known, is_full=shown.is_full):
                return False
        if shown.is_full and shown.primary_key and table.primary_key:
            return [columns[i][0] for i in shown.primary_key] == list(table.key_names)
        return bool(charsets.widths)

    def _native(self, name: TableName, column: binlog.MappedColumn, known: Native | None) -> Native:
        try:
            return of_log(column, self._catalog.charsets, known)
        except (ValueError, KeyError) as error:
            raise TailraceError(
                ErrorKind.SOURCE_SCHEMA, f"column {column.name or '?'}: {error}", table=str(name)
            ) from error

    def _described_by(self, name: TableName, shown: TableMap, base: TableSchema | None) -> TableSchema:
        """Return the version that a full map describes; what it does not say is taken from `base`, by name.

        Virtual columns cannot be told from others in a map: those that `base` knows as such stay so.
        """
        known = {column.name: column for column in base.columns} if base is not None else {}
        virtual = {g.name: g for g in base.generated} if base is not None else {}
        hashes = (c.name for c in shown.columns if c.name is not None and c.name not in known and is_hash(c.name))
        virtual |= {name: GeneratedColumn(name, "bigint unsigned", "", 0) for name in hashes}
        columns: list[Column] = []
        generated = []
        places: dict[int, int] = {}
        for i, column in enumerate(shown.columns):
            text = column.name or ""
            native = self._native(name, column, None)
            if text in virtual:
                computed = virtual[text]
                same = matches(native, parse_native(computed.native), is_full=True)
                # Where it stands is the map's to say, too: other columns may have come before it.
                generated.append(replace(computed, position=i, native=computed.native if same else native.text()))
                continue
            earlier = known.get(text)
            if earlier is not None and matches(native, parse_native(earlier.native), is_full=True):
                kept = earlier
            else:
                try:
                    kept = Column(text, logical_type(native), native.text(), column.nullable)
                except ValueError as error:
                    raise TailraceError(ErrorKind.SOURCE_SCHEMA, f"column {text}: {error}", table=str(name)) from error
            places[i] = len(columns)
            columns.append(kept)
        key = tuple(places[i] for i in shown.primary_key if i in places)
        is_primary = True
        if not key and base is not None and not base.primary_key:
            at = {column.name: i for i, column in enumerate(columns)}
            if all(part in at for part in base.key_names):
                key, is_primary = tuple(at[part] for part in base.key_names), False
        table = TableSchema(
            name,
            tuple(columns),
            key,
            primary_key=is_primary,
            full_before=self._catalog.keeps_old(name, key),
            generated=tuple(generated),
            comment=base.comment if base is not None else None,
            engine=ENGINE,
        )
        return with_nulls(table, self._zero_dates)

    def _readers(self, shown: TableMap, table: TableSchema) -> tuple[MappedReader, ...]:
        found = []
        for column, (_, native, place) in zip(shown.columns, layout(table), strict=True):
            read = reader(native, self._zero_dates)
            prefix = read.prefix
            kind, meta = real_type(column.type, column.meta)
            if kind in (binlog.VARCHAR, binlog.VAR_STRING, binlog.STRING, binlog.VARCHAR_COMPRESSED):
                prefix = 1 if meta < 256 else 2
            elif kind in (binlog.BLOB, binlog.GEOMETRY, binlog.JSON, binlog.VECTOR, binlog.BLOB_COMPRESSED):
                prefix = meta
            if kind in (binlog.VARCHAR_COMPRESSED, binlog.BLOB_COMPRESSED):
                read = compressed(read, meta if kind == binlog.VARCHAR_COMPRESSED else 256**meta - 1)
            found.append(MappedReader(read, place, prefix))
        return tuple(found)


def _keeps_history(shown: TableMap) -> bool:
    """Tell whether a map with names is that of a system-versioned table: its last two columns are MariaDB's own, and a
    primary key has the last one, too. (Those that a statement has declared are like others.)
    """
    last = shown.columns[-2:]
    is_named = tuple((column.name, column.nullable) for column in last) == _OF_VERSIONS
    is_typed = {column.type for column in last} <= _VERSION_TYPES
    return is_named and is_typed and (not shown.primary_key or len(shown.columns) - 1 in shown.primary_key)


def _image(bitmap: bytes, count: int) -> Image | None:
    if not bitmap:
        return None
    bits = int.from_bytes(bitmap, "little")
    return Image(frozenset(i for i in range(count) if bits >> i & 1))


def _untold(name: TableName) -> TailraceError:
    return TailraceError(
        ErrorKind.SOURCE_SCHEMA,
        "the log's rows have other columns than the table had before and has now, and the log has no names",
        remedy=f"{_FULL}, so that the log describes its rows; then reset the replication, or leave the table out",
        table=str(name),
    )


def _unnamed(name: TableName) -> TailraceError:
    return TailraceError(
        ErrorKind.PREREQUISITE,
        "the log holds a statement that writes rows of the table, and not the rows",
        remedy=f"{_ROW}; then {RELOAD}",
        table=str(name),
    )
