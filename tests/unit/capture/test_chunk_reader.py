"""Runs of rows become batches: no longer than asked for, a very large row alone, and of none anything is held."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest

from capture.full_load.chunk_reader import RUN_BYTES_MAX, _batches
from runtime.spool import spooled
from schemas.large_values import FiledMessage

LARGE = b"x" * (RUN_BYTES_MAX + 1)


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([[b"1", b"2", b"3"], [b"4"]], [[b"1", b"2"], [b"3"], [b"4"]]),
        ([[b"1", b"2", LARGE], [b"4"]], [[b"1", b"2"], [LARGE], [b"4"]]),
        ([[b"1", LARGE], [LARGE]], [[b"1"], [LARGE], [LARGE]]),
        ([], []),
    ],
)
def test_batches(runs: list[list[bytes] | FiledMessage], expected: list[list[bytes]]) -> None:
    form: Any = None
    assert [batch.packets for batch in _batches(form, runs, 2)] == expected  # type: ignore[attr-defined]  # unread


def test_of_a_batch_that_was_yielded_nothing_is_held() -> None:
    class Run(list[bytes]):
        """Something that tells whether it is still held."""

    class Form:
        """Of a row in a file, it says what is there."""

        def read(self, packets: list[bytes]) -> list[tuple[bytes]]:
            return [(packet,) for packet in packets]

    def runs() -> Iterator[list[bytes] | FiledMessage]:
        for content in ([b"1"], [b"2", LARGE]):
            run = [Run(content)]
            made.append(ref(run[0]))
            yield run.pop()
        yield spooled(b"filed", None)

    made: list[ref[Run]] = []
    form: Any = Form()
    found = []
    for batch in _batches(form, runs(), 10):
        assert [each() is None for each in made] == [True] * len(made)
        found += list(batch)
    assert found == [(b"1",), (b"2",), (LARGE,), (b"filed",)]
