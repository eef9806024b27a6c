"""A member of a consumer group of which one at a time reads all partitions of all topics; the others stand by.

The group shares one partition only, that of an `election` topic; whoever has it reads everything, by assignments of its
own. Fencing at the target does the rest: a member that has lost the partition and does not know it yet cannot write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import OFFSET_END, Message

from runtime import clock
from runtime.kafka.client import Properties
from runtime.kafka.consumer import NO_NOTES, GroupConsumer, Reassemble
from runtime.kafka.membership import MEMBERSHIP, Membership, OnRevoke, Partition, RebalanceListener
from runtime.logging import get_logger

log = get_logger(__name__)

LOOK_INTERVAL_S = 10.0
"""How often it is looked for topics that have come since they were subscribed to."""


class SoleConsumer:
    """Like `GroupConsumer`, used by one thread; `subscribe` names the topics besides the election topic."""

    def __init__(
        self,
        kafka: Properties,
        group: str,
        election: str,
        *,
        listener: RebalanceListener,
        membership: Membership = MEMBERSHIP,
        reassemble: Reassemble | None = None,
    ) -> None:
        self._listener = listener
        self._election = election
        self._topics: list[str] = []
        self._leads = False
        self._look_at = 0.0
        election_listener = RebalanceListener(
            self._elected,
            lambda _: self._stand_down(listener.revoked),
            lambda _: self._stand_down(listener.lost or listener.revoked),
        )
        self._member = GroupConsumer(kafka, group, listener=election_listener, membership=membership)
        try:
            # Never subscribes and never commits: of the group it has the name only.
            self._reader = GroupConsumer(kafka, group, reassemble=reassemble)
            self._member.subscribe([election])
        except BaseException:
            self._member.close()
            raise

    @property
    def leads(self) -> bool:
        """Whether this member is the one that reads."""
        return self._leads

    @property
    def eof(self) -> dict[Partition, int]:
        """See `GroupConsumer.eof`."""
        return self._reader.eof

    def subscribe(self, topics: Sequence[str]) -> None:
        """Read these topics, and the election topic, once elected."""
        self._topics = list(topics)
        self._look_at = 0.0

    def consume(self, max_records: int, timeout_s: float, *, bytes_max: int | None = None) -> list[Message]:
        """See `GroupConsumer.consume`. The listener is called inside; a standby receives nothing."""
        # Elections and the loss of one are heard of in here.
        self._member.consume(1, 0.0 if self.leads else timeout_s)
        if not self.leads:
            return []
        if clock.monotonic() >= self._look_at:
            self._look()
        return self._reader.consume(max_records, timeout_s, bytes_max=bytes_max)

    def pause(self, partitions: Iterable[Partition]) -> None:
        """See `GroupConsumer.pause`."""
        self._reader.pause(partitions)

    def resume(self, partitions: Iterable[Partition]) -> None:
        """See `GroupConsumer.resume`."""
        self._reader.resume(partitions)

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """See `GroupConsumer.seek`."""
        self._reader.seek(offsets)

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[Partition, str] = NO_NOTES) -> None:
        """See `GroupConsumer.commit`."""
        self._member.commit(offsets, notes)

    def committed(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """See `GroupConsumer.committed`."""
        return self._member.committed(partitions)

    def close(self) -> None:
        """Leave the group; the listener is told first. May be called twice."""
        try:
            self._member.close()
        finally:
            self._reader.close()

    def _elected(self, partitions: list[Partition]) -> dict[Partition, int]:
        self._leads = True
        self._look_at = 0.0
        # The election topic is read like the others, by the reader; the group's own share of it rests.
        return dict.fromkeys(partitions, OFFSET_END)

    def _look(self) -> None:
        """Take over the partitions of the topics that are there and are not read yet."""
        self._look_at = clock.monotonic() + LOOK_INTERVAL_S
        self._member.pause([(self._election, 0)])
        wanted = [self._election, *self._topics]
        prefix = _common_prefix(wanted)
        counts = self._reader.topics(prefix)
        known = set(self._reader.assignment())
        added = [(t, n) for t in wanted for n in range(counts.get(t, 0)) if (t, n) not in known]
        if added:
            starts = self._listener.assigned(added) if self._listener.assigned is not None else {}
            self._reader.assign({p: starts[p] for p in added if p in starts}, [p for p in added if p not in starts])
            log.info("all partitions are read by this member", added=len(added), total=len(known) + len(added))

    def _stand_down(self, callback: OnRevoke | None) -> None:
        self._leads = False
        partitions = self._reader.assignment()
        if partitions:
            try:
                if callback is not None:
                    callback(partitions)
            finally:
                self._reader.unassign()
            log.info("another member reads", gone=len(partitions))


def _common_prefix(names: Sequence[str]) -> str:
    first, last = min(names), max(names)
    length = next((i for i, pair in enumerate(zip(first, last, strict=False)) if pair[0] != pair[1]), len(first))
    return first[:length]
