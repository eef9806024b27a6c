"""What a statement in the log means for the tables that it names.

No schema is ever learnt from a statement's text: only that something happened to a table, which is then looked up.
Names are found as words, so a statement may be taken to concern a table that it merely mentions: that costs a look at
the catalogue, or at worst a reload, never a row.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import NamedTuple

from schemas.changes import APPLIED_COMMENT
from schemas.table import TableName

ANSI_QUOTES, NO_BACKSLASH_ESCAPES = 0x4, 0x100000
"""Of `sql_mode` what changes where names and strings end."""

_WORDS = r"""(?P<comment>/\*(?!!).*?\*/|--[ \t].*?$|\#.*?$)
      | (?P<code>/\*M?!\d*|\*/)
      | `(?P<quoted>(?:[^`]|``)*)`
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | "(?P<double>(?:[^"\\]|\\.|"")*)"
      | (?P<word>[\w$]+)
      | (?P<dot>\.)
      | (?P<other>\S)"""
_FLAGS = re.VERBOSE | re.DOTALL | re.MULTILINE
_TOKEN = re.compile(_WORDS, _FLAGS)
# A backslash is a character like others, and names in double quotes have no other escapes.
_TOKEN_WITHOUT_ESCAPES = re.compile(_WORDS.replace(r"\\]|\\.|", "]|"), _FLAGS)
_TOKEN_OF_NAMES = re.compile(_WORDS.replace(r'[^"\\]|\\.|', '[^"]|'), _FLAGS)

_XID = re.compile(r"X'([0-9a-fA-F]*)',X'([0-9a-fA-F]*)',(\d+)")


class Effect(Enum):
    """What a statement does."""

    BEGIN = auto()
    COMMIT = auto()
    ROLLBACK = auto()
    CONTROL = auto()
    """A savepoint, or a statement of XA that neither begins nor ends anything."""
    XA_START = auto()
    """What follows is a transaction that is prepared, by an event of its own at its end."""
    XA_COMMIT = auto()
    XA_ROLLBACK = auto()
    TRUNCATE = auto()
    REPLACE = auto()
    """Tables go, change their names, or lose rows that the log does not name."""
    CREATE = auto()
    """A table comes."""
    OTHER = auto()
    """Anything else: a table may have other columns now."""


class Statement(NamedTuple):
    """A statement's effect, and the tables that it may concern."""

    effect: Effect
    names: tuple[TableName, ...] = ()
    databases: tuple[str, ...] = ()
    """Of `drop database`."""
    is_applied: bool = False
    """Whether an applier has marked it as its own."""


def read_statement(text: str, database: str, sql_mode: int = 0) -> Statement:
    """Tell what a statement means that was written under an `sql_mode`."""
    head = text.lstrip()[:16].upper()
    if head == "BEGIN":
        return Statement(Effect.BEGIN)
    if head == "COMMIT":
        return Statement(Effect.COMMIT)
    words, names = _words_and_names(text, database, sql_mode)
    first = words[0] if words else ""
    second = words[1] if len(words) > 1 else ""
    if first == "XA":
        effects = {"COMMIT": Effect.XA_COMMIT, "ROLLBACK": Effect.XA_ROLLBACK, "START": Effect.XA_START}
        return Statement(effects.get(second, Effect.CONTROL))
    if first == "ROLLBACK":
        return Statement(Effect.CONTROL if "TO" in words else Effect.ROLLBACK)
    if first in ("SAVEPOINT", "RELEASE"):
        return Statement(Effect.CONTROL)
    if first in ("BEGIN", "START"):
        return Statement(Effect.BEGIN)
    if first == "TRUNCATE":
        return Statement(Effect.TRUNCATE, names, is_applied=text.lstrip().startswith(APPLIED_COMMENT))
    if first == "DROP" and second in ("DATABASE", "SCHEMA"):
        return Statement(Effect.REPLACE, (), tuple(name.table for name in names))
    if first == "CREATE" and "TABLE" in words[1:4]:
        # Those that it merely mentions (`like`, `references`) are there before and after.
        return Statement(Effect.REPLACE if "REPLACE" in words[1:3] else Effect.CREATE, names)
    if (first in ("RENAME", "DROP") and second == "TABLE") or (first == "ALTER" and _moves_rows(words)):
        return Statement(Effect.REPLACE, names)
    return Statement(Effect.OTHER, names)


def read_xid(text: str) -> tuple[int, bytes, bytes]:
    """Return the transaction that a statement of XA names, as servers write it: `X'…',X'…',1`. Raises ValueError."""
    found = _XID.search(text)
    if found is None:
        raise ValueError("a statement of XA that names no transaction")
    return int(found[3]), bytes.fromhex(found[1]), bytes.fromhex(found[2])


def _moves_rows(words: list[str]) -> bool:
    """Tell whether an `alter table` gives the table another name, or takes or brings rows without naming them."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        if word == "RENAME" and after not in ("COLUMN", "INDEX", "KEY"):
            return True
        if word in ("DROP", "TRUNCATE", "EXCHANGE", "CONVERT") and after == "PARTITION":
            return True
        if word in ("DISCARD", "IMPORT") and after in ("TABLESPACE", "PARTITION"):
            return True
        if word == "CONVERT" and after == "TABLE":
            return True
    return False


def _words_and_names(text: str, database: str, sql_mode: int) -> tuple[list[str], tuple[TableName, ...]]:
    """Return the bare words in upper case, and all that may be a table's name."""
    words: list[str] = []
    names: dict[TableName, None] = {}
    parts: list[str] = []
    is_joined = False
    are_names = bool(sql_mode & ANSI_QUOTES)
    tokens = _TOKEN_WITHOUT_ESCAPES if sql_mode & NO_BACKSLASH_ESCAPES else _TOKEN_OF_NAMES if are_names else _TOKEN
    for token in tokens.finditer(text):
        kind = token.lastgroup
        if kind in ("comment", "code"):
            continue
        if kind == "dot":
            is_joined = bool(parts)
            continue
        if kind in ("quoted", "word") or (kind == "double" and are_names):
            name = token[kind]
            if kind != "word":
                quote = "`" if kind == "quoted" else '"'
                name = name.replace(quote * 2, quote)
            if kind == "word":
                words.append(name.upper())
            parts = [parts[-1], name] if is_joined else [name]
            names[TableName(parts[0], parts[1]) if len(parts) == 2 else TableName(database, name)] = None
        else:
            parts = []
        is_joined = False
    return words, tuple(names)
