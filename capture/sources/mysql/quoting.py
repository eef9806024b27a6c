"""Names and texts in statements."""

from __future__ import annotations


def identifier(name: str) -> str:
    """Quote an identifier."""
    return "`" + name.replace("`", "``") + "`"


def literal(text: str) -> str:
    """Quote a string. Our sessions set NO_BACKSLASH_ESCAPES: only the quote is special."""
    return "'" + text.replace("'", "''") + "'"
