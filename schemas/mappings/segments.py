"""Segments of a table's full load: what `parallel-load` of table settings makes of a table and its partitions.

A segment is the outer cut of a load; what is large in it is cut by the key, as all tables are. Segments of ranges cover
the whole table: a row is of the first one whose boundary it is below (AWS DMS user guide, "Using parallel load for
selected tables, views, and collections"). Where that is not known, since a column is null, it counts as below: DMS
leaves such rows out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from schemas.errors import ErrorKind, TailraceError
from schemas.hints import suggested, suggestion
from schemas.mappings.filters import Value, comparable
from schemas.mappings.table_settings_rule import ParallelLoad, TableSettingsRule
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family

_INEXACT = frozenset({Family.FLOAT32, Family.FLOAT64})
_SORTED_BY_SERVERS = frozenset({Family.STRING, Family.ENUM, Family.UUID})
"""What servers sort by rules of their own: which of two boundaries is the lower one, only they know."""


class Partition(NamedTuple):
    """A partition of a table at the source."""

    name: str
    parent: str = ""
    """The partition that it is a part of; empty: the table."""
    identity: str = ""
    """Another text once other rows belong to it, or another partition has its name."""
    refusal: str = ""
    """Why it cannot be read by itself: what to do, in SQL; empty: it can."""


class Segment(NamedTuple):
    """A part of a table that is loaded by itself: a partition, or the rows between boundaries. Serialises as JSON."""

    partition: str = ""
    identity: str = ""
    """That of the partition when the table was cut."""
    columns: tuple[str, ...] = ()
    above: tuple[tuple[str, ...], ...] = ()
    """Boundaries that its rows are not below, as text."""
    below: tuple[str, ...] | None = None
    """The boundary that its rows are below; None: it is open."""

    @classmethod
    def read(cls, document: Any) -> Segment:
        """Return what was serialised. Raises ValueError or TypeError."""
        partition, identity, columns, above, below = document
        if not isinstance(above, list):
            raise TypeError("no boundaries")
        name, told = _texts([partition, identity])
        return cls(
            name,
            told,
            _texts(columns),
            tuple(map(_texts, above)),
            None if below is None else _texts(below),
        )


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError("no texts")
    return tuple(values)


def columns_of(table: TableSchema, segment: Segment) -> list[Column]:
    """Return the columns that a segment's boundaries are of. Raises SOURCE_SCHEMA if the table lacks one by now."""
    columns = {column.name: column for column in table.columns}
    if not columns.keys() >= set(segment.columns):
        raise TailraceError(
            ErrorKind.SOURCE_SCHEMA, "the table no longer has the columns that it was cut by", table=str(table.name)
        )
    return [columns[name] for name in segment.columns]


def rule_of(rules: Sequence[TableSettingsRule], table: TableSchema) -> TableSettingsRule | None:
    """Return the rule that cuts a table, as the source has it."""
    return _rule_of(rules, table.name)


def loads_part(rules: Sequence[TableSettingsRule], name: TableName) -> bool:
    """Tell whether some rows of a table only are loaded, so that targets lack others until they change."""
    rule = _rule_of(rules, name)
    return rule is not None and rule.parallel_load is not None and rule.parallel_load.type == "partitions-list"


def _rule_of(rules: Sequence[TableSettingsRule], name: TableName) -> TableSettingsRule | None:
    for rule in rules:
        locator, load = rule.object_locator, rule.parallel_load
        if load is not None and load.type != "none" and locator.sole == name:
            return rule
    return None


def leaves_key(rule: TableSettingsRule | None, table: TableSchema) -> bool:
    """Tell whether a row may go from one segment to another without a change of its key."""
    columns = rule.parallel_load.columns if rule is not None and rule.parallel_load is not None else None
    return not set(columns or ()) <= set(table.key_names)


def cut(rule: TableSettingsRule, table: TableSchema, partitions: Callable[[], Sequence[Partition]]) -> list[Segment]:
    """Return the segments; none where the table is loaded as others are. `partitions` are those that the source has.

    Raises CONFIGURATION, with the rule's id, for what does not fit the table; PREREQUISITE for a partition that cannot
    be read.
    """
    load = rule.parallel_load
    assert load is not None
    if load.type == "ranges":
        found = _ranges(rule, load, table)
        # The rows of a table without a key are of one snapshot, and so of one reader.
        return found if table.key else []
    if load.type == "partitions-list":
        return _chosen(rule, load, table, partitions())
    if not table.key:
        return []
    present = partitions()
    if load.type == "partitions-auto":
        return _readable(rule, table, [p for p in present if not p.parent])
    parents = {p.parent for p in present}
    return _readable(rule, table, [p for p in present if p.name not in parents])


def _chosen(
    rule: TableSettingsRule, load: ParallelLoad, table: TableSchema, present: Sequence[Partition]
) -> list[Segment]:
    if not table.key:
        raise _refused(rule, table, "a table without a key is loaded whole, in one snapshot: no partitions of it alone")
    tops = {p.name: p for p in present if not p.parent}
    parts = {p.name: p for p in present if p.parent}
    wholes = [_named(rule, table, "partition", name, tops) for name in load.partitions or ()]
    inner = [_named(rule, table, "subpartition", name, parts) for name in load.subpartitions or ()]
    listed = {p.name for p in (*wholes, *inner)}
    known = tops | parts
    # Of a partition, or a subpartition, that is listed itself all is loaded already.
    return _readable(rule, table, [*wholes, *(p for p in inner if listed.isdisjoint(_above(p, known)))])


def _above(partition: Partition, known: dict[str, Partition]) -> set[str]:
    found: set[str] = set()
    while partition.parent and partition.parent not in found:
        found.add(partition.parent)
        partition = known[partition.parent]
    return found


def _named(rule: TableSettingsRule, table: TableSchema, what: str, name: str, known: dict[str, Partition]) -> Partition:
    if name not in known:
        hint = suggestion(name, known, f"it has {', '.join(list(known)[:10]) or 'none'}")
        raise _refused(rule, table, f"no {what} {name}; {hint}")
    return known[name]


def _readable(rule: TableSettingsRule, table: TableSchema, chosen: Sequence[Partition]) -> list[Segment]:
    for partition in chosen:
        if partition.refusal:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"rule {rule.rule_id}: {table.name}: the partition {partition.name} cannot be read by itself",
                remedy=partition.refusal,
                table=str(table.name),
            )
    return [Segment(p.name, p.identity) for p in dict.fromkeys(chosen)]


def _ranges(rule: TableSettingsRule, load: ParallelLoad, table: TableSchema) -> list[Segment]:
    columns = [_column(rule, table, name) for name in load.columns or ()]
    boundaries = []
    for number, values in enumerate(load.boundaries or (), 1):
        found = []
        for column, value in zip(columns, values, strict=True):
            try:
                found.append(comparable(column, str(value)))
            except (ValueError, ArithmeticError, OverflowError):
                # Not chained: the error of a conversion quotes what it could not convert.
                why = f"boundary {number}: column {column.name} is {column.native}: this is no value of it"
                raise _refused(rule, table, why) from None
        boundaries.append(found)
    for number, (lower, upper) in enumerate(pairwise(boundaries), 2):
        if not _ascends(columns, lower, upper):
            raise _refused(rule, table, f"boundary {number} is not above the one before it")
    texts = [tuple(value.text for value in boundary) for boundary in boundaries]
    # The highest boundary is the last one, where it is we who know the order.
    is_known = not any(column.type.family in _SORTED_BY_SERVERS for column in columns)
    names = tuple(column.name for column in columns)
    return [
        Segment(columns=names, above=tuple(texts[max(0, i - 1) if is_known else 0 : i]), below=below)
        for i, below in enumerate([*texts, None])
    ]


def _column(rule: TableSettingsRule, table: TableSchema, name: str) -> Column:
    column = next((column for column in table.columns if column.name == name), None)
    if column is None:
        raise _refused(rule, table, f"no column {name} to cut by{suggested(name, table.column_names)}")
    if column.type.family in _INEXACT:
        raise _refused(rule, table, f"column {name} is {column.native}: boundaries are of exact values")
    return column


def _ascends(columns: Sequence[Column], lower: Sequence[Value], upper: Sequence[Value]) -> bool:
    """Tell whether one boundary is above another, as far as it can be known."""
    for column, low, high in zip(columns, lower, upper, strict=True):
        if low.canonical != high.canonical:
            return column.type.family in _SORTED_BY_SERVERS or bool(low.canonical < high.canonical)
    return False


def _refused(rule: TableSettingsRule, table: TableSchema, why: str) -> TailraceError:
    return TailraceError(
        ErrorKind.CONFIGURATION,
        f"rule {rule.rule_id}: {table.name}: {why}",
        remedy="parallel-load names columns and partitions as the source has them, and boundaries from low to high",
        table=str(table.name),
    )
