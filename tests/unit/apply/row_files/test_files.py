"""Files of changes in a directory pass the conformance suite, in each format; and what their settings do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from apply.sink import Origin, Sink, TableBatch, TopicPartition
from apply.sink_kinds.row_files.sink import RowFilesSink
from apply.sinks import files
from apply.sinks.files import DirectoryStore
from schemas.changes import UNCHANGED
from schemas.endpoints.files import FilesTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema
from schemas.types import LogicalType
from tests.conformance.changes import Seen
from tests.conformance.sink_suite import ORDERS, SinkSuite
from tests.kit import row_files


def settings(directory: Path, **more: Any) -> FilesTarget:
    return FilesTarget.model_validate({"engine": "files", "directory": str(directory), **more})


class _FilesSuite(SinkSuite):
    more: ClassVar[dict[str, Any]]

    @pytest.fixture
    def sink(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
        self.directory = tmp_path
        self.patch = monkeypatch
        self.opened: list[RowFilesSink] = []
        yield self.open()
        for sink in self.opened:
            sink.close()

    def open(self) -> Sink:
        section = settings(self.directory, **row_files.SETTINGS, **self.more)
        self.opened.append(RowFilesSink(DirectoryStore(self.directory), section))
        return self.opened[-1]

    def other_sink(self, sink: Sink) -> Sink:
        return self.open()

    def read_history(self, sink: Sink, table: TableSchema) -> list[Seen]:
        folder = self.directory.joinpath(*table.name)
        return [
            change
            for path in (folder.iterdir() if folder.is_dir() else ())
            if not path.name.startswith(".")
            for change in row_files.changes(path.name, path.read_bytes(), table)
        ]

    @contextlib.contextmanager
    def fault(self, sink: Sink, number: int) -> Iterator[None]:
        calls, write = iter(range(1000)), files._write

        def failing(folder: Path, name: str, content: bytes) -> None:
            due = next(calls) == number // 2
            if due and number % 2 == 0:
                raise OSError(28, "No space left on device")
            write(folder, name, content)
            if due:
                raise OSError(5, "Input/output error")

        with self.patch.context() as patch:
            patch.setattr(files, "_write", failing)
            yield


class TestCsv(_FilesSuite):
    more: ClassVar = {}


class TestCompressedJsonLines(_FilesSuite):
    more: ClassVar = {"data_format": "json", "compression_type": "gzip"}


class TestParquet(_FilesSuite):
    more: ClassVar = {"data_format": "parquet", "compression_type": "gzip"}

    def holds(self, type_: LogicalType, value: Any) -> bool:
        return row_files.parquet_holds(type_, value)


ORIGIN = Origin(TopicPartition("shop.public.orders", 3), 17, (1 << 48) + 5, 1_735_697_676_444_453, 9)


def batch(*changes: Any, origin: Origin = ORIGIN, table: TableSchema = ORDERS) -> TableBatch:
    """Return changes that follow each other within a microsecond each."""
    origins = [
        origin._replace(offset=origin.offset + n, seq=origin.seq + n, commit_ts_us=origin.commit_ts_us + n)
        for n in range(len(changes))
    ]
    return TableBatch(table, sequence=list(changes), origins={"sequence": origins})


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """A function that writes changes with some settings, and returns the files' paths and contents."""

    def write(*batches: TableBatch, **more: Any) -> dict[str, str]:
        sink = RowFilesSink(DirectoryStore(tmp_path), settings(tmp_path, **more))
        for one in batches:
            assert sink.apply(one) == []
        sink.flush()
        sink.close()
        found = (path for path in tmp_path.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {str(path.relative_to(tmp_path)): path.read_bytes().decode() for path in found}

    return write


def test_an_insert_that_nobody_could_tell_says_what_is_not_known(written: Callable[..., dict[str, str]]) -> None:
    assert [*written(batch(("c", None, (1, UNCHANGED, True)))).values()] == ["I,1,__debezium_unavailable_value,true\n"]


LOAD = "public/orders/LOAD0001000000000005-3-0001000000000005.csv"
CHANGES = "public/orders/20250101-021436444-0001000000000005-3-0001000000000008.csv"


def test_the_layout_is_that_of_dms(written: Callable[..., dict[str, str]]) -> None:
    rows = (
        ("c", None, (1, "a,b", True)),
        ("u", None, (1, UNCHANGED, None)),
        ("u", None, (1, "NULL", None)),
        ("d", (1, UNCHANGED, UNCHANGED), None),
    )
    found = written(batch(("r", None, (7, 'say "hi"', False))), batch(*rows))
    # The load's file is named by the same commit sequence as the other: what they are is in the name, too.
    assert found == {
        LOAD: '7,"say ""hi""",false\n',
        CHANGES: 'I,1,"a,b",true\n'
        "U,1,__debezium_unavailable_value,NULL\n"
        'U,1,"NULL",NULL\n'
        "D,1,__debezium_unavailable_value,__debezium_unavailable_value\n",
    }


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"cdc_inserts_only": True}, "1,a,true\n"),
        ({"cdc_inserts_only": True, "include_op_for_full_load": True}, "I,1,a,true\n"),
        ({"cdc_inserts_and_updates": True}, "1,a,true\n1,b,true\n"),
        ({"timestamp_column_name": "at", "sequence_column_name": "n"}, None),
        ({"csv_delimiter": "\t", "csv_null_value": "", "csv_row_delimiter": "\r\n"}, None),
    ],
)
def test_settings_choose_changes_and_columns(
    written: Callable[..., dict[str, str]], more: dict[str, Any], expected: str | None
) -> None:
    found = written(
        batch(("c", None, (1, "a", True)), ("u", None, (1, "b", True)), ("d", (1, "b", None), None), ("t", None, None)),
        **more,
    )
    (text,) = found.values()
    if "timestamp_column_name" in more:
        expected = (
            "I,2025-01-01 02:14:36.444453,281474976710661,1,a,true\n"
            "U,2025-01-01 02:14:36.444454,281474976710662,1,b,true\n"
            "D,2025-01-01 02:14:36.444455,281474976710663,1,b,NULL\n"
            "T,2025-01-01 02:14:36.444456,281474976710664,NULL,NULL,NULL\n"
        )
    elif "csv_delimiter" in more:
        expected = "I\t1\ta\ttrue\r\nU\t1\tb\ttrue\r\nD\t1\tb\t\r\nT\t\t\t\r\n"
    assert text == expected


@pytest.mark.parametrize(
    ("more", "folders"),
    [
        ({}, {"2024/12/31", "2025/01/01"}),
        ({"date_partition_timezone": "Asia/Tokyo", "date_partition_delimiter": "DASH"}, {"2025-01-01"}),
        ({"date_partition_sequence": "YYYYMMDDHH", "date_partition_delimiter": "NONE"}, {"2024123123", "2025010100"}),
        (
            {"date_partition_style": "hive", "date_partition_sequence": "MMYYYYDD"},
            {"month=12/year=2024/day=31", "month=01/year=2025/day=01"},
        ),
    ],
)
def test_changes_go_into_folders_by_their_date(
    written: Callable[..., dict[str, str]], more: dict[str, Any], folders: set[str]
) -> None:
    midnight = ORIGIN._replace(commit_ts_us=1_735_689_600_000_000 - 1)
    found = written(
        batch(("c", None, (1, "a", True)), ("c", None, (2, "a", True)), origin=midnight),
        batch(("r", None, (3, "a", True)), origin=midnight),
        date_partition_enabled=True,
        **more,
    )
    places = {path.removeprefix("public/orders/") for path in found}
    assert {place.rpartition("/")[0] for place in places if "LOAD" not in place} == folders
    # Readers of partitions look for loaded rows nowhere else.
    (load,) = (place for place in places if "LOAD" in place)
    assert load.rpartition("/")[0] == ("month=12/year=2024/day=31" if "date_partition_style" in more else "")


@pytest.mark.parametrize(("name", "told"), [("Year", "year"), ("Op", "Op"), ("op", "Op")])
def test_columns_are_not_called_like_folders_or_ours(tmp_path: Path, name: str, told: str) -> None:
    table = replace(ORDERS, columns=(*ORDERS.columns[:2], replace(ORDERS.columns[2], name=name)))
    hive = settings(tmp_path, date_partition_enabled=True, date_partition_style="hive")
    with pytest.raises(TailraceError, match=told) as caught:
        RowFilesSink(DirectoryStore(tmp_path), hive).apply(batch(("c", None, (1, "a", True)), table=table))
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    with pytest.raises(ValueError, match="year"):
        settings(
            tmp_path,
            **{
                **hive.model_dump(include={"date_partition_enabled", "date_partition_style"}),
                "timestamp_column_name": "YEAR",
            },
        )


def test_files_end_at_their_size(written: Callable[..., dict[str, str]]) -> None:
    found = written(
        *(batch(("c", None, (n, "x" * 600, True)), origin=ORIGIN._replace(offset=n, seq=n)) for n in range(1, 7)),
        max_file_size=1,
    )
    assert sorted(text.count("\n") for text in found.values()) == [2, 2, 2]


def test_names_stay_within_their_folder(written: Callable[..., dict[str, str]]) -> None:
    odd = replace(ORDERS, name=ORDERS.name._replace(schema="..", table="a/b\\c\n%é"))
    (path,) = written(batch(("c", None, (1, "a", True)), table=odd))
    assert path.startswith("%2E%2E/a%2Fb%5Cc%0A%25é/")


def test_a_file_that_goes_further_is_gone_on_from(tmp_path: Path) -> None:
    changes = [batch(("c", None, (n, "a", True)), origin=ORIGIN._replace(offset=n, seq=n)) for n in range(1, 9)]

    def write(*some: TableBatch) -> None:
        for one in some:
            sink.apply(one)
        sink.flush()

    sink = RowFilesSink(DirectoryStore(tmp_path), settings(tmp_path))
    write(*changes[:5])
    sink = RowFilesSink(DirectoryStore(tmp_path), settings(tmp_path))
    # It begins again with less than there is, and then with what is there in part.
    write(*changes[:2])
    write(changes[2])
    write(*changes[3:])
    rows = sorted(line for path in tmp_path.rglob("*.csv") for line in path.read_text().splitlines())
    assert rows == [f"I,{n},a,true" for n in range(1, 9)]
