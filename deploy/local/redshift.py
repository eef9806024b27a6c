"""What stands where Redshift would: a PostgreSQL, a bucket, and a relay between that does what PostgreSQL does not.

The relay speaks PostgreSQL's protocol on both sides. It carries out `COPY … FROM 's3://…'` by reading the file and
sending it as PostgreSQL's own `COPY FROM STDIN`; holds nobody to keys; and knows a type `super`. Transactions, locks
and errors are PostgreSQL's. It is no Redshift: neither its `COPY`, nor its planner, nor its types are.

`python -m deploy.local.redshift PORT POSTGRESQLS_PORT URL_OF_THE_BUCKETS` serves until it is ended.
"""

from __future__ import annotations

import gzip
import re
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import boto3
import psycopg
from botocore.exceptions import BotoCoreError, ClientError

from deploy.local.aws import ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY
from deploy.local.postgresql import PASSWORD, SUPERUSER, PostgresqlAddress, PostgresqlServer
from deploy.local.relay import RelayServer

BUCKET = "shop-staging"

SETUP = (
    "create domain super as jsonb",
    "create function json_parse(text) returns super language sql as 'select $1::jsonb'",
    # PostgreSQL has a word of this name.
    "create function \"json_serialize\"(super) returns text language sql as 'select $1::text'",
    # Redshift's own, unless a database is told otherwise: who writes one table at once meets a conflict.
    """do $$ begin
        execute format('alter database %I set default_transaction_isolation = serializable', current_database());
    end $$""",
)
"""What a database needs before it is one of the relay's."""

COPY = re.compile(
    r"copy (?P<stage>tailrace_stage_\d+) from 's3://(?P<bucket>[^/]+)/(?P<key>[^']+\.csv\.gz)' iam_role default "
    r"format as csv null as '(?P<null>\x01null\x01)' gzip dateformat 'auto' timeformat 'auto' compupdate off "
    r"statupdate off"
)
"""The one form of `COPY` that the sink has. Any other goes to PostgreSQL as it is, which refuses it."""

_NO_FILE = b"do $$ begin raise exception 'S3ServiceException' using errcode = 'XX000'; end $$"
"""As Redshift says it of a file that cannot be had (COPY, "Load error reference"): the transaction is aborted."""

_ENCRYPTION = (80_877_103, 80_877_104)
"""Codes of SSLRequest and GSSENCRequest, which are answered by one byte. PostgreSQL, "Message Formats"."""

Read = Callable[[str, str], bytes]
"""From a bucket and a key to what is stored there."""


def of_postgresql(statement: str) -> str:
    """Return a statement of the sink for PostgreSQL: without the key that Redshift holds nobody to, with a domain's
    name for its type, and with a function's name that is a word there.
    """
    statement = re.sub(r", primary key \([^)]*\)", "", statement)
    statement = statement.replace("json_serialize(", '"json_serialize"(')
    return statement.replace(" data_type,", " coalesce(domain_name, data_type),")


def copy_from_stdin(copy: re.Match[str]) -> str:
    """Return PostgreSQL's statement for one of `COPY`."""
    return f"copy {copy['stage']} from stdin (format csv, null '{copy['null']}')"


class RedshiftRelay:
    """The relay in threads of this process, started; `close` ends it."""

    def __init__(self, postgresql: tuple[str, int], read: Read, port: int = 0) -> None:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                _Session(self.connection, self.rfile, postgresql, read).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", port), Handler, bind_and_activate=False)
        self._server.allow_reuse_address = self._server.daemon_threads = True
        self._server.server_bind()
        self._server.server_activate()
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Serve until the process ends."""
        self._thread.join()

    def close(self) -> None:
        """Take no more connections; those that are open end with their clients."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Session:
    """One client's connection, and the one to PostgreSQL that belongs to it."""

    def __init__(self, client: socket.socket, sent: BufferedIOBase, postgresql: tuple[str, int], read: Read) -> None:
        self._client = client
        self._sent = sent
        self._read = read
        self._server = socket.create_connection(postgresql)
        for end in (client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._told = self._server.makefile("rb")

    def run(self) -> None:
        back = threading.Thread(target=self._bring_back, daemon=True)
        try:
            with suppress(OSError, EOFError):
                while self._start_up():
                    pass
                back.start()
                while True:
                    kind, body = _message(self._sent)
                    self._server.sendall(self._asked(body) if kind == b"Q" else _framed(kind, body))
        finally:
            self._end(back)

    def _end(self, back: threading.Thread) -> None:
        # Who is killed says no word of farewell: PostgreSQL has to see the end itself, or keeps a dead client's locks.
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_WR)
        if back.ident is not None:
            back.join()
        self._told.close()
        self._server.close()

    def _start_up(self) -> bool:
        """Pass on what a client begins with; tell whether it begins anew after an answer about encryption."""
        length = _exactly(self._sent, 4)
        body = _exactly(self._sent, struct.unpack(">i", length)[0] - 4)
        self._server.sendall(length + body)
        if struct.unpack(">i", body[:4])[0] not in _ENCRYPTION:
            return False
        self._client.sendall(_exactly(self._told, 1))
        return True

    def _asked(self, body: bytes) -> bytes:
        """Return what PostgreSQL is sent for a statement."""
        statement = body[:-1].decode()
        copy = COPY.fullmatch(statement)
        if copy is None:
            return _framed(b"Q", of_postgresql(statement).encode() + b"\0")
        try:
            text = gzip.decompress(self._read(copy["bucket"], copy["key"]))
        except (ClientError, BotoCoreError, OSError):
            return _framed(b"Q", _NO_FILE + b"\0")
        # Sent at once: if the statement is refused, PostgreSQL passes over what follows it.
        asked = _framed(b"Q", copy_from_stdin(copy).encode() + b"\0")
        return asked + _framed(b"d", text) + _framed(b"c", b"")

    def _bring_back(self) -> None:
        with suppress(OSError, EOFError):
            while True:
                kind, body = _message(self._told)
                # CopyInResponse: it is not the client that copies.
                if kind != b"G":
                    self._client.sendall(_framed(kind, body))
        with suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)


def _message(stream: BufferedIOBase) -> tuple[bytes, bytes]:
    kind, length = struct.unpack(">ci", _exactly(stream, 5))
    return kind, _exactly(stream, length - 4)


def _framed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">ci", kind, len(body) + 4) + body


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    found = stream.read(size)
    if len(found) < size:
        raise EOFError
    return found


def reader_of(url: str) -> Read:
    """Return what reads the files of a local object store."""
    keys = {"aws_access_key_id": ACCESS_KEY_ID, "aws_secret_access_key": SECRET_ACCESS_KEY}
    client = boto3.client("s3", endpoint_url=url, region_name=REGION, **keys)

    def read(bucket: str, key: str) -> bytes:
        found: bytes = client.get_object(Bucket=bucket, Key=key)["Body"].read()
        return found

    return read


class RedshiftServer(RelayServer):
    """PostgreSQL, an object store with a bucket, and the relay."""

    title = "what stands where Redshift would"
    module = "deploy.local.redshift"
    bucket = BUCKET

    def __init__(self, directory: Path, *, port: int | None = None, detached: bool = False) -> None:
        super().__init__(directory, port=port, detached=detached)
        self._postgresql = PostgresqlServer(self.directory / "postgresql", detached=detached)

    @property
    def settings(self) -> dict[str, Any]:
        """What a target's section needs to reach it."""
        place = {"host": "127.0.0.1", "port": self.port, "database": "postgres", "tls": "disable"}
        login = {"user": SUPERUSER, "password": PASSWORD}
        return {**place, **login, "bucket_name": BUCKET, **self.s3.settings}

    @property
    def database(self) -> PostgresqlAddress:
        """The PostgreSQL behind the relay."""
        return self._postgresql.address

    def _arguments(self) -> list[str]:
        return [str(self._postgresql.port), self.s3.settings["endpoint_url"]]

    def _prepare(self) -> None:
        self._postgresql.start()
        with psycopg.connect(self.database.dsn(), autocommit=True) as made:
            if made.execute("select to_regtype('super')").fetchone() == (None,):
                for statement in SETUP:
                    made.execute(statement.encode())
        super()._prepare()

    def _forget(self) -> None:
        super()._forget()
        self._postgresql.stop()


if __name__ == "__main__":
    RedshiftRelay(("127.0.0.1", int(sys.argv[2])), reader_of(sys.argv[3]), int(sys.argv[1])).join()
