"""The statements that write one table, as text: staging, merges, and the straight copy.

Text only, no control flow: the writer decides which to run. The staging table's columns are called c0, c1 …, so that
no name of a user's column can be in the way; its first column numbers the parts of a batch, so that one copy carries
them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from apply.batching.staged_rows import StagedRows
from apply.sink_kinds.relational.plan import RelationalPlan, written_columns
from apply.sinks.postgresql.catalog import TargetColumn, TargetTable
from apply.sinks.postgresql.names import listed, quoted
from apply.sinks.postgresql.rows import Encode, Field, LineForm, counted, each_numbered, line_encoder, numbered
from apply.sinks.postgresql.types import TEXT_LIKE, Wire, direct_wire, wire_of
from schemas.changes import Row
from schemas.table import TableSchema


@dataclass(frozen=True, slots=True)
class StagedColumn:
    """A column that is written: where its value stands in the rows, and what the target calls it."""

    index: int
    place: int
    """Its number in the staging table."""
    wire: Wire
    target: TargetColumn

    @property
    def sql(self) -> str:
        """The target's column, in quotes."""
        return quoted(self.target.name)

    @property
    def assigned(self) -> str:
        """The staged value as an insert or update takes it.

        Where an assignment cast leads to the target's type none is written: an explicit cast would cut a value that
        is too long instead of refusing it (Invariant 7).
        """
        if self.wire.casts and self.target.base not in TEXT_LIKE:
            return f"s.c{self.place}::{self.target.type}"
        return f"s.c{self.place}"

    def compared(self, staged: str = "s") -> str:
        """The staged value in the target's type, so that its index serves. `staged` is the staging table's alias."""
        value = f"{staged}.c{self.place}"
        base = self.target.base
        if base in {"text", "varchar"}:
            return value
        if base in {"bpchar", "name", "citext"}:
            # `bpchar = text` would compare as text, without the padding of one side.
            return f"{value}::{base}"
        return f"{value}::{self.target.type}"


def usual_form(table: TableSchema) -> LineForm:
    """Return the form of lines for a target's table as we would make it: what its plan will say, most likely."""
    wires = (direct_wire(column.type, column.native) or wire_of(column.type) for column in table.columns)
    return LineForm(tuple(enumerate(wires)))


class TablePlan(RelationalPlan[StagedColumn]):
    """How rows of one version of a table are written to the table that the target has now."""

    def __init__(
        self, table: TableSchema, target: TargetTable, fillings: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        written = list(written_columns(table, target))
        direct = [direct_wire(table.columns[index].type, column.base) for index, column in written]
        columns = [
            StagedColumn(index, place, wire or wire_of(table.columns[index].type), column)
            for place, ((index, column), wire) in enumerate(zip(written, direct, strict=True))
        ]
        super().__init__(table, columns, fillings)
        self.is_direct = bool(written) and None not in direct and not fillings
        """Whether rows can be copied straight into the table: nothing is cast or filled in, and there is a column."""
        self.form = LineForm(tuple((column.index, column.wire) for column in columns))
        """What makes lines of whole rows."""
        self.takes_values = bool(table.key) and self.form.streams([column.type.family for column in table.columns])
        self.target = target
        self._arbiter = target.arbiter(frozenset(column.target.name for column in self.key))
        self._kept = {column.name for column in target.columns.values() if not column.generated}
        self._width = len(table.columns)

    @property
    def replaces(self) -> bool:
        """Whether rows may be deleted and inserted anew, without foreign keys acting on the deletion."""
        return not self.target.acts_on_delete

    # Lines

    def upsert_encoder(self) -> Encode:
        """Return what makes lines of whole rows."""
        return line_encoder(self.form.fields, width=self._width)

    def update_encoder(self, changed: Sequence[StagedColumn]) -> Encode:
        """Return what makes lines of the key and some changed columns."""
        sent = {column.place for column in (*self.key, *changed)}
        fields: list[Field] = [(c.index, c.wire) if c.place in sent else None for c in self.columns]
        return line_encoder(fields, width=self._width)

    def delete_encoder(self) -> Encode:
        """Return what makes lines of key values in key order."""
        places = {column.place: number for number, column in enumerate(self.key)}
        fields: list[Field] = [(places[c.place], c.wire) if c.place in places else None for c in self.columns]
        return line_encoder(fields, width=len(self.key))

    def upsert_lines(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the lines of whole rows, those that decoders have made of them already as they are."""
        if isinstance(rows, StagedRows) and rows.form == self.form:
            return rows.staged(self.upsert_encoder())
        return self.upsert_encoder()(rows)

    def numbered(self, lines: Sequence[bytes], part: int) -> Iterator[bytes]:
        """Yield lines as the staging table takes them, in pieces."""
        return numbered(lines, len(self.columns), part)

    def each_numbered(self, lines: Sequence[bytes], first: int) -> bytes:
        """Return lines so, each a part of its own, from `first` on."""
        return each_numbered(lines, len(self.columns), first)

    def counted(self, lines: Sequence[bytes]) -> Iterator[bytes]:
        """Yield lines of whole rows as the table itself takes them, in pieces."""
        return counted(lines, len(self.columns))

    # Statements

    def create_stage(self, stage: str) -> str:
        """Return the definition of the staging table."""
        columns = "".join(f", c{column.place} {column.wire.stage}" for column in self.columns)
        return f"create temporary table {stage} (part bigint{columns})"

    def stage_copy(self, stage: str) -> str:
        """Return the copy into the staging table."""
        return f"copy {stage} from stdin (format binary)"

    def direct_copy(self) -> str:
        """Return the copy straight into the table."""
        return f"copy {self.target.sql} ({self._names}) from stdin (format binary)"

    def delete(self, stage: str, part: int) -> str:
        """Return the deletion of staged keys."""
        return f"delete from {self.target.sql} t using {stage} s where s.part = {part} and {self.same_key()}"

    def present(self, stage: str, first: int, count: int) -> str:
        """Return the query of the parts, from `first` on, whose staged keys the table has: one search of each."""
        found = f"select from {self.target.sql} t where {self.same_key()} limit 1"
        parts = f"{first} and {first + count - 1}"
        return f"select s.part from {stage} s, lateral ({found}) f where s.part between {parts}"

    def insert(self, stage: str, part: int) -> str:
        """Return the plain insertion of staged rows."""
        listed_names = listed([*(column.target.name for column in self.columns), *self.fillings])
        names = f"({listed_names}) " if listed_names else ""
        return f"insert into {self.target.sql} {names}{self._staged_rows(stage, part)}"

    def upsert(self, stage: str, part: int) -> str:
        """Return the statements that write staged rows whether or not their keys are there."""
        assigned = (*self.loose, *self.others)
        if not self._arbiter:
            # Without a unique index that `on conflict` can use. The keys of a batch belong to one partition, so
            # nobody else inserts them at the same time.
            missing = f"not exists (select from {self.target.sql} t where {self.same_key()})"
            update = f"{self.update(stage, part, assigned)}; " if assigned else ""
            return f"{update}{self.insert(stage, part)} and {missing}"
        assignments = ", ".join(f"{column.sql} = excluded.{column.sql}" for column in assigned)
        action = f"update set {assignments}" if assignments else "nothing"
        # In key order: neighbouring rows are met together, which saves a fifth of the time where most rows are there.
        order = ", ".join(f"s.c{column.place}" for column in self.key)
        names = listed(column.target.name for column in self.key)
        return f"{self.insert(stage, part)} order by {order} on conflict ({names}) do {action}"

    def update(self, stage: str, part: int, changed: Sequence[StagedColumn]) -> str:
        """Return the update of some columns of existing rows."""
        assignments = ", ".join(f"{column.sql} = {column.assigned}" for column in changed)
        return (
            f"update {self.target.sql} t set {assignments} from {stage} s where s.part = {part} and {self.same_key()}"
        )

    def replace(
        self, stage: str, deleted: int | None, upserted: int | None, updated: Mapping[int, Sequence[StagedColumn]]
    ) -> str:
        """Return the statement that writes a whole batch by deleting all its keys and inserting what is to be there.

        Whatever changes places in it does so unseen: no unique index or exclusion constraint meets a value while its
        former holder is there. What the staged rows do not hold comes from the rows that went. One statement: foreign
        keys without an action are checked at its end, when the keys are there again. Each insertion waits for all
        deletions by counting them. `updated` says by part which columns are staged.
        """
        parts = [part for part in (deleted, upserted, *updated) if part is not None]
        gone = (
            f"delete from {self.target.sql} t using {stage} s "
            f"where s.part in ({', '.join(map(str, parts))}) and {self.same_key()} returning t.*"
        )
        inserts = [self._anew(stage, part, changed) for part, changed in updated.items()]
        if upserted is not None:
            found = f"exists (select from gone t where {self.same_key()})"
            if self._kept == {column.target.name for column in self.columns}:
                inserts.append(self.insert(stage, upserted))
            else:
                # What only the target's table has stays with the row.
                inserts.append(f"{self.insert(stage, upserted)} and not {found}")
                inserts.append(self._anew(stage, upserted, self.columns))
        waiting = [f"{insert} and (select count(*) from gone) >= 0" for insert in inserts]
        first = "".join(f", put{n} as ({insert} returning 1)" for n, insert in enumerate(waiting[:-1]))
        return f"with gone as ({gone}){first} {waiting[-1] if waiting else 'select from gone'}"

    def _anew(self, stage: str, part: int, changed: Sequence[StagedColumn]) -> str:
        """Return the insertion of rows that went, with the changed columns as they are staged."""
        new = {column.target.name: column.assigned for column in changed}
        kept = [name for name in self.target.columns if name in self._kept]
        values = ", ".join(new.get(name, f"t.{quoted(name)}") for name in kept)
        return (
            f"insert into {self.target.sql} ({listed(kept)}) overriding system value select {values} "
            f"from gone t join {stage} s on {self.same_key()} where s.part = {part}"
        )

    def complete_rows(self, stage: str, parts: str, changed: Sequence[StagedColumn]) -> str:
        """Return the query of staged rows as they would stand in the table: `part`, and its columns by name.

        `parts` is a condition on the staged row `s`. What is not among `changed` comes from the row that is there; a
        whole row is what it is staged as.
        """
        new = {column.target.name: f"{column.compared()}::{column.target.type}" for column in changed}
        whole = len(changed) == len(self.columns)
        if whole:
            new |= self.fillings
        rest = "null::{type}" if whole else "t.{name}"
        values = ", ".join(
            f"{new.get(name) or rest.format(type=column.type, name=quoted(name))} as {quoted(name)}"
            for name, column in self.target.columns.items()
        )
        there = "" if whole else f" join {self.target.sql} t on {self.same_key()}"
        return f"select s.part as tailrace_part, {values} from {stage} s{there} where {parts}"

    def delete_equal(self, stage: str, part: int, known: Sequence[StagedColumn]) -> str:
        """Return the deletion of one row of the target for each staged row that is equal in the `known` columns.

        Equality is that of the rows' text, which every type has (json, xml and point have no `=`), which tells 1.0
        from 1.00 and null from empty, and which can be hashed.
        """
        staged = ", ".join(f"{c.compared()}{'::' + c.target.type if c.target.base == 'bpchar' else ''}" for c in known)
        target = ", ".join(f"t.{c.sql}" for c in known)
        return (
            f"with wanted as (select row({staged})::text as image, count(*) as copies from {stage} s "
            f"where s.part = {part} group by 1), "
            "found as (select t.ctid as place, t.tableoid as leaf, w.copies, "
            "row_number() over (partition by w.image) as number "
            f"from {self.target.sql} t join wanted w on row({target})::text = w.image) "
            f"delete from {self.target.sql} t using found f "
            "where t.ctid = f.place and t.tableoid = f.leaf and f.number <= f.copies"
        )

    @property
    def _names(self) -> str:
        return listed(column.target.name for column in self.columns)

    def same_key(self, staged: str = "s") -> str:
        """Return the condition that a row `t` of the table has the key of a staged row."""
        return " and ".join(f"t.{column.sql} = {column.compared(staged)}" for column in self.key)

    def _staged_rows(self, stage: str, part: int) -> str:
        values = ", ".join([*(column.assigned for column in self.columns), *self.fillings.values()])
        return f"overriding system value select {values} from {stage} s where s.part = {part}"
