"""What stands where Neptune would: a Gremlin Server, a bucket, and a relay with the loader's API, which it lacks.

Loads wait in a queue and are carried out one after the other, in a thread that goes on whatever becomes of who asked.
Files are read from the bucket by Python's CSV module, by the rules of the Neptune user guide ("Gremlin load data
format"), and written without any condition. Gremlin is passed on. What is not signed as IAM has it is refused.

`python -m deploy.local.neptune PORT URL_OF_GREMLIN URL_OF_THE_BUCKETS` serves until it is ended.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import boto3
import httpx

from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.gremlin import GremlinServer
from deploy.local.relay import RelayServer
from deploy.local.signatures import SignatureChecker

BUCKET = "shop-graph"
ROLE = "arn:aws:iam::123456789012:role/load"
STATEMENTS_MAX = 100
_REFUSED = (403, b'{"code": "AccessDeniedException"}')
_COLUMN = re.compile(r"((?:[^:\\]|\\:)+):(Bool|Int|Long|Double|String|Date)(\(single\))?")
_LITERALS = {"Bool": "{}", "Int": "{}", "Long": "{}L", "Double": "{}d", "Date": "datetime('{}')"}


class Fault(NamedTuple):
    """A row that the loader does not take."""

    code: str
    counted: str
    """Which number of the status goes up."""


class Column(NamedTuple):
    """A property column of a header."""

    name: str
    kind: str
    is_single: bool


class Rows(NamedTuple):
    """What a file holds."""

    key: str
    columns: list[Column]
    rows: list[dict[str, str]]
    """By `~id`, `~from`, `~to`, `~label` and names of properties; without those that have no value."""


def parsed(key: str, content: bytes) -> Rows:
    """Read a file. Raises ValueError for what is no file of the loader's."""
    lines = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    header = next(lines)
    system = [name for name in header if name.startswith("~")]
    if header[: len(system)] != system or system not in (
        ["~id", "~label"],
        ["~id", "~from", "~to", "~label"],
    ):
        raise ValueError("a header begins with other columns")
    columns = [_column(text) for text in header[len(system) :]]
    names = [*system, *(column.name for column in columns)]
    rows = []
    for line in lines:
        if len(line) != len(names):
            raise ValueError(f"a row has {len(line)} fields, not {len(names)}")
        # An empty field is no value, in quotes or without.
        rows.append({name: value for name, value in zip(names, line, strict=True) if value})
    return Rows(key, columns, rows)


def _column(text: str) -> Column:
    if match := _COLUMN.fullmatch(text):
        return Column(match[1].replace("\\:", ":"), match[2], match[3] is not None)
    raise ValueError("a header has a column of another form")


class NeptuneLoader:
    """One relay, started; `close` ends it."""

    def __init__(self, gremlin_url: str, s3: Any, port: int = 0) -> None:
        """`s3` is a client of the bucket's service. It stays open."""
        self._gremlin = gremlin_url
        self._s3 = s3
        self.signatures = SignatureChecker("neptune-db")
        self._http = httpx.Client(timeout=120, verify=False)
        self._numbers = itertools.count(1)
        self._queue: queue.Queue[str | None] = queue.Queue()
        self.loads: dict[str, dict[str, Any]] = {}
        """What is told of each load."""
        self.before: Callable[[str], None] = lambda _: None
        """Called with the source of a load before it is carried out."""
        self.fail: Callable[[str, int], str | None] = lambda _source, _done: None
        """Called with the source, and how many requests of rows were sent: a code ends the load there."""
        self.tear: Callable[[str], bool] = lambda _source: False
        """Called with the source: whether of each row its last property alone comes, before the load is refused."""
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: else each answer waits for the client's acknowledgement of its head.
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if not self._is_signed(body):
                    self._say(*_REFUSED)
                elif self.path == "/gremlin":
                    passed = relay._pass_on(body, self.headers["Accept"])
                    self._say(passed.status_code, passed.content)
                else:
                    self._say(*relay._begin(json.loads(body)))

            def do_GET(self) -> None:
                self._say(*(relay._tell(self.path) if self._is_signed(b"") else _REFUSED))

            def _is_signed(self, body: bytes) -> bool:
                url = f"http://{self.headers['Host']}{self.path}"
                return relay.signatures.refusal(self.command, url, dict(self.headers.items()), body) is None

            def _say(self, status: int, text: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._threads = [
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True),
            threading.Thread(target=self._work, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Serve until the process ends."""
        for thread in self._threads:
            thread.join()

    def close(self) -> None:
        """End it; a load that goes on ends first."""
        self._queue.put(None)
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def settle(self) -> None:
        """Return when no load is going on."""
        self._queue.join()

    def _pass_on(self, body: bytes, accept: str) -> httpx.Response:
        headers = {"Content-Type": "application/json", "Accept": accept}
        return self._http.post(f"{self._gremlin}/gremlin", content=body, headers=headers)

    def _begin(self, request: dict[str, Any]) -> tuple[int, bytes]:
        assert request["format"] == "csv"
        assert request["mode"] == "NEW"
        assert (request["failOnError"], request["queueRequest"]) == ("TRUE", "TRUE")
        assert request["updateSingleCardinalityProperties"] == "TRUE"
        assert request["source"].startswith("s3://")
        assert request["source"].endswith("/")
        if request["iamRoleArn"] != ROLE:
            return _answer(400, {"code": "BadRequestException", "detailedMessage": "no such role"})
        load = f"load-{next(self._numbers)}"
        self.loads[load] = {"status": "LOAD_IN_QUEUE", "fullUri": request["source"]}
        self._queue.put(load)
        return _answer(200, {"status": "200 OK", "payload": {"loadId": load}})

    def _tell(self, path: str) -> tuple[int, bytes]:
        parts = urlsplit(path)
        load = parts.path.removeprefix("/loader").strip("/")
        if not load:
            limit = int(parse_qs(parts.query)["limit"][0])
            return _answer(200, {"status": "200 OK", "payload": {"loadIds": [*reversed(self.loads)][:limit]}})
        if load not in self.loads:
            return _answer(404, {"code": "BulkLoadIdNotFoundException"})
        told = dict(self.loads[load])
        errors = told.pop("errors", [])
        payload = {"feedCount": [], "overallStatus": told, "failedFeeds": [], "errors": {"errorLogs": errors}}
        return _answer(200, {"status": "200 OK", "payload": payload})

    def _work(self) -> None:
        while (load := self._queue.get()) is not None:
            told = self.loads[load]
            self.loads[load] = told = {**told, "status": "LOAD_IN_PROGRESS"}
            try:
                self.before(told["fullUri"])
                ended = self._carry_out(told["fullUri"])
            except Exception as error:  # noqa: BLE001 - the relay's own faults end the test that sees them
                ended = {"status": "LOAD_UNEXPECTED_ERROR", "errors": [{"errorCode": type(error).__name__}]}
            self.loads[load] = {**told, **ended}
            self._queue.task_done()
        self._queue.task_done()

    def _carry_out(self, source: str) -> dict[str, Any]:
        bucket, _, prefix = source.removeprefix("s3://").partition("/")
        files = []
        for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for item in page.get("Contents", ()):
                key = item["Key"]
                try:
                    content = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                    files.append(parsed(key, content))
                except self._s3.exceptions.NoSuchKey:
                    return {"status": "LOAD_DATA_FAILED_DUE_TO_FEED_MODIFIED_OR_DELETED"}
                except (ValueError, csv.Error):
                    return _failed("PARSING_ERROR", "parsingErrors", f"s3://{bucket}/{key}")
        if not files:
            return {"status": "LOAD_FAILED"}
        # Vertices first: "Optimizing an Amazon Neptune bulk load".
        files.sort(key=lambda rows: any("~from" in row for row in rows.rows))
        torn = self.tear(source)
        if torn:
            files = [file._replace(columns=file.columns[-1:]) for file in files]
        for done, some in enumerate(self._requests(files)):
            if code := self.fail(source, done):
                return {"status": code}
            if fault := self._send(some):
                return _failed(fault.code, fault.counted, f"s3://{bucket}/{some[0][0]}")
        if torn:
            return _failed("PARSING_ERROR", "parsingErrors", f"s3://{bucket}/{files[-1].key}")
        return {"status": "LOAD_COMPLETED"}

    def _requests(self, files: list[Rows]) -> Iterator[list[tuple[str, str]]]:
        for file in files:
            statements = [(file.key, statement) for row in file.rows for statement in _statements(file, row)]
            for begin in range(0, len(statements), STATEMENTS_MAX):
                yield statements[begin : begin + STATEMENTS_MAX]

    def _send(self, statements: list[tuple[str, str]]) -> Fault | None:
        text = ";".join(statement for _, statement in statements)
        while True:
            body = json.dumps({"gremlin": text, "language": "gremlin-lang"}).encode()
            answer = self._pass_on(body, "application/vnd.gremlin-v3.0+json;types=false")
            if answer.status_code == 200:
                return None
            said = answer.text
            if "TransactionException" in said:
                continue
            if "does not exist" in said or "not found" in said or "find" in said:
                return Fault("FROM_OR_TO_VERTEX_ARE_MISSING", "insertErrors")
            if "already exists" in said:
                return Fault("ID_ASSIGNED_TO_MULTIPLE_EDGES", "insertErrors")
            raise AssertionError(said)


def _statements(file: Rows, row: dict[str, str]) -> Iterator[str]:
    id_, label = _text(row["~id"]), _text(row["~label"])
    if "~from" in row:
        ends = f"(Direction.from):{_text(row['~from'])},(Direction.to):{_text(row['~to'])}"
        made = f"g.mergeE([(T.id):{id_},(T.label):{label},{ends}])"
    else:
        made = f"g.mergeV([(T.id):{id_}]).option(Merge.onCreate,[(T.label):{label}])"
    for column in file.columns:
        if column.name in row:
            value = row[column.name]
            text = _text(value) if column.kind == "String" else _LITERALS[column.kind].format(value)
            single = "single," if column.is_single else ""
            made += f".property({single}{_text(column.name)},{text})"
    yield f"{made}.iterate()"


def _text(value: str) -> str:
    """Return a literal, in a way of the test's own: JSON's escapes, but for the quotes around."""
    return '"' + json.dumps(value)[1:-1].replace("\\/", "/") + '"'


def _failed(code: str, count: str, file: str) -> dict[str, Any]:
    return {"status": "LOAD_FAILED", count: 1, "errors": [{"errorCode": code, "fileName": file, "recordNum": 1}]}


def _answer(status: int, document: dict[str, Any]) -> tuple[int, bytes]:
    return status, json.dumps(document).encode()


class NeptuneServer(RelayServer):
    """A Gremlin Server, an object store with a bucket, and the relay."""

    title = "what stands where Neptune would"
    module = "deploy.local.neptune"
    bucket = BUCKET

    def __init__(self, directory: Path, *, port: int | None = None, detached: bool = False) -> None:
        super().__init__(directory, port=port, detached=detached)
        self.gremlin = GremlinServer(self.directory / "gremlin", detached=detached)

    @property
    def settings(self) -> dict[str, Any]:
        """What a target's section needs to reach it, and to load by files."""
        place = {"s3_bucket_name": BUCKET, "s3_bucket_folder": "loads", "load_role_arn": ROLE}
        url = {"url": f"http://127.0.0.1:{self.port}", "iam_auth_enabled": True}
        return {**self.gremlin.settings, **url, **self.s3.settings, **place}

    def _arguments(self) -> list[str]:
        return [self.gremlin.url, self.s3.settings["endpoint_url"]]

    def _prepare(self) -> None:
        self.gremlin.start()
        super()._prepare()

    def _forget(self) -> None:
        super()._forget()
        self.gremlin.stop()


if __name__ == "__main__":
    keys = {"aws_access_key_id": ACCESS_KEY_ID, "aws_secret_access_key": SECRET_ACCESS_KEY}
    buckets = boto3.client("s3", endpoint_url=sys.argv[3], region_name=REGION, **keys)
    NeptuneLoader(sys.argv[2], buckets, int(sys.argv[1])).join()
