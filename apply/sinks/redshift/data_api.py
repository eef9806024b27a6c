"""Redshift by its Data API: statements as requests over HTTPS, in one session, without a connection to the cluster.

A session keeps temporary tables and, as far as this depends on it, a transaction that was begun by a statement of its
own. Whether it does is tried out when a session is made: what was made before a rollback must be gone after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from apply import aws
from apply.sinks.redshift.link import Link
from apply.sinks.redshift.logins import of_redshift
from apply.sinks.redshift.statements import literal
from runtime import clock
from schemas.endpoints.redshift import RedshiftTarget
from schemas.errors import ErrorKind, TailraceError

STATEMENT_BYTES_MAX = 100_000
"""Management guide, "Considerations when calling the Amazon Redshift Data API": query statement size."""

SESSION_S = 60
"""How long a session waits for its next statement: so long hold the locks of an applier that is gone."""
READING_SESSION_S = 3600
"""Of who reads for `verify`, and fetches when the other side's rows have been read; its locks forbid a truncate only.
The service allows 86,400 (Data API reference, `ExecuteStatement`)."""
RENEWED_AFTER_S = SESSION_S // 2
"""A session that has been idle for so long is not relied upon."""

WAITS_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""Between looks at a statement; the last one is repeated."""

_PROBE = "tailrace_probe"

SAME_FAILURES_MAX, SAME_FAILURES_S = 3, 60.0
"""What fails so often, and for so long, with the same words, and is not done meanwhile, does not pass: a missing right
or table. What passes (conflicts, trouble with the bucket) names queries, processes or moments,
or is over. But where new sessions answer nothing, the database is away, as in a restart: that passes, in whatever words
it is said, and a login that is refused looks no other."""

_PASSING = ("ActiveStatementsExceededException", "ActiveSessionsExceededException")
_NOT_AVAILABLE = ("ValidationException", "ResourceNotFoundException")
"""What the service says of a session that it has ended, as of any request that it finds fault with; and of a cluster, a
workgroup or a secret that is not there, or not now."""


class DataApiLink(Link):
    """One session of the Data API."""

    def __init__(self, target: RedshiftTarget, application: str, *, as_text: bool = False) -> None:
        """`as_text`: `rows` returns each value as its text."""
        super().__init__()
        self._target = target
        self._name = application
        self._value = _text_of if as_text else _value_of
        self._kept = {"SessionKeepAliveSeconds": READING_SESSION_S if as_text else SESSION_S}
        self._made: Any = None
        self._session: str | None = None
        self._used_at = 0.0
        self._was_answered = self._is_answered = False
        """Whether a statement was ever done here, and whether one was in the open session."""
        self._failure: tuple[str, str] | None = None
        """What failed last and was not committed since, and in which words."""
        self._failure_count, self._failing_since = 0, 0.0
        self._done = set[str]()
        """What was done in the open transaction."""

    def run(self, statement: str, values: Sequence[Any] = (), *, doing: str = "writing") -> int:
        """See `Link`."""
        return int(self._in_transaction(statement, values, doing).get("ResultRows", -1))

    def rows(self, statement: str, values: Sequence[Any] = (), *, doing: str = "reading") -> list[tuple[Any, ...]]:
        """See `Link`."""
        done = self._in_transaction(statement, values, doing)
        return self._result(done["Id"], doing) if done.get("HasResultSet") else []

    def commit(self) -> None:
        """See `Link`."""
        if self.begun:
            self._send("commit", "committing")
            # Who tries again claims its partitions before, and commits that: it does not say that the rest would pass.
            if self._failure is not None and self._failure[0] in self._done:
                self._failure = None
        self.begun = False

    def rollback(self) -> None:
        """See `Link`."""
        if self.begun:
            try:
                self._send("rollback", "rolling back")
            except TailraceError:
                # What the session has open ends with it, and nothing is asked of it any more.
                self._session = None
        self.begun = False

    def close(self) -> None:
        """See `Link`. A session ends by itself."""
        self.rollback()
        self._session = None
        if self._made is not None:
            self._made.close()
            self._made = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            self._made = aws.client("redshift-data", of_redshift(self._target))
        return self._made

    def _in_transaction(self, statement: str, values: Sequence[Any], doing: str) -> dict[str, Any]:
        if not self.begun:
            self._done.clear()
            if self._session is None or clock.monotonic() - self._used_at > RENEWED_AFTER_S:
                self._open_session()
            self._send("begin", doing)
            self.begun = True
        return self._send(statement % tuple(map(_literal, values)) if values else statement, doing)

    def _open_session(self) -> None:
        """Open a session, and make sure that it keeps a transaction. Raises PREREQUISITE."""
        self._session, self._is_answered = None, False
        try:
            self._try_out()
        except BaseException:
            # What is not proven is not used, and a transaction may be open in it.
            self._session = None
            raise

    def _try_out(self) -> None:
        doing = "opening a session"
        for statement in ("begin", f"create temporary table {_PROBE} (one integer)", "rollback"):
            self._send(statement, doing)
        there = "select count(*) from pg_catalog.pg_class where relname = " + literal(_PROBE)
        ((count,),) = self._result(self._send(there, doing)["Id"], doing)
        if int(count):
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "the Data API does not keep a transaction from one request to the next",
                remedy="connect by the driver: `connect_by: driver`",
            )

    def _send(self, statement: str, doing: str) -> dict[str, Any]:
        """Run a statement; return what is told of it once it is done."""
        size = len(statement.encode())
        if size > STATEMENT_BYTES_MAX:
            message = f"{doing}: a statement of {size} bytes; the Data API takes {STATEMENT_BYTES_MAX}"
            raise TailraceError(ErrorKind.TARGET_SCHEMA, message, remedy="connect by the driver: `connect_by: driver`")
        try:
            asked = self._client.execute_statement(Sql=statement, **self._where())
            self._session = asked.get("SessionId", self._session)
            done = self._await(asked["Id"], doing)
        except aws.AwsError as error:
            was_open = self._was_answered or self._session is not None
            self._session, self.begun = None, False
            raise _classified(error, doing, was_open=was_open) from error
        self._used_at = clock.monotonic()
        if done["Status"] == "FINISHED":
            self._was_answered = self._is_answered = True
            self._done.add(doing)
            return done
        if statement == "begin":
            # What it has not begun it is not asked for again.
            self._session = None
        raise self._failed(done, doing)

    def _failed(self, done: dict[str, Any], doing: str) -> TailraceError:
        """Return what a statement that has failed means. There is no code, and the text may hold a value: it is
        compared with what was said before, and neither read nor repeated.
        """
        failure, now = (doing, str(done.get("Error"))), clock.monotonic()
        # Of an applier that is started meanwhile as of one that runs.
        is_away = not self._is_answered
        if is_away or failure != self._failure:
            self._failure, self._failure_count, self._failing_since = failure, 0, now
        self._failure_count += 1
        is_short = self._failure_count < SAME_FAILURES_MAX or now - self._failing_since < SAME_FAILURES_S
        passes = done["Status"] != "FAILED" or is_short
        times = "" if passes else f", {self._failure_count} times with the same words"
        return TailraceError(
            ErrorKind.TARGET_CONNECTION if passes else ErrorKind.PREREQUISITE,
            f"{doing}: the statement {done['Id']} has {done['Status'].lower()}{times}",
            remedy=f"why: aws redshift-data describe-statement --id {done['Id']}",
        )

    def _where(self) -> dict[str, Any]:
        if self._session is not None:
            return {"SessionId": self._session, **self._kept}
        target = self._target
        place: dict[str, Any] = {"Database": target.database, **self._kept}
        if target.workgroup_name:
            place["WorkgroupName"] = target.workgroup_name
        else:
            place["ClusterIdentifier"] = target.cluster_identifier
        if target.secret_arn:
            place["SecretArn"] = target.secret_arn
        elif target.user:
            place["DbUser"] = target.user
        return place | {"StatementName": self._name[:500]}

    def _await(self, id_: str, doing: str) -> dict[str, Any]:
        began, looks = clock.monotonic(), 0
        while True:
            found: dict[str, Any] = self._client.describe_statement(Id=id_)
            if found["Status"] in ("FINISHED", "FAILED", "ABORTED"):
                return found
            limit_s = self._target.statement_timeout_s
            if limit_s and clock.monotonic() - began > limit_s:
                self._client.cancel_statement(Id=id_)
                message = f"{doing}: a statement took longer than {limit_s} s"
                remedy = "raise `statement_timeout_s`, or make the batches smaller"
                raise TailraceError(ErrorKind.TARGET_THROTTLED, message, remedy=remedy)
            clock.sleep(WAITS_S[min(looks, len(WAITS_S) - 1)])
            looks += 1

    def _result(self, id_: str, doing: str) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        more: dict[str, str] = {}
        while True:
            try:
                page = self._client.get_statement_result(Id=id_, **more)
            except aws.AwsError as error:
                raise _classified(error, doing, was_open=True) from error
            rows += [tuple(map(self._value, record)) for record in page["Records"]]
            if not page.get("NextToken"):
                return rows
            more = {"NextToken": page["NextToken"]}


def _classified(error: Exception, doing: str, *, was_open: bool) -> TailraceError:
    """Return what a refused request means. A session or a database that is gone, or too many sessions: that passes."""
    found, code = aws.classify(error, doing), aws.code_of(error)
    if code in _PASSING or (was_open and code in _NOT_AVAILABLE):
        return TailraceError(ErrorKind.TARGET_CONNECTION, found.message)
    if code in _NOT_AVAILABLE:
        message = f"{doing}: the service finds no such database, or not this way ({code})"
        remedy = "check `cluster_identifier` or `workgroup_name`, `database`, `user` and `secret_arn`"
        return TailraceError(ErrorKind.CONFIGURATION, message, remedy=remedy)
    return found


def _literal(value: Any) -> str:
    return "null" if value is None else str(value) if isinstance(value, int) else literal(value)


def _value_of(field: dict[str, Any]) -> Any:
    ((kind, value),) = field.items()
    return None if kind == "isNull" else value


def _text_of(field: dict[str, Any]) -> str | None:
    value = _value_of(field)
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return None if value is None else str(value)
