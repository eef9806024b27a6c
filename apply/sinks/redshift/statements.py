"""The statements that write one table, as text. Redshift has no unique indexes: keys are held by deleting first.

A staging table holds a batch: `part` says what a row is, 0 a deleted key, 1 a whole row, 2 and more the rows of which
the same columns are known. Its other columns are called c0, c1 …
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from apply.sinks.redshift.types import NULL, column_type
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema

NAME_BYTES_MAX = 127
COLUMNS_MAX = 1_600
"""Database developer guide, "Names and identifiers"; "CREATE TABLE", "Limits and quotas"."""

LINE_BYTES_MAX = 4_000_000
"""Of a row that COPY reads. Database developer guide, "COPY"."""

DELETED, WHOLE = 0, 1


def quoted(name: str) -> str:
    """Return an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text: Redshift reads backslashes in it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def copy(stage: str, url: str, role: str, region: str | None) -> str:
    """Return the statement that reads a staged file."""
    by = "default" if role == "default" else literal(role)
    where = f" region {literal(region)}" if region else ""
    return (
        f"copy {stage} from {literal(url)} iam_role {by}{where} format as csv null as {literal(NULL)} gzip "
        "dateformat 'auto' timeformat 'auto' compupdate off statupdate off"
    )


class TablePlan:
    """How rows of one version are written to a table that has at least its columns."""

    def __init__(self, table: TableSchema, name: TableName, there: Collection[str] = ()) -> None:
        """`there` are the columns that the target's table has. Raises TARGET_SCHEMA."""
        self.table = table
        self.schema = quoted(name.schema)
        self.sql = f"{self.schema}.{quoted(name.table)}"
        self.types = [column_type(column, in_key=i in table.key) for i, column in enumerate(table.columns)]
        self._is_whole = set(there) <= {column.name.lower() for column in table.columns}
        _check(table, name)

    def create(self) -> str:
        """Return the definition of the table. Redshift takes a primary key as a hint, and holds nobody to it."""
        columns = [f"{quoted(c.name)} {t.definition}" for c, t in zip(self.table.columns, self.types, strict=True)]
        keys = ", ".join(quoted(name) for name in self.table.key_names)
        columns = [f"{text} not null" if i in self.table.key else text for i, text in enumerate(columns)]
        return f"create table if not exists {self.sql} ({', '.join(columns)}, primary key ({keys}))"

    def add(self, place: int) -> str:
        """Return the statement that adds a column."""
        return (
            f"alter table {self.sql} add column {quoted(self.table.columns[place].name)} {self.types[place].definition}"
        )

    def create_stage(self, stage: str) -> str:
        """Return the definition of the staging table."""
        columns = "".join(f", c{place} {type_.staged}" for place, type_ in enumerate(self.types))
        return f"create temporary table {stage} (part integer{columns})"

    def merge(self, stage: str, deletes: bool, wholes: bool, parts: Sequence[tuple[int, ...]]) -> list[str]:
        """Return the statements that write what is staged; `parts` are the columns known of each part from 2 on."""
        statements: list[str] = []
        others = tuple(place for place in range(len(self.types)) if place not in self.table.key)
        if deletes or (wholes and self._is_whole):
            last = WHOLE if wholes and self._is_whole else DELETED
            statements.append(f"delete from {self.sql} using {stage} s where s.part <= {last} and {self._same_key()}")
        if wholes:
            if not self._is_whole and others:
                statements.append(self._update(stage, WHOLE, others))
            missing = "" if self._is_whole else f" and not exists (select 1 from {self.sql} where {self._same_key()})"
            names = ", ".join(quoted(column.name) for column in self.table.columns)
            values = ", ".join(type_.assigned(f"s.c{place}") for place, type_ in enumerate(self.types))
            statements.append(
                f"insert into {self.sql} ({names}) select {values} from {stage} s where s.part = {WHOLE}{missing}"
            )
        for number, known in enumerate(parts, WHOLE + 1):
            if changed := tuple(place for place in known if place not in self.table.key):
                statements.append(self._update(stage, number, changed))
        return statements

    def _update(self, stage: str, part: int, places: Sequence[int]) -> str:
        assigned = ", ".join(
            f"{quoted(self.table.columns[i].name)} = {self.types[i].assigned(f's.c{i}')}" for i in places
        )
        return f"update {self.sql} set {assigned} from {stage} s where s.part = {part} and {self._same_key()}"

    def _same_key(self) -> str:
        return " and ".join(term for place in self.table.key for term in self._same(place))

    def _same(self, place: int) -> list[str]:
        ours, staged = f"{self.sql}.{quoted(self.table.columns[place].name)}", f"s.c{place}"
        terms = [f"{ours} = {staged}"]
        if self.types[place].definition.startswith("character varying"):
            # Blanks at the end do not count where Redshift compares, but in lengths ("Character types").
            terms.append(f"length({ours}) = length({staged})")
        return terms

    def line(self, part: int, row: Row) -> list[str]:
        """Return a row's fields, with `part` before them. Raises ValueError for what a column cannot hold."""
        line = [
            str(part),
            *(
                NULL if value is None or value is UNCHANGED else type_.form(value)
                for type_, value in zip(self.types, row, strict=True)
            ),
        ]
        # A character takes four bytes at most: rows of few need not be counted.
        few = sum(map(len, line)) <= LINE_BYTES_MAX // 8
        if not few and (size := len(csv_text([line]).encode())) > LINE_BYTES_MAX:
            raise ValueError(f"a row takes {size} bytes; {LINE_BYTES_MAX} are allowed")
        return line

    def row_of_key(self, key: Row) -> Row:
        """Return a row of which the key alone is known."""
        values = dict(zip(self.table.key, key, strict=True))
        return tuple(values.get(place) for place in range(len(self.types)))


def csv_text(lines: Sequence[Sequence[str]]) -> str:
    """Return lines as CSV: every field in quotes, null alone without."""
    return "".join(",".join(map(_field, line)) + "\n" for line in lines)


def _field(text: str) -> str:
    # A carriage return without quotes would end the line, and blanks at an end are safe within them.
    return text if text == NULL else '"' + text.replace('"', '""') + '"'


def _check(table: TableSchema, name: TableName) -> None:
    names = [*name, *table.column_names]
    if len(table.columns) > COLUMNS_MAX or any(len(each.encode()) > NAME_BYTES_MAX for each in names):
        message = f"names of more than {NAME_BYTES_MAX} bytes, or more than {COLUMNS_MAX} columns"
        raise TailraceError(ErrorKind.TARGET_SCHEMA, f"Redshift takes no {message}", table=str(table.name))
    if len({column.lower() for column in table.column_names}) < len(table.columns):
        raise TailraceError(
            ErrorKind.TARGET_SCHEMA,
            "two columns differ in their capitals alone, which Redshift does not tell apart",
            table=str(table.name),
            remedy="rename one by a mapping rule",
        )
