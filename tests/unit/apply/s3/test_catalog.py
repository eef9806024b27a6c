"""The Glue catalogue's tables, on an imitation within the process: whose they are, and what is kept of them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from apply.sink_kinds.row_files.shape import Shape, shape_of
from apply.sinks.s3.catalog import GlueCatalog
from schemas.endpoints.files import S3Target
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.table import TableName, TableSchema
from tests.conformance.sink_suite import ORDERS, ORDERS_2, STRING

HIVE = {"date_partition_enabled": True, "date_partition_style": "hive"}
DAY = ("year=2025", "month=01", "day=01")
PLACE = {"DatabaseName": "lake", "Name": "orders"}


@pytest.fixture(scope="module")
def glue() -> Iterator[Any]:
    with mock_aws(), contextlib.closing(boto3.client("glue", region_name="eu-central-1")) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_there(glue: Any) -> Iterator[None]:
    yield
    glue.delete_database(Name="lake")


def target(**more: Any) -> S3Target:
    document = {"engine": "s3", "bucket_name": "landing", "region": "eu-central-1", "data_format": "parquet", **more}
    return S3Target.model_validate({**document, "glue_catalog_generation": True, "glue_catalog_database": "lake"})


def tell(client: Any, section: S3Target, table: TableSchema = ORDERS, *date: str, seq: int = 1) -> None:
    catalog = GlueCatalog(section)
    catalog._made = client
    catalog.tell(_shape(section, table), (*table.name, *date), seq)


def _shape(section: S3Target, table: TableSchema) -> Shape:
    return shape_of(table, section, loads=False)


def test_what_others_set_of_a_table_is_kept_as_it_grows(glue: Any) -> None:
    tell(glue, target())
    there = glue.get_table(**PLACE)["Table"]
    columns = [{**column, "Comment": f"about {column['Name']}"} for column in there["StorageDescriptor"]["Columns"]]
    theirs = {name: there[name] for name in ("Name", "PartitionKeys", "TableType")} | {"Description": "all orders"}
    theirs["Parameters"] = {**there["Parameters"], "owner": "sales"}
    theirs["StorageDescriptor"] = {**there["StorageDescriptor"], "Columns": columns}
    glue.update_table(DatabaseName="lake", TableInput=theirs)
    tell(glue, target(), ORDERS_2)
    found = glue.get_table(**PLACE)["Table"]
    assert found["StorageDescriptor"]["Columns"] == [*columns, {"Name": "note", "Type": "string"}]
    theirs["Parameters"]["tailrace_version"] = "2"
    assert {name: found[name] for name in theirs if name != "StorageDescriptor"} == {
        name: value for name, value in theirs.items() if name != "StorageDescriptor"
    }


def test_who_comes_late_takes_no_type_back(glue: Any) -> None:
    """An applier that restarts tells of older versions again, of a partition that is behind the others."""
    retyped = replace(ORDERS, version=2, columns=(replace(ORDERS.columns[0], type=STRING), *ORDERS.columns[1:]))

    def told(table: TableSchema, seq: int) -> dict[str, str]:
        tell(glue, target(), table, seq=seq)
        columns = glue.get_table(**PLACE)["Table"]["StorageDescriptor"]["Columns"]
        return {column["Name"]: column["Type"] for column in columns}

    before = told(ORDERS, 10)
    assert before["id"] == "bigint"
    after = told(retyped, 20)
    assert after == before | {"id": "string"}
    assert told(ORDERS, 11) == after
    # What only older files have is there to be read.
    assert told(ORDERS_2, 12) == after | {"note": "string"}
    assert told(ORDERS, 30) == before | {"note": "string"}


def test_a_table_that_returns_to_an_earlier_form_keeps_it(glue: Any) -> None:
    """The version between is told late: by an applier whose partition is behind."""
    retyped = replace(ORDERS, version=2, columns=(replace(ORDERS.columns[0], type=STRING), *ORDERS.columns[1:]))
    for table, seq in ((ORDERS, 10), (replace(ORDERS, version=3), 30), (retyped, 20), (ORDERS, 15)):
        tell(glue, target(), table, seq=seq)
        columns = glue.get_table(**PLACE)["Table"]["StorageDescriptor"]["Columns"]
        assert {"Name": "id", "Type": "bigint"} in columns, seq
    # What tells nothing new of the table leaves it alone.
    there = glue.get_table(**PLACE)["Table"]
    tell(glue, target(), replace(ORDERS, version=3), seq=40)
    assert glue.get_table(**PLACE)["Table"]["UpdateTime"] == there["UpdateTime"]


@pytest.mark.parametrize(
    ("before", "other", "date"),
    [
        # One database of the catalogue for two schemas; names of the same letters; settings that are others by now.
        ({}, replace(ORDERS, name=TableName("sales", "orders")), ()),
        ({}, replace(ORDERS, name=TableName("public", "Orders")), ()),
        ({"bucket_folder": "old"}, ORDERS, ()),
        ({"data_format": "json"}, ORDERS, ()),
        ({}, ORDERS, DAY),
    ],
)
def test_a_table_over_other_files_is_left_alone(glue: Any, before: Any, other: Any, date: tuple[str, ...]) -> None:
    tell(glue, target(**before))
    there = glue.get_table(**PLACE)["Table"]
    with pytest.raises(TailraceError, match=r"lake\.orders") as caught:
        tell(glue, target(**(HIVE if date else {})), other, *date)
    assert caught.value.kind is ErrorKind.TARGET_SCHEMA
    assert glue.get_table(**PLACE)["Table"] == there
    # By the remedy that it names.
    glue.delete_table(**PLACE)
    tell(glue, target(**(HIVE if date else {})), other, *date)
    assert len(glue.get_partitions(DatabaseName="lake", TableName="orders")["Partitions"]) == bool(date)


@pytest.mark.parametrize("code", ["ConcurrentModificationException", "OperationTimeoutException"])
def test_what_passes_is_tried_again(glue: Any, code: str) -> None:
    section = target()
    tell(glue, section)

    class Busy:
        def __getattr__(self, name: str) -> Any:
            return self._update if name == "update_table" else getattr(glue, name)

        def _update(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}, "UpdateTable")

    with pytest.raises(TailraceError, match=code) as caught:
        tell(Busy(), section, ORDERS_2)
    assert caught.value.action is Action.RETRY
