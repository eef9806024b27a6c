"""Rows that are left out by policy are counted: too many suspend their table, and that too often ends the service."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from apply.service import run
from runtime.lifecycle import StopRequest
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings, parse
from tests.conformance.sink_suite import EVENTS, ORDERS
from tests.integration.apply.publishing import Publisher
from tests.integration.apply.test_service import Running, apply_now
from tests.integration.apply.waiting import until
from tests.kit.servers import Database

pytestmark = pytest.mark.integration

IDS = "select id from public.orders order by id"
TAME = "alter table public.orders add constraint tame check (status <> 'wild') not valid"
TAMER = "alter table public.orders drop constraint tame"


def test_too_many_rows_that_are_left_out_are_their_tables_trouble(
    document: dict[str, Any], target_database: Database
) -> None:
    def settings(**errors: Any) -> Settings:
        counted = {"row_rejected": "skip", "escalation_rows": 3, **errors}
        return parse({**document, "topics": {"partitions": 1}, "apply": {"suspended_retry_s": 1, "errors": counted}})

    def ids() -> list[object]:
        return [key for (key,) in target_database.rows(IDS)]

    with Publisher(settings()) as publisher:

        def insert(*keys: int) -> None:
            publisher.change(ORDERS, *(("c", None, (key, "wild" if key > 10 else "tame", None)) for key in keys))

        publisher.add(ORDERS, EVENTS)
        publisher.load(ORDERS, [(1, "tame", None)])
        publisher.change(EVENTS, ("c", None, ("a", 1)))
        assert apply_now(settings()) == 0
        target_database.execute(TAME)
        with Running(settings()):
            # It counts over all batches of an applier.
            insert(11, 2)
            until(lambda: ids() == [1, 2])
            insert(12, 3)
            until(lambda: ids() == [1, 2, 3])
            insert(13, 4)
            publisher.change(EVENTS, ("c", None, ("b", 2)))
            until(lambda: target_database.rows("select count(*) from public.events") == [(2,)])
            assert ids() == [1, 2, 3]
            # The third is not left out: it waits, and the table with it.
            target_database.execute(TAMER)
            until(lambda: ids() == [1, 2, 3, 4, 13])
        target_database.execute(TAME)
        insert(14, 15, 16)
        publisher.change(EVENTS, ("c", None, ("c", 3)))
        for errors, suspended in (({"table_attempts": 2}, 2), ({"escalation": "stop"}, 0)):
            with capture_logs() as told, pytest.raises(TailraceError) as caught:
                run(settings(**errors), "replica", stop=StopRequest())
            assert caught.value.kind is ErrorKind.ROW_REJECTED
            assert [entry["event"] for entry in told].count("table suspended") == suspended
        assert target_database.rows("select count(*) from public.events") == [(3,)]
        target_database.execute(TAMER)
        assert apply_now(settings()) == 0
        assert ids() == [1, 2, 3, 4, 13, 14, 15, 16]
