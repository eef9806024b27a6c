"""A sink behind table mappings: tables and rows reach it as the rules would have them.

Whatever the service asks by a table of the source is asked of the sink by the table at the target. A table that no rule
touches passes as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import cast

from apply.schema_catalog import Known
from apply.sharing import Sharing
from apply.sink import (
    Arrival,
    Arriving,
    Capabilities,
    ClearingSink,
    FindingSink,
    GroupingSink,
    Origin,
    Rejection,
    Sink,
    StagingSink,
    TableBatch,
    TopicPartition,
)
from apply.values import Values
from runtime.logging import get_logger
from schemas.changes import UNCHANGED, Row, StagedForm
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity
from schemas.mappings.expressions import Headers
from schemas.mappings.keys import Claims
from schemas.mappings.mapped_table import Change, MappedTable, Rows, map_table
from schemas.mappings.rules import TransformationRule
from schemas.per_table import PerSchema
from schemas.table import TableName, TableSchema
from schemas.types.calendar import zoned_text

log = get_logger(__name__)


class MappedSink:
    """Passes everything to the sink inside, in the target's terms."""

    def __init__(
        self,
        sink: Sink,
        rules: Sequence[TransformationRule],
        values: Values | None = None,
        tables: Callable[[], Iterable[Known]] = list,
    ) -> None:
        """`values` does what is to be done to rows before any rule sees them. `tables` returns what is known of the
        source's.
        """
        self._sink = sink
        self._values = values
        self._keeps_history = sink.capabilities.history
        self._map = PerSchema(partial(map_table, tuple(rules), keeps_history=self._keeps_history))
        self._sharing = Sharing(self._map, tables)
        # Rules and settings look at values.
        self.capabilities: Capabilities = replace(sink.capabilities, shares=True, streams=False)
        if any(rule.speaks_of_changes for rule in rules):
            self.capabilities = replace(self.capabilities, origins=True)

    def load_offsets(self, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Claim partitions, as `Sink.load_offsets` says."""
        return self._sink.load_offsets(partitions)

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions, as `Sink.release` says."""
        self._sink.release(partitions)

    def prepare(self, table: TableSchema) -> None:
        """Make or alter the table at the target. Raises TARGET_SCHEMA, too, if another one goes there that may not."""
        into = self._claimed(table)
        with self._said_of_source(table):
            self._sink.prepare(into)

    def prepare_all(self, tables: Sequence[TableSchema]) -> list[bool]:
        """Make or alter tables, and tell whether they are empty, as `GroupingSink.prepare_all` says."""
        into = [self._claimed(table) for table in tables]
        if len({table.name for table in into}) < len(into):
            # Several go into one.
            for table in tables:
                self.prepare(table)
            return [self.is_empty(table) for table in tables]
        with self._said_of_source(*tables):
            return cast("GroupingSink", self._sink).prepare_all(into)

    def _claimed(self, table: TableSchema) -> TableSchema:
        """Return a table as the target is to have it. Raises TARGET_SCHEMA if another one goes there that may not."""
        mapped = self._map(table)
        into = self._sharing.claim(table, agree=self._clears(table))
        if into.life > 1 and self._sharing.is_shared(table):
            raise self._shared(table, into.name, "it was made anew, or is keyed anew")
        if mapped.left_out:
            log.warning("left out by the table mappings", table=str(into.name), what=list(mapped.left_out))
        return into

    def is_empty(self, table: TableSchema) -> bool:
        """Tell whether the target's table has no row."""
        with self._said_of_source(table):
            return self._sink.is_empty(self._map(table).table)

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Write a batch. Rows with a value that cannot become what it should are rejected like those of the sink."""
        mapped = self._map(batch.table)
        if self._values is not None:
            batch = self._values.batch(batch)
        if mapped.rows is None:
            with self._said_of_source(batch.table):
                return self._sink.apply(replace(batch, table=mapped.table))
        refused: list[Rejection] = []
        places: dict[str, list[int] | None] = {}
        rows: dict[str, Sequence[Row]] = {}
        for kind, change in (("upserts", mapped.rows), ("updates", mapped.rows), ("deletes", mapped.keys)):
            beside = _changes(batch, kind) if mapped.needs_changes and kind != "deletes" else ()
            rows[kind], places[kind] = self._changed(kind, batch, change, beside, refused)
        sequence, places["sequence"] = self._sequence(batch, mapped, refused)
        origins = {kind: _kept(given, places[kind]) for kind, given in batch.origins.items()}
        upserts, updates, deletes = rows["upserts"], rows["updates"], rows["deletes"]
        made = TableBatch(mapped.table, upserts, updates, deletes, sequence, batch.fresh, origins)
        if mapped.indicators and not self._keeps_history:
            made = flag(made, mapped)
        folded = None
        if mapped.gains_key and not self._keeps_history:
            made, folded = fold(made)
        with self._said_of_source(batch.table):
            rejections = self._sink.apply(made)
        for rejection in rejections:
            kind, index = rejection.kind, rejection.index
            if folded is not None:
                kind, index = "sequence", folded[kind][index]
            elif kind == "updates" and index >= len(updates):
                kind, index = "deletes", index - len(updates)
            kept = places[kind]
            refused.append(replace(rejection, kind=kind, index=index if kept is None else kept[index]))
        return refused

    def present(self, table: TableSchema, keys: Sequence[Row]) -> list[bool | None]:
        """Tell of keys whether the target has their rows, as `FindingSink.present` says."""
        mapped, batch = self._map(table), TableBatch(table, deletes=keys)
        if self._values is not None:
            batch = self._values.batch(batch)
        made, kept = self._changed("deletes", batch, mapped.keys, (), [])
        with self._said_of_source(table):
            found = cast("FindingSink", self._sink).present(mapped.table, made)
        answers: list[bool | None] = [None] * len(keys)
        for place, is_there in zip(range(len(keys)) if kept is None else kept, found, strict=True):
            # What is there may be a row that was deleted and stays: an insert brings it back.
            answers[place] = None if is_there and mapped.indicators else is_there
        return answers

    def staged_form(self, table: TableSchema) -> StagedForm | None:
        """Return the form of a table whose rows no rule touches, as `StagingSink.staged_form` says."""
        mapped = self._map(table)
        if mapped.rows is not None or (self._values is not None and self._values.touches(table)):
            return None
        return cast("StagingSink", self._sink).staged_form(mapped.table)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables, all at once; of one that goes into a table with others take out its own rows.

        Raises TARGET_SCHEMA where these cannot be told by a statement.
        """
        whole = [table for table in tables if not self._clears(table)]
        for table in whole:
            if self._sharing.is_shared(table):
                raise self._shared(table, self._map(table).table.name, "it was emptied")
        with self._said_of_source(*tables):
            if whole:
                self._sink.truncate([self._map(table).table for table in whole])
            for table in tables:
                if self._clears(table):
                    cast("ClearingSink", self._sink).clear(self._map(table).table, self._sharing.part(table))

    def drop(self, table: TableSchema) -> None:
        """Drop a table that the source dropped, unless others are in it too."""
        if not self._sharing.is_shared(table):
            with self._said_of_source(table):
                self._sink.drop(self._map(table).table)
        self._sharing.release(table)

    def complete_load(self, table: TableSchema) -> None:
        """Make the secondary indexes and foreign keys that the rules leave."""
        with self._said_of_source(table):
            self._sink.complete_load(self._map(table).table)

    def complete_all(self, tables: Sequence[TableSchema]) -> None:
        """Do so for tables, one by one where several are one at the target."""
        into = [self._map(table).table for table in tables]
        if len({table.name for table in into}) < len(into):
            for table in tables:
                self.complete_load(table)
            return
        with self._said_of_source(*tables):
            cast("GroupingSink", self._sink).complete_all(into)

    def arrive(self, barrier: str, partition: TopicPartition, partition_count: int) -> Arrival:
        """Record that a partition stands at a barrier, as `Sink.arrive` says."""
        return self._sink.arrive(barrier, partition, partition_count)

    def arrive_all(self, arrivals: Sequence[Arriving]) -> list[Arrival]:
        """Record arrivals, as `GroupingSink.arrive_all` says."""
        return cast("GroupingSink", self._sink).arrive_all(arrivals)

    def pass_barrier(self, barrier: str) -> bool:
        """Mark a barrier as passed, as `Sink.pass_barrier` says."""
        return self._sink.pass_barrier(barrier)

    def pass_all(self, barriers: Collection[str]) -> set[str]:
        """Mark barriers as passed, as `GroupingSink.pass_all` says."""
        return cast("GroupingSink", self._sink).pass_all(barriers)

    def defer(self) -> None:
        """Let constraints wait, as `Sink.defer` says."""
        self._sink.defer()

    def check(self) -> TailraceError | None:
        """Ask deferred constraints, as `Sink.check` says."""
        return self._sink.check()

    def stage_offsets(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Write offsets within the open transaction."""
        self._sink.stage_offsets(offsets)

    def flush(self) -> None:
        """Make everything durable."""
        self._sink.flush()

    def rollback(self) -> None:
        """Undo everything since the last flush."""
        self._sink.rollback()

    def forget(self) -> list[str]:
        """Remove what the target keeps about the replication."""
        return self._sink.forget()

    def close(self) -> None:
        """Close the connection."""
        self._sink.close()

    def stays(self, table: TableSchema, *, is_gone: bool) -> bool:
        """Tell whether a table's rows are left, as `SharingSink.stays` says: those of one that is gone stay."""
        return self._sharing.is_shared(table) and (is_gone or not self._clears(table))

    def _clears(self, table: TableSchema) -> bool:
        """Tell whether a table's rows can be taken out of the target's table, and all others stay."""
        return self._sink.capabilities.clears and bool(self._sharing.part(table))

    @contextmanager
    def _said_of_source(self, *tables: TableSchema) -> Iterator[None]:
        """Let errors name the table of the source: by that the service knows whom they concern."""
        try:
            yield
        except TailraceError as error:
            for table in tables:
                if error.table == str(self._map(table).table.name):
                    error.table = str(table.name)
                    break
            raise

    def _shared(self, table: TableSchema, name: TableName, what: str) -> TailraceError:
        return TailraceError(
            ErrorKind.TARGET_SCHEMA,
            f"{what}, and the target's table {name} has rows of others",
            table=str(table.name),
            remedy="give it a name of its own in the mappings, start the applier again, and reload the table",
        )

    def _changed(
        self, kind: str, batch: TableBatch, change: Rows | None, beside: Sequence[Change], refused: list[Rejection]
    ) -> tuple[Sequence[Row], list[int] | None]:
        """Return the rows as they should be, and which ones they were; None: all, in order."""
        rows: Sequence[Row] = getattr(batch, kind)
        table = batch.table.name
        if change is None or not rows:
            return rows, None
        try:
            return change(rows, beside), None
        except ValueError:
            pass
        made, kept = [], []
        for index, row in enumerate(rows):
            try:
                made += change([row], beside[index : index + 1])
                kept.append(index)
            except ValueError as error:
                refused.append(Rejection(table, kind, index, _rejected(error, table)))
        return made, kept

    def _sequence(
        self, batch: TableBatch, mapped: MappedTable, refused: list[Rejection]
    ) -> tuple[list[tuple[str, Row | None, Row | None]], list[int] | None]:
        made, kept = [], []
        change, change_old = mapped.rows, mapped.old_rows
        assert change is not None
        assert change_old is not None
        changes = _changes(batch, "sequence") if mapped.needs_changes else None
        for index, (op, before, after) in enumerate(batch.sequence):
            beside = changes[index : index + 1] if changes is not None else ()
            try:
                # An old row has no older one.
                old = None if before is None else change_old([before], [c._replace(before=None) for c in beside])[0]
                new = None if after is None else change([after], beside)[0]
            except ValueError as error:
                refused.append(Rejection(batch.table.name, "sequence", index, _rejected(error, batch.table.name)))
                continue
            made.append((op, old, new))
            kept.append(index)
        return made, kept


def fold(batch: TableBatch) -> tuple[TableBatch, dict[str, list[int]]]:
    """Return the net changes of a sequence by the key that its table has, and from where in it each item comes.

    Of rows with equal keys the last one counts: who gave the table its key says that there are none.
    """
    key = batch.table.key
    last: dict[Row, tuple[Row | None, int]] = {}
    for index, (_, before, after) in enumerate(batch.sequence):
        if before is not None:
            last[tuple([before[i] for i in key])] = (None, index)
        if after is not None:
            # A large value that did not change stands in the old row.
            known = before if before is not None else after
            row = tuple([k if a is UNCHANGED else a for a, k in zip(after, known, strict=True)])
            last[tuple([row[i] for i in key])] = (row, index)
    kept = [(row, index) for row, index in last.values() if row is not None]
    gone = [(key_values, index) for key_values, (row, index) in last.items() if row is None]
    made = TableBatch(batch.table, upserts=[row for row, _ in kept], deletes=[row for row, _ in gone])
    places = {"upserts": [place for _, place in kept], "deletes": [place for _, place in gone]}
    if batch.origins:
        origins = batch.origins["sequence"]
        made.origins = {kind: [origins[place] for place in found] for kind, found in places.items()}
        made.origins |= {"updates": [], "sequence": []}
    return made, places


def flag(batch: TableBatch, mapped: MappedTable) -> TableBatch:
    """Return a batch in which deleted rows are updates of those columns that say so. A missing row stays missing."""
    # Of a part of a batch the origins are those of all of it where the part has no item of a kind, or those it has.
    told = batch.origins.get("updates", [])[: len(batch.updates)]
    gone = batch.origins.get("deletes", [])[: len(batch.deletes)]
    flags = [mapped.flagged(k, _headers(o, "DELETE")) for k, o in zip(batch.deletes, gone, strict=True)]
    origins = {**batch.origins, "updates": [*told, *gone], "deletes": []}
    return replace(batch, updates=[*batch.updates, *flags], deletes=[], origins=origins)


_OPERATIONS = {"r": "INSERT", "c": "INSERT", "u": "UPDATE", "d": "DELETE"}


def _changes(batch: TableBatch, kind: str) -> list[Change]:
    """Return what is known of the changes that a list of the batch comes from."""
    origins = batch.origins.get(kind, [])
    if kind != "sequence":
        return [Change(_headers(origin, _OPERATIONS.get(origin.op))) for origin in origins]
    pairs = zip(batch.sequence, origins, strict=True)
    return [Change(_headers(origin, _OPERATIONS.get(op)), before) for (op, before, _), origin in pairs]


def _headers(origin: Origin, operation: str | None) -> Headers:
    time = zoned_text(origin.commit_ts_us).replace("T", " ").removesuffix("Z")
    return Headers(operation, time, origin.seq, str(origin.lsn) if origin.lsn is not None else None)


def _kept(origins: list[Origin], places: list[int] | None) -> list[Origin]:
    """Return the origins of the items that are left."""
    return origins if places is None else [origins[place] for place in places]


def mapped_tables(
    rules: Sequence[TransformationRule], tables: Sequence[TableSchema], *, keeps_history: bool = False
) -> tuple[list[TableSchema], list[Finding]]:
    """Return the tables as the target is to have them, and what stands in the way of those that cannot be."""
    if not rules:
        return list(tables), []
    made: list[TableSchema] = []
    found: list[Finding] = []
    claims = Claims()
    for table in tables:
        try:
            mapped = map_table(rules, table, keeps_history=keeps_history)
            claims.claim(table.name, mapped.table, mapped.constants)
        except TailraceError as error:
            found.append(Finding(Severity.BLOCKS, "mapping-rule", error.message, table.name, error.remedy))
            continue
        if mapped.left_out:
            message = f"the table mappings leave no place for {', '.join(mapped.left_out)}"
            found.append(Finding(Severity.WARNS, "mapping-leaves-out", message, table.name))
        made.append(mapped.table)
    return made, found


def _rejected(error: ValueError, table: TableName) -> TailraceError:
    return TailraceError(ErrorKind.ROW_REJECTED, f"the table mappings cannot be followed: {error}", table=str(table))
