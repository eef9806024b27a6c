"""What a statement in the log means for the tables that it names.

No schema is ever learnt from a statement's text: only that something happened to a table, which is then looked up.
Names are found as words, so a statement may be taken to concern a table that it merely mentions: that costs a look at
the catalogue, or at worst a reload, never a row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum, auto
from itertools import dropwhile, pairwise
from typing import NamedTuple

import orjson

from schemas.changes import SchemaChange
from schemas.loopback import APPLIED_COMMENT, APPLIED_DROP_COMMENT
from schemas.table import TableName, TableSchema

ANSI_QUOTES, NO_BACKSLASH_ESCAPES = 0x4, 0x100000
"""Of `sql_mode` what changes where names and strings end."""
STRICT = 0x600000
"""Of `sql_mode` STRICT_TRANS_TABLES and STRICT_ALL_TABLES: no statement bends what rows hold."""

_WORDS = r"""(?P<comment>/\*(?!!).*?\*/|--[ \t].*?$|\#.*?$)
      | (?P<code>/\*M?!\d*|\*/)
      | `(?P<quoted>(?:[^`]|``)*)`
      | (?P<string>'(?:[^'\\]|\\.|'')*')
      | "(?P<double>(?:[^"\\]|\\.|"")*)"
      | (?P<word>[\w$\x80-\uffff]+)
      | (?P<dot>\.)
      | (?P<other>\S)"""
_FLAGS = re.VERBOSE | re.DOTALL | re.MULTILINE
_TOKEN = re.compile(_WORDS, _FLAGS)
# A backslash is a character like others, and names in double quotes have no other escapes.
_TOKEN_WITHOUT_ESCAPES = re.compile(_WORDS.replace(r"\\]|\\.|", "]|"), _FLAGS)
_TOKEN_OF_NAMES = re.compile(_WORDS.replace(r'[^"\\]|\\.|', '[^"]|'), _FLAGS)

_MODIFIERS = frozenset({"OR", "REPLACE", "ONLINE", "OFFLINE", "IGNORE", "UNIQUE", "FULLTEXT", "SPATIAL"})
"""Words that may stand between a statement's verb and what it is about."""

STATEMENT_CHARACTERS_MAX, OBJECTS_MAX = 100_000, 1000
"""What is told of a statement at most: a record of Kafka is 1 MB at most unless brokers are told otherwise."""

_WRITTEN_UNTIL = {
    **dict.fromkeys(("INSERT", "REPLACE"), frozenset({"(", "VALUES", "VALUE", "SELECT", "SET", "TABLE", "WITH"})),
    "UPDATE": frozenset({"SET"}),
    "DELETE": frozenset({"WHERE"}),
    "LOAD": frozenset({"("}),
    "WITH": frozenset(),
}
"""The verbs of statements that write rows, and the words behind which they only name tables that they read."""

_SETTINGS = ["SET", "STATEMENT"]
"""How a statement of MariaDB begins that has settings of its own before what it does, with `for` between."""

_PASSWORD = re.compile(r"""\bpassword(?:\s+\\*["']|\s*=)""", re.IGNORECASE)
"""As options of Spider and CONNECT have it, in the string of a comment or of an option list."""

_NAME = r"(`(?:[^`]|``)+`|[\w$]+)"
_MADE = re.compile(
    r"\s*create\s+(?:or\s+replace\s+)?temporary\s+table\s+(?:if\s+not\s+exists\s+)?"
    rf"{_NAME}(?:\s*\.\s*{_NAME})?\s*[\s(]",
    re.IGNORECASE,
)
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
    """Tables change their names or places, or lose rows that the log does not name."""
    DROP = auto()
    """Tables go."""
    LEAVE = auto()
    """An applier is about to drop tables."""
    CREATE = auto()
    """A table comes."""
    FILL = auto()
    """A table comes with rows that the log does not name: those of a query, in a session that logs statements."""
    WRITE = auto()
    """Rows are written that the log does not name: it is a session's that logs statements (`binlog_format`)."""
    MAY_TRUNCATE = auto()
    """A table is emptied, or a temporary one that hides it."""
    HIDE = auto()
    """A temporary table comes; of which name is not said where that cannot be read."""
    UNHIDE = auto()
    """Temporary tables go."""
    TIGHTEN = auto()
    """Columns of tables may be not null now, and nulls zeros or empty: no row tells of it."""
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
    tag: str = ""
    """What it is called on the ddl topic; empty: it is not told there."""


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
    if first == "DROP" and second == "TEMPORARY":
        return Statement(Effect.UNHIDE, names)
    if first == "CREATE" and (second == "TEMPORARY" or words[1:4] == ["OR", "REPLACE", "TEMPORARY"]):
        return Statement(Effect.HIDE, _hidden(text, database))
    comment = text.lstrip()
    if comment.startswith(APPLIED_DROP_COMMENT):
        return Statement(Effect.LEAVE, names, is_applied=True)
    databases = tuple(name.table for name in names) if first == "DROP" and second in ("DATABASE", "SCHEMA") else ()
    is_applied = comment.startswith(APPLIED_COMMENT)
    tag = "" if _PASSWORD.search(text) else _tag(words)
    effect = _effect_of(words)
    if effect is Effect.OTHER and not sql_mode & STRICT and _forbids_nulls(words):
        effect = Effect.TIGHTEN
    return Statement(effect, () if databases else names, databases, is_applied, tag)


def ddl_document(statement: Statement, text: str, about: Iterable[TableSchema | SchemaChange]) -> bytes:
    """Return what is told of a statement on the ddl topic, in the form of `capture.source.DDL_PREFIX`. `about`: the
    tables that it concerns, for of its words most are no names.
    """
    objects = [str(name) for name in sorted({one.name for one in about})[:OBJECTS_MAX]]
    return orjson.dumps({"tag": statement.tag, "statement": text[:STATEMENT_CHARACTERS_MAX], "objects": objects})


def _effect_of(words: list[str]) -> Effect:
    first, second = (*words, "", "")[:2]
    if first in _WRITTEN_UNTIL:
        return Effect.WRITE
    if first == "TRUNCATE":
        return Effect.TRUNCATE
    if first == "DROP" and second in ("DATABASE", "SCHEMA", "TABLE", "TABLES"):
        return Effect.DROP
    if first == "CREATE" and "TABLE" in words[1:4]:
        # Those that it merely mentions (`like`, `references`) are there before and after.
        if "REPLACE" in words[1:3]:
            return Effect.REPLACE
        # Where rows are logged the statement is logged without its query.
        return Effect.FILL if "SELECT" in words else Effect.CREATE
    if (first == "RENAME" and second in ("TABLE", "TABLES")) or (first == "ALTER" and _moves_rows(words)):
        return Effect.REPLACE
    return Effect.OTHER


def _hidden(text: str, database: str) -> tuple[TableName, ...]:
    """Return the name of a temporary table that is made; nothing where it is written in an odd way."""
    found = _MADE.match(text)
    if found is None:
        return ()
    parts = [part.strip("`").replace("``", "`") for part in (found[1], found[2]) if part is not None]
    return (TableName(*parts) if len(parts) == 2 else TableName(database, parts[0]),)


def _tag(words: list[str]) -> str:
    """Return what a statement is called, if it is about tables, indexes or databases, and may hold no password: that of
    another server stands behind `connection`.
    """
    verb, *others = words or [""]
    kind = next(dropwhile(_MODIFIERS.__contains__, others), "")
    kind = {"TABLES": "TABLE", "SCHEMA": "DATABASE"}.get(kind, kind)
    if verb == "TRUNCATE":
        return "TRUNCATE TABLE"
    is_told = verb in ("CREATE", "ALTER", "DROP", "RENAME") and kind in ("TABLE", "INDEX", "DATABASE")
    return f"{verb} {kind}" if is_told and "CONNECTION" not in words else ""


def read_xid(text: str) -> tuple[int, bytes, bytes]:
    """Return the transaction that a statement of XA names, as servers write it: `X'…',X'…',1`. Raises ValueError."""
    found = _XID.search(text)
    if found is None:
        raise ValueError("a statement of XA that names no transaction")
    return int(found[3]), bytes.fromhex(found[1]), bytes.fromhex(found[2])


def _moves_rows(words: list[str]) -> bool:
    """Tell whether an `alter table` gives the table another name, or takes or brings rows without naming them."""
    if "IGNORE" in words[1:3]:
        # MariaDB: of rows that have one value of a new unique index all but one go.
        return True
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


def _forbids_nulls(words: list[str]) -> bool:
    """Tell whether an `alter table` may make a column not null: that changes nulls in a session that is not strict."""
    return words[:1] == ["ALTER"] and not {"MODIFY", "CHANGE"}.isdisjoint(words) and ("NOT", "NULL") in pairwise(words)


def _words_and_names(text: str, database: str, sql_mode: int) -> tuple[list[str], tuple[TableName, ...]]:
    """Return the bare words in upper case, and all that may be a table's name; of one that is written, if rows are."""
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
        if words and token[0].upper() in _WRITTEN_UNTIL.get(words[0], ()):
            break
        if words[:2] == _SETTINGS and token[0].upper() == "FOR":
            words.clear()
            names.clear()
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
