"""Expressions of `add-column` rules: SQLite's syntax, evaluated by SQLite itself, on an empty database in memory that
may do nothing but compute.

`$NAME` stands for a column, `$AR_H_NAME` for a fact of the change (`HEADERS`). Beside SQLite's own functions there are
those that AWS DMS documents ("Using transformation rule expressions to define column content"): `hash_sha256(x)`,
`replaceChars(x, y, z)`, and `operation_indicator(deleted, updated, inserted)`, by which deleted rows stay, flagged.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable
from typing import Any, NamedTuple

from schemas.changes import UNCHANGED
from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggested
from schemas.mappings.values import converter, from_text, to_text
from schemas.table import TableSchema
from schemas.types import Family, LogicalType

_VARIABLE = re.compile(
    r"'(?:[^']|'')*'|\$([^\W\d][\w$#]*|\"(?:[^\"]|\"\")+\")|(\boperation_indicator\s*\()", re.IGNORECASE
)
_QUOTES = str.maketrans({"\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'"})
"""What word processors make of apostrophes, in the guide's own examples too."""

_ALLOWED = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_FUNCTION})
_NUMBER_EXACT_DIGITS = 15
_VOLATILE = re.compile(r"random|current_|'now|date|time|julianday", re.IGNORECASE)
"""What may make an expression another value with each call. Taken widely: a name within a text counts too."""

HEADERS = {
    "AR_H_OPERATION": "operation",
    "AR_H_TIMESTAMP": "timestamp",
    "AR_H_COMMIT_TIMESTAMP": "timestamp",
    "AR_H_CHANGE_SEQ": "sequence",
    "AR_H_STREAM_POSITION": "position",
    "AR_H_USER": "user",
}
"""What expressions may say of a change, and the attribute of `Headers` that holds it."""


_OF_COLUMNS = frozenset({"AR_M_SOURCE_COLUMN_NAME", "AR_M_SOURCE_COLUMN_DATATYPE"})
"""What the guide lists beside the names of schema and table, without saying of which column."""


class Headers(NamedTuple):
    """The facts of one change."""

    operation: str | None
    """`INSERT` (rows of the full load, too), `UPDATE` or `DELETE`."""
    timestamp: str
    """When the source committed it, in UTC."""
    sequence: int
    """The commit sequence: greater than that of every earlier change of the row."""
    position: str | None
    """Its place in the source's log, where the engine has such numbers."""
    user: None = None
    """Who did it: no log that is read here says so."""


class Expression:
    """One expression, for one version of one table. For one thread at a time."""

    def __init__(self, rule_id: str, text: str, table: TableSchema, result: LogicalType) -> None:
        """Raise CONFIGURATION for an expression that SQLite does not take, or that names what there is not."""
        self._rule_id = rule_id
        self._table = table
        self.arguments: list[int | str] = []
        """The columns, and the attributes of `Headers`, that it reads: its arguments."""
        self._readers: list[Callable[[Any], Any]] = []
        self.indicates = False
        """Whether a row that the source deletes is to stay, with what this says of it."""
        self._sql = "select " + _VARIABLE.sub(self._argument, text.translate(_QUOTES))
        if self.indicates and (self.columns or not table.key):
            why = "of a table with a key" if self.columns == [] else "with texts and `$AR_H_…`, and no columns"
            raise self._refused(f"operation_indicator stands in expressions {why}")
        self._result = _result_reader(result, rule_id)
        self._database = _database()
        try:
            self._database.execute(self._sql, [None] * len(self.arguments)).fetchone()
        except sqlite3.Error as error:
            raise self._refused(f"SQLite says of the expression: {error}") from error

    def __call__(self, *values: Any) -> Any:
        """Return the value for these columns' values. Raises ValueError, without any value in its text."""
        if UNCHANGED in values:
            if all(value is UNCHANGED for value in values):
                return UNCHANGED
            raise ValueError(
                f"rule {self._rule_id}: the log holds only some of the values that the expression needs; "
                "`replica identity full` at the source makes it hold all"
            )
        arguments = [None if v is None else read(v) for read, v in zip(self._readers, values, strict=True)]
        try:
            (found,) = self._database.execute(self._sql, arguments).fetchone()
        except sqlite3.Error as error:
            raise ValueError(f"rule {self._rule_id}: the expression failed: {error}") from None
        return None if found is None else self._result(found)

    def _argument(self, match: re.Match[str]) -> str:
        name = match[1]
        if match[2] is not None:
            self.indicates = True
            return f"operation_indicator({self._fact('operation')}, "
        if name is None:
            return match[0]
        if name.startswith('"'):
            name = name[1:-1].replace('""', '"')
        metadata = {"AR_M_SOURCE_SCHEMA": self._table.name.schema, "AR_M_SOURCE_TABLE_NAME": self._table.name.table}
        if name in _OF_COLUMNS and name not in self._table.column_names:
            raise self._refused(_no_column(name))
        if name in metadata:
            return "'" + metadata[name].replace("'", "''") + "'"
        if name.upper() in HEADERS and name not in self._table.column_names:
            return self._fact(HEADERS[name.upper()])
        if name not in self._table.column_names:
            raise self._refused(f"the table has no column {name}{suggested(name, self._table.column_names)}")
        index = self._table.column_names.index(name)
        self.arguments.append(index)
        self._readers.append(_argument_writer(self._table.columns[index].type))
        return "?"

    def _fact(self, attribute: str) -> str:
        self.arguments.append(attribute)
        self._readers.append(lambda value: value)
        return "?"

    @property
    def columns(self) -> list[int]:
        """The columns among its arguments."""
        return [argument for argument in self.arguments if isinstance(argument, int)]

    @property
    def is_volatile(self) -> bool:
        """Whether it may be another value with each call, for the same arguments."""
        return _VOLATILE.search(self._sql) is not None

    @property
    def reads_headers(self) -> bool:
        """Whether it speaks of the change."""
        return any(isinstance(argument, str) for argument in self.arguments)

    def _refused(self, why: str) -> TailraceError:
        return TailraceError(
            ErrorKind.CONFIGURATION,
            f"rule {self._rule_id}: {why}",
            table=str(self._table.name),
            remedy="correct the expression; `$NAME` is a column of the source, spelt as there",
        )


def fault(text: str) -> str | None:
    """Return what SQLite says against an expression, whatever table it is for; None: nothing."""

    def unknown(match: re.Match[str]) -> str:
        if match[2] is not None:
            return "operation_indicator(?, "
        return match[0] if match[1] is None else "?"

    plain = text.translate(_QUOTES)
    of_columns = sorted(_OF_COLUMNS.intersection(match[1] for match in _VARIABLE.finditer(plain)))
    if of_columns:
        return _no_column(of_columns[0])
    unknowns = sum(match[1] is not None or match[2] is not None for match in _VARIABLE.finditer(plain))
    try:
        _database().execute("select " + _VARIABLE.sub(unknown, plain), [None] * unknowns).fetchone()
    except sqlite3.Error as error:
        return f"SQLite says of the expression: {error}"
    return None


def _no_column(name: str) -> str:
    return f"${name} is not supported: a column that is added is made of no column of the source"


def _database() -> sqlite3.Connection:
    # A sink is used by one thread at a time, not always by the same one.
    database = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    database.create_function("hash_sha256", 1, _hash_sha256, deterministic=True)
    database.create_function("operation_indicator", 4, _indicator, deterministic=True)
    database.create_function("replaceChars", 3, _replace_chars, deterministic=True)
    database.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY)
    return database


def _argument_writer(type_: LogicalType) -> Callable[[Any], Any]:
    """Return how a column's values are given to SQLite, which knows integers, floats, texts and bytes."""
    family = type_.family
    if family is Family.BOOLEAN:
        return int
    if family in (Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.FLOAT32, Family.FLOAT64):
        return lambda value: value
    if family is Family.BYTES:
        return lambda value: value
    text = to_text(type_)
    if family in (Family.DECIMAL, Family.NUMERIC, Family.UINT64):
        return lambda value: _number(text(value))
    return text


def _number(text: str) -> float | int | str:
    """Return a number where SQLite can hold it exactly; else its text."""
    digits = text.lstrip("-").replace(".", "").lstrip("0")
    if not digits.isdecimal() and digits:
        return text
    if len(digits) > _NUMBER_EXACT_DIGITS:
        return text
    return float(text) if "." in text else int(text)


def _result_reader(type_: LogicalType, rule_id: str) -> Callable[[Any], Any]:
    family = type_.family
    of_text = from_text(type_)
    of_float = converter(LogicalType(Family.FLOAT64), type_)

    def read(found: Any) -> Any:
        try:
            if found.__class__ is bytes:
                return found if family is Family.BYTES else of_text(found.decode())
            if found.__class__ is float and of_float is not None:
                return of_float(found)
            return of_text(str(found))
        except (ValueError, ArithmeticError):
            pass
        # Not chained: the error of a conversion quotes what it could not convert.
        raise ValueError(f"rule {rule_id}: what the expression gives is no {family}")

    return read


def _hash_sha256(value: Any) -> str | None:
    if value is None:
        return None
    content = value if isinstance(value, bytes) else str(value).encode()
    return hashlib.sha256(content).hexdigest()


def _indicator(operation: Any, deleted: Any, updated: Any, inserted: Any) -> Any:
    return {"DELETE": deleted, "UPDATE": updated}.get(operation, inserted)


def _replace_chars(text: Any, old: Any, new: Any) -> str | None:
    """Return the text with each character of `old` replaced by the one in `new` at its place, or by the first one."""
    if text is None or old is None or not new:
        return None if text is None else str(text)
    table = {c: (new[i] if i < len(new) else new[0]) for i, c in reversed(list(enumerate(str(old))))}
    return "".join(table.get(c, c) for c in str(text))
