"""Connections to a MySQL or MariaDB server: queries in text form, over packets that the log comes in, too.

Protocol: MySQL internals manual, "Client/Server Protocol"; MariaDB knowledge base, the page of the same name. Own
code rather than a driver's: rows are decoded by functions that are generated for each table, from the packets
themselves, and the log's stream is the same packets again.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from capture.full_load.chunk_reader import RUN_BYTES_MAX, RUN_ROWS_MAX
from capture.sources.mysql.channel import Channel
from capture.sources.mysql.login import log_in, reach
from capture.sources.mysql.packets import Packet, error_of, length_at
from runtime.spool import SpooledMessage
from schemas.endpoints.mysql import MysqlSource
from schemas.errors import ErrorKind, TailraceError

PATIENCE = "net_write_timeout = 3600, wait_timeout = 86400"
"""How many seconds the server waits for a client of ours: loaders may have to wait for Kafka."""

SESSION = (
    "set session sql_mode = 'NO_BACKSLASH_ESCAPES', time_zone = '+00:00', character_set_results = utf8mb4, "
    "character_set_client = utf8mb4, character_set_connection = utf8mb4, autocommit = 1, "
    f"{PATIENCE}, sql_select_limit = 18446744073709551615, sql_big_selects = 1, sql_quote_show_create = 1 "
    "/*M! , max_statement_time = 0, idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0*/"
    "/*!80000 , max_execution_time = 0, information_schema_stats_expiry = 0*/"
    "/*!80030 , show_gipk_in_create_table_and_information_schema = 1*/"
)
"""How a session of ours is: the server's texts as UTF-8, its timestamps in UTC, all rows of a query however many and
however long it takes, whatever the server's defaults are. Of MySQL (each server passes the other's comments over)
numbers of rows that are not a day old, and keys that it has made by itself.
"""

COM_QUERY = 3

Cells = list[str | None]


class Connection(Channel):
    """One session. Errors of the server and of the network are raised as `TailraceError` by kind."""

    def __init__(self, settings: MysqlSource) -> None:
        super().__init__(reach(settings))
        try:
            greeting = log_in(self, settings)
            self.set_blocking(blocking=True)
        except BaseException:
            self.close()
            raise
        self.version_text, self.version, self.is_mariadb = greeting.version_text, greeting.version, greeting.is_mariadb

    def run(self, sql: str) -> None:
        """Run a statement; rows are thrown away."""
        for _ in self.packets(sql):
            pass

    def rows(self, sql: str) -> list[Cells]:
        """Run a query and return its rows as text. Bytes that are no UTF-8 raise DECODE."""
        try:
            return [_cells(bytes(packet)) for packet in self.packets(sql)]
        except UnicodeDecodeError as error:
            raise TailraceError(ErrorKind.DECODE, "the server's answer is no UTF-8") from error

    def value(self, sql: str) -> str | None:
        """Return the first value of a query, None where there is no row."""
        rows = self.rows(sql)
        return rows[0][0] if rows else None

    def packets(self, sql: str) -> Iterator[Packet]:
        """Run a query and yield its rows as packets: each value a length-encoded string, or 0xFB for null."""
        self.send(bytes([COM_QUERY]) + sql.encode())
        head = self.receive()
        if head[0] == 0:
            return
        if head[0] == 0xFB:
            raise TailraceError(ErrorKind.INVARIANT, "the server asks for a local file")
        count, _ = length_at(head, 0)
        for _ in range(count):
            self.receive()
        if self.receive()[0] != 0xFE:
            raise TailraceError(ErrorKind.SOURCE_CONNECTION, "an answer of the server in a form that is not known")
        while True:
            packet = self.next()
            if packet[0] >= 0xFE:
                if packet[0] == 0xFF:
                    raise error_of(bytes(packet), "the server refused a statement")
                if len(packet) < 9:
                    return
            yield packet

    def runs(self, sql: str) -> Iterator[list[bytes] | SpooledMessage]:
        """Do what `packets` does; yield rows many in a list, those in files alone: see `ChunkReader._begin`."""
        rows: list[list[bytes]] = [[]]
        size = 0
        for packet in self.packets(sql):
            alone = []
            if isinstance(packet, bytes):
                run = rows[0]
                run.append(packet)
                begin, size = len(run), size + len(packet)
                self.take(run, RUN_ROWS_MAX - begin, RUN_BYTES_MAX - size)
                size += sum(map(len, islice(run, begin, None)))
                is_full = len(run) >= RUN_ROWS_MAX or size >= RUN_BYTES_MAX
                del run
            else:
                alone.append(packet)
                is_full = bool(rows[0])
            del packet
            if is_full:
                rows.append([])
                size = 0
                yield rows.pop(0)
            if alone:
                yield alone.pop()
        if rows[0]:
            yield rows.pop()


def connect(settings: MysqlSource) -> Connection:
    """Connect, and prepare the session. Raises SOURCE_CONNECTION, PREREQUISITE or CONFIGURATION."""
    connection = Connection(settings)
    try:
        connection.run(SESSION)
    except BaseException:
        connection.close()
        raise
    return connection


def _cells(packet: bytes) -> Cells:
    cells: Cells = []
    at, end = 0, len(packet)
    while at < end:
        if packet[at] == 0xFB:
            cells.append(None)
            at += 1
            continue
        size, at = length_at(packet, at)
        cells.append(packet[at : at + size].decode())
        at += size
    return cells
