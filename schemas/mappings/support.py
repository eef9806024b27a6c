"""What of a document is done, what otherwise than at AWS DMS, and what not: nothing is passed over in silence."""

from __future__ import annotations

from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity
from schemas.mappings import expressions, types
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.rules import NAMING, Mappings, SelectionRule, TransformationRule
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.mappings.tags import TaggingRule


def findings(mappings: Mappings) -> list[Finding]:
    """Return what is not supported (BLOCKS) and what is done in another way (NOTE), each with its rule's id."""
    found = []
    renames = [
        rule.rule_id
        for rule in mappings.transformations
        if rule.rule_action in NAMING and rule.rule_target in ("schema", "table")
    ]
    for rule in mappings.rules:
        severity, message = Severity.BLOCKS, ""
        if isinstance(rule, SelectionRule | TableSettingsRule | TaggingRule):
            continue
        if isinstance(rule, ObjectMappingRule):
            # Sinks know tables by their names at the target: which one a locator means would depend on the target.
            if renames:
                message = f"object mapping does not go with rules that rename tables (rule {renames[0]})"
            elif rule.mapping_parameters.partition_key_type == "task-id":
                message = "partition-key-type task-id is not supported: there is no task, and so no id of one"
        elif rule.rule_target.endswith("tablespace"):
            severity, message = (
                Severity.NOTE,
                "there are no tablespaces to name: tables go where the target's default is",
            )
        else:
            message = _fault(rule)
        if message:
            found.append(Finding(severity, "mapping-rule", f"rule {rule.rule_id}: {message}"))
    return found


def _fault(rule: TransformationRule) -> str:
    """Return what is wrong with a rule whatever table it is for; empty: nothing."""
    if rule.object_locator.data_type is not None and (fault := types.unknown(rule.object_locator.data_type)):
        return f"object-locator: {fault}"
    if rule.data_type is not None:
        try:
            types.meaning(rule.rule_id, rule.data_type)
        except TailraceError as error:
            return error.message.removeprefix(f"rule {rule.rule_id}: ")
    return (expressions.fault(rule.expression) if rule.expression else None) or ""


def check(mappings: Mappings) -> None:
    """Raise CONFIGURATION if a rule is not supported."""
    refused = [finding.message for finding in findings(mappings) if finding.severity is Severity.BLOCKS]
    if refused:
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            "the table mappings ask for what Tailrace does not do:\n"
            + "\n".join(f"  {message}" for message in refused),
            remedy="take these rules out",
        )
