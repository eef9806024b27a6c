"""Tables of the AWS Glue Data Catalog over the files of a bucket: what Athena, Redshift Spectrum and Spark query.

A table per table, with a partition for each folder. It is told of a file once the file is there, and before the offsets
are committed: after a crash the same file is met again, and told of again. The types of its columns are those of the
latest change that has told some, whatever appliers say late.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apply import aws
from apply.sink_kinds.row_files.formats import parquet_library
from apply.sink_kinds.row_files.shape import Shape
from apply.sink_kinds.row_files.store import path_part
from schemas.endpoints.files import S3Target
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableName
from schemas.types import Family, LogicalType

TRIES_MAX = 5
"""How often a table is looked at again that somebody else has changed in the meantime."""

_MISSING, _THERE = "EntityNotFoundException", "AlreadyExistsException"
_BUSY = frozenset({"ConcurrentModificationException", "OperationTimeoutException", "ResourceNotReadyException"})

_HIVE = "org.apache.hadoop.hive.ql.io"
_FORMATS = {
    "parquet": (
        f"{_HIVE}.parquet.MapredParquetInputFormat",
        f"{_HIVE}.parquet.MapredParquetOutputFormat",
        f"{_HIVE}.parquet.serde.ParquetHiveSerDe",
    ),
    "json": (
        "org.apache.hadoop.mapred.TextInputFormat",
        f"{_HIVE}.HiveIgnoreKeyTextOutputFormat",
        "org.openx.data.jsonserde.JsonSerDe",
    ),
}
"""Input, output and serializer. Athena user guide, "Parquet SerDe" and "OpenX JSON SerDe"."""

_KEPT = ("Name", "Description", "Owner", "Retention", "PartitionKeys", "TableType", "Parameters")
"""What a table that is extended keeps, whoever has set it. Glue API reference, `TableInput`."""

_SEQUENCE = "tailrace_seq"
_VERSION = "tailrace_version"
"""The parameters of a table that keep a commit sequence of the newest version that was told, and this version. Columns
that are as they were need them, too: a table may have returned to an earlier form."""

_OF_JSON = {
    Family.BOOLEAN: "boolean",
    Family.INT16: "smallint",
    Family.INT32: "int",
    Family.INT64: "bigint",
    Family.UINT32: "bigint",
    Family.UINT64: "decimal(20,0)",
    Family.FLOAT32: "double",
    Family.FLOAT64: "double",
}
"""All others are texts."""


class GlueCatalog:
    """See `apply.sink_kinds.row_files.store.Catalog`. Connects when it is first used."""

    def __init__(self, target: S3Target) -> None:
        self._target = target
        self._made: Any = None
        self._told: dict[tuple[TableName, bool], tuple[int, tuple[str, ...]]] = {}
        """Of each table, for loaded rows and for changes, the version and the folder that were told last."""

    def check(self, shape: Shape) -> None:
        """See `Catalog`."""
        columns_of(shape, self._target.data_format)

    def tell(self, shape: Shape, folder: tuple[str, ...], seq: int) -> None:
        """See `Catalog`."""
        key, told = (shape.table.name, shape.loads), (shape.table.version, folder)
        if self._told.get(key) == told:
            return
        try:
            self._keep_table(shape, folder[:2], seq)
            if len(folder) > 2:
                self._keep_partition(shape.table.name, folder)
        except aws.AwsError as error:
            if aws.code_of(error) in _BUSY:
                message = f"the table of the Glue catalogue cannot be changed at this moment ({aws.code_of(error)})"
                raise TailraceError(ErrorKind.TARGET_THROTTLED, message, table=str(shape.table.name)) from error
            raise aws.classify(error, "keeping the Glue catalogue") from error
        self._told[key] = told

    def close(self) -> None:
        """See `Catalog`."""
        if self._made is not None:
            self._made.close()
            self._made = None

    @property
    def _client(self) -> Any:
        if self._made is None:
            # The endpoint of a bucket is another service's.
            place = {"endpoint_url": self._target.glue_endpoint_url}
            self._made = aws.client("glue", self._target.model_copy(update=place))
        return self._made

    def _keep_table(self, shape: Shape, folder: tuple[str, ...], seq: int) -> None:
        wanted = columns_of(shape, self._target.data_format)
        place = database_of(self._target, shape.table.name)
        name = shape.table.name.table.lower()
        table = self._input(name, wanted, folder, shape.table.name)
        mark = {_SEQUENCE: str(seq), _VERSION: str(shape.table.version)}
        table["Parameters"] |= mark
        for _ in range(TRIES_MAX):
            there = self._answer("get_table", DatabaseName=place, Name=name).get("Table")
            if there is None:
                if not self._made_by_us("create_table", DatabaseName=place, TableInput=table):
                    self._made_by_us("create_database", DatabaseInput={"Name": place})
                continue
            if _about(there) != _about(table):
                raise _of_others(shape.table.name, f"{place}.{name}")
            extended = _extended(there, wanted, mark)
            if extended is None:
                return
            self._client.update_table(
                DatabaseName=place, TableInput=extended, SkipArchive=True, VersionId=there.get("VersionId", "0")
            )
        message = f"the table {place}.{name} of the Glue catalogue is changed by others all the time"
        raise TailraceError(ErrorKind.TARGET_THROTTLED, message, table=str(shape.table.name))

    def _keep_partition(self, table: TableName, folder: tuple[str, ...]) -> None:
        descriptor = self._descriptor({}, folder)
        values = [part.partition("=")[2] for part in folder[2:]]
        if not self._made_by_us(
            "create_partition",
            DatabaseName=database_of(self._target, table),
            TableName=table.table.lower(),
            PartitionInput={"Values": values, "StorageDescriptor": descriptor},
        ):
            message = "somebody else has dropped the table of the Glue catalogue at this moment"
            raise TailraceError(ErrorKind.TARGET_THROTTLED, message, table=str(table))

    def _input(
        self, name: str, columns: Mapping[str, str], folder: tuple[str, ...], table: TableName
    ) -> dict[str, Any]:
        return {
            "Name": name,
            "TableType": "EXTERNAL_TABLE",
            "Parameters": {"classification": self._target.data_format, "EXTERNAL": "TRUE", "tailrace": str(table)},
            "PartitionKeys": [{"Name": key, "Type": "string"} for key in self._target.partition_columns],
            "StorageDescriptor": self._descriptor(columns, folder),
        }

    def _descriptor(self, columns: Mapping[str, str], folder: tuple[str, ...]) -> dict[str, Any]:
        target = self._target
        takes, gives, serializer = _FORMATS[target.data_format]
        parts = [*filter(None, [target.bucket_folder.strip("/")]), *map(path_part, folder), ""]
        return {
            "Columns": [{"Name": name, "Type": type_} for name, type_ in columns.items()],
            "Location": f"s3://{target.bucket_name}/{'/'.join(parts)}",
            "InputFormat": takes,
            "OutputFormat": gives,
            "SerdeInfo": {"SerializationLibrary": serializer},
        }

    def _answer(self, operation: str, **request: Any) -> dict[str, Any]:
        """Return an answer; empty for what is not there."""
        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**request)
        except aws.AwsError as error:
            if aws.code_of(error) == _MISSING:
                return {}
            raise
        return answer

    def _made_by_us(self, operation: str, **request: Any) -> bool:
        """Make something that may be there by now; False if what it belongs to is missing."""
        try:
            getattr(self._client, operation)(**request)
        except aws.AwsError as error:
            if aws.code_of(error) == _MISSING:
                return False
            if aws.code_of(error) != _THERE:
                raise
        return True


def database_of(target: S3Target, table: TableName) -> str:
    """Return the catalogue's database of a table. Its names are in lower case."""
    return (target.glue_catalog_database or table.schema).lower()


def _about(table: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what tells a table of the catalogue over other files, or over the same by other settings, apart."""
    told = table.get("Parameters", {})
    location = table.get("StorageDescriptor", {}).get("Location", "").rstrip("/")
    keys = [key["Name"] for key in table.get("PartitionKeys", ())]
    return told.get("tailrace"), told.get("classification"), location, keys


def _of_others(table: TableName, there: str) -> TailraceError:
    return TailraceError(
        ErrorKind.TARGET_SCHEMA,
        f"the Glue catalogue has a table {there} that is not this one's: it is over another table's files, or over "
        "another folder, format or other partition columns than the settings have now",
        table=str(table),
        remedy="drop it there (no file goes with it), or set another `glue_catalog_database`",
    )


def _extended(there: Mapping[str, Any], wanted: Mapping[str, str], mark: Mapping[str, str]) -> dict[str, Any] | None:
    """Return a table of the catalogue with columns that it lacks, with types unless they are older than those that it
    has, with the mark of a version that is newer, and all else as it is; None: it has all.
    """
    columns = {column["Name"]: column for column in there["StorageDescriptor"]["Columns"]}
    parameters = there.get("Parameters", {})
    known = parameters.get(_SEQUENCE, "")
    is_late = known.isdigit() and int(mark[_SEQUENCE]) < int(known)
    lacking = {
        name: type_
        for name, type_ in wanted.items()
        if name not in columns or not (is_late or columns[name].get("Type") == type_)
    }
    if not lacking and (is_late or parameters.get(_VERSION) == mark[_VERSION]):
        return None
    columns |= {name: {**columns.get(name, {}), "Name": name, "Type": type_} for name, type_ in lacking.items()}
    kept = {name: there[name] for name in _KEPT if name in there}
    if not is_late:
        kept["Parameters"] = {**parameters, **mark}
    return {**kept, "StorageDescriptor": {**there["StorageDescriptor"], "Columns": [*columns.values()]}}


def columns_of(shape: Shape, data_format: str) -> dict[str, str]:
    """Return the catalogue's columns of files of a shape, by their names in lower case; without those for whose values
    it has no type. Raises TARGET_SCHEMA for names that differ in their capitals alone.
    """
    columns: dict[str, str] = {}
    for name, type_ in zip(shape.names, shape.types, strict=True):
        if name.lower() in columns:
            raise TailraceError(
                ErrorKind.TARGET_SCHEMA,
                "two columns differ in their capitals alone, which the Glue catalogue does not tell apart",
                table=str(shape.table.name),
                remedy="rename one by a mapping rule",
            )
        if (found := _type(type_, data_format)) is not None:
            columns[name.lower()] = found
    if data_format == "parquet" and not shape.loads:
        columns[parquet_library().UNAVAILABLE] = "array<string>"
    return columns


def _type(type_: LogicalType, data_format: str) -> str | None:
    if data_format == "json":
        return _OF_JSON.get(type_.family, "string")
    found: str | None = parquet_library().hive_type(type_)
    return found
