"""Names and texts in statements."""

from __future__ import annotations


def identifier(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def any_table(database: str, *, revokes_in_part: bool = False) -> str:
    """Name all tables of a database as `grant` does, where `_` and `%` in its name stand for other characters; but for
    servers that take rights back in part: there a right comes back under the name that it went by, and no other.
    """
    escaped = database if revokes_in_part else database.replace("_", "\\_").replace("%", "\\%")
    return identifier(escaped) + ".*"


def literal(text: str) -> str:
    """Quote a string. Our sessions set NO_BACKSLASH_ESCAPES: only the quote is special."""
    return "'" + text.replace("'", "''") + "'"
