"""Files of very many tables at once: what each takes in memory until it is written, and that nothing stays then."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from apply.sink import TopicPartition
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sink_kinds.row_files.store import FileName
from apply.sinks.files import DirectoryStore
from tests.conformance.sink_suite import ORDERS
from tests.unit.apply.row_files.test_files import ORIGIN, batch, settings

TABLES = 400
TURNS = 3
OPEN_FILE_BYTES_MAX = 10_000
"""Of a file with one row in it: ten thousand tables that change now and then take 100 MB."""
LEFT_BYTES_MAX = 100
"""Of what is remembered of a table whose files are written."""


class Nowhere(DirectoryStore):
    """A store that keeps nothing."""

    def create(self, name: FileName, content: bytes, content_type: str) -> int | None:
        return None


@pytest.mark.parametrize("data_format", ["csv", "json", "parquet"])
def test_each_of_many_tables_takes_little_and_leaves_nothing(tmp_path: Path, data_format: str) -> None:
    tables = [replace(ORDERS, name=ORDERS.name._replace(table=f"t{n}")) for n in range(TABLES)]
    sink = RowFilesSink(Nowhere(tmp_path), settings(tmp_path, data_format=data_format))

    def turn(number: int) -> None:
        for place, table in enumerate(tables):
            where = TopicPartition(f"shop.public.{table.name.table}", 0)
            origin = ORIGIN._replace(partition=where, offset=number, seq=ORIGIN.seq + number * TABLES + place)
            assert sink.apply(batch(("c", None, (number, "a", True)), origin=origin, table=table)) == []

    turn(0)
    sink.flush()
    tracemalloc.start()
    try:
        for number in range(1, TURNS):
            turn(number)
            gathered = tracemalloc.get_traced_memory()[0]
            sink.flush()
        gc.collect()
        left = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    sink.close()
    assert gathered < TABLES * OPEN_FILE_BYTES_MAX
    assert left < TABLES * LEFT_BYTES_MAX
