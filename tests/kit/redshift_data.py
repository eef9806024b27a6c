"""A relay in the place of Redshift's Data API: requests over HTTP on one side, a PostgreSQL on the other.

Sessions, transactions and results are real. What PostgreSQL lacks of Redshift, and how it names it, is put in its place
here, so that the sink sends what it sends to Redshift.
"""

from __future__ import annotations

import gzip
import itertools
import json
from http.server import BaseHTTPRequestHandler
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from deploy.local.redshift import COPY, Read, copy_from_stdin, of_postgresql
from tests.kit.http_service import HttpService, content_of, respond
from tests.kit.servers import Database


class RedshiftData(HttpService):
    """One relay."""

    def __init__(self, database: Database, read: Read) -> None:
        self._database = database
        self._read = read
        self._ids = itertools.count(1)
        self._sessions: dict[str, psycopg.Connection[Any]] = {}
        self._statements: dict[str, dict[str, Any]] = {}
        self._rows: dict[str, list[Any]] = {}
        super().__init__()

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Carry out an operation."""
        body = json.loads(content_of(request))
        operation = request.headers["X-Amz-Target"].partition(".")[2]
        try:
            status, said = 200, getattr(self, f"_{operation}")(body)
        except KeyError:
            status, said = 400, {"__type": "ResourceNotFoundException", "Message": "not found"}
        respond(request, status, "application/x-amz-json-1.1", json.dumps(said).encode())

    def close(self) -> None:
        """End the relay and its sessions."""
        super().close()
        self.end_sessions()

    def end_sessions(self) -> None:
        """End all sessions, as the service does when they are idle."""
        while self._sessions:
            self._sessions.popitem()[1].close()

    def _ExecuteStatement(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the service's name
        session = request.get("SessionId") or f"s{next(self._ids)}"
        if "SessionId" not in request:
            assert (request["ClusterIdentifier"], request["DbUser"]) == ("warehouse", "loader")
            settings = self._database.settings
            words = {name: str(settings[name]) for name in ("host", "port", "user", "password")}
            conninfo = make_conninfo("", **words, dbname=str(settings["database"]))
            self._sessions[session] = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
        connection = self._sessions[session]
        id_ = f"q{next(self._ids)}"
        self._statements[id_] = {"Id": id_, "SessionId": session, **self._done(connection, id_, request["Sql"])}
        return {"Id": id_, "SessionId": session}

    def _DescribeStatement(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the service's name
        return self._statements[request["Id"]]

    def _GetStatementResult(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the service's name
        rows, begin = self._rows[request["Id"]], int(request.get("NextToken", 0))
        more = {"NextToken": str(begin + 2)} if begin + 2 < len(rows) else {}
        return {"Records": [[_field(value) for value in row] for row in rows[begin : begin + 2]], **more}

    def _done(self, connection: psycopg.Connection[Any], id_: str, statement: str) -> dict[str, Any]:
        try:
            if copy := COPY.fullmatch(statement):
                with connection.cursor().copy(copy_from_stdin(copy).encode()) as into:
                    into.write(gzip.decompress(self._read(copy["bucket"], copy["key"])))
                return {"Status": "FINISHED", "ResultRows": -1, "HasResultSet": False}
            cursor = connection.execute(of_postgresql(statement))
        except psycopg.Error as error:
            return {"Status": "FAILED", "Error": f"ERROR: {error.sqlstate}"}
        has_rows = cursor.description is not None
        if has_rows:
            self._rows[id_] = cursor.fetchall()
        return {"Status": "FINISHED", "ResultRows": cursor.rowcount, "HasResultSet": has_rows}


def _field(value: Any) -> dict[str, Any]:
    if value is None:
        return {"isNull": True}
    for kind, name in ((bool, "booleanValue"), (int, "longValue"), (float, "doubleValue")):
        if isinstance(value, kind):
            return {name: value}
    return {"stringValue": str(value)}
