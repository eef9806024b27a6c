"""Which engines there are: those with a model of their own, told apart by `engine`, and those that plug-ins bring.

`source` and each entry of `targets` is a union of these. What a plug-in's engine needs stands under `options`, and the
plug-in checks it (`capture.sources`, `apply.sinks`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, Tag, model_validator

from schemas.endpoint_settings.endpoint import Role, engine_of
from schemas.endpoints.debezium import DebeziumSource
from schemas.endpoints.dynamodb import DynamodbTarget
from schemas.endpoints.files import FilesTarget, S3Target, StdoutTarget, WebhookTarget
from schemas.endpoints.kafka import KafkaTarget
from schemas.endpoints.kinesis import KinesisTarget
from schemas.endpoints.mongodb import DocdbTarget, MongodbTarget
from schemas.endpoints.mysql import MysqlSource, MysqlTarget
from schemas.endpoints.neptune import NeptuneTarget
from schemas.endpoints.opensearch import OpensearchTarget
from schemas.endpoints.postgresql import PostgresqlSource, PostgresqlTarget
from schemas.endpoints.redshift import RedshiftTarget
from schemas.endpoints.section import SourceSection, TargetSection
from schemas.hints import nearest
from schemas.section import Section

SOURCE_ENGINES = ("postgresql", "mysql", "debezium")
TARGET_ENGINES = (
    "postgresql",
    "mysql",
    "docdb",
    "dynamodb",
    "files",
    "kafka",
    "kinesis",
    "mongodb",
    "neptune",
    "opensearch",
    "redshift",
    "s3",
    "stdout",
    "webhook",
)
"""The engines that have a model of their own, the default first."""


class Plugin(Section):
    """What a plug-in's source and target share."""

    engine: Annotated[str, Field(min_length=1)]
    """Name of the plug-in's entry point."""
    options: dict[str, Any] = Field(default={}, repr=False)
    """The plug-in's own settings."""
    ours: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _is_meant(cls, document: Any) -> Any:
        engine = document["engine"]
        near = nearest(engine, cls.ours) if isinstance(engine, str) else None
        # A misspelt engine of ours would else be told that `host` is unknown.
        if near is not None or not isinstance(engine, str) or set(document) - set(cls.model_fields):
            hint = f"did you mean {near}?" if near else "what a plug-in needs stands under `options`"
            raise ValueError(f"the engine is none of ours ({', '.join(cls.ours)}); {hint}")
        return document

    @property
    def place(self) -> str:
        """Where it is, in words: only the plug-in knows."""
        return "(plug-in)"


class PluginSource(SourceSection, Plugin):
    """A source of an engine that a plug-in brings (entry points `tailrace.sources`)."""

    engine: Annotated[str, Field(min_length=1, json_schema_extra={"not": {"enum": list(SOURCE_ENGINES)}})]
    """Name of the plug-in's entry point."""
    ours: ClassVar[tuple[str, ...]] = SOURCE_ENGINES


class PluginTarget(Plugin, TargetSection):
    """A target of an engine that a plug-in brings (entry points `tailrace.sinks`)."""

    engine: Annotated[str, Field(min_length=1, json_schema_extra={"not": {"enum": list(TARGET_ENGINES)}})]
    """Name of the plug-in's entry point."""
    ours: ClassVar[tuple[str, ...]] = TARGET_ENGINES

    @property
    def maps_objects(self) -> bool:
        """See `TargetSection`."""
        return True

    @property
    def leaves_new_columns_empty(self) -> bool:
        """See `TargetSection`."""
        return True


def _told_apart_by(engines: tuple[str, ...], role: Role) -> Discriminator:
    """Return what tells the member of a union that a document or a model is of."""

    def member_of(document: Any) -> str:
        if isinstance(document, Plugin):
            return "plugin"
        is_plain = isinstance(document, dict)
        engine = engine_of(document, role) if is_plain else getattr(document, "engine", engines[0])
        return engine if isinstance(engine, str) and engine in engines else "plugin"

    return Discriminator(member_of)


AnySource = Annotated[
    Annotated[PostgresqlSource, Tag("postgresql")]
    | Annotated[MysqlSource, Tag("mysql")]
    | Annotated[DebeziumSource, Tag("debezium")]
    | Annotated[PluginSource, Tag("plugin")],
    _told_apart_by(SOURCE_ENGINES, Role.SOURCE),
]
AnyTarget = Annotated[
    Annotated[PostgresqlTarget, Tag("postgresql")]
    | Annotated[MysqlTarget, Tag("mysql")]
    | Annotated[DocdbTarget, Tag("docdb")]
    | Annotated[DynamodbTarget, Tag("dynamodb")]
    | Annotated[FilesTarget, Tag("files")]
    | Annotated[KafkaTarget, Tag("kafka")]
    | Annotated[KinesisTarget, Tag("kinesis")]
    | Annotated[MongodbTarget, Tag("mongodb")]
    | Annotated[NeptuneTarget, Tag("neptune")]
    | Annotated[OpensearchTarget, Tag("opensearch")]
    | Annotated[RedshiftTarget, Tag("redshift")]
    | Annotated[S3Target, Tag("s3")]
    | Annotated[StdoutTarget, Tag("stdout")]
    | Annotated[WebhookTarget, Tag("webhook")]
    | Annotated[PluginTarget, Tag("plugin")],
    _told_apart_by(TARGET_ENGINES, Role.TARGET),
]
