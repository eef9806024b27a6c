"""What whoever takes partitions over believes of what its earlier owners have noted."""

from __future__ import annotations

from collections.abc import Iterable

from apply.claims import Claims
from apply.error_handling.survey import Progress
from apply.order import KeyOrder
from apply.sink import TopicPartition
from tests.kit.memory_sink import MemorySink, MemoryTarget

STEADY, WAITED, UNKNOWN = (TopicPartition("orders", number) for number in range(3))
QUIET = TopicPartition("quiet", 0)


class Group:
    """Knows no offsets: the target has them."""

    def committed(self, partitions: Iterable[tuple[str, int]]) -> dict[TopicPartition, int]:
        raise AssertionError(f"asked for {partitions}")


def test_where_rows_waited_whatever_the_topic_holds_may_have_been_written_and_else_what_was_noted() -> None:
    """Else a row that an earlier owner has written would contradict its own insert, read again."""
    ahead = {UNKNOWN: 2, QUIET: 9}
    claims = Claims(MemorySink(MemoryTarget()), set(), ahead)
    notes = {STEADY: Progress(3, 3), WAITED: Progress(3, 7), QUIET: Progress(4, 4)}
    asked: list[set[str]] = []

    def ends(topics: set[str]) -> dict[tuple[str, int], int]:
        asked.append(topics)
        return {STEADY: 20, WAITED: 20}

    claims.progress, claims.ends = lambda partitions: {p: notes[p] for p in partitions if p in notes}, ends
    claims.claim([STEADY, WAITED, UNKNOWN, QUIET], KeyOrder(), Group())  # type: ignore[arg-type]
    assert ahead == {STEADY: 3, WAITED: 20, UNKNOWN: 2, QUIET: 9}, "what this process knows itself is not forgotten"
    assert asked == [{"orders"}], "where nothing waited nobody is asked"
