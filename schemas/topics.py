"""Topic names of a replication, in one place."""

from __future__ import annotations

import re
from hashlib import sha256

from schemas.table import TableName

NAME_LENGTH_MAX = 249
"""Kafka's limit (`org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH`)."""

_ILLEGAL = re.compile(r"[^a-zA-Z0-9._-]")


def data_topic(replication: str, name: TableName) -> str:
    """Return the topic of a table's changes: `shop.public.orders`.

    Characters that Kafka does not allow become `_`, as Debezium does it. Other names could come to the same topic then
    (and where a name has a dot of its own, or a schema is called as our own topics are): a part of the name's hash
    tells them apart, `shop.public.__-1f0c2a9b`.
    """
    plain = f"{replication}.{name.schema}.{name.table}"
    topic = legal(plain)
    if topic == plain and "." not in name.schema + name.table and name.schema != "tailrace":
        return topic
    digest = sha256("\0".join(name).encode()).hexdigest()
    return f"{topic}-{digest[:8]}"


def legal(text: str) -> str:
    """Return the text with `_` for what Kafka does not allow in names."""
    return _ILLEGAL.sub("_", text)


def checkpoints_topic(replication: str) -> str:
    """Capture's position and load progress (compacted, one partition)."""
    return f"{replication}.tailrace.checkpoints"


def schemas_topic(replication: str) -> str:
    """Immutable table schema versions (compacted, one partition)."""
    return f"{replication}.tailrace.schemas"


def ddl_topic(replication: str) -> str:
    """DDL statements and schema changes, in order."""
    return f"{replication}.tailrace.ddl"


def transactions_topic(replication: str) -> str:
    """BEGIN and END of source transactions, with counts."""
    return f"{replication}.tailrace.transactions"


def parts_topic(replication: str) -> str:
    """Parts of records that are too large for their topics (one partition)."""
    return f"{replication}.tailrace.parts"


def signals_topic(replication: str) -> str:
    """Commands to the services."""
    return f"{replication}.tailrace.signals"


def status_topic(replication: str) -> str:
    """What every component says of itself (compacted)."""
    return f"{replication}.tailrace.status"


def dead_letters_topic(replication: str, target: str) -> str:
    """Parked records of one target, in order."""
    return f"{replication}.tailrace.dead-letters.{target}"


def capture_group(replication: str) -> str:
    """The consumer group whose one active member is the capture in charge."""
    return f"{replication}.tailrace.capture"


def apply_group(replication: str, target: str) -> str:
    """The consumer group of a target's appliers: Kafka's own tools show its lag."""
    return f"{replication}.tailrace.apply.{target}"
