"""What becomes of every part of a table-mapping document: rules, targets, actions, attributes and their values.

Each is honoured, honoured differently, meaningless here or refused, as keys of task settings are. `parts` lists what
the models know; a test compares the two, so that nothing known is without a standing. Of the AWS DMS user guide's page
"Using table mapping to specify task settings".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from itertools import groupby
from typing import Any, Literal, get_args, get_origin

from schemas.mappings import rules
from schemas.mappings.parts import Part
from schemas.task_settings.keys import Standing

_TABLESPACES = "tables go where the target's default is"

DIFFERENTLY: dict[str, tuple[str, ...]] = {
    "rows in which a column is null come too, in the first segment that they may belong to": (
        "parallel-load.type=ranges",
    ),
    "cut by ranges of the key, as any table": ("parallel-load.type=none",),
    "values of any size come with their rows; nothing is looked up": ("lob-settings.mode=unlimited",),
    "tables begin in this order; the next one does not wait for the end of the one before": ("selection.load-order",),
    "rows of views are loaded once, of PostgreSQL; other sources refuse it": ("object-locator.table-type=view",),
    "tables, and views as far as they can be": ("object-locator.table-type=all",),
}
MEANINGLESS: dict[str, tuple[str, ...]] = {
    "of MongoDB and DocumentDB as sources": (
        "selection.isAutoSegmentationChecked",
        "parallel-load.number-of-partitions",
        "parallel-load.collection-count-from-metadata",
        "parallel-load.max-records-skip-per-page",
        "parallel-load.batch-size",
    ),
    _TABLESPACES: (
        "transformation.rule-target=table-tablespace",
        "transformation.rule-target=index-tablespace",
        "object-locator.table-tablespace-name",
        "object-locator.index-tablespace-name",
        *(f"{target}.{action}" for target in ("table-tablespace", "index-tablespace") for action in rules.NAMING),
    ),
    "the target names its key": ("primary-key-def.name",),
    "a name for whoever reads the document": tuple(
        f"{kind}.rule-name"
        for kind in ("selection", "transformation", "table-settings", "object-mapping", "post-processing")
    ),
}
REFUSED: dict[str, tuple[str, ...]] = {
    "there is no task, and so no id of one": ("mapping-parameters.partition-key-type=task-id",),
    "refused at DynamoDB, where each item is guarded by its commit sequence": (
        "mapping-parameters.condition-expression",
        "condition-expression.expression",
        "condition-expression.expression-attribute-values",
        "condition-expression.expression-attribute-names",
        "condition-expression.apply-during-cdc",
        "condition-expression.apply-during-full-load",
    ),
}
_NOTES = {
    "transformation.at": "ours: `capture` lets a column rule work before anything reaches Kafka",
    "column.add-before-image-columns": "the values before a row's last change, as far as the log holds them",
    "column.data-masking-digits-randomize": "not of a key, nor of a table where rows go by all their values",
    "object-locator.data-type": "of columns, by their type at the source: `change-data-type`, masks and others",
    "post-processing.tag-set": "of objects of S3; of files of whole transactions, none",
    "column.add-column": "expressions of SQLite; without one it holds null",
    "lob-settings.mode=limited": "at `bulk-max-size` KB, by load and by log",
    "table-settings.parallel-load": "segments are the outer cut; what is large in one is cut by the key, too",
    "parallel-load.type=partitions-auto": "of a table with a key",
    "parallel-load.type=partitions-list": "of a table with a key; changes come of all its rows",
    "parallel-load.type=subpartitions-auto": "the lowest level there is, of all sources",
    "parallel-load.subpartitions": "of all sources",
    "parallel-load.columns": "up to ten, but floating-point numbers and what filters cannot compare",
    "object-mapping.target-table-name": "of DynamoDB; other targets have no name to give: `plan` says so",
    "object-mapping.kafka-target-topic": "of Kafka targets in DMS's JSON",
    "lob-settings.mode=none": "as the task settings say",
    "object-locator.schema-name": "of table settings without wildcards, as at DMS",
}


def parts() -> Iterator[str]:
    """Yield the path of everything that the models know, in order: `part.attribute`, `part.attribute=value`, and for
    transformations `target.action`.
    """
    for name, model in rules.MODELS.items():
        for field_name, field in model.model_fields.items():
            attribute = str(field.alias or field_name.replace("_", "-"))
            if attribute in ("rule-type", "rule-id"):
                continue
            yield f"{name}.{attribute}"
            if not (name == "transformation" and attribute == "rule-action"):
                yield from (f"{name}.{attribute}={value}" for value in _values(field.annotation))
    for target, actions in rules.ACTIONS.items():
        yield from (f"{target}.{action}" for action in sorted(actions))


def _values(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif isinstance(annotation, type) and issubclass(annotation, Enum):
        yield from (str(value) for value in annotation)
    elif not (isinstance(annotation, type) and issubclass(annotation, Part)):
        for inner in get_args(annotation):
            yield from _values(inner)


def standings() -> dict[str, tuple[Standing, str]]:
    """Return the standing of each part, with what there is to say."""
    found = {
        path: (standing, note)
        for standing, groups in (
            (Standing.DIFFERENTLY, DIFFERENTLY),
            (Standing.MEANINGLESS, MEANINGLESS),
            (Standing.REFUSED, REFUSED),
        )
        for note, paths in groups.items()
        for path in paths
    }
    return found | {path: (Standing.HONOURED, _NOTES.get(path, "")) for path in HONOURED}


HONOURED: frozenset[str] = frozenset(
    {
        "selection.rule-action",
        "selection.rule-action=include",
        "selection.rule-action=exclude",
        "selection.rule-action=explicit",
        "selection.object-locator",
        "selection.filters",
        "transformation.rule-action",
        "transformation.rule-target",
        "transformation.rule-target=schema",
        "transformation.rule-target=table",
        "transformation.rule-target=column",
        "transformation.object-locator",
        "transformation.value",
        "transformation.old-value",
        "transformation.expression",
        "transformation.data-type",
        "transformation.primary-key-def",
        "transformation.before-image-def",
        "transformation.at",
        "transformation.at=apply",
        "transformation.at=capture",
        "table-settings.object-locator",
        "table-settings.lob-settings",
        "table-settings.parallel-load",
        "parallel-load.type",
        "parallel-load.type=partitions-auto",
        "parallel-load.type=partitions-list",
        "parallel-load.type=subpartitions-auto",
        "parallel-load.partitions",
        "parallel-load.subpartitions",
        "parallel-load.columns",
        "parallel-load.boundaries",
        "object-mapping.rule-action",
        "object-mapping.rule-action=map-record-to-record",
        "object-mapping.rule-action=map-record-to-document",
        "object-mapping.rule-target",
        "object-mapping.rule-target=table",
        "object-mapping.object-locator",
        "object-mapping.target-table-name",
        "object-mapping.kafka-target-topic",
        "object-mapping.partition-key",
        "object-mapping.mapping-parameters",
        "post-processing.rule-action",
        "post-processing.rule-action=add-tag",
        "post-processing.object-locator",
        "post-processing.tag-set",
        "tag-set.key",
        "tag-set.value",
        "object-locator.schema-name",
        "object-locator.table-name",
        "object-locator.column-name",
        "object-locator.data-type",
        "object-locator.table-type",
        "object-locator.table-type=table",
        "filters.filter-type",
        "filters.filter-type=source",
        "filters.column-name",
        "filters.filter-conditions",
        "filter-conditions.filter-operator",
        "filter-conditions.filter-operator=lte",
        "filter-conditions.filter-operator=ste",
        "filter-conditions.filter-operator=gte",
        "filter-conditions.filter-operator=eq",
        "filter-conditions.filter-operator=noteq",
        "filter-conditions.filter-operator=between",
        "filter-conditions.filter-operator=notbetween",
        "filter-conditions.filter-operator=null",
        "filter-conditions.filter-operator=notnull",
        "filter-conditions.value",
        "filter-conditions.start-value",
        "filter-conditions.end-value",
        "data-type.type",
        "data-type.length",
        "data-type.precision",
        "data-type.scale",
        "primary-key-def.origin",
        "primary-key-def.origin=primary-key",
        "primary-key-def.origin=unique-index",
        "primary-key-def.columns",
        "before-image-def.column-prefix",
        "before-image-def.column-suffix",
        "before-image-def.column-filter",
        "before-image-def.column-filter=pk-only",
        "before-image-def.column-filter=non-lob",
        "before-image-def.column-filter=all",
        "lob-settings.mode",
        "lob-settings.mode=limited",
        "lob-settings.mode=none",
        "lob-settings.bulk-max-size",
        "mapping-parameters.partition-key-type",
        "mapping-parameters.partition-key-type=attribute-name",
        "mapping-parameters.partition-key-type=primary-key",
        "mapping-parameters.partition-key-type=schema-table",
        "mapping-parameters.partition-key-name",
        "mapping-parameters.partition-key",
        "mapping-parameters.sort-key-name",
        "mapping-parameters.exclude-columns",
        "mapping-parameters.attribute-mappings",
        "attribute-mappings.target-attribute-name",
        "attribute-mappings.attribute-type",
        "attribute-mappings.attribute-type=scalar",
        "attribute-mappings.attribute-type=document",
        "attribute-mappings.attribute-sub-type",
        "attribute-mappings.value",
        "partition-key.attribute-name",
        "partition-key.value",
        "schema.add-prefix",
        "schema.add-suffix",
        "schema.convert-lowercase",
        "schema.convert-uppercase",
        "schema.remove-prefix",
        "schema.remove-suffix",
        "schema.rename",
        "schema.replace-prefix",
        "schema.replace-suffix",
        "table.add-prefix",
        "table.add-suffix",
        "table.convert-lowercase",
        "table.convert-uppercase",
        "table.define-primary-key",
        "table.remove-prefix",
        "table.remove-suffix",
        "table.rename",
        "table.replace-prefix",
        "table.replace-suffix",
        "column.add-before-image-columns",
        "column.add-column",
        "column.add-prefix",
        "column.add-suffix",
        "column.change-data-type",
        "column.convert-lowercase",
        "column.convert-uppercase",
        "column.data-masking-digits-mask",
        "column.data-masking-digits-randomize",
        "column.data-masking-hash-mask",
        "column.include-column",
        "column.remove-column",
        "column.remove-prefix",
        "column.remove-suffix",
        "column.rename",
        "column.replace-prefix",
        "column.replace-suffix",
    }
)
"""What does what it does at DMS."""

_HEAD = """\
# Table mappings of AWS DMS, one by one

Made from `schemas/mappings/`; do not edit. How they are used: [table mappings](../table-mappings.md).

* **honoured**: does what it does at DMS.
* **honoured differently**: its purpose is served in another way.
* **meaningless here**: there is nothing for it to act on; it is accepted.
* **refused**: an error that names the rule.

What is not listed is unknown, and refused with the nearest known name.
"""


def markdown() -> str:
    """Return the page."""
    found = standings()
    lines = _HEAD.splitlines()
    for part, paths in groupby(parts(), key=lambda path: path.partition(".")[0]):
        heading = f"Actions for a {part}" if part in rules.ACTIONS else part
        lines += ["", f"## {heading}", "", "| | standing | here |", "|---|---|---|"]
        for path in paths:
            standing, note = found[path]
            lines.append(f"| `{path.partition('.')[2]}` | {standing} | {note} |")
    return "\n".join(lines) + "\n"
