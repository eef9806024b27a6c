"""Rules for single tables: how one is cut for the full load, and where its large values are cut off.

Source: AWS DMS user guide, "Table and collection settings rules and operations".
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.mappings.parts import BaseRule, Part
from schemas.mappings.patterns import names_one


class LobSettings(Part):
    """How large values of a table travel."""

    mode: Literal["limited", "unlimited", "none"] = "limited"
    bulk_max_size: Annotated[int, Field(ge=0, le=1 << 21)] | None = None
    """In KB."""

    @model_validator(mode="after")
    def _limit_is_told(self) -> LobSettings:
        if self.mode == "limited" and not self.bulk_max_size:
            raise ValueError("mode limited needs bulk-max-size, more than 0")
        return self


class ParallelLoad(Part):
    """How a table is cut for the full load."""

    type: Literal["partitions-auto", "subpartitions-auto", "partitions-list", "ranges", "none"]
    number_of_partitions: Annotated[int, Field(ge=1)] | None = None
    collection_count_from_metadata: bool | None = None
    max_records_skip_per_page: Annotated[int, Field(ge=1)] | None = None
    batch_size: Annotated[int, Field(ge=0)] | None = None
    partitions: list[str] | None = None
    subpartitions: list[str] | None = None
    columns: Annotated[list[str], Field(min_length=1, max_length=10)] | None = None
    boundaries: Annotated[list[list[str | int | float]], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fits_its_type(self) -> ParallelLoad:
        for kind, names in (
            ("ranges", ("columns", "boundaries")),
            ("partitions-list", ("partitions", "subpartitions")),
        ):
            given = [name for name in names if getattr(self, name)]
            if given and self.type != kind:
                raise ValueError(f"{given[0]} are of type {kind}")
            if self.type == kind and (not given or (kind == "ranges" and len(given) < len(names))):
                raise ValueError(f"type {kind} needs {(' and ' if kind == 'ranges' else ' or ').join(names)}")
        columns = self.columns or ()
        if len(set(columns)) < len(columns):
            raise ValueError("a column stands in columns twice")
        for number, boundary in enumerate(self.boundaries or (), 1):
            if len(boundary) != len(columns):
                raise ValueError(f"boundary {number} has {len(boundary)} values, for {len(columns)} columns")
        return self


class TableSettingsRule(BaseRule):
    """How one table is loaded, and how its large values travel."""

    rule_type: Literal["table-settings"]
    parallel_load: ParallelLoad | None = None
    lob_settings: LobSettings | None = None

    @model_validator(mode="after")
    def _is_of_one_table(self) -> TableSettingsRule:
        if not (names_one(self.object_locator.schema_name) and names_one(self.object_locator.table_name)):
            raise ValueError("table settings are of one table: schema-name and table-name without wildcards")
        return self
