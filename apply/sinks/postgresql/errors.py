"""The driver's errors in Tailrace's kinds, by SQLSTATE.

The classes are those of the PostgreSQL manual, appendix A ("PostgreSQL Error Codes"). Message texts are never looked
at: they are translated, and change. They are never passed on either: the server puts cell values into them ("Key
(id)=(7) already exists"). What is passed on is the code, its name, and the objects that the server names.
"""

from __future__ import annotations

import psycopg

from schemas.errors import ErrorKind, TailraceError

UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
EXCLUSION_VIOLATION = "23P01"
FEATURE_NOT_SUPPORTED = "0A000"
OBJECT_IN_USE = "55006"

CONFLICTS = frozenset({UNIQUE_VIOLATION, FOREIGN_KEY_VIOLATION, EXCLUSION_VIOLATION})
"""Violations that may come only from partitions that advance at different speeds."""

_ROW_CODES = frozenset({"23502", "23514", "23000", "23001", "44000", "54000", "P0001", "P0004"})
"""Of the row at hand: not null, check, restrict, view check, row too big, raised by a trigger of the user."""

_CODES: dict[str, tuple[ErrorKind, str | None]] = {
    "25006": (
        ErrorKind.TARGET_CONNECTION,
        "the target is read-only: connect to the primary server, or wait for the failover",
    ),
    "28000": (ErrorKind.CONFIGURATION, "check the target's `user`, and pg_hba.conf at the server"),
    "28P01": (
        ErrorKind.CONFIGURATION,
        "check the target's `user` and `password`; where there is no such role yet: create role … login password '…'",
    ),
    "3D000": (ErrorKind.CONFIGURATION, "create the target database, or correct `database`"),
    "3F000": (ErrorKind.TARGET_SCHEMA, "create the schema at the target"),
    "40001": (ErrorKind.TARGET_THROTTLED, None),
    "40P01": (ErrorKind.TARGET_THROTTLED, None),
    "55P03": (ErrorKind.TARGET_THROTTLED, "find who holds the lock with pg_blocking_pids, or raise `lock_timeout_s`"),
    "55006": (ErrorKind.TARGET_THROTTLED, None),
    "57014": (
        ErrorKind.TARGET_THROTTLED,
        "raise `statement_timeout_s`, or make the batches smaller (`apply.batch_rows`)",
    ),
    "25P03": (ErrorKind.TARGET_CONNECTION, None),
    "25P04": (ErrorKind.TARGET_CONNECTION, None),
    "53100": (ErrorKind.TARGET_THROTTLED, "the target's disk is full: make room"),
    "53200": (ErrorKind.TARGET_THROTTLED, "the target is out of memory"),
    "53300": (ErrorKind.TARGET_CONNECTION, "raise `max_connections` at the target, or run fewer appliers"),
    "42501": (ErrorKind.PREREQUISITE, "grant the role what `tailrace plan` prints"),
    "42P01": (ErrorKind.TARGET_SCHEMA, "the table is gone at the target: create it, or reload it"),
    "42703": (ErrorKind.TARGET_SCHEMA, "the table at the target lacks a column: add it"),
    "42P10": (ErrorKind.TARGET_SCHEMA, "the table at the target lacks a unique index on the key"),
    "2BP01": (ErrorKind.TARGET_SCHEMA, "drop the objects at the target that depend on it"),
    "22000": (ErrorKind.ROW_REJECTED, None),
}

_CLASSES: dict[str, tuple[ErrorKind, str | None]] = {
    "08": (ErrorKind.TARGET_CONNECTION, None),
    "0A": (ErrorKind.TARGET_SCHEMA, None),
    "22": (ErrorKind.ROW_REJECTED, "correct the row at the source, or widen the column at the target"),
    "23": (ErrorKind.ROW_REJECTED, "correct the row at the source, or loosen the constraint at the target"),
    "42": (ErrorKind.TARGET_SCHEMA, None),
    "53": (ErrorKind.TARGET_THROTTLED, None),
    "54": (ErrorKind.TARGET_SCHEMA, "the table is beyond what the server can hold: leave some of its columns out"),
    "57": (ErrorKind.TARGET_CONNECTION, None),
    "58": (ErrorKind.TARGET_CONNECTION, "the server reports trouble of its system: see its log"),
}


def is_row_error(error: psycopg.Error) -> bool:
    """Tell whether an error is of some row's values, so that a smaller batch can succeed."""
    code = error.sqlstate or ""
    return code[:2] in {"22", "23"} or code in _ROW_CODES


def classify(error: psycopg.Error, doing: str, table: str | None = None) -> TailraceError:
    """Return the error to raise. `doing` says in words what was tried."""
    code = error.sqlstate
    if code is None:
        # Without a code the server has not answered: libpq lost the connection, or never had one.
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            return TailraceError(
                ErrorKind.TARGET_CONNECTION,
                f"{doing}: no connection to the target ({type(error).__name__})",
                remedy="check host, port and TLS settings of the target, and that the server runs",
                table=table,
            )
        return TailraceError(ErrorKind.INVARIANT, f"{doing}: {type(error).__name__} from the driver", table=table)
    kind, remedy = classified(code)
    return TailraceError(kind, f"{doing}: {_facts(error)}", remedy=remedy, table=table)


def classified(code: str) -> tuple[ErrorKind, str | None]:
    """Return the kind of a SQLSTATE and its remedy."""
    if code in CONFLICTS:
        return ErrorKind.ROW_CONFLICT, "find the row that holds the value, or whose parent is missing"
    if code in _CODES:
        return _CODES[code]
    if code in _ROW_CODES:
        return ErrorKind.ROW_REJECTED, _CLASSES["23"][1]
    return _CLASSES.get(code[:2], (ErrorKind.INVARIANT, None))


def _facts(error: psycopg.Error) -> str:
    """Say what the server refused, without its message, which may hold cell values."""
    diag = error.diag
    names = (
        ("table", diag.table_name),
        ("column", diag.column_name),
        ("type", diag.datatype_name),
        ("constraint", diag.constraint_name),
    )
    objects = "".join(f", {what} {name!r}" for what, name in names if name)
    return f"the target answered {error.sqlstate} ({type(error).__name__}{objects})"
