"""Names and literals as MySQL and MariaDB read them in our sessions, where a backslash is a plain character."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from schemas.table import TableName

IDENTIFIER_CHARACTERS_MAX = 64

STORAGE = "engine = InnoDB row_format = dynamic"
"""Of our tables, whatever the server's default is: in older formats an index takes 767 bytes of a column."""


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


def folded(name: str) -> str:
    """Return a name as the servers compare those of columns, and of tables where they are told to: without case."""
    return "".join(letter.lower()[0] for letter in name)


def problems_of_names(names: Iterable[str]) -> Iterator[str]:
    """Say in words which names of a table's columns the servers do not take."""
    seen: dict[str, str] = {}
    for name in names:
        if (same := seen.setdefault(folded(name), name)) != name:
            yield f"columns {same!r} and {name!r} have one name at the target, where case does not count"
        yield from _problems_of("column", name)


def problems_of_tables(*tables: TableName) -> Iterator[str]:
    """Say in words which names of tables and their databases the servers do not take, and so our own tables not."""
    for name in dict.fromkeys(table.schema for table in tables):
        yield from _problems_of("database", name)
    for name in dict.fromkeys(table.table for table in tables):
        yield from _problems_of("table", name)


def _problems_of(kind: str, name: str) -> Iterator[str]:
    if len(name) > IDENTIFIER_CHARACTERS_MAX:
        yield f"the name of {kind} {name!r} has more than {IDENTIFIER_CHARACTERS_MAX} characters"
    if name.endswith(" "):
        yield f"the name of {kind} {name!r} ends with a blank, which the target does not take"
    if any(ord(letter) > 0xFFFF for letter in name):
        yield f"the name of {kind} {name!r} has characters beyond U+FFFF, which the target does not take"


def shortened(name: str, ending: str = "") -> str:
    """Return `name` with `ending`, cut to what the servers take as an identifier."""
    return name[: IDENTIFIER_CHARACTERS_MAX - len(ending)] + ending


def foreign_key_names(table: str, name: str) -> tuple[str, str]:
    """Return what a foreign key of a table is called; and what else, where a key of another table has that name.

    The servers tell foreign keys apart by name within a database, PostgreSQL within a table.
    """
    digest = hashlib.sha256(f"{table}\0{name}".encode()).hexdigest()
    return shortened(name), shortened(name, f"_{digest[:8]}")
