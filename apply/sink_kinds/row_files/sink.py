"""The sink of all targets that are files of changes: gathers rows, then writes each file exactly once.

A file is named by its first change (commit sequence and partition), and written only if the name is free. After a crash
the same first change leads to the same name: what is there tells how far it goes, and that part of the rows is left
out. So files never overlap, whatever the batches were and whoever else wrote them (Invariant 6).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import cast
from zoneinfo import ZoneInfo

from apply.sink import Gathering, Origin, Rejection, TableBatch, TopicPartition
from apply.sink_kinds.history import HISTORY, HistorySink
from apply.sink_kinds.row_files.formats import Chunk, CsvFormat, RowFormat, format_of
from apply.sink_kinds.row_files.shape import Shape, shape_of
from apply.sink_kinds.row_files.store import Catalog, FileName, Store
from apply.sink_kinds.row_files.transactions import TransactionFiles
from schemas.endpoints.files import RowFiles
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName, TableSchema
from schemas.types.calendar import moment

KB = 1024
SHAPES_MAX = 10_000
_SEPARATORS = {"SLASH": "/", "UNDERSCORE": "_", "DASH": "-", "NONE": ""}
_PATTERNS = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H"}


@dataclass(slots=True)
class _File:
    """A file in the making: consecutive changes of one partition, of one version, of one folder."""

    shape: Shape
    format: RowFormat
    folder: tuple[str, ...]
    origins: list[Origin] = field(default_factory=list)
    """Of each row that stands in it."""
    chunks: list[Chunk] = field(default_factory=list)
    last: int = 0
    byte_count: int = 0


class RowFilesSink(HistorySink):
    """Writes changes to files of a store."""

    def __init__(
        self,
        store: Store,
        settings: RowFiles,
        catalog: Catalog | None = None,
        tags_of: Callable[[TableName], Mapping[str, str]] = lambda _: {},
    ) -> None:
        """`tags_of` says which tags files of a table of the source have, or raises TARGET_SCHEMA."""
        self._store = store
        self._catalog = catalog
        self._tags_of = tags_of
        self._settings = settings
        self._size_max = settings.max_file_size * KB
        self._folder_of = _folder_maker(settings)
        # A reader of partitions looks nowhere else.
        self._loads_by_date = settings.date_partition_style == "hive"
        self._shapes: dict[tuple[TableName, int, bool], tuple[Shape, RowFormat]] = {}
        self._files: dict[TopicPartition, list[_File]] = {}
        self._transactions = (
            TransactionFiles(store, settings, self._size_max) if settings.preserve_transactions else None
        )
        self._reached: dict[TopicPartition, int] = {}
        """Where a file was met that goes further than what came until then: how far."""
        self.capabilities = replace(
            HISTORY,
            gathering=Gathering(settings.cdc_min_file_size * KB, settings.cdc_max_batch_interval),
            commit_order=settings.preserve_transactions,
        )

    def release(self, partitions: Sequence[TopicPartition]) -> None:
        """See `Sink`."""
        for partition in partitions:
            self._reached.pop(partition, None)
        if self._transactions is not None:
            self._transactions.release()

    def apply(self, batch: TableBatch) -> list[Rejection]:
        """Take in changes; return those that the format cannot hold."""
        rejections: list[Rejection] = []
        by_partition: dict[TopicPartition, list[int]] = {}
        for index, origin in enumerate(batch.origins["sequence"]):
            by_partition.setdefault(origin.partition, []).append(index)
        for indexes in by_partition.values():
            rejections += self._take_in(batch, indexes)
        return rejections

    def flush(self) -> None:
        """Write every file. Files of a partition are written in order: each begins where the one before it ends."""
        for partition, files in self._files.items():
            for file in files:
                self._write(partition, file)
        self._files.clear()
        if self._transactions is not None:
            self._transactions.flush()

    def rollback(self) -> None:
        """Forget what was not written."""
        self._files.clear()
        if self._transactions is not None:
            self._transactions.clear()

    def close(self) -> None:
        """Let connections go."""
        self.rollback()
        self._store.close()
        if self._catalog is not None:
            self._catalog.close()

    def _take_in(self, batch: TableBatch, indexes: list[int]) -> list[Rejection]:
        origins, table = batch.origins["sequence"], batch.table
        rejections: list[Rejection] = []

        for loads, date, run in self._runs(batch, indexes):
            shape, format_ = self._shape(table, loads=loads)
            kept = [i for i in run if batch.sequence[i][0] in shape.operations]
            chunk, faults = format_.encode([shape.values(batch.sequence[i], origins[i]) for i in kept])
            for at, message in faults.items():
                error = TailraceError(
                    ErrorKind.ROW_REJECTED,
                    message,
                    table=str(table.name),
                    remedy="use another `data_format`, or skip the row",
                )
                rejections.append(Rejection(table.name, "sequence", kept[at], error))
            if self._transactions is not None and not loads:
                # CSV has a form for every value.
                self._transactions.add(chunk, [origins[i] for i in kept], cast("CsvFormat", format_))
                continue
            file = self._open(origins[run[0]].partition, shape, format_, (*table.name, *date))
            file.chunks.append(chunk)
            file.origins += [origins[i] for at, i in enumerate(kept) if at not in faults]
            file.last = origins[run[-1]].seq
            file.byte_count += format_.size(chunk)
        return rejections

    def _runs(self, batch: TableBatch, indexes: list[int]) -> Iterator[tuple[bool, tuple[str, ...], list[int]]]:
        """Yield runs of changes that go into one folder: whether they are a load's, the folder's date, and which."""
        are_loads = {batch.sequence[index][0] == "r" for index in indexes}
        if len(are_loads) == 1 and not self._settings.date_partition_enabled:
            yield are_loads.pop(), (), indexes
            return

        def place(index: int) -> tuple[bool, tuple[str, ...]]:
            loads = batch.sequence[index][0] == "r"
            dated = self._loads_by_date or not loads
            return loads, self._folder_of(batch.origins["sequence"][index].commit_ts_us) if dated else ()

        for (is_load, date), group in groupby(indexes, key=place):
            yield is_load, date, list(group)

    def _open(self, partition: TopicPartition, shape: Shape, format_: RowFormat, folder: tuple[str, ...]) -> _File:
        """Return the partition's last file, if it may go on, or a new one."""
        files = self._files.setdefault(partition, [])
        if files:
            last = files[-1]
            if last.shape is shape and last.folder == folder and last.byte_count < self._size_max:
                return last
        files.append(_File(shape, format_, folder))
        return files[-1]

    def _write(self, partition: TopicPartition, file: _File) -> None:
        while file.origins and file.origins[-1].seq > self._reached.get(partition, -1):
            _cut(file, self._reached.pop(partition, -1))
            tags = self._tags_of(file.shape.table.source_name)
            name = FileName(file.folder, _stem(file), file.format.extension, file.last, tags)
            there = self._store.create(name, file.format.content(file.chunks), file.format.content_type)
            if self._catalog is not None:
                # Of one that was there, too: whoever wrote it may not have come so far.
                self._catalog.tell(file.shape, file.folder, file.origins[0].seq)
            if there is None:
                return
            self._reached[partition] = there

    def _shape(self, table: TableSchema, *, loads: bool) -> tuple[Shape, RowFormat]:
        key = (table.source_name, table.version, loads)
        found = self._shapes.get(key)
        if found is None:
            if len(self._shapes) >= SHAPES_MAX:
                self._shapes.pop(next(iter(self._shapes)))
            shape = shape_of(table, self._settings, loads=loads)
            self._tags_of(table.source_name)
            if self._catalog is not None:
                self._catalog.check(shape)
            together = self._transactions is not None and not loads
            format_ = CsvFormat(shape, self._settings) if together else format_of(shape, self._settings)
            found = self._shapes[key] = shape, format_
        return found


def _cut(file: _File, reached: int) -> None:
    """Leave out the rows up to a commit sequence: they stand in a file already."""
    count = bisect_right(file.origins, reached, key=lambda origin: origin.seq)
    file.origins = file.origins[count:]
    while count:
        head = file.chunks[0]
        if len(head) > count:
            file.chunks[0], count = head[count:], 0
        else:
            count -= len(file.chunks.pop(0))


def _stem(file: _File) -> str:
    """Return what follows from the first row alone."""
    first = file.origins[0]
    place = f"{first.seq:016X}-{first.partition.partition}"
    if file.shape.loads:
        return f"LOAD{place}"
    at = moment(first.commit_ts_us)
    return f"{at:%Y%m%d-%H%M%S}{at.microsecond // 1000:03d}-{place}"


def _folder_maker(settings: RowFiles) -> Callable[[int], tuple[str, ...]]:
    """Return what tells the folders of a commit time."""
    if not settings.date_partition_enabled:
        return lambda _: ()
    zone = ZoneInfo(settings.date_partition_timezone)
    columns = settings.date_parts
    if settings.date_partition_style == "hive":
        pattern = "/".join(f"{column}={_PATTERNS[column]}" for column in columns)
    else:
        pattern = _SEPARATORS[settings.date_partition_delimiter].join(_PATTERNS[column] for column in columns)

    def folder(us: int) -> tuple[str, ...]:
        return tuple(moment(us).astimezone(zone).strftime(pattern).split("/"))

    return folder
