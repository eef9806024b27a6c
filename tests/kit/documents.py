"""What a reader makes of the JSON documents that targets hand on for each change."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from schemas.dms_json import OPERATIONS
from schemas.table import TableSchema
from schemas.types.plain import canonical
from tests.conformance.changes import Seen

OPS = {name: op for op, name in OPERATIONS.items()}


def history(documents: Iterable[dict[str, Any]], table: TableSchema) -> list[Seen]:
    """Return a table's changes, each once. Fails if one of a key comes for the first time after a later one."""
    forms = {column.name: canonical(column.type) for column in table.columns}
    found: list[Seen] = []
    latest: dict[str, int] = {}
    for document in documents:
        about = document["metadata"]
        if (about["schema-name"], about["table-name"]) != table.name:
            continue
        data = document.get("data", {})
        values = {name: None if value is None else forms[name](value) for name, value in data.items() if name in forms}
        seen = Seen(about["commit-sequence"], OPS[about["operation"]], values)
        if seen not in found:
            key = repr([values.get(name) for name in table.key_names])
            assert latest.get(key, 0) < seen.seq
            latest[key] = seen.seq
            found.append(seen)
    return found
