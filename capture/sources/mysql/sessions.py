"""Temporary tables: in their session, and in the log's text of its statements, their names hide those of tables.

Sessions that log rows log nothing of them. Others log their statements, and a truncate or a write of a temporary table
looks like one of the table that it hides. The header of a statement has a flag where its session had opened a temporary
table (`binlog.THREAD_SPECIFIC`), but so have those that follow in the same call of a routine. What tells is whether
the session has made one of this name: no session may begin to log statements while it has one (MySQL reference manual,
"Setting The Binary Log Format"; MariaDB knowledge base, "Binary Log Formats"), so that stands in the log, too. Of a
session that was there before the log was read it is not known.
"""

from __future__ import annotations

import math

from capture.sources.mysql.statements import Effect, Statement
from schemas.table import TableName

NAMES_MAX = 100_000
"""Of temporary tables that are known. Servers have far fewer."""

Session = tuple[int, int]
"""A server's number, and that of a session there."""


class Sessions:
    """The names that are hidden, by session, as far as the log tells."""

    def __init__(self, server_id: int, newest: int) -> None:
        """`newest` is the number of a session at the server with this number, that was begun before the log is read: of
        what later ones do nothing is missed.
        """
        self._server_id = server_id
        self._newest: float = newest
        self._hidden: dict[Session, frozenset[TableName]] = {}

    def told(self, statement: Statement, session: Session) -> Statement:
        """Return what a statement means that comes or goes with temporary tables, or may be about one."""
        effect, names = statement.effect, frozenset(statement.names)
        hidden = self._hidden.get(session, frozenset())
        if effect is Effect.HIDE and names:
            self._hide(session, hidden | names)
        elif effect is Effect.HIDE or (effect is Effect.REPLACE and hidden & names):
            # They have names that nobody knows.
            self.forget()
        elif effect in (Effect.UNHIDE, Effect.DROP):
            self._hide(session, hidden - names)
        if effect in (Effect.HIDE, Effect.UNHIDE) or (effect is Effect.TRUNCATE and hidden & names):
            return Statement(Effect.OTHER)
        if effect is Effect.TRUNCATE and (session[0] != self._server_id or session[1] <= self._newest):
            return Statement(Effect.MAY_TRUNCATE, statement.names)
        return statement._replace(names=tuple(name for name in statement.names if name not in hidden))

    def forget(self) -> None:
        """Sessions have ended that the log does not tell of, since the server was started anew, or it is not known what
        they have.
        """
        self._hidden.clear()
        self._newest = math.inf

    def _hide(self, session: Session, names: frozenset[TableName]) -> None:
        self._hidden.pop(session, None)
        if names:
            self._hidden[session] = names
        if sum(map(len, self._hidden.values())) > NAMES_MAX:
            self.forget()
