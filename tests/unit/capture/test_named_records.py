"""What is not delivered is named when it is published again: until something fails, nobody asks for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from capture import service
from runtime import metrics
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import parse


def test_records_are_named_once_an_attempt_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse(
        {
            "name": "shop",
            "kafka": {"bootstrap.servers": "nowhere"},
            "source": {"database": "d", "user": "u", "tables": ["s.*"]},
            "capture": {"commit_rows": 500},
        }
    )
    reported: list[int] = []
    kinds = [ErrorKind.TRANSPORT, ErrorKind.TRANSPORT, ErrorKind.CONFIGURATION]

    def producer(*_: object, **options: Any) -> None:
        reported.append(options["reported"])
        raise TailraceError(kinds[len(reported) - 1], "it was not delivered")

    def attempt(tried: service._Service) -> bool:
        return tried._capture(cast("Any", None), cast("Any", None), cast("Any", None))

    monkeypatch.setattr(service, "TransactionalProducer", producer)
    monkeypatch.setattr(service._Service, "_run_once", attempt)
    stop = cast("Any", SimpleNamespace(stopping=False, wait=lambda _: False))
    with pytest.raises(TailraceError) as caught:
        service._Service(settings, None, stop, metrics.Liveness()).run()
    assert caught.value.kind is ErrorKind.CONFIGURATION
    assert reported == [0, 5_000, 5_000]
