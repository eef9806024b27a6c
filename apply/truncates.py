"""Truncates that every partition of a table has come to, whoever owns them: then the table is emptied, once for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from apply.batching.versions import Versions
from apply.error_handling.parking import ParkingLot
from apply.error_handling.superseded import Superseded
from apply.sink import Arrival, TopicPartition
from apply.writer import Writer
from schemas.errors import ErrorKind, TailraceError
from schemas.table import TableSchema


@dataclass(slots=True)
class Truncate:
    """A truncate as one partition has it. It equals that of any other partition."""

    barrier: str
    version: int = field(compare=False)
    """Of the table that wrote it."""
    refused: TailraceError | None = field(default=None, compare=False)
    """Why the target refused it last."""


class Truncates:
    """Asks the target who has come, and has what is to be done of it for the writer's thread."""

    def __init__(
        self,
        writer: Writer,
        versions: Versions,
        lot: ParkingLot,
        partition_count: Callable[[str], int],
        *,
        drops: bool,
    ) -> None:
        """`drops`: tables that the source drops are dropped at the target, too."""
        self.superseded = Superseded(versions.catalog, writer.stays, drops=drops)
        """Tables that need not be emptied, since none of their rows will be left."""
        self._writer = writer
        self._versions = versions
        self._lot = lot
        self._partition_count = partition_count
        self._job: Callable[[], None] | None = None

    @property
    def has_job(self) -> bool:
        """Whether a truncate is to be done next."""
        return self._job is not None

    def take_job(self) -> Callable[[], None] | None:
        """Return the truncate that is to be done next, for the writer's thread: it can take very long."""
        job, self._job = self._job, None
        return job

    def is_passed(
        self, partition: TopicPartition, truncate: Truncate, met: Callable[[], Mapping[TopicPartition, int]]
    ) -> bool:
        """Tell the target that a partition has come to a truncate, and tell whether the table has been emptied.

        If it is to be done now, by us, `take_job` has it. `met` returns the partitions of ours that have come to it,
        with the offsets behind it.
        """
        sink, count = self._writer.sink, self._partition_count(partition.topic)
        arrival = sink.arrive(truncate.barrier, partition, count)
        does = sink.capabilities.stores_offsets or partition.partition == 0
        if arrival is Arrival.READY and does and self._job is None:
            # Without transactions two might empty it, and the slower one take away what the other has written since:
            # the owner of the first partition does it.
            is_over = self.superseded.covers(partition.topic, truncate.version)
            table = None if is_over else self._versions.target(partition.topic, truncate.version)
            self._job = partial(self._empty, truncate, table, met())
        return arrival is Arrival.PASSED

    def end_parked(self, partition: TopicPartition, offset: int) -> None:
        """Let nothing be parked of a partition from before an offset where its table is emptied, or was dropped.

        A target that keeps every change may have it still.
        """
        if self._writer.sink.capabilities.history:
            return
        over = self._lot.before(partition.topic, partition.partition, offset)
        self._writer.end_parked(over)
        self._lot.settle(over, ())

    def _empty(self, truncate: Truncate, table: TableSchema | None, offsets: Mapping[TopicPartition, int]) -> None:
        try:
            self._writer.truncate(truncate.barrier, table, offsets)
        except TailraceError as error:
            if error.kind is not ErrorKind.ROW_CONFLICT:
                raise
            truncate.refused = error
