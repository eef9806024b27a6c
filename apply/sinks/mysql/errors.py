"""The servers' errors in Tailrace's kinds, by number.

Numbers: "Server Error Message Reference" in the MySQL manual, "MariaDB Error Codes" in MariaDB's. Message texts are
never looked at: they are translated, and change. They are never passed on either: they hold cell values ("Duplicate
entry '7' for key 'PRIMARY'"). What is passed on is the number and what it means.
"""

from __future__ import annotations

import pymysql

from schemas.errors import ErrorKind, TailraceError

DUPLICATE = frozenset({1062, 1169, 1586, 1859})
"""A value that a unique index holds already."""

PARENT_MISSING, STILL_REFERRED = 1452, 1451
DIVISION_BY_ZERO = 1365
"""Of an upsert it may say that a unique index has come (`TablePlan.upsert`)."""
TRUNCATED = 1265
ROW_TOO_LONG = 1118
CONFLICTS = DUPLICATE | {PARENT_MISSING, STILL_REFERRED, 1216, 1217, 1761, 1762}
"""Violations that may come only from partitions that advance at different speeds."""

HARMLESS = frozenset({1287, 1681, 3719, 3778})
"""Warnings of what later versions will not have, or mean something else by: they are of no row."""

KEY_DEMANDED = (3750, 1173)
"""MySQL's `sql_require_primary_key`, MariaDB's `innodb_force_primary_key`."""

LOAD_DISABLED = frozenset({1148, 3948, 4166, 2068})
UNSUPPORTED = 1047
"""Of ProxySQL: that it takes no `load data local`; of a node of Galera: that it is not ready."""

_ROW = frozenset(
    {
        # Null, range, length, a value that its type does not have, a label that is none, a time that is none.
        *(1048, 1138, 1263, 1264, 1265, 1292, 1364, DIVISION_BY_ZERO, 1366, 1367),
        *(1406, 1411, 1416, 1441, 1525, 1690, 1300, 3854, 3988),
        # JSON, geometry, vector.
        *(3140, 3141, 3143, 3144, 3146, 3147, 3150, 3155, 3156, 3157, 3037, 3055, 3516, 3616, 3617, 3705, 4079, 6138),
        # A check, a partition that takes the row, a trigger of the user that refuses it, a row or result too large.
        *(3819, 4025, 1526, 1748, 1644, ROW_TOO_LONG, 1301, 1139, 1369),
    }
)

_THROTTLED: dict[int, str | None] = {
    1205: "find who holds the lock (`show engine innodb status`), or raise `lock_timeout_s`",
    1213: None,
    1614: None,
    1412: None,
    1021: "the target's disk is full: make room",
    1026: "the target's disk is full or broken: see the server's log",
    1114: "the target's disk or its temporary space is full: make room",
    1030: "the target's storage engine has trouble: see the server's log",
    1037: "the target is out of memory",
    1041: "the target is out of memory",
    1206: "make the batches smaller (`apply.batch_rows`), or raise `innodb_buffer_pool_size`",
    1226: "the user's resource limits are used up",
    3024: "make the batches smaller (`apply.batch_rows`)",
    1969: "make the batches smaller (`apply.batch_rows`)",
    1317: None,
    3572: None,
    1180: None,
    1020: None,
    1197: "make the batches smaller (`apply.batch_rows`), or raise `max_binlog_cache_size` at the target",
    1637: None,
    # Of a group of servers, or a plug-in, that has its say when a transaction commits: it lost against another one's;
    # or it is too long, or the group is none at the moment.
    3101: None,
    3100: "see the server's log; if it speaks of the transaction's size, make the batches smaller (`apply.batch_rows`)",
}

_CONNECTION: dict[int, str | None] = {
    1040: "raise `max_connections` at the target, or run fewer appliers",
    1203: "raise `max_user_connections` at the target, or run fewer appliers",
    1129: "the server refuses the host after many errors: run `flush hosts` at the target",
    **dict.fromkeys((1053, 1077, 1079, 1152, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927, 1042, 1043)),
    **dict.fromkeys((2006, 2013, 2014, 3168, 3169)),
    UNSUPPORTED: "where the server is a node of Galera that is not ready, see its log, or connect to another one",
    3032: "the server is in the offline mode: wait, or connect to another one",
    **dict.fromkeys(
        (1290, 1836, 1792, 1874), "the target is read-only: connect to the primary server, or wait for the failover"
    ),
    **dict.fromkeys((2002, 2003, 2005, 2055, 4031), "check host and port of the target, and that the server runs"),
}

_CODES: dict[int, tuple[ErrorKind, str | None]] = {
    1044: (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    1142: (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    1143: (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    1227: (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    1370: (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    # A server that wants TLS of a user does not say so, nor does MariaDB 10.11 that wants it of all.
    1045: (
        ErrorKind.CONFIGURATION,
        "check the target's `user` and `password`, the host that the server sees, and whether it wants TLS: `tls.mode`",
    ),
    1698: (ErrorKind.CONFIGURATION, "check the target's `user` and `password`"),
    3118: (ErrorKind.CONFIGURATION, "the user's account is locked at the target"),
    3955: (ErrorKind.CONFIGURATION, "the user's account is locked at the target, after wrong passwords"),
    **dict.fromkeys((1820, 1862), (ErrorKind.CONFIGURATION, "the user's password has expired at the target")),
    1130: (ErrorKind.CONFIGURATION, "let the target's user come from this host: its account names others"),
    2026: (ErrorKind.CONFIGURATION, "correct the target's `tls`"),
    3159: (
        ErrorKind.CONFIGURATION,
        "the server takes no connection without TLS: set `tls.mode` to `require` or better",
    ),
    **dict.fromkeys(
        (2059, 1251, 1524), (ErrorKind.CONFIGURATION, "give the user an authentication method that is supported")
    ),
    3098: (
        ErrorKind.TARGET_SCHEMA,
        "the server's group takes tables of InnoDB with a key: give it one by a mapping rule (`define-primary-key`)",
    ),
    1049: (ErrorKind.TARGET_SCHEMA, "create the database at the target"),
    1153: (ErrorKind.ROW_REJECTED, "raise `max_allowed_packet` at the target"),
    1059: (
        ErrorKind.TARGET_SCHEMA,
        "a name has more than the 64 characters that the target takes: rename it by a mapping rule, or leave it out",
    ),
    **dict.fromkeys(
        (1069, 1070, 1071, 1117),
        (
            ErrorKind.TARGET_SCHEMA,
            "a table, or a key of it, has more than the target takes: leave columns out by a rule",
        ),
    ),
    1146: (ErrorKind.TARGET_SCHEMA, "the table is gone at the target: create it, or reload it"),
    1051: (ErrorKind.TARGET_SCHEMA, "the table is gone at the target: create it, or reload it"),
    1054: (ErrorKind.TARGET_SCHEMA, "the table at the target lacks a column: add it"),
    1665: (ErrorKind.PREREQUISITE, "set `binlog_format` to ROW at the target"),
    **dict.fromkeys(
        KEY_DEMANDED,
        (
            ErrorKind.TARGET_SCHEMA,
            (
                "the target takes no tables without a key: give it one by a mapping rule (`define-primary-key`), or at "
                "MySQL `set global sql_generate_invisible_primary_key = ON`"
            ),
        ),
    ),
}

_VALUES = "correct the row at the source, or widen the column at the target"


def code_of(error: pymysql.Error) -> int:
    """Return the server's or the client's number; 0 where there is none."""
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0


def is_row_error(error: pymysql.Error) -> bool:
    """Tell whether an error is of some row's values, so that a smaller batch can succeed."""
    code = code_of(error)
    return code in CONFLICTS or code in _ROW


def classify(error: pymysql.Error, doing: str, table: str | None = None) -> TailraceError:
    """Return the error to raise. `doing` says in words what was tried."""
    code = code_of(error)
    if not code:
        return TailraceError(
            ErrorKind.TARGET_CONNECTION,
            f"{doing}: no connection to the target ({type(error).__name__})",
            remedy="check host, port and TLS settings of the target, and that the server runs",
            table=table,
        )
    return refusal(code, doing, table)


def refusal(code: int, doing: str, table: str | None = None) -> TailraceError:
    """Return the error that a number of the server amounts to."""
    kind, remedy = classified(code)
    return TailraceError(kind, f"{doing}: the target answered {code}", remedy=remedy, table=table)


def classified(code: int) -> tuple[ErrorKind, str | None]:
    """Return the kind of a number and its remedy."""
    if code in CONFLICTS:
        return ErrorKind.ROW_CONFLICT, "find the row that holds the value, or whose parent is missing"
    if code in _ROW:
        return ErrorKind.ROW_REJECTED, _VALUES
    if code in _THROTTLED:
        return ErrorKind.TARGET_THROTTLED, _THROTTLED[code]
    if code in _CONNECTION:
        return ErrorKind.TARGET_CONNECTION, _CONNECTION[code]
    if code in _CODES:
        return _CODES[code]
    if code in LOAD_DISABLED:
        return ErrorKind.TARGET_CONNECTION, "the server has switched `local_infile` off: the next session inserts"
    # What the server calls itself: syntax, unknown objects, what a storage engine does not do. The table waits.
    return (ErrorKind.TARGET_SCHEMA, None) if code < 2000 or code >= 3000 else (ErrorKind.TARGET_CONNECTION, None)
