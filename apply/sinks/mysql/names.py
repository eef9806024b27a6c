"""Names and literals as MySQL and MariaDB read them in our sessions, where a backslash is a plain character."""

from __future__ import annotations

from collections.abc import Iterable

from schemas.table import TableName

IDENTIFIER_CHARACTERS_MAX = 64


def quoted(name: str) -> str:
    """Return an identifier in quotes."""
    return "`" + name.replace("`", "``") + "`"


def qualified(name: TableName) -> str:
    """Return a table's name with its database, both in quotes."""
    return f"{quoted(name.schema)}.{quoted(name.table)}"


def listed(names: Iterable[str]) -> str:
    """Return identifiers in quotes, with commas between."""
    return ", ".join(map(quoted, names))


def literal(text: str) -> str:
    """Return a string constant. The session's `sql_mode` has NO_BACKSLASH_ESCAPES."""
    return "'" + text.replace("'", "''") + "'"


def shortened(name: str, ending: str = "") -> str:
    """Return `name` with `ending`, cut to what the servers take as an identifier."""
    return name[: IDENTIFIER_CHARACTERS_MAX - len(ending)] + ending
