"""Table mappings explained: each rule in words, and real rows before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from apply.sinks import open_sink
from capture.named_tables import look_for_named
from capture.source import Chunk, SnapshotReader
from capture.sources import open_snapshot_reader
from control.contact import reach_source
from control.table_rules import about_nothing
from runtime import clock
from schemas.changes import UNCHANGED, Row
from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding
from schemas.hints import suggested
from schemas.mappings import support
from schemas.mappings.expressions import Headers
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import Change, map_table
from schemas.mappings.parts import Locator
from schemas.mappings.rules import Action, Filter, Mappings, Rule, SelectionRule, TransformationRule
from schemas.mappings.tags import TaggingRule
from schemas.mappings.values import to_text
from schemas.selection import Selection
from schemas.settings import Settings
from schemas.table import TableSchema
from schemas.types.calendar import zoned_text

VALUE_LENGTH_MAX = 200
"""Characters of a value that a preview shows."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """One rule in words."""

    rule_id: str
    meaning: str
    remark: str
    """What is not supported, or done otherwise than at AWS DMS; empty: nothing."""
    blocks: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """One table before and after."""

    source: TableSchema
    target: TableSchema
    before: list[list[str]]
    after: list[list[str]]
    left_out: tuple[str, ...]


def explain(mappings: Mappings) -> list[Explanation]:
    """Return every rule in words, in order."""
    remarks = {finding.message.split(":")[0]: finding for finding in support.findings(mappings)}
    explained = []
    for rule in mappings.rules:
        finding = remarks.get(f"rule {rule.rule_id}")
        remark = finding.message.partition(": ")[2] if finding is not None else ""
        explained.append(
            Explanation(rule.rule_id, _in_words(rule), remark, finding is not None and finding.severity == "blocks")
        )
    return explained


def preview(settings: Settings, target: str, patterns: Sequence[str], row_count: int) -> Iterator[Preview | Finding]:
    """Yield the tables that rules concern, or those of `patterns`, with their first rows; then the rules that are about
    none of the captured tables.

    Raises CONFIGURATION for rules that a table cannot follow, and if no table matches. Raises ROW_REJECTED for a value
    that cannot become what a rule says.
    """
    rules = settings.transformations(target)
    with closing(reach_source(settings)) as source:
        tables = source.tables()
        look_for_named(settings, source, tables)
    nothing = about_nothing(settings, tables)
    chosen = Selection(patterns) if patterns else None
    known = [str(table.name) for table in tables]
    tables = [table for table in tables if chosen is None or chosen.takes(table.name)]
    if not tables:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"no captured table matches {', '.join(patterns)}{suggested(patterns[0], known)}",
            remedy="see `tailrace plan CONFIG`",
        )
    sink = open_sink(settings, target)
    keeps_history = sink.capabilities.history
    sink.close()
    time = zoned_text(clock.now_us()).replace("T", " ").removesuffix("Z")
    read = Change(Headers("INSERT", time, 1, None))
    with closing(open_snapshot_reader(settings)) as reader:
        for table in tables:
            mapped = map_table(rules, table, keeps_history=keeps_history)
            is_filtered = row_filter(settings.filters, table.source_form) is not None
            if mapped.table == table.source_form and not is_filtered and chosen is None:
                continue
            rows = _first_rows(reader, table, row_count)
            try:
                after = mapped.rows(rows, [read] * len(rows)) if mapped.rows is not None else rows
            except ValueError as error:
                raise TailraceError(
                    ErrorKind.ROW_REJECTED,
                    str(error),
                    table=str(table.name),
                    remedy="correct the rule, or the row; an applier would do with the row as `apply.errors` says",
                ) from error
            yield Preview(table, mapped.table, _texts(table, rows), _texts(mapped.table, after), mapped.left_out)
    yield from nothing


def _first_rows(reader: SnapshotReader, table: TableSchema, row_count: int) -> list[Row]:
    """Return the first rows that the filters take, as capture publishes them."""
    found: list[Row] = []
    for rows in reader.read(table, Chunk(0, None, None), row_count):
        found += rows
        if len(found) >= row_count:
            break
    return found[:row_count]


def _texts(table: TableSchema, rows: Sequence[Row]) -> list[list[str]]:
    return [[_text(column, value) for column, value in zip(table.columns, row, strict=True)] for row in rows]


def _text(column: Any, value: Any) -> str:
    if value is None:
        return "∅"
    return "…" if value is UNCHANGED else _shown(str(to_text(column.type)(value)))


def _shown(text: str) -> str:
    """Return a value as one can look at it: not all of a large one, and nothing that a terminal would obey."""
    rest = f"… ({len(text):,} characters)" if len(text) > VALUE_LENGTH_MAX else ""
    head = text[: VALUE_LENGTH_MAX - len(rest)] if rest else text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in head) + rest


def _in_words(rule: Rule) -> str:
    if isinstance(rule, SelectionRule):
        kind = {"table": "tables", "view": "views", "all": "tables and views"}[rule.object_locator.table_type]
        verb = {"include": "take", "explicit": "take", "exclude": "leave out"}[rule.rule_action]
        limits = f", rows where {' and '.join(map(_filter_in_words, rule.filters))}" if rule.filters else ""
        return f"{verb} the {kind} {_place(rule.object_locator)}{limits}"
    if isinstance(rule, TransformationRule):
        return f"{_subject(rule)}: {_deed(rule)}{', before Kafka' if rule.at == 'capture' else ''}"
    if isinstance(rule, TaggingRule):
        said = ", ".join(f"{tag.key}={tag.value}" for tag in rule.tag_set)
        return f"objects in S3 of {_place(rule.object_locator)} get the tags {said}"
    return f"{rule.rule_type} for {_place(rule.object_locator)}"


def _filter_in_words(given: Filter) -> str:
    said = [
        " ".join([condition.filter_operator, " and ".join(map(repr, condition.values.values()))]).strip()
        for condition in given.filter_conditions
    ]
    return f"{given.column_name} {' or '.join(said)}"


def _subject(rule: TransformationRule) -> str:
    locator, target = rule.object_locator, rule.rule_target
    if target == "schema":
        return f"schema {locator.schema_name}"
    if target == "column" and rule.rule_action is not Action.ADD_COLUMN:
        kind = f" of the type {locator.data_type}" if locator.data_type is not None else ""
        return f"column {locator.column_name or '%'}{kind} of {_place(locator)}"
    return f"{target if target != 'column' else 'table'} {_place(locator)}"


def _deed(rule: TransformationRule) -> str:
    value, old = rule.value, rule.old_value
    kind = rule.data_type.type if rule.data_type else ""
    columns = ", ".join(rule.primary_key_def.columns) if rule.primary_key_def else ""
    words = {
        Action.RENAME: f"is called {value}",
        Action.LOWERCASE: "in lower case",
        Action.UPPERCASE: "in upper case",
        Action.ADD_PREFIX: f"with {value} before",
        Action.REMOVE_PREFIX: f"without {value} before",
        Action.REPLACE_PREFIX: f"with {value} before, instead of {old}",
        Action.ADD_SUFFIX: f"with {value} behind",
        Action.REMOVE_SUFFIX: f"without {value} behind",
        Action.REPLACE_SUFFIX: f"with {value} behind, instead of {old}",
        Action.ADD_COLUMN: f"gets a column {value} ({kind}) with {rule.expression or 'null'}",
        Action.INCLUDE_COLUMN: "stays; others do not",
        Action.REMOVE_COLUMN: "does not go to the target",
        Action.CHANGE_DATA_TYPE: f"becomes {kind}",
        Action.DIGITS_MASK: f"digits become {value}",
        Action.DIGITS_RANDOMIZE: "digits become random ones",
        Action.HASH_MASK: "becomes its SHA-256",
        Action.DEFINE_PRIMARY_KEY: f"is keyed by {columns}",
        Action.BEFORE_IMAGE: "gets a column of the value before",
    }
    return words.get(rule.rule_action, str(rule.rule_action))


def _place(locator: Locator) -> str:
    return f"{locator.schema_name}.{locator.table_name}"
