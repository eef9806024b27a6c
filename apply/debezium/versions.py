"""The schemas of records that a capture of ours writes into a connector's topics, as it published them."""

from __future__ import annotations

from contextlib import closing

from apply.schema_catalog import PATIENCE_S, Records, SchemaCatalog
from runtime.kafka.admin import Topics
from runtime.kafka.client import Properties
from runtime.kafka.compacted import Follower
from schemas.debezium.ours import Author
from schemas.debezium.reading import Versions
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.table import TableSchema
from schemas.topics import data_topic, schemas_topic

IN_VAIN_MAX = 1000
"""How many versions are remembered that were looked for in vain."""


def open_versions(kafka: Properties, topics: Topics) -> Versions:
    """Return what looks a version up on its capture's schemas topic. That is read anew each time: a version is asked
    for once. Raises DECODE for one that is not there, TRANSPORT.
    """
    in_vain: set[Author] = set()

    def version_of(author: Author) -> TableSchema:
        topic = schemas_topic(author.replication)
        if not topics.exists(topic):
            raise TailraceError(
                ErrorKind.DECODE,
                f"a record is of the capture {author.replication}, and no topic {topic} tells its columns",
                remedy="keep the capture's own topics in the cluster of the tables' topics",
                table=str(author.table),
            )
        with closing(Follower(kafka, topic)) as follower:

            def read() -> Records:
                return [(record.key, record.value) for record in follower.catch_up()]

            # A record may be visible a moment before its version: they stand in different partitions.
            patience_s = 0.0 if author in in_vain else PATIENCE_S
            catalog = SchemaCatalog(author.replication, Format.JSON, read, patience_s=patience_s)
            catalog.refresh()
            try:
                found = catalog.decoder(data_topic(author.replication, author.table), str(author.version).encode())
            except TailraceError:
                if len(in_vain) < IN_VAIN_MAX:
                    in_vain.add(author)
                raise
            return found.table

    return version_of
