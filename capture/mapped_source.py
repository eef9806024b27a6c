"""A source behind table mappings: filters, and the rules that work before anything reaches Kafka (`at: capture`).

Whatever follows sees tables as they are published: `TableSchema.at_source` is what the engine knows of one. Runs of
changes that filters take out whole stay as empty ones, for positions count them. Nothing is between the log and its
reader where there is neither a filter nor a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

from capture.filters import Filters, completed
from capture.source import Capabilities, Chunk, Finding, LogReader, Snapshot, SnapshotReader, Source
from schemas.changes import UNCHANGED, Change, Row, RowChanges, SchemaChange, Truncate
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import RowFilter, row_filter
from schemas.mappings.mapped_columns import type_comes_first
from schemas.mappings.mapped_table import MappedTable, map_table
from schemas.mappings.names import concerns
from schemas.mappings.rules import MASKING, Action, TransformationRule
from schemas.mappings.segments import Partition, Segment, cut, leaves_key, rule_of
from schemas.mappings.types import means
from schemas.per_table import PerSchema
from schemas.position import Position
from schemas.settings import Settings
from schemas.table import TableName, TableSchema


class MappedSource:
    """Passes everything to the source inside, in its terms."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source = source
        self._filters = Filters(settings.filters, source.complete)
        self._is_filtered = bool(settings.filters)
        self._rules = tuple(settings.capture_transformations)
        self._map = PerSchema(partial(_mapped, self._rules))
        self._listed: dict[TableName, tuple[TableSchema, TableSchema]] = {}
        # Rules look at rows, and so at transactions, one by one: then the reader inside is not told to join any.
        joins = source.capabilities.joins and not self._is_filtered and not self._rules
        self.capabilities: Capabilities = replace(source.capabilities, joins=joins)

    def identity(self) -> dict[str, str]:
        """Name the log, as `Source.identity` says."""
        return self._source.identity()

    def findings(self, tables: Sequence[TableSchema]) -> list[Finding]:
        """Check prerequisites, as `Source.findings` says."""
        return self._source.findings(_inside(tables))

    def tables(self) -> list[TableSchema]:
        """Return the tables as they are published. Raises CONFIGURATION, with the rule's id, for one that cannot be."""
        return self._published(self._source.tables())

    def readable(self) -> list[TableSchema]:
        """Return the tables that can be read, as `tables` does."""
        return self._published(self._source.readable())

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        """Estimate rows, before filters."""
        return self._source.row_estimates(_inside(tables))

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        """Make what the log needs, as `Source.prepare` says. Raises CONFIGURATION for filters that do not fit."""
        inside = _inside(tables)
        self._filters.check(inside)
        return self._source.prepare(inside)

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        """Ask whether the log holds a position, as `Source.check_position` says."""
        self._source.check_position(stored, position)

    def find_position(self, committed_from_us: int) -> Position:
        """Find a moment in the log, as `Source.find_position` says."""
        return self._source.find_position(committed_from_us)

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """Return marks, as `Source.marks` says."""
        return self._source.marks(_inside(tables))

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        """Ask whether the log was sent without a gap, as `Source.check_published` says."""
        self._source.check_published(_inside(tables), marks)

    def open_log(self, position: Position, tables: Sequence[TableSchema]) -> LogReader:
        """Start reading. A table that other rules made begins with a new version."""
        inside = _inside(tables)
        reader = self._source.open_log(position, inside)
        remade = [
            SchemaChange(table.name, table, now, is_certain=False)
            for table, now in zip(tables, (self._map(table).table for table in inside), strict=True)
            if now.fingerprint != table.fingerprint
        ]
        if not (self._is_filtered or self._rules or remade):
            return reader
        return _MappedLog(reader, self._filters, self._map, self._source.complete, remade)

    def current_position(self) -> Position:
        """Return the log's end."""
        return self._source.current_position()

    def visible_position(self) -> Position:
        """Return a position behind all that is visible now."""
        return self._source.visible_position()

    def has_table(self, name: TableName) -> bool:
        """Tell whether a table exists now."""
        return self._source.has_table(name)

    def retained_bytes(self) -> int | None:
        """Return how much log is kept, as `Source.retained_bytes` says."""
        return self._source.retained_bytes()

    def log_left_bytes(self) -> int | None:
        """Return how much more is kept, as `Source.log_left_bytes` says."""
        return self._source.log_left_bytes()

    def complete(self, changes: RowChanges) -> None:
        """Complete new rows, as `Source.complete` says. Rows that rules have made are complete where they must be."""
        inside = changes.table.source_form
        if inside is changes.table:
            self._source.complete(changes)
        elif self._map(inside).rows is None:
            # They are the source's, under other names: its own lists are completed in place.
            self._source.complete(RowChanges(inside, changes.txn, changes.ops, changes.before, changes.after))

    def untold(self) -> Collection[TableName]:
        """Return the tables that are to be loaded again, as `Source.untold` says."""
        # A plug-in may be older than this method.
        return self._source.untold() if hasattr(self._source, "untold") else ()

    def unseen(self, table: TableSchema) -> Collection[int]:
        """Return transactions that snapshots must see, as `Source.unseen` says."""
        return self._source.unseen(table.source_form) if hasattr(self._source, "unseen") else ()

    def format_position(self, position: Position) -> str:
        """Print a position."""
        return self._source.format_position(position)

    def parse_position(self, text: str) -> Position:
        """Read a position."""
        return self._source.parse_position(text)

    def grants(self, tables: Sequence[TableSchema]) -> str:
        """Return the statements that give the role what it needs."""
        return self._source.grants(_inside(tables))

    def ddl_trigger(self) -> str:
        """Return SQL, as `Source.ddl_trigger` says."""
        return self._source.ddl_trigger()

    def destroy(self) -> list[str]:
        """Remove what `prepare` made."""
        return self._source.destroy()

    def close(self) -> None:
        """Close all connections."""
        self._source.close()

    def _published(self, tables: Sequence[TableSchema]) -> list[TableSchema]:
        """Map what the catalogue lists, again and again, and each time in objects of its own."""
        if not self._rules:
            return list(tables)
        before, self._listed = self._listed, {}
        for table in tables:
            known = before.get(table.name)
            if known is None or known[0] != table:
                known = table, _mapped(self._rules, table).table
            self._listed[table.name] = known
        return [published for _, published in self._listed.values()]


class MappedReader:
    """A snapshot reader behind the same rules."""

    def __init__(self, reader: SnapshotReader, settings: Settings) -> None:
        self._reader = reader
        self._filters = settings.filters
        self._cuts = settings.load_rules
        self._rules = tuple(settings.capture_transformations)
        self._last: tuple[TableSchema, RowFilter | None, MappedTable] | None = None

    def plan(self, table: TableSchema, chunk_rows: int, segments: Sequence[Segment] = ()) -> list[Chunk]:
        """Cut a table by its key at the source, and before that as a rule says, unless certain `segments` are asked
        for.
        """
        segments = segments or self.segments(table)
        return self._reader.plan(table.source_form, chunk_rows, *([segments] if segments else []))

    def segments(self, table: TableSchema) -> list[Segment]:
        """Return the parts that a rule cuts a table into; none: it is cut by its key alone.

        Raises CONFIGURATION, with the rule's id, for a rule that does not fit the table.
        """
        inside = table.source_form
        rule = rule_of(self._cuts, inside)
        if rule is None:
            return []
        if inside is not table and leaves_key(rule, inside):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"rule {rule.rule_id}: {table.name}: ranges over columns outside the key do not go with rules that "
                "work `at: capture`",
                remedy="cut the table by columns of its key, or let those rules work at the targets",
                table=str(table.name),
            )
        return cut(rule, inside, lambda: self._reader.partitions(inside))

    def refusals(self, table: TableSchema) -> list[str]:
        """Return what keeps partitions that a rule cuts a table into from being read: what to do, in SQL."""
        inside = table.source_form
        rule = rule_of(self._cuts, inside)
        if rule is None:
            return []
        present = self._reader.partitions(inside)
        chosen = cut(rule, inside, lambda: [p._replace(refusal="") for p in present])
        wanted = {segment.identity for segment in chosen if segment.partition}
        return [p.refusal for p in present if p.refusal and p.identity in wanted]

    def partitions(self, table: TableSchema) -> list[Partition]:
        """Return the partitions of a table at the source."""
        return self._reader.partitions(table.source_form)

    def read(
        self, table: TableSchema, chunk: Chunk, batch_rows: int, where: RowFilter | None = None
    ) -> Iterator[Sequence[Row]]:
        """Read a chunk: the rows that the filters take (`where` is theirs alone), as they are published."""
        assert where is None
        inside = table.source_form
        if self._last is None or self._last[0] != inside:
            # Chunks of a table come one after the other, each with an object of its own.
            self._last = inside, row_filter(self._filters, inside), _mapped(self._rules, inside)
        _, where, mapped = self._last
        for rows in self._reader.read(inside, chunk, batch_rows, *([where] if where else [])):
            if where is not None:
                rows = list(filter(where.matches, rows))
            # Rows that stay as they are may be unread.
            yield rows if mapped.rows is None else _made(mapped, mapped.rows, rows)

    def look(self) -> Snapshot:
        """Take a snapshot of now."""
        return self._reader.look()

    def hold(self, tables: Sequence[TableSchema], chunk_rows: int) -> list[int]:
        """Take one snapshot for those tables that no rule cuts."""
        inside = [table.source_form for table in tables]
        if not hasattr(self._reader, "hold"):
            # Of a plug-in that is older than this method.
            return []
        uncut = [place for place, table in enumerate(inside) if rule_of(self._cuts, table) is None]
        return [uncut[place] for place in self._reader.hold([inside[place] for place in uncut], chunk_rows)]

    def release(self) -> None:
        """Give up the snapshot that is held."""
        if hasattr(self._reader, "release"):
            self._reader.release()

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the read under way or just ended."""
        return self._reader.snapshot()

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()


class _MappedLog:
    def __init__(
        self,
        reader: LogReader,
        filters: Filters,
        mapped: Callable[[TableSchema], MappedTable],
        complete: Callable[[RowChanges], None],
        first: Sequence[Change],
    ) -> None:
        """`first` is what is to be known before anything that is read."""
        self.joins = False
        self._reader = reader
        self._filters = filters
        self._map = mapped
        self._complete = complete
        self._first = list(first)

    def poll(self, timeout_s: float) -> Sequence[Change]:
        first, self._first = self._first, []
        return [*first, *map(self._seen, self._reader.poll(0 if first else timeout_s))]

    def acknowledge(self, position: Position) -> None:
        self._reader.acknowledge(position)

    def close(self) -> None:
        self._reader.close()

    def _seen(self, change: Change) -> Change:
        if isinstance(change, RowChanges):
            return self._rows(self._filters.kept(change))
        if isinstance(change, Truncate):
            return Truncate([self._map(table).table for table in change.tables], change.txn)
        if isinstance(change, SchemaChange):
            before, after = ((None if t is None else self._map(t).table) for t in (change.before, change.after))
            return replace(change, before=before, after=after)
        return change

    def _rows(self, changes: RowChanges) -> RowChanges:
        mapped = self._map(changes.table)
        if mapped.rows is None:
            # They stay as they are, of a table in which columns may have other names.
            changes.table = mapped.table
            return changes
        afters = completed(changes, partial(_is_due, mapped), self._complete)
        befores = _made(mapped, mapped.old_rows, changes.before)
        made = RowChanges(mapped.table, changes.txn, changes.ops, befores, _made_new(mapped, afters))
        made.left_out = changes.left_out
        return made


def _mapped(rules: Sequence[TransformationRule], table: TableSchema) -> MappedTable:
    """Return the table as it is published, and the functions that make its rows so."""
    mapped = map_table(rules, table)
    if mapped.rows is None and mapped.table == table:
        return mapped
    here = [rule for rule in rules if concerns(rule, table.name)]
    changing = MASKING | {Action.CHANGE_DATA_TYPE}
    keying = [
        rule
        for rule in here
        if rule.rule_action in changing and any(means(rule, table, table.columns[i]) for i in table.key)
    ]
    made_by, key_made_by = _digest(here, table), _digest(keying, table)
    made = replace(mapped.table, at_source=table, made_by=made_by, key_made_by=key_made_by)
    return replace(mapped, table=made)


def _digest(rules: Sequence[TransformationRule], table: TableSchema) -> str:
    """Return what tells rules for a table from others; empty for none. Whatever its id, a rule makes the same rows, but
    where ids say that it comes before another.
    """

    def said(rule: TransformationRule) -> str:
        return rule.model_dump_json(exclude={"rule_id", "rule_name"})

    found = sorted(map(said, rules))
    retypes = [rule for rule in rules if rule.rule_action is Action.CHANGE_DATA_TYPE]
    found += sorted(
        said(retype) + said(mask)
        for mask, retype in product(rules, retypes)
        if mask.rule_action in MASKING and type_comes_first(mask, retype)
        if any(means(mask, table, column) and means(retype, table, column) for column in table.columns)
    )
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:32] if found else ""


def _inside(tables: Sequence[TableSchema]) -> list[TableSchema]:
    return [table.source_form for table in tables]


def _is_due(mapped: MappedTable, before: Row | None, after: Row) -> bool:
    """Tell whether a new row that lacks values must have them: its key has changed, or an expression reads them."""
    return before is not None or any(after[place] is UNCHANGED for place in mapped.read)


def _made_new(mapped: MappedTable, rows: Sequence[Row | None]) -> list[Any]:
    """Return new rows as rules have them; one that is gone, and lacks what is read, like an old one."""

    def lacks(row: Row | None) -> bool:
        return row is not None and any(row[place] is UNCHANGED for place in mapped.read)

    if not any(map(lacks, rows)):
        return _made(mapped, mapped.rows, rows)
    return [_made(mapped, mapped.old_rows if lacks(row) else mapped.rows, [row])[0] for row in rows]


def _made(mapped: MappedTable, make: Any, rows: Sequence[Row | None]) -> list[Any]:
    """Return rows as rules have them; None stays. Raises ROW_REJECTED for a value that cannot become what it should."""
    if make is None:
        return list(rows)
    try:
        made = iter(make([row for row in rows if row is not None]))
    except ValueError as error:
        raise TailraceError(
            ErrorKind.ROW_REJECTED,
            f"a row cannot be published as the table mappings say: {error}",
            remedy="mend the row, or let the rule work at the targets (without `at: capture`), where it parks its key",
            table=str(mapped.table.name),
        ) from None
    return [None if row is None else next(made) for row in rows]
