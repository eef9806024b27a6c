"""A plug-in for tests: an engine that is neither a database nor ours. It goes by the published interfaces only.

The source is a file: each line is one transaction that adds one entry (a JSON list of number and text), and the number
of lines is the position. The target keeps its tables in a file, which a flush replaces.
"""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.source import Capabilities, Chunk, Finding, Severity, SnapshotReader, Source
from schemas.changes import Begin, Change, Commit, Heartbeat, Row, RowChanges, Transaction
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.filters import RowFilter
from schemas.mappings.segments import Partition, Segment
from schemas.position import Position
from schemas.settings import Settings
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType
from tests.kit.memory_sink import MemorySink, MemoryTarget

TABLE = TableSchema(
    TableName("ledger", "entries"),
    (
        Column("number", LogicalType(Family.INT64), "number", nullable=False),
        Column("entry", LogicalType(Family.STRING), "text"),
    ),
    key=(0,),
    engine="ledger",
)
POLL_ROWS_MAX = 100


def open_source(settings: Settings) -> Source:
    """See `capture.sources`."""
    return LedgerSource(_path(settings.source, "source"))


def open_snapshot_reader(settings: Settings) -> SnapshotReader:
    """See `capture.sources`."""
    return LedgerReader(_path(settings.source, "source"))


def open_sink(settings: Settings, target: str) -> LedgerSink:
    """See `apply.sinks`."""
    return LedgerSink(_path(settings.target(target), f"targets.{target}"))


def findings(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[Finding]:
    """See `apply.sinks`."""
    directory = _path(settings.target(target), f"targets.{target}").parent
    if directory.is_dir():
        return []
    return [Finding(Severity.BLOCKS, "directory-missing", "there is no such directory", remedy=f"mkdir {directory}")]


def grants(settings: Settings, target: str, tables: Sequence[TableSchema]) -> list[str]:
    """See `apply.sinks`."""
    return []


def _path(section: Any, place: str) -> Path:
    if set(section.options) != {"path"}:
        raise TailraceError(ErrorKind.CONFIGURATION, f"{place}.options: a ledger takes `path`, and nothing else")
    return Path(section.options["path"])


class LedgerSource:
    """See `capture.source.Source`."""

    capabilities = Capabilities("ledger", "ledger", truncates=False, schema_changes=False)

    def __init__(self, path: Path) -> None:
        self._path = path

    def identity(self) -> dict[str, str]:
        return {"engine": "ledger", "path": str(self._path)}

    def findings(self, tables: Sequence[TableSchema]) -> list[Finding]:
        return []

    def tables(self) -> list[TableSchema]:
        return [TABLE]

    def readable(self) -> list[TableSchema]:
        return self.tables()

    def row_estimates(self, tables: Sequence[TableSchema]) -> dict[TableName, int]:
        return {TABLE.name: len(_lines(self._path))}

    def prepare(self, tables: Sequence[TableSchema]) -> Position:
        return self.current_position()

    def check_position(self, stored: dict[str, str], position: Position) -> None:
        if stored != self.identity() or position > self.current_position():
            raise TailraceError(ErrorKind.SOURCE_LOG_LOST, "the ledger is another one, or was cut")

    def find_position(self, committed_from_us: int) -> Position:
        raise TailraceError(ErrorKind.CONFIGURATION, "a ledger knows no times")

    def marks(self, tables: Sequence[TableSchema]) -> dict[TableName, str]:
        """Nobody says which tables the log is of; see `Source.marks`."""
        return {}

    def check_published(self, tables: Sequence[TableSchema], marks: Mapping[TableName, str]) -> None:
        return

    def visible_position(self) -> Position:
        return self.current_position()

    def has_table(self, name: TableName) -> bool:
        return name == TABLE.name

    def open_log(self, position: Position, tables: Sequence[TableSchema]) -> LedgerLog:
        return LedgerLog(self._path, position, tables[0])

    def current_position(self) -> Position:
        return Position(len(_lines(self._path)))

    def retained_bytes(self) -> int | None:
        return None

    def log_left_bytes(self) -> int | None:
        return None

    def complete(self, changes: RowChanges) -> None:
        return

    def untold(self) -> Collection[TableName]:
        """Nothing is looked up; see `Source.untold`."""
        return ()

    def unseen(self, table: TableSchema) -> Collection[int]:
        """What stands in the log can be seen; see `Source.unseen`."""
        return ()

    def format_position(self, position: Position) -> str:
        return f"line {position.commit}"

    def parse_position(self, text: str) -> Position:
        return Position(int(text.removeprefix("line ")))

    def grants(self, tables: Sequence[TableSchema]) -> str:
        return f"chmod a+r {self._path}"

    def ddl_trigger(self) -> str:
        return ""

    def destroy(self) -> list[str]:
        return []

    def close(self) -> None:
        return


class LedgerLog:
    """See `capture.source.LogReader`."""

    def __init__(self, path: Path, position: Position, table: TableSchema) -> None:
        self._path = path
        self._read = position.commit
        self._table = table

    def poll(self, timeout_s: float) -> Sequence[Change]:
        out: list[Change] = []
        for row in _lines(self._path)[self._read :][:POLL_ROWS_MAX]:
            self._read += 1
            txn = Transaction(str(self._read), self._read, self._read, time.time_ns() // 1000)
            run = RowChanges(self._table, txn, ["c"], [None], [row])
            out += [Begin(txn), run, Commit(txn, Position(self._read))]
        if not out:
            time.sleep(min(timeout_s, 0.05))
            out = [Heartbeat(Position(self._read))]
        return out

    def acknowledge(self, position: Position) -> None:
        return

    def close(self) -> None:
        return


@dataclass(slots=True)
class LedgerSnapshot:
    """See `capture.source.Snapshot`."""

    high: int

    def sees(self, txn: Transaction) -> bool:
        return txn.commit <= self.high

    def settled(self, txn: Transaction) -> bool:
        return self.sees(txn)


class LedgerReader:
    """See `capture.source.SnapshotReader`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._snapshot = LedgerSnapshot(0)

    def plan(self, table: TableSchema, chunk_rows: int, segments: Sequence[Segment] = ()) -> list[Chunk]:
        return [Chunk(0, None, None)]

    def partitions(self, table: TableSchema) -> list[Partition]:
        return []

    def read(
        self, table: TableSchema, chunk: Chunk, batch_rows: int, where: RowFilter | None = None
    ) -> Iterator[list[Row]]:
        rows: list[Row] = [*_lines(self._path)]
        self._snapshot = LedgerSnapshot(len(rows))
        for index in range(0, len(rows), batch_rows):
            yield rows[index : index + batch_rows]

    def look(self) -> LedgerSnapshot:
        return LedgerSnapshot(sum(1 for _ in _lines(self._path)))

    def hold(self, tables: Sequence[TableSchema], chunk_rows: int) -> list[int]:
        return []

    def release(self) -> None:
        return

    def snapshot(self) -> LedgerSnapshot:
        return self._snapshot

    def close(self) -> None:
        return


class LedgerSink(MemorySink):
    """See `apply.sink.Sink`: tables and offsets are replaced together."""

    def __init__(self, path: Path) -> None:
        super().__init__(pickle.loads(path.read_bytes()) if path.exists() else MemoryTarget())
        self._path = path

    def flush(self) -> None:
        super().flush()
        new = self._path.with_suffix(".new")
        new.write_bytes(pickle.dumps(self.target))
        new.replace(self._path)

    def forget(self) -> list[str]:
        self._path.unlink(missing_ok=True)
        return [f"removed {self._path}"]


def _lines(path: Path) -> list[tuple[int, str]]:
    with path.open(encoding="utf-8") as file:
        # A line that is still being written has no end.
        return [(number, entry) for number, entry in (json.loads(line) for line in file if line.endswith("\n"))]
