"""MySQL and MariaDB, by the programs that tests use: the rows and changes of PostgreSQL's `orders`."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql

from benchmarks.databases.engine import SOURCE, Count, Properties
from benchmarks.databases.shapes import ROUND_ROWS, Shape, changes
from benchmarks.stages.measure import BenchmarkError
from deploy.local.mysql import USER, MysqlServer, mariadb_client, mysql_client
from runtime import clock
from schemas.table import TableName

SERIES = {"mysql": "mysql", "mariadb": "11.4"}
CONNECTORS = {"mysql": "mysql.MySqlConnector", "mariadb": "mariadb.MariaDbConnector"}
TIMEOUT_S = 600

_TABLE = """\
create table orders (id bigint primary key, customer_id bigint, status varchar(20), amount decimal(12,2), note text,
  created_at timestamp(6) null, updated_at datetime(6), active tinyint(1), payload json, qty int)"""

_INSERT = """\
insert into orders select n, (n * 7919) % 100000, elt(1 + n % 5, 'new', 'paid', 'shipped', 'delivered', 'cancelled'),
  ((n * 104729) % 10000000) / 100, concat('order note ', substr(sha2(n, 256), 1, 49)),
  timestampadd(microsecond, n * 37123457, '2024-01-01 00:00:00'),
  timestampadd(microsecond, n * 11654321, '2025-01-01 00:00:00'), n % 3 <> 0,
  json_object('sku', concat('SKU-', n % 5000), 'tags', json_array(concat('a', n % 7), concat('b', n % 11)),
    'w', (n % 997) / 10, 'ref', substr(sha2(n, 256), 1, 32)), n % 17
from numbers where n between {} and {}"""

_UPDATE = """\
update orders set status = 'updated', qty = qty + 1, updated_at = updated_at + interval 1 day
where id between {} and {}"""

_COLUMNS = "id, customer_id, status, amount, note, created_at, updated_at, active, payload, qty"


class Mysql:
    """See `Engine`. It knows one shape, `orders`."""

    table = TableName(SOURCE, "orders")

    def __init__(self, directory: Path, kind: str) -> None:
        self._kind = kind
        self.plugin = f"debezium-{kind}"
        settings = {"innodb-buffer-pool-size": "512M"}
        self.server = MysqlServer(directory, series=SERIES[kind], settings=settings)
        self._mark: tuple[str, int] = ("", 0)

    def start(self) -> None:
        """Start the server and make the source's database, and numbers to make rows of."""
        self.server.start()
        self.create_database(SOURCE)

    def stop(self) -> None:
        """Stop the server."""
        self.server.stop()

    def endpoint(self, database: str) -> dict[str, Any]:
        """Return where the server is."""
        address = self.server.address
        where = {"engine": "mysql", "host": address.host, "port": address.port, "user": USER}
        return {**where, "tls": {"mode": "disable"}}

    def target(self, database: str) -> dict[str, Any]:
        """Return the section of a target, with the control tables beside the rows."""
        return self.endpoint(database) | {"database": database, "control_schema": database}

    def create_database(self, name: str) -> None:
        """Make an empty database."""
        with self._open() as connection:
            _run(connection, f"create database {name} character set utf8mb4")

    def create(self, shape: Shape, rows: int) -> None:
        """Make the table with its rows."""
        if shape.name != "orders":
            raise BenchmarkError(f"the shape {shape.name} is PostgreSQL's only")
        digits = " union all ".join(f"select {digit} d" for digit in range(10))
        places = range(len(str(2 * rows)))
        joined = " join ".join(f"({digits}) d{place}" for place in places)
        number = " + ".join(f"d{place}.d * {10**place}" for place in places)
        with self._open(SOURCE) as connection:
            _run(connection, "set sql_log_bin = 0")
            _run(connection, "create table numbers (n bigint primary key)")
            _run(connection, f"insert into numbers select {number} from {joined}")
            _run(connection, "set sql_log_bin = 1")
            _run(connection, _TABLE)
            _run(connection, _INSERT.format(1, rows))
            _run(connection, "analyze table orders")

    def change(self, shape: Shape, rows: int) -> int:
        """Change it in as many transactions as PostgreSQL's."""
        with self._open(SOURCE) as connection:
            for number in range(rows // ROUND_ROWS):
                first, gone = rows + 1 + number * ROUND_ROWS, rows // 2 + number * 100
                _run(connection, _INSERT.format(first, first + ROUND_ROWS - 1))
                _run(connection, _UPDATE.format(1 + number * 400, 400 + number * 400))
                _run(connection, f"delete from orders where id between {gone + 1} and {gone + 100}")
        return changes(rows)

    def touch(self) -> None:
        """Change a row and change it back: an update to what is there is not logged."""
        with self._open(SOURCE) as connection:
            for sign in "+-":
                _run(connection, f"update orders set qty = qty {sign} 1 where id = 1")

    def digest(self, database: str) -> tuple[object, ...]:
        """Return the number of rows and a sum over their texts."""
        with self._open(database) as connection:
            # By one collation: columns of a target have their source's, which MySQL does not put together by itself.
            columns = _COLUMNS
            if self._kind == "mysql":
                # A decimal in a document of the source is a double in what comes as text: 3.7000 and 3.7.
                columns = columns.replace("payload", "cast(cast(payload as char) as json)")
            texts = ", ".join(f"cast({name} as char) collate utf8mb4_bin" for name in columns.split(", "))
            return _run(connection, f"select count(*), sum(crc32(concat_ws('|', {texts}))) from orders")[0]

    @contextmanager
    def counting(self, database: str) -> Iterator[Count]:
        """Open a session that counts."""
        with self._open(database) as connection:

            def count(query: str) -> int:
                try:
                    return int(_run(connection, query)[0][0])
                except pymysql.err.ProgrammingError:
                    return 0

            yield count

    def applied(self, database: str, replication: str, topic: str) -> str:
        """Return the query of the stored offsets."""
        return (
            f"select coalesce(sum(next_offset), 0) from {database}.offsets "
            f"where replication = '{replication}' and topic = '{topic}'"
        )

    def copy_rows(self, rows: int) -> list[tuple[str, float]]:
        """By the server's own client, to a file and from there."""
        kind = self._kind
        client = mysql_client("mysql") if kind == "mysql" else [str(mariadb_client("mariadb"))]
        command = [*client, "--no-defaults", *self._where(), "--quick", "--skip-column-names", "--local-infile=1"]
        with tempfile.NamedTemporaryFile() as file, self._open(SOURCE) as connection:
            read_s = _client([*command, "--batch", "--execute", "select * from orders", SOURCE], file.fileno())
            _run(connection, "create table orders_limit like orders")
            _run(connection, "set global local_infile = 1")
            load = f"load data local infile '{file.name}' into table orders_limit character set utf8mb4"
            written_s = _client([*command, "--execute", load, SOURCE])
            (written,) = _run(connection, "select count(*) from orders_limit")[0]
            _run(connection, "drop table orders_limit")
        if written != rows:
            raise BenchmarkError(f"LOAD DATA has written {written} of {rows} rows")
        return [(f"{kind} --quick", read_s), ("LOAD DATA LOCAL", written_s)]

    def mark_log(self) -> None:
        """Remember the log's last file and its size."""
        self._mark = self._log_end()

    def read_log(self) -> tuple[str, float] | None:
        """Copy it by the server's own client; MariaDB's jar has none, the system may."""
        name = "mysqlbinlog" if self._kind == "mysql" else "mariadb-binlog"
        if self._kind == "mysql":
            program = mysql_client(name)
        elif found := shutil.which(name):
            program = [found]
        else:
            return None
        file, position = self._mark
        with tempfile.TemporaryDirectory() as box:
            what = ["--read-from-remote-server", "--raw", f"--result-file={box}/", "--to-last-log", file]
            seconds = _client([*program, "--no-defaults", *self._where(), f"--start-position={position}", *what])
        return f"{name} --raw", seconds

    def connector(self, name: str, directory: Path) -> Properties:
        """Return the properties of Debezium's connector."""
        address = self.server.address
        more: Properties = {"database.ssl.mode": "disable"}
        if self._kind == "mysql":
            more = {"database.ssl.mode": "preferred", "driver.allowPublicKeyRetrieval": True}
        return {
            "connector.class": f"io.debezium.connector.{CONNECTORS[self._kind]}",
            "database.hostname": address.host,
            "database.port": address.port,
            "database.user": USER,
            "database.server.id": 7002,
            "database.include.list": SOURCE,
            "include.schema.changes": False,
            "schema.history.internal": "io.debezium.storage.file.history.FileSchemaHistory",
            "schema.history.internal.file.filename": str(directory / "history"),
            "schema.history.internal.store.only.captured.tables.ddl": True,
            **more,
        }

    def captures(self, name: str) -> bool:
        """Tell whether somebody reads the log."""
        with self._open() as connection:
            return any("Binlog Dump" in str(row[4]) for row in _run(connection, "show processlist"))

    def forget(self, name: str) -> None:
        """Do nothing: a reader of the log leaves nothing behind."""

    def sink(self, database: str) -> Properties:
        """Return where Debezium's JDBC sink writes."""
        address = self.server.address
        # Else the drivers look for a table in every database, and the sink takes another run's for its own.
        options = {
            "mysql": "rewriteBatchedStatements=true&allowPublicKeyRetrieval=true&useSSL=false",
            "mariadb": "useBulkStmts=true",
        }
        where = f"jdbc:{self._kind}://{address.host}:{address.port}/{database}"
        return {
            "connection.url": f"{where}?nullDatabaseMeansCurrent=true&{options[self._kind]}",
            "connection.username": USER,
            "connection.password": "",
        }

    def _where(self) -> list[str]:
        address = self.server.address
        return [f"--host={address.host}", f"--port={address.port}", f"--user={USER}", "--protocol=tcp"]

    def _log_end(self) -> tuple[str, int]:
        with self._open() as connection:
            file, size, *_ = _run(connection, "show binary logs")[-1]
        return str(file), int(str(size))

    def _open(self, database: str | None = None) -> Any:
        address = self.server.address
        return pymysql.connect(
            host=address.host,
            port=address.port,
            user=USER,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            ssl_disabled=True,
            init_command="set time_zone = '+00:00'",
        )


def _client(command: list[str], output: int = subprocess.DEVNULL) -> float:
    """Run a client program; return its seconds. Raises BenchmarkError."""
    begin = clock.monotonic()
    done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False, timeout=TIMEOUT_S)
    if done.returncode:
        raise BenchmarkError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")
    return clock.monotonic() - begin


def _run(connection: Any, statement: str) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())
