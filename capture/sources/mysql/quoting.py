"""Names and texts in statements."""

from __future__ import annotations


def identifier(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def any_table(database: str) -> str:
    """Name all tables of a database as `grant` does, where `_` and `%` in its name stand for other characters."""
    return identifier(database.replace("_", "\\_").replace("%", "\\%")) + ".*"


def literal(text: str) -> str:
    """Quote a string. Our sessions set NO_BACKSLASH_ESCAPES: only the quote is special."""
    return "'" + text.replace("'", "''") + "'"
