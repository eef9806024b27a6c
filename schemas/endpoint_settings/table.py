"""Every setting, by the engine of an endpoint of ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from schemas.endpoint_settings import aws, others, sources
from schemas.endpoint_settings.endpoint import Role
from schemas.endpoint_settings.keys import EndpointKey


class Group(NamedTuple):
    """The settings of one kind of endpoint."""

    name: str
    """As the API calls it."""
    keys: dict[str, EndpointKey]
    """What it has in the API."""
    beside: dict[str, EndpointKey]
    """What stands beside it in a whole endpoint, or is an extra connection attribute and nothing else."""
    others: tuple[str, ...] = ()
    """Further names of the group."""

    def all(self) -> Iterator[EndpointKey]:
        """Return all settings."""
        yield from self.keys.values()
        yield from self.beside.values()

    def find(self, name: str) -> EndpointKey | None:
        """Return a setting by its name in any capitals."""
        found = self.keys.get(name) or self.beside.get(name)
        return found or next((key for key in self.all() if key.name.lower() == name.lower()), None)

    def is_called(self, name: str) -> bool:
        """Tell whether a name, in any capitals, is the group's."""
        return name.lower() in {each.lower() for each in (self.name, *self.others)}


def groups(role: Role) -> Mapping[str, Group]:
    """Return the groups of sources or of targets, by the engines."""
    return SOURCES if role is Role.SOURCE else GROUPS


def _group(name: str, keys: tuple[EndpointKey, ...], beside: tuple[EndpointKey, ...] = (), *more: str) -> Group:
    return Group(name, {key.name: key for key in keys}, {key.name: key for key in beside}, more)


GROUPS: dict[str, Group] = {
    "docdb": _group("DocDbSettings", others.DOCUMENTS, others.FLAT_TLS),
    "dynamodb": _group("DynamoDbSettings", aws.DYNAMODB),
    "kafka": _group("KafkaSettings", others.KAFKA),
    "kinesis": _group("KinesisSettings", aws.KINESIS),
    "mysql": _group("MySQLSettings", others.MYSQL, others.MYSQL_BESIDE, "GcpMySQLSettings"),
    "neptune": _group("NeptuneSettings", aws.NEPTUNE),
    "opensearch": _group("ElasticsearchSettings", aws.OPENSEARCH, (), "OpenSearchSettings"),
    "postgresql": _group("PostgreSQLSettings", others.POSTGRESQL, others.POSTGRESQL_BESIDE),
    "redshift": _group("RedshiftSettings", aws.REDSHIFT, others.FLAT_TLS),
    "s3": _group("S3Settings", aws.S3),
}
"""Of targets. DMS has none of the other engines."""

SOURCES: dict[str, Group] = {
    "mysql": _group("MySQLSettings", sources.MYSQL, sources.MYSQL_BESIDE, "GcpMySQLSettings"),
    "postgresql": _group("PostgreSQLSettings", sources.POSTGRESQL, sources.POSTGRESQL_BESIDE),
}
"""Of sources."""
