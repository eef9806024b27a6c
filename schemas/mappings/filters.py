"""Filters of selection rules, compiled for one version of one table: which rows are taken.

Conditions of one filter are joined by OR, filters of one rule by AND, and of several rules with filters a row is taken
that any of them takes; a rule without filters lifts none (AWS DMS user guide, "Using source filters"). Values are
compared as the column's type has them. Texts are compared by code points, as the guide's SQLite does, whatever the
column's collation is: so the full load and the log agree, on every server.

A source asks `sql` for the condition that spares it reading rows. It may let more rows through; `matches` decides.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple
from uuid import UUID

from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggested
from schemas.key_bounds import UUID_TEXT
from schemas.mappings.rules import Filter, SelectionRule
from schemas.mappings.selection import concerns
from schemas.mappings.values import from_text, numeral, to_text
from schemas.table import Column, TableSchema
from schemas.types import Family, LogicalType
from schemas.types.numbers import EXACT, NAN

_INTEGERS = frozenset({Family.INT16, Family.INT32, Family.INT64, Family.UINT32, Family.UINT64})
_FLOATS = frozenset({Family.FLOAT32, Family.FLOAT64})
_MOMENTS = frozenset({Family.TIMESTAMP, Family.TIMESTAMPTZ})
_TEMPORALS = frozenset({Family.DATE, Family.TIME, *_MOMENTS})
_TEXTS = frozenset({Family.STRING, Family.ENUM})

_SQL = {"lte": "<=", "ste": "<=", "gte": ">=", "eq": "=", "noteq": "<>"}

Expression = Callable[[Column], str | None]
"""A column to what stands for it in a comparison; None: comparisons of it are not for the source."""
Literal = Callable[[Column, str], str | None]
"""A column and the text of a value to compare it with to the value's literal; None likewise."""


class Value(NamedTuple):
    """A value that a column is compared with."""

    canonical: Any
    """As rows hold it."""
    text: str
    """As SQL would have it, without quotes."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One condition: of its column, by an operator, with no, one or two values."""

    index: int
    column: Column
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class RowFilter:
    """What some rules take of a table."""

    alternatives: tuple[tuple[tuple[Comparison, ...], ...], ...]
    """One of these, of each all, of each of those one."""
    columns: tuple[int, ...]
    """The columns that it looks at."""
    matches: Callable[[Row], bool]
    """Tell whether a row is taken; its `columns` must be known."""

    def knows(self, row: Row) -> bool:
        """Tell whether a row has all values that are looked at."""
        return not any(row[i] is UNCHANGED for i in self.columns)

    def sql(self, expression: Expression, literal: Literal) -> str:
        """Return a condition that holds for every row that is taken; empty: none can be said."""
        alternatives = []
        for filters in self.alternatives:
            said = [text for text in (_one_of(f, expression, literal) for f in filters) if text]
            if not said:
                return ""
            alternatives.append(" and ".join(said))
        return " or ".join(f"({text})" for text in alternatives)


def row_filter(rules: Sequence[SelectionRule], table: TableSchema) -> RowFilter | None:
    """Compile the filters for a table; None: all its rows are taken. Raises CONFIGURATION, with the rule's id."""
    filtered = [rule for rule in rules if rule.filters and concerns(rule, table.name)]
    if not filtered:
        return None
    alternatives = tuple(
        tuple(_comparisons(rule, given, f"filters.{n}", table) for n, given in enumerate(rule.filters))
        for rule in filtered
    )
    columns = sorted({c.index for filters in alternatives for found in filters for c in found})
    return RowFilter(alternatives, tuple(columns), _compiled(alternatives, table))


def _comparisons(rule: SelectionRule, given: Filter, place: str, table: TableSchema) -> tuple[Comparison, ...]:
    names = table.column_names
    if given.column_name not in names:
        why = f"no column {given.column_name} to filter by{suggested(given.column_name, names)}"
        raise _refused(rule, table, f"{place}.column-name: {why}")
    index = names.index(given.column_name)
    column = table.columns[index]
    found = []
    for n, condition in enumerate(given.filter_conditions):
        operator = condition.filter_operator
        values: list[Value] = []
        for name, value in condition.values.items():
            try:
                values.append(comparable(column, str(value)))
            except (ValueError, ArithmeticError, OverflowError):
                # Not chained: the error of a conversion quotes what it could not convert.
                why = f"column {column.name} is {column.native}: {operator} cannot compare it with this"
                raise _refused(rule, table, f"{place}.filter-conditions.{n}.{name}: {why}") from None
        found.append(Comparison(index, column, operator, tuple(values)))
    return tuple(found)


def _refused(rule: SelectionRule, table: TableSchema, why: str) -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION,
        f"rule {rule.rule_id}: {table.name}: {why}",
        remedy="filters compare numbers, texts, dates (2026-11-30), moments (2026-11-30 12:00:00), times, booleans and "
        "UUIDs; all others with null and notnull",
        table=str(table.name),
    )


def comparable(column: Column, text: str) -> Value:
    """Return a value of a column's type. Raises ValueError or ArithmeticError for what is none, or does not compare."""
    type_ = column.type
    family = type_.family
    if family in _TEXTS:
        if "\0" in text:
            raise ValueError
        text = text.rstrip(" ") if is_padded(column) else text
        return Value(text, text)
    if family in _INTEGERS or family in (Family.DECIMAL, Family.NUMERIC):
        return _number(type_, text)
    if family in _FLOATS:
        number = float(numeral(text))
        if family is Family.FLOAT32:
            (number,) = struct.unpack("f", struct.pack("f", number))
        if number - number != 0:
            raise ValueError
        return Value(number, repr(number))
    if family is Family.UUID:
        # PostgreSQL takes braces around it, too.
        if not UUID_TEXT.fullmatch(text[1:-1] if text[:1] + text[-1:] == "{}" else text):
            raise ValueError
        return Value(str(UUID(text)), str(UUID(text)))
    if family is Family.BOOLEAN or family in _TEMPORALS:
        text = text.strip()
        canonical = from_text(type_)(text)
        # A time behind a date would be passed over. Dates with colons are for `data-type` alone.
        if family is Family.DATE and to_text(type_)(canonical) != text:
            raise ValueError
        if family in _MOMENTS and re.match(r"[+-]?\d+:", text):
            raise ValueError
        return Value(canonical, to_text(type_)(canonical))
    raise ValueError


def _number(type_: LogicalType, text: str) -> Value:
    try:
        number = Decimal(numeral(text.strip()))
    except InvalidOperation as error:
        raise ValueError from error
    if not number.is_finite():
        raise ValueError
    canonical: Any = number.scaleb(type_.scale or 0, EXACT) if type_.family is Family.DECIMAL else number
    if type_.family is not Family.NUMERIC and canonical == canonical.to_integral_value():
        canonical = int(canonical)
    return Value(canonical, format(number, "f"))


def is_padded(column: Column) -> bool:
    """Tell whether blanks at the end of a text do not count: PostgreSQL's `character(n)`."""
    return column.native.startswith(("character(", "bpchar"))


def _compiled(alternatives: Sequence[Sequence[Sequence[Comparison]]], table: TableSchema) -> Callable[[Row], bool]:
    """Generate the predicate: one expression over the row."""
    scope: dict[str, Any] = {"NAN": NAN}
    text = " or ".join(
        "(" + " and ".join("(" + " or ".join(_python(c, scope) for c in f) + ")" for f in filters) + ")"
        for filters in alternatives
    )
    exec(f"def matches(r):\n    return {text}", scope)
    matches: Callable[[Row], bool] = scope["matches"]
    return matches


def _python(comparison: Comparison, scope: dict[str, Any]) -> str:
    v = f"r[{comparison.index}]"
    operator = comparison.operator
    if operator in ("null", "notnull"):
        return f"{v} is {'not ' if operator == 'notnull' else ''}None"
    names = []
    for value in comparison.values:
        names.append(f"k{len(scope)}")
        scope[names[-1]] = value.canonical
    family = comparison.column.type.family
    w = f"{v}.rstrip(' ')" if is_padded(comparison.column) else v
    test = {
        "eq": "{v} == {0}",
        "noteq": "{v} != {0}",
        "lte": "{v} <= {0}",
        "ste": "{v} <= {0}",
        "gte": "{v} >= {0}",
        "between": "{0} <= {v} <= {1}",
        "notbetween": "not {0} <= {v} <= {1}",
    }[operator].format(*names, v=w)
    if family in _FLOATS or family in (Family.DECIMAL, Family.NUMERIC):
        # A number that is none is larger than all others and equal to itself, as databases sort it.
        is_nan = f"{v} is NAN" if family is Family.DECIMAL else f"{v} != {v}"
        above = operator in ("gte", "noteq", "notbetween")
        test = f"({is_nan} or {test})" if above else f"(not {is_nan} and {test})"
    return f"({v} is not None and {test})"


def _one_of(comparisons: Sequence[Comparison], expression: Expression, literal: Literal) -> str:
    said = list(_said(comparisons, expression, literal))
    return "(" + " or ".join(said) + ")" if len(said) == len(comparisons) else ""


def _said(comparisons: Sequence[Comparison], expression: Expression, literal: Literal) -> Iterator[str]:
    """Yield each comparison in SQL, but for those that are not for the source."""
    for comparison in comparisons:
        column = expression(comparison.column)
        values = [literal(comparison.column, value.text) for value in comparison.values]
        if column is None or None in values:
            continue
        if comparison.operator in ("null", "notnull"):
            yield f"{column} is {'not ' if comparison.operator == 'notnull' else ''}null"
        elif comparison.operator in ("between", "notbetween"):
            word = "not between" if comparison.operator == "notbetween" else "between"
            yield f"{column} {word} {values[0]} and {values[1]}"
        else:
            yield f"{column} {_SQL[comparison.operator]} {values[0]}"
