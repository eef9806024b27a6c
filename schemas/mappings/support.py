"""What of a document is done, what otherwise than at AWS DMS, and what not: nothing is passed over in silence."""

from __future__ import annotations

from schemas.errors import ErrorKind, TailraceError
from schemas.findings import Finding, Severity
from schemas.mappings.rules import Action, Mappings, ObjectMappingRule, SelectionRule, TableSettingsRule

_NOT_DONE = {
    Action.BEFORE_IMAGE: "columns with earlier values are not supported yet",
    Action.DEFINE_PRIMARY_KEY: "another key than the source's is not supported yet",
}


def findings(mappings: Mappings) -> list[Finding]:
    """Return what is not supported (BLOCKS) and what is done in another way (NOTE), each with its rule's id."""
    found = []
    for rule in mappings.rules:
        severity, message = Severity.BLOCKS, ""
        if isinstance(rule, SelectionRule):
            if rule.filters:
                message = "filters are not supported yet"
            elif rule.load_order is not None:
                severity, message = Severity.NOTE, "load-order is not heeded: tables load side by side"
        elif isinstance(rule, TableSettingsRule):
            severity = Severity.NOTE
            message = "tables are cut by ranges of their key and read by several processes; values are never cut off"
        elif isinstance(rule, ObjectMappingRule):
            message = "object mapping is for targets that are no tables; no such target supports it yet"
        elif rule.rule_target.endswith("tablespace"):
            severity, message = (
                Severity.NOTE,
                "there are no tablespaces to name: tables go where the target's default is",
            )
        else:
            message = _NOT_DONE.get(rule.rule_action, "")
        if message:
            found.append(Finding(severity, "mapping-rule", f"rule {rule.rule_id}: {message}"))
    return found


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
