"""Redshift by PostgreSQL's protocol and driver, and what its errors mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.types.string import TextLoader

from apply.sinks.redshift.link import Link
from apply.sinks.redshift.logins import login
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import ErrorKind, TailraceError

_CODES: dict[str, tuple[ErrorKind, str | None]] = {
    "28000": (ErrorKind.CONFIGURATION, "check the target's `user`"),
    "28P01": (ErrorKind.CONFIGURATION, "check the target's `password`"),
    "3D000": (ErrorKind.CONFIGURATION, "create the database, or correct `database`"),
    "42501": (ErrorKind.PREREQUISITE, "grant the user what `tailrace plan` prints"),
    "40001": (ErrorKind.TARGET_THROTTLED, None),
    "40P01": (ErrorKind.TARGET_THROTTLED, None),
    "57014": (ErrorKind.TARGET_THROTTLED, "raise `statement_timeout_s`, or make the batches smaller"),
}
_CONFLICT = "1023"
"""Redshift's number for serializable transactions that wrote one table at once: it stands in the place of the message,
and SQLSTATE is that of all internal errors. Database developer guide, "Serializable isolation"."""
_CLASSES: dict[str, tuple[ErrorKind, str | None]] = {
    "22": (ErrorKind.TARGET_SCHEMA, "see sys_load_error_detail at the target"),
    "42": (ErrorKind.TARGET_SCHEMA, None),
    "53": (ErrorKind.TARGET_THROTTLED, None),
}
"""All others, and Redshift's own (XX000: trouble with a bucket), may pass."""

_READING = ("set extra_float_digits to 2", "set timezone to 'UTC'", "set datestyle to 'ISO, MDY'")
"""Lets values have one text. Two digits more tell every double apart."""
_TYPES = ("bool", "int2", "int4", "int8", "float8", "numeric", "date", "time", "timestamp", "timestamptz")


class DriverLink(Link):
    """One connection of psycopg."""

    def __init__(self, target: RedshiftTarget, application: str, *, as_text: bool = False) -> None:
        """`as_text`: `rows` returns each value as its text."""
        super().__init__()
        self._target = target
        self._application = application
        self._as_text = as_text
        self._made: psycopg.Connection[Any] | None = None

    def run(self, statement: str, values: Sequence[Any] = (), *, doing: str = "writing") -> int:
        """See `Link`."""
        return self._execute(statement, values, doing).rowcount

    def rows(self, statement: str, values: Sequence[Any] = (), *, doing: str = "reading") -> list[tuple[Any, ...]]:
        """See `Link`."""
        found: list[tuple[Any, ...]] = self._execute(statement, values, doing).fetchall()
        return found

    def commit(self) -> None:
        """See `Link`."""
        if self._made is not None and self.begun:
            try:
                self._made.commit()
            except psycopg.Error as error:
                raise self._lost(error, "committing") from error
        self.begun = False

    def rollback(self) -> None:
        """See `Link`."""
        if self._made is not None and self.begun:
            try:
                self._made.rollback()
            except psycopg.Error:
                self.close()
        self.begun = False

    def close(self) -> None:
        """See `Link`."""
        if self._made is not None:
            self._made.close()
            self._made = None
        self.begun = False

    def _connect(self) -> None:
        # Redshift knows no parameters of a session that libpq would ask for, and no statements prepared apart.
        self._made = psycopg.connect(
            make_conninfo(**(self._target.conninfo() | login(self._target))),
            application_name=self._application[:63],
            client_encoding="utf8",
            prepare_threshold=None,
            cursor_factory=psycopg.ClientCursor,
        )
        if self._target.statement_timeout_s:
            self._made.execute(f"set statement_timeout to {self._target.statement_timeout_s * 1000}")
        if self._as_text:
            for name in _TYPES:
                self._made.adapters.register_loader(name, TextLoader)
            for statement in _READING:
                self._made.execute(statement)
        self._made.commit()

    def _execute(self, statement: str, values: Sequence[Any], doing: str) -> psycopg.Cursor[Any]:
        try:
            if self._made is None:
                self._connect()
            assert self._made is not None
            self.begun = True
            return self._made.execute(statement, values or None)
        except psycopg.Error as error:
            raise self._lost(error, doing) from error

    def _lost(self, error: psycopg.Error, doing: str) -> TailraceError:
        """Return what an error means, without its text, which may hold a value."""
        code = error.sqlstate
        if code is None or (self._made is not None and self._made.closed):
            self.close()
            return TailraceError(ErrorKind.TARGET_CONNECTION, f"{doing}: no connection ({type(error).__name__})")
        if code == "XX000" and error.diag.message_primary == _CONFLICT:
            message = f"{doing}: another transaction has written the table at the same time (Redshift's {_CONFLICT})"
            return TailraceError(ErrorKind.TARGET_THROTTLED, message)
        kind, remedy = _CODES.get(code) or _CLASSES.get(code[:2], (ErrorKind.TARGET_CONNECTION, None))
        return TailraceError(kind, f"{doing}: Redshift says {code}", remedy=remedy)
