"""Every setting, by the engine of a target of ours."""

from __future__ import annotations

from typing import NamedTuple

from schemas.endpoint_settings import aws, others
from schemas.endpoint_settings.keys import EndpointKey


class Group(NamedTuple):
    """The settings of one kind of endpoint."""

    name: str
    """As the API calls it."""
    keys: dict[str, EndpointKey]


def _group(name: str, keys: tuple[EndpointKey, ...]) -> Group:
    return Group(name, {key.name: key for key in keys})


GROUPS: dict[str, Group] = {
    "docdb": _group("DocDbSettings", others.DOCUMENTS),
    "dynamodb": _group("DynamoDbSettings", aws.DYNAMODB),
    "kafka": _group("KafkaSettings", others.KAFKA),
    "kinesis": _group("KinesisSettings", aws.KINESIS),
    "mysql": _group("MySQLSettings", others.MYSQL),
    "neptune": _group("NeptuneSettings", aws.NEPTUNE),
    "opensearch": _group("ElasticsearchSettings", aws.OPENSEARCH),
    "postgresql": _group("PostgreSQLSettings", others.POSTGRESQL),
    "redshift": _group("RedshiftSettings", aws.REDSHIFT),
    "s3": _group("S3Settings", aws.S3),
}
"""DMS has no targets of the other engines."""
