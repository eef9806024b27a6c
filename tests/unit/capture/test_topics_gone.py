"""A topic that was published to and is gone: its successor would begin at offset 0, and appliers go on behind that."""

from __future__ import annotations

from typing import Any

from capture.publishing.schemas_topic import Catalogue
from capture.tables import topics_gone
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind
from schemas.settings import Settings, parse
from schemas.table import Column, TableName, TableSchema
from schemas.types import Family, LogicalType

NAME = TableName("s", "t")
TABLE = TableSchema(NAME, (Column("id", LogicalType(Family.INT64), "bigint", nullable=False),), (0,), version=1)


def settings(**topics: Any) -> Settings:
    return parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "d", "user": "u", "tables": ["s.*"]},
            "topics": topics,
        }
    )


def catalogue(topic: str) -> Catalogue:
    """Return what is read of the records of a version that was published to a topic."""
    encoder = compile_encoder(TABLE, Format.JSON, replication="shop", connector="postgresql", database="d")
    (record,) = Catalogue.of(settings(), {}).add(encoder, topic)
    return Catalogue.of(settings(), {record.key: record.value})


def test_a_topic_that_was_published_to_is_missed() -> None:
    (error,) = topics_gone(settings(), [NAME], catalogue("shop.s.t"), {"shop.s.u": 4})
    assert error.kind is ErrorKind.SOURCE_LOG_LOST
    assert "shop.s.t is gone" in error.message
    assert "tailrace reset" in str(error.remedy)


def test_topics_that_are_there_or_new_or_have_another_name_now_are_not() -> None:
    assert list(topics_gone(settings(), [NAME], catalogue("shop.s.t"), {"shop.s.t": 4})) == []
    assert list(topics_gone(settings(), [NAME], Catalogue.of(settings(), {}), {})) == []
    assert list(topics_gone(settings(), [NAME], catalogue("shop.earlier"), {"shop.earlier": 1})) == []
