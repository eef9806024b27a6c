"""A topic that was published to and is gone: its successor would begin at offset 0, and appliers go on behind that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture import tables
from capture.publishing.schemas_topic import Catalogue
from capture.tables import Tables, topics_gone
from runtime import clock
from runtime.lifecycle import StoppedError
from schemas.codecs import Format, compile_encoder
from schemas.errors import ErrorKind, TailraceError
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


class Brokers:
    """Brokers that answer in turn with lists of topics, or with errors; the last answer stays. Each takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: dict[str, int] | TailraceError) -> None:
        self._answers = list(answers)
        self.now_s = 0.0
        monkeypatch.setattr(clock, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(tables, "pause", lambda *_: None)

    def list(self) -> dict[str, int]:
        """Return the topics."""
        self.now_s += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, TailraceError):
            raise answer
        return answer


def look(brokers: Brokers) -> None:
    """Look for topics as a session does whose commit waits."""
    publisher = cast("Any", SimpleNamespace(feeds={NAME: None}))
    Tables(settings(), publisher, catalogue("shop.s.t"), cast("Any", brokers), "postgresql").look_for_topics()


def test_a_commit_that_waits_ends_where_a_topic_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    brokers = Brokers(monkeypatch, {"shop.s.u": 4})
    with pytest.raises(TailraceError, match=r"shop\.s\.t is gone") as raised:
        look(brokers)
    assert raised.value.kind is ErrorKind.SOURCE_LOG_LOST
    assert brokers.now_s >= tables.TOPIC_SEEN_WITHIN_S


def test_brokers_that_do_not_answer_or_have_just_started_say_nothing_of_a_topic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = TailraceError(ErrorKind.TRANSPORT, "no broker answers")
    look(Brokers(monkeypatch, away))
    look(Brokers(monkeypatch, {}, away))
    look(Brokers(monkeypatch, {}, {"shop.s.t": 4}))
    with pytest.raises(StoppedError):
        look(Brokers(monkeypatch, {}, StoppedError("a table's topic is looked for")))
