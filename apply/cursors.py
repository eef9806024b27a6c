"""How far each partition owned is: durable at the target, taken in, and where the consumer has yet to be put."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from apply.batching.batch import Record
from apply.error_handling.survey import Progress
from apply.sink import TopicPartition
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.errors import TailraceError

log = get_logger(__name__)

COMMIT_INTERVAL_S = 0.5


Partition = tuple[str, int]


class Consumer(Protocol):
    """What of `runtime.kafka.consumer.GroupConsumer` is used here; partitions are pairs of topic and number."""

    @property
    def eof(self) -> Mapping[Any, int]: ...
    def consume(self, max_records: int, timeout_s: float, *, bytes_max: int) -> Iterable[Record]: ...
    def pause(self, partitions: Iterable[tuple[str, int]]) -> None: ...
    def resume(self, partitions: Iterable[tuple[str, int]]) -> None: ...
    def seek(self, offsets: Mapping[Any, int]) -> None: ...
    def commit(self, offsets: Mapping[Any, int], notes: Mapping[Any, str]) -> None: ...
    def committed(self, partitions: Iterable[tuple[str, int]]) -> Mapping[Any, int]: ...


class Cursors:
    """The next offsets of every partition owned."""

    def __init__(self) -> None:
        self.flushed: dict[TopicPartition, int] = {}
        """Durable at the target."""
        self.written: dict[TopicPartition, int] = {}
        """Durable but for what waits: where that is more."""
        self.ahead: dict[TopicPartition, int] = {}
        """The furthest of `written`: below, what is read again may have been written before."""
        self.positions: dict[TopicPartition, int] = {}
        """Taken in."""
        self.seeks: dict[TopicPartition, int] = {}
        """Where the consumer must be put before it is asked again; what it returned meanwhile is to be forgotten."""

    def begin(self, starts: Mapping[TopicPartition, int]) -> None:
        """Take over partitions at these offsets."""
        self.flushed.update(starts)
        self.positions.update(starts)
        self.written.update(starts)

    def settle(self, offsets: Mapping[TopicPartition, int], reached: Mapping[TopicPartition, int]) -> None:
        """A batch is durable up to `offsets`, and but for what waits up to where it `reached`."""
        self.flushed.update(offsets)
        self.written.update(reached)
        self.ahead.update({p: max(offset, self.ahead.get(p, 0)) for p, offset in reached.items()})

    def jump(self, partition: TopicPartition, offset: int) -> None:
        """Go on at `offset`."""
        self.positions[partition] = self.seeks[partition] = offset

    def rewind(self) -> None:
        """Go back to what is durable, everywhere: also where `positions` never moved, the consumer may have."""
        self.positions.update(self.flushed)
        self.written.update(self.flushed)
        self.seeks.update(self.flushed)

    def reached(self, ends: Mapping[TopicPartition, int], held: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Return up to where partitions are durable: their `ends`, where only transaction markers stand between."""
        # Where the consumer has yet to be put back, the end that it met lies behind records that are to be read again.
        standing = {*held, *self.seeks}
        return {
            p: max(offset, ends.get(p, 0)) if offset == self.positions[p] and p not in standing else offset
            for p, offset in self.flushed.items()
        }

    def drop(self, partition: TopicPartition) -> None:
        """Let a partition go."""
        for table in (self.flushed, self.positions, self.seeks, self.written):
            table.pop(partition, None)


def progress_of(offset: int, note: str) -> Progress:
    """Read what `GroupCommits.commit` committed; somebody else's note says nothing."""
    return Progress(offset, max(offset, int(note)) if note.isascii() and note.isdigit() else offset)


class GroupCommits:
    """Commits durable offsets to the group: they show the lag, and are the truth for sinks that store none.

    Beside an offset that rows which wait keep back it is noted how far the rest has got: it tells other appliers that
    somebody is at work.
    """

    def __init__(self) -> None:
        self._committed: dict[TopicPartition, Progress] = {}
        self._due_at = 0.0

    def commit(
        self,
        consumer: Consumer,
        ends: Mapping[TopicPartition, int],
        cursors: Cursors,
        held: Iterable[TopicPartition],
        now: float,
    ) -> bool:
        """Commit what has changed, if the last time is long enough ago; `now` infinite: in any case. False: it failed.

        A failure is logged only: the next commit, or the sink's own offsets, make up for it.
        """
        if now < self._due_at:
            return True
        self._due_at = now + COMMIT_INTERVAL_S if now != float("inf") else 0.0
        changed: dict[TopicPartition, Progress] = {}
        for partition, offset in cursors.reached(ends, held).items():
            progress = Progress(offset, max(offset, cursors.written.get(partition, 0)))
            if self._committed.get(partition) != progress:
                changed[partition] = progress
        if not changed:
            return True
        notes = {p: str(one.written) for p, one in changed.items() if one.written > one.durable}
        try:
            consumer.commit({p: one.durable for p, one in changed.items()}, notes)
        except TailraceError as error:
            log.info("offsets not committed to the group", reason=error.message)
            return False
        self._committed.update(changed)
        hit("apply.offsets.after")
        return True

    def drop(self, partition: TopicPartition) -> None:
        """Let a partition go."""
        self._committed.pop(partition, None)
