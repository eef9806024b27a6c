"""In which order records of different partitions are applied: each partition by itself, or all by commit sequence.

`KeyOrder` lets everything through as it comes; `apply.commit_order` keeps back what the source committed later.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from apply.batching.batch import Record
from apply.sink import TopicPartition


class Order(Protocol):
    """What the applier asks; see the two orders."""

    @property
    def exact(self) -> bool:
        """Whether batches end where the source's transactions do. Else partitions are at different moments."""
        ...

    def admit(self, records: list[Record]) -> list[Record]:
        """Return the consumed records that may be applied now; those that may not are kept, or never needed."""
        ...

    def advance(self, eof: Mapping[Any, int], room: int) -> list[Record] | None:
        """Go on to a next mark, if the batch has room for any record; return what that lets through. None: not yet.

        At most `room` records more are let through, but at least up to one mark.
        """
        ...

    @property
    def ready(self) -> bool:
        """Whether the batch, as it is now, may be written."""
        ...

    @property
    def whole(self) -> bool:
        """Whether no source transaction is cut at the batch's end: it may be committed."""
        ...

    @property
    def pending(self) -> bool:
        """Whether something is kept back, or is still to come for the batch in the making."""
        ...

    def to_pause(self) -> Collection[TopicPartition]:
        """Return the partitions that must be paused, since enough of them is kept."""
        ...

    def keeps(self, partition: TopicPartition) -> bool:
        """Tell whether consumed records of a partition are kept back."""
        ...

    def ends(self, eof: Mapping[Any, int], flushed: Mapping[TopicPartition, int]) -> Mapping[Any, int]:
        """Return the ends that may be committed to the group, of partitions where only markers follow."""
        ...

    def drop(self, partition: TopicPartition) -> None:
        """A partition is read again from its position, or has gone."""
        ...

    def taken(self) -> None:
        """The batch was handed over; the next one begins."""
        ...

    def forget(self) -> None:
        """What was not durable is read again."""
        ...


class KeyOrder:
    """Everything at once: keys are in order because partitions are."""

    exact = False
    ready = True
    whole = True
    pending = False

    def admit(self, records: list[Record]) -> list[Record]:
        """See `Order`."""
        return records

    def advance(self, eof: Mapping[Any, int], room: int) -> list[Record] | None:
        """See `Order`."""
        return None

    def to_pause(self) -> Collection[TopicPartition]:
        """See `Order`."""
        return ()

    def keeps(self, partition: TopicPartition) -> bool:
        """See `Order`."""
        return False

    def ends(self, eof: Mapping[Any, int], flushed: Mapping[TopicPartition, int]) -> Mapping[Any, int]:
        """See `Order`."""
        return eof

    def drop(self, partition: TopicPartition) -> None:
        """See `Order`."""

    def taken(self) -> None:
        """See `Order`."""

    def forget(self) -> None:
        """See `Order`."""
