"""The configuration of a replication as a document: one model per section, defaults beside the names.

Unknown keys are refused with the nearest known one, secrets never print, and every problem of a document is reported at
once. Reading files and resolving `${…}` is `runtime.configuration`'s business: this module does no I/O. The string
below each attribute is its documentation; the reference page and the JSON schema are made from it.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from schemas import task_document
from schemas.before_image import BeforeImageSettings
from schemas.control_tables import ControlTableSettings
from schemas.endpoint_settings.endpoint import Role, engine_of
from schemas.endpoints.debezium import DebeziumSource
from schemas.endpoints.engines import AnySource, AnyTarget
from schemas.endpoints.files import S3Target
from schemas.endpoints.postgresql import PostgresqlSource
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.hints import explain
from schemas.kafka_properties import check_properties
from schemas.mappings import selection
from schemas.mappings.field import TableMappings, checked
from schemas.mappings.names import concerns
from schemas.mappings.object_rule import ObjectMappingRule
from schemas.mappings.rules import SelectionRule, TableSettingsRule, TransformationRule
from schemas.mappings.tags import TaggingRule
from schemas.policies import (
    AnyDdlPolicies,
    DdlPolicies,
    ErrorPolicies,
    ExistingTables,
    RetrySettings,
    TableErrorPolicy,
)
from schemas.section import Section
from schemas.substitution import ValueSettings
from schemas.table import TableName, TableSchema
from schemas.task_settings import document as task_settings
from schemas.task_settings import translation
from schemas.task_settings.document import TaskSettingsDocument
from schemas.topic_settings import RegistrySettings, TopicSettings


class Mode(StrEnum):
    """What a replication does: the three migration types of DMS."""

    FULL_LOAD_AND_CDC = "full-load-and-cdc"
    FULL_LOAD = "full-load"
    CDC = "cdc"


class CaptureSettings(Section):
    """The capture service. The defaults suit a 2-core machine; memory stays below 300 MiB with them."""

    commit_interval_ms: Annotated[int, Field(ge=1, le=60_000)] = 100
    """How long a Kafka transaction stays open at most before it commits, while the log has more. Where it has no more,
    what was read is committed at once. The longer the log has had more without a break, the nearer to it."""
    commit_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 20_000
    """Rows after which a Kafka transaction commits sooner."""
    commit_bytes: Annotated[int, Field(ge=65_536, le=1 << 32)] = 64 << 20
    """Bytes of records after which a Kafka transaction commits sooner."""
    load_processes: Annotated[int, Field(ge=1, le=64)] = 2
    """Processes that read tables during the full load; each holds one connection."""
    chunk_rows: Annotated[int, Field(ge=100, le=100_000_000)] = 100_000
    """Rows of one chunk of a full load, by estimate: what is read again after a crash."""
    load_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often the reading of one chunk is tried."""
    table_errors: TableErrorPolicy = TableErrorPolicy.SUSPEND
    """A table that cannot be loaded as things are: rules do not fit it, or rights are lacking. `suspend`: its load
    stands still and is tried again, its changes and all other tables go on; or `stop`."""
    suspended_retry_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    """How often a load that stands still is tried again."""
    window_keys_max: Annotated[int, Field(ge=1000, le=100_000_000)] = 500_000
    """Changed keys that are remembered while chunks are being read; beyond, outstanding chunks are read again."""
    session_timeout_s: Annotated[int, Field(ge=1, le=1800)] = 10
    """How long after the death of the active capture a standby takes over."""
    transaction_timeout_s: Annotated[int, Field(ge=5, le=900)] = 60
    """After which Kafka aborts a transaction that a dead capture left open."""
    retry_for_s: Annotated[int, Field(ge=0, le=604_800)] = 3600
    """How long a lost source or Kafka is tried again, with back-off, before the service ends with the error."""
    status_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 1.0
    """How often the status topic is written."""
    state_directory: str | None = None
    """Where changes of keyless tables and large values wait in a load. Left out: the system's temporary directory."""


class ApplySettings(Section):
    """The apply service. The defaults suit a 2-core machine; memory stays below 300 MiB with them."""

    batch_rows: Annotated[int, Field(ge=1, le=1_000_000)] = 20_000
    """Most records of one batch, which is one transaction at the target."""
    batch_bytes: Annotated[int, Field(ge=65_536, le=1 << 30)] = 10 << 20
    """Most bytes of one batch, as they stand on the topic but for schemas that records of ours bring. An applier takes
    some seven times as much memory."""
    linger_ms: Annotated[int, Field(ge=0, le=60_000)] = 1
    """How long a batch waits for more records once it has some and the target is idle. While the target works, the next
    batch grows anyway."""
    linger_rows: Annotated[int, Field(ge=2, le=1_000_000)] = 1_000_000
    """Records with which a batch waits no longer."""
    ordering: Literal["per-key", "transactional"] = "per-key"
    """`per-key`: parallel by partition, each key in commit order. `transactional`: source transactions whole and in
    commit order, by one applier at a time while others stand by (docs/ordering.md)."""
    session_timeout_s: Annotated[int, Field(ge=1, le=1800)] = 10
    """How long after the death of an applier the others take over its partitions."""
    batch_timeout_s: Annotated[int, Field(ge=10, le=86_400)] = 900
    """How long one batch may take at the target before the group takes its partitions away."""
    instance_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Static group membership: a restart under the same id within the session time-out moves no partitions."""
    retry_for_s: Annotated[int, Field(ge=0, le=604_800)] = 86_400
    """How long a lost target or Kafka is tried again, with back-off, before the service ends with the error."""
    suspended_retry_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    """How often a suspended table is tried again."""
    conflict_wait_s: Annotated[int, Field(ge=0, le=3600)] = 60
    """How long a unique or foreign key that is violated waits for other partitions before it counts as an error."""
    errors: ErrorPolicies = ErrorPolicies()
    """Policies for rows that the target refuses."""
    existing_tables: ExistingTables = ExistingTables.KEEP
    """What becomes of a table that a relational target has before its first load: `keep` it with its rows, `empty`
    it, or `drop` it and make it anew."""
    values: ValueSettings = ValueSettings()
    """What is done to values before any mapping rule."""
    before_image: BeforeImageSettings | None = None
    """Which values before an update DMS's JSON holds, at Kafka, Kinesis, webhooks and standard output."""
    control_tables: ControlTableSettings = ControlTableSettings()
    """Control tables of AWS DMS, at relational targets."""
    stop_after_load: bool = False
    """Whether an applier ends when every table is loaded and what the topics held by then is applied. Capture goes on;
    set it to false and start the applier again, and it does too. Nothing where nothing is loaded (mode `cdc`)."""
    stop_before_changes: bool = False
    """Whether an applier ends when every table is loaded, with what a table's topic holds behind its load not applied.
    A table's rows are written when its load is published whole; `ordering` is `per-key` until then. To go on, set it to
    false and start the applier again. Nothing where nothing is loaded (mode `cdc`)."""
    parked_keys_max: Annotated[int, Field(ge=0, le=1_000_000)] = 10_000
    """Parked keys after which the service stops instead."""
    status_interval_s: Annotated[float, Field(ge=0.1, le=300)] = 1.0
    """How often the status topic is written."""


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
    topics: TopicSettings = TopicSettings()
    """The topics."""
    registry: RegistrySettings | None = None
    """A schema registry for what is written in Avro."""
    capture: CaptureSettings = CaptureSettings()
    """The capture service."""
    apply: ApplySettings = ApplySettings()
    """The apply services."""
    loopback_prevention: bool = False
    """For two replications between two databases of PostgreSQL or MySQL, one in each direction: appliers mark what they
    write, and capture leaves out what either one's appliers have marked, so that no change comes back to where it was
    made."""
    retry: RetrySettings = RetrySettings()
    """Pauses between attempts."""
    ddl: AnyDdlPolicies = DdlPolicies()
    """Schema changes: `apply`, `ignore`, `suspend` or `stop`, or a section with one of these for each kind."""

    @model_validator(mode="before")
    @classmethod
    def _mappings_select(cls, document: Any) -> Any:
        """Put the mappings' selection where `source.tables` is."""
        source = document.get("source") if isinstance(document, dict) else None
        if not isinstance(source, dict) or document.get("mappings") is None:
            return document
        mappings = checked(document["mappings"])
        if not mappings.selections:
            return document
        if "tables" in source:
            raise ValueError("both source.tables and the selection rules of mappings say which tables to take")
        try:
            selected = {"tables": selection.table_patterns(mappings)}
            if engine_of(source, Role.SOURCE) in translation.RELATIONAL:
                selected["views"] = selection.view_patterns(mappings)
            elif any(rule.object_locator.table_type == "view" for rule in mappings.selections):
                raise ValueError("a selection rule takes views: only those of PostgreSQL and MySQL are loaded")
            return document | {"source": source | selected}
        except TailraceError as error:
            raise ValueError(error.within) from error

    @model_validator(mode="before")
    @classmethod
    def _task_settings_set(cls, document: Any) -> Any:
        """Put what the task settings mean where our own settings are."""
        if not isinstance(document, dict) or document.get("settings") is None:
            return document
        settings = task_settings.checked(document["settings"])
        return translation.applied(document | {"settings": settings}, settings)

    @model_validator(mode="before")
    @classmethod
    def _tasks_are_whole(cls, document: Any) -> Any:
        """Take from a description of a whole task of DMS what stands beside its documents."""
        given = [document.get(name) for name in ("settings", "mappings")] if isinstance(document, dict) else []
        if modes := [found for found in map(task_document.mode, given) if found is not None]:
            document = {"mode": modes[0]} | document
        if problems := [
            problem
            for task in given
            for problem in task_document.problems(
                task, follows=document.get("mode") == Mode.CDC, has_start="start_position" in document
            )
        ]:
            raise ValueError("; ".join(dict.fromkeys(problems)))
        return document

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
            own = target.mappings.object_mappings if target.mappings is not None else []
            if own and not target.maps_objects:
                raise ValueError(f"rule {own[0].rule_id}: targets.{name} knows no object mapping: it writes tables")
        shared = self.mappings.object_mappings if self.mappings is not None else []
        readers = [t for t in self.targets.values() if t.maps_objects and t.mappings is None]
        if shared and self.targets and not readers:
            raise ValueError(f"rule {shared[0].rule_id}: object mapping, and no target that knows it")
        return self

    @model_validator(mode="after")
    def _capture_can_transform(self) -> Settings:
        for name, target in self.targets.items():
            rules = target.mappings.transformations if target.mappings is not None else []
            for rule in rules:
                if rule.at == "capture":
                    raise ValueError(
                        f"rule {rule.rule_id}: `at: capture` belongs into the replication's mappings, not "
                        f"into those of targets.{name}"
                    )
        if self.capture_transformations and isinstance(self.source, DebeziumSource):
            raise ValueError(f"rule {self.capture_transformations[0].rule_id}: `at: capture`, and Debezium captures")
        return self

    @model_validator(mode="after")
    def _loopback_can_be_prevented(self) -> Settings:
        engines = {self.source.engine, *(target.engine for target in self.targets.values())}
        if self.loopback_prevention and not engines <= set(translation.RELATIONAL):
            raise ValueError("loopback_prevention needs PostgreSQL or MySQL as the source and at all targets")
        return self

    @model_validator(mode="after")
    def _topics_can_be_read(self) -> Settings:
        if isinstance(self.source, DebeziumSource) and self.apply.ordering == "transactional":
            raise ValueError("apply.ordering transactional needs the marks that only a capture of Tailrace writes")
        if isinstance(self.source, DebeziumSource) and self.source.format is Format.AVRO and self.registry is None:
            raise ValueError("source.format avro needs `registry`: the records' schemas are there")
        return self

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
        is_loaded = self.mode is not Mode.CDC and not isinstance(self.source, DebeziumSource)
        return is_loaded and not self.loopback_prevention

    def transformations(self, target: str) -> list[TransformationRule]:
        """Return the rules that stand between the topics and a target: its own, or those of all targets."""
        mappings = self.target(target).mappings or self.mappings
        rules = mappings.transformations if mappings is not None else []
        return [*translation.schema_rules(self.settings), *(rule for rule in rules if rule.at == "apply")]

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
        rules = self.mappings.transformations if self.mappings is not None else []
        return [rule for rule in rules if rule.at == "capture"]

    def load_rank(self, table: TableSchema) -> int:
        """Return by what tables are sorted for the full load: the first one begins first."""
        return -selection.load_order(self.mappings.selections, table.name) if self.mappings is not None else 0

    @property
    def filters(self) -> list[SelectionRule]:
        """The selection rules that say which rows of tables are taken."""
        return [rule for rule in self.mappings.selections if rule.filters] if self.mappings is not None else []

    @property
    def load_rules(self) -> list[TableSettingsRule]:
        """The rules that say how single tables are cut for the full load."""
        rules = self.mappings.table_settings if self.mappings is not None else []
        return [rule for rule in rules if rule.parallel_load is not None]

    def lob_rules(self, target: str) -> list[TableSettingsRule]:
        """Return the rules that say for single tables how large values go to a target."""
        mappings = self.target(target).mappings or self.mappings
        rules = mappings.table_settings if mappings is not None else []
        return [rule for rule in rules if rule.lob_settings is not None]

    def object_mappings(self, target: str) -> list[ObjectMappingRule]:
        """Return the rules by which a target that is no table makes objects of rows; for `mappings.objects`."""
        section = self.target(target)
        mappings = section.mappings or self.mappings
        return mappings.object_mappings if mappings is not None and section.maps_objects else []

    def taggings(self, target: str) -> list[TaggingRule]:
        """Return the rules for tags of a target's objects; none but S3 has any."""
        section = self.target(target)
        mappings = section.mappings or self.mappings
        return mappings.taggings if mappings is not None and isinstance(section, S3Target) else []

    def target(self, name: str) -> AnyTarget:
        """Return a target's section. Raises CONFIGURATION with the known names."""
        if name not in self.targets:
            known = ", ".join(sorted(self.targets)) or "none is configured"
            raise TailraceError(ErrorKind.CONFIGURATION, f"there is no target {name!r}; known: {known}")
        return self.targets[name]


def parse(document: Any) -> Settings:
    """Check a configuration document. Raises CONFIGURATION that lists every problem, without any value."""
    if not isinstance(document, dict):
        raise TailraceError(
            ErrorKind.CONFIGURATION, f"a configuration is a mapping of settings, not {type(document).__name__}"
        )
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        problems = explain(Settings, error)
    # Not chained: pydantic's own text could repeat what a setting holds.
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"{len(problems)} problem{'s' if len(problems) > 1 else ''} in the configuration:\n"
        + "\n".join(f"  {problem}" for problem in problems),
        remedy="`tailrace settings reference` lists every setting",
    )


_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _time_us(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) if time.tzinfo else None
