"""The statements that write one table, as text: staging, merges, and the straight load.

Text only, no control flow: the writer decides which to run. The staging table's columns are called c0, c1 …, so that
no name of a user's column can be in the way; its key is the part of the batch and the row's place in it. No statement
names the staging table twice: MySQL opens a temporary table once per statement ("TEMPORARY Tables").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from apply.batching.staged_rows import StagedRows
from apply.sink_kinds.relational.plan import RelationalPlan, written_columns
from apply.sinks.mysql import sizes
from apply.sinks.mysql.catalog import TargetColumn, TargetTable
from apply.sinks.mysql.foreign import Server, translated
from apply.sinks.mysql.names import STORAGE, listed, quoted
from apply.sinks.mysql.rows import Field, LineForm, line_encoder, literal_encoder
from apply.sinks.mysql.types import Wire, stage_type, wire_of
from schemas.changes import Row
from schemas.table import TableSchema

_FORMAT = "character set utf8mb4 fields terminated by x'09' escaped by x'5c' lines terminated by x'0a'"
"""Hexadecimal: in our sessions a backslash in a string is a plain character."""
_BASE = re.compile(r"\w*")
_BLOB = re.compile(r"(?i)(tiny|medium|long)?(text|blob)\b|json\b")


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
    def staged(self) -> str:
        """The staging table's column."""
        return f"s.c{self.place}"

    def same(self, of: str) -> str:
        """Return the condition that the column of a row of the table, which is called `of`, holds the staged value."""
        column = f"{of}.{self.sql}"
        length = f" and char_length({column}) = char_length({self.staged})" if self.target.pads else ""
        return f"{column} = {self.staged}{length}"


def usual_form(table: TableSchema) -> LineForm:
    """Return the form of lines for a target's table as we would make it: what its plan will say, most likely."""
    # What a server calls a type does not change the texts of its values.
    columns = translated(table, Server(is_mariadb=False, version=(9,))).columns
    wires = (wire_of(c, _BASE.match(own.native or "")[0]) for c, own in zip(table.columns, columns, strict=True))  # type: ignore[index]
    return LineForm(tuple(enumerate(wires)))


class TablePlan(RelationalPlan[StagedColumn]):
    """How rows of one version of a table are written to the table that the target has now."""

    def __init__(
        self,
        table: TableSchema,
        target: TargetTable,
        fillings: Mapping[str, str] = MappingProxyType({}),
        *,
        foreign_key_checks: bool = True,
        is_mariadb: bool = False,
    ) -> None:
        self._is_mariadb = is_mariadb
        columns = [
            StagedColumn(index, place, wire_of(table.columns[index], column.base), column)
            for place, (index, column) in enumerate(written_columns(table, target))
        ]
        super().__init__(table, columns, fillings)
        self._stage_types = _stage_types(self.columns, self.key, is_mariadb=is_mariadb)
        self.takes_values = bool(table.key) and all(
            c.wire.streams(table.columns[c.index].type.family) for c in self.columns
        )
        self._width = len(table.columns)
        self.form = LineForm(self._fields(self.columns, of_keys=False)[0])
        """What makes lines of whole rows."""
        self.target = target
        self._only_unique = target.only_unique(frozenset(table.columns[column.index].name for column in self.key))
        self.pads = any(column.target.pads for column in self.key)
        """Whether keys that differ are equal to the target."""
        self._replaces = not (foreign_key_checks and target.referring)
        kept = {column.name for column in target.columns.values() if not column.generated}
        harmless = {"column", "unique"} | (set() if foreign_key_checks else {"refers"})
        self.overwrites = (
            self._only_unique
            and self._replaces
            and target.kind == "table"
            and not {kind for kind, _, _ in target.traits} - harmless
            and not fillings
            and not self.pads
            and kept == {column.target.name for column in self.columns}
        )
        """Whether a load that replaces rows leaves what an upsert does: nothing hangs on a row's deletion, no column is
        left to its default, a duplicate can be one of the key only, and no foreign key need be checked.
        """

    @property
    def replaces(self) -> bool:
        """Whether rows may be deleted and inserted anew, without foreign keys acting on the deletion."""
        return self._replaces

    # Rows

    def lines(self, columns: Sequence[StagedColumn], rows: Sequence[Row], *, of_keys: bool = False) -> list[bytes]:
        """Return lines of some columns of whole rows, those that decoders have made already as they are; or of key
        values in key order.
        """
        fields, width = self._fields(columns, of_keys=of_keys)
        encode = line_encoder(fields, width=width)
        if isinstance(rows, StagedRows) and rows.form == LineForm(fields):
            return rows.staged(encode)
        return encode(rows)

    def literals(
        self, columns: Sequence[StagedColumn], rows: Sequence[Row], part: int | None = None, *, of_keys: bool = False
    ) -> list[str]:
        """Return the same as literals, for a staging table if they have a part."""
        fields, width = self._fields(columns, of_keys=of_keys)
        return literal_encoder(fields, width=width, with_part=part is not None)(rows, part or 0)

    def _fields(self, columns: Sequence[StagedColumn], *, of_keys: bool) -> tuple[tuple[Field, ...], int]:
        """Return how rows are sent, and how wide they are."""
        if of_keys:
            return tuple((number, column.wire) for number, column in enumerate(columns)), len(columns)
        return tuple((column.index, column.wire) for column in columns), self._width

    # Statements

    def create_stage(self, stage: str) -> str:
        """Return the definition of the staging table."""
        columns = "".join(f", c{place} {type_} null" for place, type_ in self._stage_types.items())
        return (
            f"create temporary table {stage} (part bigint not null, place bigint not null{columns}, "
            f"primary key (part, place)) {STORAGE}"
        )

    def stage_load(self, stage: str, columns: Sequence[StagedColumn], part: int) -> str:
        """Return the load of a part into the staging table."""
        loaded = [(f"c{c.place}", c.wire.sql, self._is_mended(self._stage_types[c.place])) for c in columns]
        return _load(f"into table {stage}", loaded, part)

    def stage_insert(self, stage: str, columns: Sequence[StagedColumn]) -> str:
        """Return the head of an insertion of literals into the staging table."""
        names = "".join(f", c{column.place}" for column in columns)
        return f"insert into {stage} (part, place{names}) values "

    def direct_load(self, *, overwriting: bool = False) -> str:
        """Return the load straight into the table, of new rows, or of any where it `overwrites`."""
        into = f"{'replace ' if overwriting else ''}into table {self.target.sql}"
        return _load(into, [(c.sql, c.wire.sql, self._is_mended(c.target.type)) for c in self.columns])

    def _is_mended(self, type_: str) -> bool:
        """Tell whether a value of the type is to be loaded by way of a variable.

        In MariaDB a field of a text or blob remembers where the value lay that a statement copied into it (`insert …
        select`, `update` of two tables, whoever ran them: sessions share open tables). If what a later `load data`
        reads into happens to lie there, the field points into that instead of copying, and the next field of the line
        is read over the value's first bytes (`Field_blob::store` in `sql/field.cc`; seen with 11.4.5). What a variable
        holds stays until the row is written.
        """
        return self._is_mariadb and _BLOB.match(type_) is not None

    def direct_insert(self) -> str:
        """Return the head of an insertion of literals straight into the table."""
        return f"insert into {self.target.sql} ({self._names}) values "

    def delete(self, stage: str, part: int) -> str:
        """Return the deletion of staged keys."""
        return f"delete t from {self._matched(stage)} where s.part = {part}"

    def present(self, stage: str, part: int) -> str:
        """Return the query of the places of staged keys that the table has."""
        return f"select s.place from {self._matched(stage)} where s.part = {part}"

    def insert(self, stage: str, part: int) -> str:
        """Return the plain insertion of staged rows."""
        return (
            f"insert into {self.target.sql} ({self._names}) select {self._staged} from {stage} s where s.part = {part}"
        )

    def upsert(self, stage: str, part: int) -> list[str]:
        """Return the statements that write staged rows whether or not their keys are there.

        `on duplicate key` means any unique key, so it serves only where nothing but the key is unique. An index that
        came since would have a row written over another one, which has its value, and so would a key that pads: there a
        number is divided by zero, and the server refuses the statement (`DIVISION_BY_ZERO`). (A null for the key would
        not do: with `auto_increment` it is taken for 0 there.)
        """
        assigned = (*self.loose, *self.others)
        if self._only_unique:
            order = ", ".join(column.staged for column in self.key)
            table = self.target.sql
            same = " and ".join(column.same(table) for column in self.key)
            first = self.key[0]
            own = first.staged if first in self.loose else f"{table}.{first.sql}"
            actions = [f"{table}.{first.sql} = if({same} or s.part div 0, {own}, {own})"]
            actions += [f"{table}.{column.sql} = {column.staged}" for column in assigned if column is not first]
            return [f"{self.insert(stage, part)} order by {order} on duplicate key update {', '.join(actions)}"]
        missing = (
            f"insert into {self.target.sql} ({self._names}) select {self._staged} from {stage} s "
            f"left join {self.target.sql} t on {self.same_key()} where s.part = {part} and t.{self.key[0].sql} is null"
        )
        return [*([self.update(stage, part, assigned)] if assigned else []), missing]

    def replace(self, stage: str, parts: Sequence[tuple[int, Sequence[StagedColumn]]]) -> list[str]:
        """Return the statements that write staged rows by deleting their keys and inserting them.

        Whatever changes places between them does so unseen: none is inserted before all are deleted. Rows of which
        only some columns are staged, those that change, are completed first, and left out if they are not there.
        """
        completing = []
        for part, changed in parts:
            kept = [column for column in self.others if column not in changed]
            if kept:
                filled = ", ".join(f"{column.staged} = t.{column.sql}" for column in kept)
                completing.append(f"update {self._matched(stage)} set {filled} where s.part = {part}")
            if tuple(changed) != self.columns:
                missing = f"delete s from {stage} s left join {self.target.sql} t on {self.same_key()}"
                completing.append(f"{missing} where s.part = {part} and t.{self.key[0].sql} is null")
        deleting = [self.delete(stage, part) for part, _ in parts]
        return [*completing, *deleting, *(self.insert(stage, part) for part, _ in parts)]

    def update(self, stage: str, part: int, changed: Sequence[StagedColumn]) -> str:
        """Return the update of some columns of existing rows."""
        assignments = ", ".join(f"t.{column.sql} = {column.staged}" for column in changed)
        return f"update {self._matched(stage)} set {assignments} where s.part = {part}"

    @property
    def _names(self) -> str:
        return listed([*(column.target.name for column in self.columns), *self.fillings])

    @property
    def _staged(self) -> str:
        return ", ".join([*(column.staged for column in self.columns), *self.fillings.values()])

    def same_key(self) -> str:
        """Return the condition that a row `t` of the table has the key of a staged row `s`."""
        return " and ".join(column.same("t") for column in self.key)

    def _matched(self, stage: str) -> str:
        # The staged rows first: what the server thinks of a table's size would have it scan the other one.
        return f"{stage} s straight_join {self.target.sql} t on {self.same_key()}"


def _stage_types(columns: Sequence[StagedColumn], key: Sequence[StagedColumn], *, is_mariadb: bool) -> dict[int, str]:
    """Return the types of a staging table's columns by their numbers."""
    own = {c.place: stage_type(c.target, is_key=True) for c in columns}
    types = {c.place: own[c.place] if c in key else stage_type(c.target, is_key=False) for c in columns}
    if min(sizes.room(list(types.values()), is_mariadb=is_mariadb)) >= 0:
        return types
    # Long types would be too much for a row. Of what does not fit into a short one a load warns.
    either = ((place, (type_, own[place])) for place, type_ in types.items())
    return {place: min(both, key=lambda t: sizes.taken(t, is_mariadb=is_mariadb)[1]) for place, both in either}


def _load(into: str, columns: Sequence[tuple[str, str, bool]], part: int | None = None) -> str:
    """Return the load of columns: what each is called, what is taken of its field, and whether by way of a variable."""
    names, values = ([], []) if part is None else (["place"], [f"part = {part}"])
    for number, (name, sql, by_variable) in enumerate(columns):
        if sql == "{v}" and not by_variable:
            names.append(name)
        else:
            names.append(f"@v{number}")
            values.append(f"{name} = {sql.format(v=f'@v{number}')}")
    made = f" set {', '.join(values)}" if values else ""
    return f"load data local infile 'memory' {into} {_FORMAT} ({', '.join(names)}){made}"
