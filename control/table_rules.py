"""What rules of table mappings cannot do with the source's tables: filters that do not fit, parts that they lack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing

from capture.sources import open_snapshot_reader
from capture.sources.postgresql.publication import table_list
from schemas.before_image import has_image
from schemas.endpoints.files import S3Target
from schemas.errors import TailraceError
from schemas.findings import Finding, note, of_error, warns
from schemas.hints import suggested
from schemas.mappings.filters import row_filter
from schemas.mappings.mapped_table import map_table
from schemas.mappings.names import concerns
from schemas.mappings.patterns import matches
from schemas.mappings.rules import TransformationRule
from schemas.mappings.segments import rule_of
from schemas.mappings.tags import rule_for, tags
from schemas.mappings.types import means
from schemas.settings import Mode, Settings
from schemas.table import TableSchema


def findings(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture, and where a rule does nothing. Asks the source for partitions only."""
    return [
        *_of_filters(settings, tables),
        *_of_segments(settings, tables),
        *about_nothing(settings, tables),
        *_of_objects(settings, tables),
        *_of_tags(settings, tables),
        *_of_earlier_values(settings, tables),
    ]


def about_nothing(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return the rules that are about no captured table, or none of its columns.

    They are no error, since such a table may come. A misspelt one leaves as it is what it was to mask or remove.
    """
    documents = [settings.mappings, *(target.mappings for target in settings.targets.values())]
    found: dict[str, None] = {}
    for rule in (rule for document in documents if document is not None for rule in document.transformations):
        locator = rule.object_locator
        if rule.rule_target == "schema":
            if not any(matches(locator.schema_name, table.source_form.name.schema) for table in tables):
                found[f"rule {rule.rule_id} is about no captured schema: {locator.schema_name}"] = None
            continue
        place = f"{locator.schema_name}.{locator.table_name}"
        meant = [table for table in tables if concerns(rule, table.name)]
        forms = [form for table in meant for form in (table.source_form, table)]
        columns = {column.name for form in forms for column in form.columns}
        column = locator.column_name
        if not meant:
            known = [str(table.name) for table in tables]
            found[f"rule {rule.rule_id} is about no captured table: {place}{suggested(place, known)}"] = None
        elif column is not None and not any(matches(column, name) for name in columns):
            found[f"rule {rule.rule_id} is about no column of {place}: {column}{suggested(column, columns)}"] = None
        elif locator.data_type is not None and not any(means(rule, form, c) for form in forms for c in form.columns):
            found[f"rule {rule.rule_id} is about no column of {place}: none is {locator.data_type}"] = None
    for setting in (one for document in documents if document is not None for one in document.table_settings):
        sole = setting.object_locator.sole
        if not any(table.source_form.name == sole for table in tables):
            near = suggested(str(sole), [str(table.name) for table in tables])
            found[f"rule {setting.rule_id} is about no captured table: {sole}{near}"] = None
    return _in_vain(found)


def _in_vain(messages: Iterable[str]) -> list[Finding]:
    remedy = "correct the rule; `tailrace mappings preview` shows what the rules make of the tables"
    return [warns("mapping-rule", message, remedy) for message in messages]


def _of_objects(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what rules of object mapping say in vain: of tables and columns that are not there, or to other targets.

    What they make attributes of must be there: that is the targets' to check. What they exclude need not.
    """
    found: dict[str, None] = {}
    idle: list[Finding] = []
    for target, section in settings.targets.items():
        rules = settings.transformations(target)
        for rule in settings.object_mappings(target):
            meant = [table for table in tables if concerns(rule, table.name)]
            if not meant:
                place = f"{rule.object_locator.schema_name}.{rule.object_locator.table_name}"
                near = suggested(place, [str(table.name) for table in tables])
                found[f"rule {rule.rule_id} is about no captured table: {place}{near}"] = None
            columns = [name for table in meant for name in _column_names(rules, table)]
            known = {name.casefold() for name in columns}
            for name in rule.mapping_parameters.exclude_columns:
                if known and name.casefold() not in known:
                    found[f"rule {rule.rule_id} excludes no column: {name}{suggested(name, columns)}"] = None
            for word in sorted(rule.said & section.idle_object_words):
                message = f"rule {rule.rule_id}: {word} does nothing at target {target} ({section.engine})"
                idle.append(note("mapping-rule", message))
    return [*_in_vain(found), *idle]


def _of_tags(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what rules for tags say in vain, or of tables whose tags S3 does not take."""
    found: list[Finding] = []
    for target, section in settings.targets.items():
        mappings = section.mappings or settings.mappings
        said = mappings.taggings if mappings is not None else []
        rules = settings.taggings(target)
        for rule in said if not rules else []:
            message = (
                f"rule {rule.rule_id} does nothing at target {target} ({section.engine}): only S3's objects have tags"
            )
            found.append(note("mapping-rule", message))
        if rules and isinstance(section, S3Target) and section.preserve_transactions:
            message = f"target {target}: files of transactions are of several tables, and get no tags"
            found.append(note("mapping-rule", message))
        heeded = [rule_for(rules, table.source_form.name) for table in tables]
        found += _in_vain(
            f"rule {rule.rule_id} gives no object of a captured table its tags" for rule in rules if rule not in heeded
        )
        for table in tables:
            try:
                tags(rules, table.source_form.name)
            except TailraceError as error:
                found.append(of_error(error, "mapping-rule", table.name))
    return found


def _of_earlier_values(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return where earlier values are asked for, by rules or for documents, and the log holds none but the key's."""
    rules = [rule for target in settings.targets for rule in settings.transformations(target)]
    image = settings.apply.before_image
    found: dict[str, Finding] = {}
    for table in tables:
        if table.full_before or table.is_view:
            continue
        places = [i for i in range(len(table.columns)) if i not in table.key]
        wanted = [(f"rule {r.rule_id}", [i for i in places if _has_image(r, table, i)], "they are null") for r in rules]
        if image is not None:
            documented = [i for i in places if has_image(table, i, image.columns)]
            wanted.append(("before_image", documented, "documents do not have them"))
        place = table.source_form.name
        remedy = f"alter table {table_list([place])} replica identity full" if table.engine == "postgresql" else None
        for asking, columns, outcome in wanted:
            if columns:
                named = ", ".join(table.columns[i].name for i in columns)
                message = f"{asking}: the log holds no earlier values of {named}: {outcome}"
                found[f"{table.name} {message}"] = warns("mapping-rule", message, remedy, table.name)
    return [*found.values()]


def _has_image(rule: TransformationRule, table: TableSchema, place: int) -> bool:
    image = rule.before_image_def
    if image is None or not has_image(table, place, image.column_filter):
        return False
    return means(rule, table, table.columns[place])


def _column_names(rules: Sequence[TransformationRule], table: TableSchema) -> tuple[str, ...]:
    """Return a table's columns as the target has them; none where rules that do not fit are told by others."""
    try:
        return map_table(rules, table, keeps_history=True).table.column_names
    except TailraceError:
        return ()


def _of_filters(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture: filters that do not fit their tables."""
    found = []
    for table in tables:
        try:
            row_filter(settings.filters, table.source_form)
        except TailraceError as error:
            found.append(of_error(error, "mapping-rule", table.name))
    return found


def grants(settings: Settings, tables: Sequence[TableSchema]) -> str:
    """Return the SQL that lets the source's role read by themselves those partitions that it may not, in lines.

    Raises CONFIGURATION for a rule that does not fit its table.
    """
    found: dict[str, None] = {}
    with closing(open_snapshot_reader(settings)) as reader:
        for table in tables:
            found |= dict.fromkeys(reader.refusals(table))
    return "".join(f"\n{statement}" for statement in found)


def _of_segments(settings: Settings, tables: Sequence[TableSchema]) -> list[Finding]:
    """Return what stops capture when it cuts tables for the full load, and where a rule cuts none."""
    found: list[Finding] = []
    if not settings.load_rules or settings.mode is Mode.CDC:
        return found
    with closing(open_snapshot_reader(settings)) as reader:
        for table in tables:
            rule = rule_of(settings.load_rules, table.source_form)
            if rule is None:
                continue
            try:
                segments = reader.segments(table)
            except TailraceError as error:
                found.append(of_error(error, "mapping-rule", table.name))
                continue
            if not segments:
                why = "it has no partitions" if table.key else "a table without a key is loaded in one snapshot"
                message = f"rule {rule.rule_id}: parallel-load cuts nothing: {why}"
                found.append(note("mapping-rule", message, table=table.name))
    return found
