"""The configuration of a replication as a document: one model per section, defaults beside the names.

Unknown keys are refused with the nearest known one, secrets never print, and every problem of a document is reported at
once. Reading files and resolving `${…}` is `runtime.configuration`'s business: this module does no I/O. The string
below each attribute is its documentation; the reference page and the JSON schema are made from it.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from schemas import dms_documents
from schemas.endpoints.debezium import DebeziumSource
from schemas.endpoints.engines import AnySource, AnyTarget
from schemas.endpoints.files import S3Target
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.hints import explain
from schemas.kafka_properties import check_properties
from schemas.mappings import selection
from schemas.mappings.field import TableMappings
from schemas.mappings.names import concerns
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.rules import Mappings, SelectionRule, TransformationRule
from schemas.mappings.table_settings_rule import TableSettingsRule
from schemas.mappings.tags import TaggingRule
from schemas.policies import AnyDdlPolicies, DdlPolicies, ExistingTables, RetrySettings
from schemas.section import Section
from schemas.service_settings import ApplySettings, CaptureSettings
from schemas.table import TableName, TableSchema
from schemas.task_settings import translation
from schemas.task_settings.document import TaskSettingsDocument
from schemas.topic_settings import RegistrySettings, TopicSettings
from schemas.types.calendar import EPOCH

T = TypeVar("T")


class Mode(StrEnum):
    """What a replication does: the three migration types of DMS."""

    FULL_LOAD_AND_CDC = "full-load-and-cdc"
    FULL_LOAD = "full-load"
    CDC = "cdc"


class Settings(Section):
    """One replication: a source, its topics, and any number of targets."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")]
    """Name of the replication and prefix of its topics."""
    mode: Mode = Mode.FULL_LOAD_AND_CDC
    """`full-load-and-cdc`, `full-load` (ends by itself), or `cdc` (changes only)."""
    start_position: str | None = None
    """Where `cdc` first begins: `now` (default: where the slot stands, or is made), a position as `status` prints it,
    or a time with its zone (`2026-11-29T12:00:00Z`): the first transaction committed then or later."""
    kafka: Annotated[dict[str, str | int | float | bool], Field(repr=False)]
    """librdkafka properties; `bootstrap.servers` at least."""
    source: AnySource
    """The database to capture."""
    targets: dict[Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]{0,99}$")], AnyTarget] = Field(default={})
    """The databases to write, by names of your choice."""
    mappings: TableMappings | None = None
    """Which tables to take, and what to make of them at the targets (docs/table-mappings.md): the path of a document of
    AWS DMS, or of a description of its task, from the configuration's directory, or the document. Its selection rules
    stand for `source.tables`."""
    settings: TaskSettingsDocument | None = None
    """Task settings of AWS DMS (docs/task-settings.md): the path of a document, or of a description of the task, from
    the configuration's directory, or the document. What the configuration says itself stands."""
    topics: TopicSettings = Field(default_factory=TopicSettings)
    """The topics."""
    registry: RegistrySettings | None = None
    """A schema registry for what is written in Avro."""
    capture: CaptureSettings = Field(default_factory=CaptureSettings)
    """The capture service."""
    apply: ApplySettings = Field(default_factory=ApplySettings)
    """The apply services."""
    loopback_prevention: bool = False
    """For two replications between two databases of PostgreSQL or MySQL, one in each direction: appliers mark what they
    write, and capture leaves out what either one's appliers have marked, so that no change comes back to where it was
    made."""
    retry: RetrySettings = Field(default_factory=RetrySettings)
    """Pauses between attempts."""
    ddl: AnyDdlPolicies = Field(default_factory=DdlPolicies)
    """Schema changes: `apply`, `ignore`, `suspend` or `stop`, or a section with one of these for each kind."""

    @field_validator("kafka")
    @classmethod
    def _kafka_is_reachable_and_ours(cls, kafka: dict[str, Any]) -> dict[str, Any]:
        return check_properties(kafka)

    @field_validator("start_position", mode="before")
    @classmethod
    def _times_have_a_zone(cls, value: Any) -> Any:
        # YAML reads a time that is not quoted as one.
        text = value.isoformat() if isinstance(value, date) else value
        if isinstance(text, str) and _TIME.match(text) and _time_us(text) is None:
            raise ValueError("a time is written like 2026-11-29T12:00:00Z, with its zone")
        return text

    @model_validator(mode="after")
    def _start_position_goes_with_cdc(self) -> Settings:
        if self.start_position is not None and self.mode is not Mode.CDC:
            raise ValueError("start_position belongs to mode cdc; a full load decides its own")
        return self

    @model_validator(mode="after")
    def _object_mappings_are_heeded(self) -> Settings:
        for name, target in self.targets.items():
            own = target.mappings
            if own is not None and own.object_mappings and not target.maps_objects:
                rule = own.named(own.object_mappings[0])
                raise ValueError(f"{rule}: targets.{name} knows no object mapping: it writes tables")
        shared = self._own_mappings.object_mappings
        readers = [t for t in self.targets.values() if t.maps_objects and t.mappings is None]
        if shared and self.targets and not readers:
            raise ValueError(f"{self._own_mappings.named(shared[0])}: object mapping, and no target that knows it")
        return self

    @model_validator(mode="after")
    def _capture_can_transform(self) -> Settings:
        for name, target in self.targets.items():
            own = target.mappings or NO_MAPPINGS
            for rule in own.transformations:
                if rule.at == "capture":
                    raise ValueError(
                        f"{own.named(rule)}: `at: capture` belongs into the replication's mappings, not "
                        f"into those of targets.{name}"
                    )
        if self.capture_transformations and self.by_debezium:
            rule = self.capture_transformations[0]
            raise ValueError(f"{self._own_mappings.named(rule)}: `at: capture`, and Debezium captures")
        return self

    @model_validator(mode="after")
    def _loopback_can_be_prevented(self) -> Settings:
        engines = {self.source.engine, *(target.engine for target in self.targets.values())}
        if self.loopback_prevention and not engines <= set(translation.RELATIONAL):
            raise ValueError("loopback_prevention needs PostgreSQL or MySQL as the source and at all targets")
        return self

    @model_validator(mode="after")
    def _topics_can_be_read(self) -> Settings:
        if self.by_debezium and self.apply.ordering == "transactional":
            raise ValueError("apply.ordering transactional needs the marks that only a capture of Tailrace writes")
        if isinstance(self.source, DebeziumSource) and self.source.format is Format.AVRO and self.registry is None:
            raise ValueError("source.format avro needs `registry`: the records' schemas are there")
        return self

    @property
    def by_debezium(self) -> bool:
        """Whether a Debezium connector captures: the source is topics that it writes."""
        return isinstance(self.source, DebeziumSource)

    @property
    def start_time_us(self) -> int | None:
        """The start position in microseconds since 1970, where it is a time."""
        return _time_us(self.start_position) if self.start_position and _TIME.match(self.start_position) else None

    @property
    def slot(self) -> str:
        """The replication slot's name, of a PostgreSQL source."""
        return self._postgresql.slot_name(self.name)

    @property
    def publication(self) -> str:
        """The publication's name, of a PostgreSQL source."""
        return self._postgresql.publication_name(self.name)

    @property
    def _postgresql(self) -> PostgresqlSource:
        assert isinstance(self.source, PostgresqlSource)
        return self.source

    @property
    def existing_tables(self) -> ExistingTables:
        """What becomes of tables that a target has before their load; without a load they are kept."""
        return self.apply.existing_tables if self.mode is not Mode.CDC else ExistingTables.KEEP

    @property
    def judged_from(self) -> int | None:
        """From which load of a table on targets may leave out updates of rows that they lack; None: they never do."""
        if not self.apply.errors.misses_rows:
            return None
        return 1 if self.mode is Mode.CDC else 2

    @property
    def rewritten_rows_come_again(self) -> bool:
        """Whether rows that the source rewrites are published again: not without loads, nor if an applier did it."""
        is_loaded = self.mode is not Mode.CDC and not self.by_debezium
        return is_loaded and not self.loopback_prevention

    @property
    def _own_mappings(self) -> Mappings:
        """The mappings of the replication, which say what is captured."""
        return self.mappings or NO_MAPPINGS

    def _mappings_of(self, target: str) -> Mappings:
        """Return what holds at a target: its own mappings, or those of all targets."""
        return self.target(target).mappings or self._own_mappings

    def transformations(self, target: str) -> list[TransformationRule]:
        """Return the rules that stand between the topics and a target: its own, or those of all targets."""
        rules = (rule for rule in self._mappings_of(target).transformations if rule.at == "apply")
        return [*translation.schema_rules(self.settings), *rules]

    def asks_for_old_rows(self, table: TableName, *, of_keys: bool = False) -> bool:
        """Whether a target is to have what more of a table's columns than the key's held before a change, or
        (`of_keys`) what any of them did.
        """
        image = self.apply.before_image
        rules = (rule for target in self.targets for rule in self.transformations(target))
        return (image is not None and (of_keys or image.columns != "pk-only")) or any(
            rule.before_image_def is not None
            and (of_keys or rule.before_image_def.column_filter != "pk-only")
            and concerns(rule, table)
            for rule in rules
        )

    @property
    def capture_transformations(self) -> list[TransformationRule]:
        """The rules by which capture makes something else of columns: what they take away never reaches Kafka."""
        return [rule for rule in self._own_mappings.transformations if rule.at == "capture"]

    def load_rank(self, table: TableSchema) -> int:
        """Return by what tables are sorted for the full load: the first one begins first."""
        return -selection.load_order(self._own_mappings.selections, table.name)

    @property
    def filters(self) -> list[SelectionRule]:
        """The selection rules that say which rows of tables are taken."""
        return [rule for rule in self._own_mappings.selections if rule.filters]

    @property
    def load_rules(self) -> list[TableSettingsRule]:
        """The rules that say how single tables are cut for the full load."""
        return [rule for rule in self._own_mappings.table_settings if rule.parallel_load is not None]

    def lob_rules(self, target: str) -> list[TableSettingsRule]:
        """Return the rules that say for single tables how large values go to a target."""
        return [rule for rule in self._mappings_of(target).table_settings if rule.lob_settings is not None]

    def object_mappings(self, target: str) -> list[ObjectMappingRule]:
        """Return the rules by which a target that is no table makes objects of rows; for `mappings.objects`."""
        return self._mappings_of(target).object_mappings if self.target(target).maps_objects else []

    def taggings(self, target: str) -> list[TaggingRule]:
        """Return the rules for tags of a target's objects; none but S3 has any."""
        return self._mappings_of(target).taggings if isinstance(self.target(target), S3Target) else []

    def target(self, name: str) -> AnyTarget:
        """Return a target's section. Raises CONFIGURATION with the known names."""
        if name not in self.targets:
            known = ", ".join(sorted(self.targets)) or "none is configured"
            raise TailraceError(ErrorKind.CONFIGURATION, f"there is no target {name!r}; known: {known}")
        return self.targets[name]

    def section(self, target: str, kind: type[T]) -> T:
        """Return the section of a target whose engine has this `kind` of section."""
        section = self.target(target)
        assert isinstance(section, kind)
        return section


def parse(document: Any, name: str = "the configuration") -> Settings:
    """Check a configuration document. Raises CONFIGURATION that lists every problem, without any value, and calls the
    document by its name. What is wrong with documents of AWS DMS in it is told first.
    """
    if not isinstance(document, dict):
        raise TailraceError(
            ErrorKind.CONFIGURATION, f"a configuration is a mapping of settings, not {type(document).__name__}"
        )
    document, problems = dms_documents.opened(document)
    if not problems:
        try:
            return Settings.model_validate(document)
        except ValidationError as error:
            problems = explain(Settings, error)
    lines = [line for problem in problems for line in problem.splitlines()]
    # Not chained: pydantic's own text could repeat what a setting holds.
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in {name}:\n"
        + "\n".join(f"  {line}" for line in lines),
        remedy="`tailrace settings reference` lists every setting",
    )


NO_MAPPINGS = Mappings.model_construct(rules=[])
"""What a configuration without mappings has: no rule."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _time_us(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time - EPOCH) // timedelta(microseconds=1) if time.tzinfo else None
