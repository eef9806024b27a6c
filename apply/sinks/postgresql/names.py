"""Names and literals as PostgreSQL reads them."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.table import TableName


def quoted(name: str) -> str:
    """Return an identifier in quotes."""
    return '"' + name.replace('"', '""') + '"'


def qualified(name: TableName) -> str:
    """Return a table's name with its schema, both in quotes."""
    return f"{quoted(name.schema)}.{quoted(name.table)}"


def listed(names: Iterable[str]) -> str:
    """Return identifiers in quotes, with commas between."""
    return ", ".join(map(quoted, names))


def literal(text: str) -> str:
    """Return a string constant, whatever `standard_conforming_strings` says."""
    body = text.replace("'", "''")
    return "E'" + body.replace("\\", "\\\\") + "'" if "\\" in body else f"'{body}'"
