"""A member of a consumer group that never skips and never reads what is not committed.

Every assignment begins at an explicit offset: what the caller knows (a sink's own offsets), else the group's
committed one, else the topic's beginning. So `auto.offset.reset` is `error`: when retention has removed what was to be
read next, that is SOURCE_LOG_LOST and no silent jump (Invariant 4).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime import clock
from runtime.kafka.client import Complaints, Properties, consumer_properties, library_logger
from runtime.kafka.errors import SupplantedError, classify, of_exception
from runtime.kafka.membership import MEMBERSHIP, NO_LISTENER, Membership, OnRevoke, Partition, RebalanceListener
from runtime.logging import get_logger
from schemas.errors import ErrorKind, TailraceError

log = get_logger(__name__)

Reassemble = Callable[[list[Message]], tuple[list[Any], list[Message]]]
"""Returns of some messages those that can be taken, in another form, and those that are to be read again: of each
partition the last ones."""

NO_NOTES: Mapping[Partition, str] = {}
REQUEST_TIMEOUT_S = 30.0
SLICE_RECORDS = 100
"""So many records at most are asked for at once where their bytes are bounded: the grain of that bound, while it is
not known how large they are."""
LEAVE_TIMEOUT_S = 10.0

DEFAULTS: dict[str, Any] = {
    "client.id": "tailrace",
    # Invariant 8: the bound of what is fetched ahead, for all partitions together. Three times as much was no faster
    # with 48 partitions of small records, and took 140 MB more.
    "queued.max.messages.kbytes": 16 << 10,
    "queued.min.messages": 20_000,
    # Counted as they come, compressed: what is fetched at once may be many times as large. Four times as much was no
    # faster with texts of 10 kB either, of which it became 180 MB more.
    "fetch.max.bytes": 1 << 20,
    "max.partition.fetch.bytes": 512 << 10,
    # A record that is larger than all these comes alone; it must not be taken for a broken answer.
    "receive.message.max.bytes": (1 << 31) - 1,
    "fetch.wait.max.ms": 100,
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": 100,
    "partition.assignment.strategy": "cooperative-sticky",
    "heartbeat.interval.ms": 1000,
    # New tables' topics appear by this.
    "topic.metadata.refresh.interval.ms": 10_000,
}

FIXED: dict[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
}

PASSING = frozenset(
    {
        # A topic that is not there yet, a leader on the move, a broker gone for a while: librdkafka goes on by itself.
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        # A leader that knows less of its own election, or more, than the metadata do: as brief.
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
    }
)
"""Errors that a reader need not be told of: the deadline of whoever waits for records tells an outage."""


class GroupConsumer:
    """One member of a group, used by one thread.

    Its listener is called inside `consume` and `close`.
    """

    def __init__(
        self,
        kafka: Properties,
        group: str,
        *,
        listener: RebalanceListener = NO_LISTENER,
        membership: Membership = MEMBERSHIP,
        overrides: Properties | None = None,
        reassemble: Reassemble | None = None,
    ) -> None:
        self._reassemble = reassemble
        self._listener = listener
        self._failure: BaseException | None = None
        self._closing = False
        self._paused: set[Partition] = set()
        self._assigned: set[Partition] = set()
        self._complaints = Complaints(group)
        self.eof: dict[Partition, int] = {}
        """Where the end of each partition was last met: no record that may be read stood at or after this offset, up
        to the last stable one. Transaction markers behind the last record are passed."""
        fixed = {**FIXED, **membership.properties(), "group.id": group, "error_cb": self._complaints}
        defaults = {**DEFAULTS, "heartbeat.interval.ms": membership.heartbeat_interval_ms}
        try:
            properties = {**consumer_properties(kafka, defaults, fixed), **(overrides or {})}
            self._consumer = Consumer(properties, logger=library_logger(properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka consumer") from error

    def subscribe(self, topics: Sequence[str]) -> None:
        """Take part in the group's sharing of these topics; `^…` is a regular expression. Replaces the last call's."""
        try:
            self._consumer.subscribe(list(topics), on_assign=self._assign, on_revoke=self._revoke, on_lost=self._lose)
        except KafkaException as error:
            raise of_exception(error, "subscribing") from error

    def consume(self, max_records: int, timeout_s: float, *, bytes_max: int | None = None) -> list[Message]:
        """Return up to `max_records` records: as many as come within `timeout_s`, or none.

        With `bytes_max` it stops about where the values reach so many bytes. Raises the classified error that a
        partition or the group met; records fetched beside it are lost to this call: go on from known offsets.
        """
        deadline = clock.monotonic() + timeout_s
        messages: list[Message] = []
        size = 0
        while max_records > 0 and (bytes_max is None or size < bytes_max):
            wanted = max_records
            if bytes_max is not None:
                # The next ones are about as large as those before.
                fitting = (bytes_max - size) * len(messages) // size + 1 if size else SLICE_RECORDS
                wanted = min(wanted, SLICE_RECORDS, fitting)
            more, count = self._consume(wanted, max(0.0, deadline - clock.monotonic()))
            messages += more
            if count < wanted:
                break
            # Ends that were met count, too: somebody may wait for them.
            max_records -= count
            size += sum(map(len, more))
        return messages

    def assignment(self) -> list[Partition]:
        """Return the partitions that this member has."""
        return sorted(self._assigned)

    def assign(self, offsets: Mapping[Partition, int], paused: Iterable[Partition] = ()) -> None:
        """Read partitions from these offsets, besides those that are read; `paused` ones rest until they are resumed.

        For a consumer that subscribes to nothing: the group has no part in it.
        """
        resting = list(paused)
        # By number, as in `_assign`.
        starts = {**offsets, **self._beginnings(resting)}
        chosen = [TopicPartition(t, n, offset) for (t, n), offset in starts.items()]
        self._call("taking partitions", self._consumer.incremental_assign, chosen)
        self._assigned.update((p.topic, p.partition) for p in chosen)
        self.resume(offsets)
        self.pause(resting)

    def unassign(self) -> None:
        """Read nothing any more: the counterpart of `assign`."""
        self._call("leaving partitions", self._consumer.incremental_unassign, _plain(self._assigned))
        self._assigned.clear()
        self._paused.clear()
        self.eof.clear()

    def pause(self, partitions: Iterable[Partition]) -> None:
        """Fetch and return nothing of these partitions until `resume`. Those not assigned are ignored."""
        chosen = [p for p in partitions if p in self._assigned]
        self._paused.update(chosen)
        self._call("pausing", self._consumer.pause, _plain(chosen))

    def resume(self, partitions: Iterable[Partition]) -> None:
        """Undo `pause`."""
        chosen = [p for p in partitions if p in self._assigned]
        self._paused.difference_update(chosen)
        self._call("resuming", self._consumer.resume, _plain(chosen))

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Go on at these offsets instead. Records already returned are not taken back; paused ones stay paused."""
        chosen = [TopicPartition(t, n, offset) for (t, n), offset in offsets.items() if (t, n) in self._assigned]
        if not chosen:
            return
        # Assigning anew is what always works: `seek` fails for a partition whose fetching has not begun.
        self._call("seeking", self._consumer.incremental_unassign, chosen)
        self._call("seeking", self._consumer.incremental_assign, chosen)
        for topic_partition in chosen:
            self.eof.pop((topic_partition.topic, topic_partition.partition), None)
        paused = [p for p in offsets if p in self._paused and p in self._assigned]
        if paused:
            self._call("pausing", self._consumer.pause, _plain(paused))

    def commit(self, offsets: Mapping[Partition, int], notes: Mapping[Partition, str] = NO_NOTES) -> None:
        """Commit next offsets to the group, each with the short text that `notes` have for it, and wait for the answer.

        Raises TRANSPORT when the group has moved on meanwhile: the next assignment tells what is ours.
        """
        if not offsets:
            return
        wanted = [TopicPartition(t, n, offset, notes.get((t, n), "")) for (t, n), offset in offsets.items()]
        for result in self._call("committing offsets", self._consumer.commit, offsets=wanted, asynchronous=False):
            if result.error is not None:
                raise classify(result.error, "committing offsets", self._complaints.last)

    def committed(self, partitions: Iterable[Partition], timeout_s: float = REQUEST_TIMEOUT_S) -> dict[Partition, int]:
        """Return the group's committed next offsets, of those partitions that have one."""
        chosen = _plain(partitions)
        if not chosen:
            return {}
        answers = self._call("reading committed offsets", self._consumer.committed, chosen, timeout=timeout_s)
        for answer in answers:
            if answer.error is not None:
                raise classify(answer.error, "reading committed offsets", self._complaints.last)
        return {(a.topic, a.partition): a.offset for a in answers if a.offset >= 0}

    def position(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the offsets after the last records returned, of those partitions that returned any. Cheap."""
        answers = self._call("reading positions", self._consumer.position, _plain(partitions))
        return {(a.topic, a.partition): a.offset for a in answers if a.offset >= 0}

    def end_offsets(self, partitions: Iterable[Partition], *, cached: bool = False) -> dict[Partition, int]:
        """Return the ends of partitions, where committed records end.

        `cached` asks no broker: the ends as of the last fetch, open transactions included; unknown ones are left out.
        """
        ends: dict[Partition, int] = {}
        for topic_partition in _plain(partitions):
            answer = self._call(
                "reading end offsets",
                self._consumer.get_watermark_offsets,
                topic_partition,
                timeout=REQUEST_TIMEOUT_S,
                cached=cached,
            )
            if answer is not None and answer[1] >= 0:
                ends[topic_partition.topic, topic_partition.partition] = answer[1]
        return ends

    def topics(self, prefix: str, timeout_s: float = REQUEST_TIMEOUT_S) -> dict[str, int]:
        """Return the partitions of every topic whose name begins with `prefix`."""
        metadata = self._call("listing topics", self._consumer.list_topics, timeout=timeout_s)
        return {name: len(t.partitions) for name, t in metadata.topics.items() if name.startswith(prefix)}

    def close(self) -> None:
        """Leave the group; the listener is told first. May be called twice.

        librdkafka's own close can wait for ever when it meets a rebalance (the group's state machine ends while the
        callback's answer is still to come), and a commit in such a callback is refused. So the partitions are given
        back here, the subscription is taken back, and only a member without either is closed.
        """
        if self._closing:
            return
        self._closing = True
        if self._assigned and self._listener.revoked is not None:
            try:
                self._listener.revoked(self.assignment())
            except Exception as error:  # noqa: BLE001 - raised below
                self._failure = self._failure or error
        self._assigned.clear()
        self._paused.clear()
        deadline = clock.monotonic() + LEAVE_TIMEOUT_S
        with contextlib.suppress(KafkaException):
            self._consumer.unsubscribe()
            while self._consumer.assignment() and clock.monotonic() < deadline:
                self._consumer.consume(1000, 0.05)
        self._consumer.close()
        self._raise_failure()

    def _consume(self, max_records: int, timeout_s: float) -> tuple[list[Any], int]:
        """Return records, and how many messages came: fewer than asked for where it is no use to ask again at once."""
        messages: list[Message] = self._call("consuming", self._consumer.consume, max_records, timeout_s)
        self._raise_failure()
        count = len(messages)
        failed = [m for m in messages if m.error() is not None]
        if failed:
            for message in failed:
                self._on_error(message)
            messages = [m for m in messages if m.error() is None]
        if not messages and self._complaints.fatal is not None:
            raise classify(self._complaints.fatal, "consuming")
        if self._reassemble is None:
            return messages, count
        whole, again = self._reassemble(messages)
        left: dict[Partition, int] = {}
        for message in again:
            left.setdefault(_partition(message), message.offset() or 0)
        self.seek(left)
        return whole, 0 if left else count

    def _on_error(self, message: Message) -> None:
        error = message.error()
        assert error is not None
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            self.eof[_partition(message)] = message.offset() or 0
        elif code in PASSING and not error.fatal():
            self._complaints(error)
        elif code == KafkaError._FATAL:
            # A consumer has one error only that is fatal: somebody else has joined under its name.
            raise SupplantedError(f"consuming failed: {error.str()}")
        else:
            where = f" {message.topic()}/{message.partition()}" if message.topic() else ""
            raise classify(error, f"consuming{where}", self._complaints.last)

    def _assign(self, consumer: Consumer, added: list[TopicPartition]) -> None:
        partitions = [(p.topic, p.partition) for p in added]
        if self._closing:
            self._safely(consumer.incremental_assign, added)
            return
        try:
            knows = self._listener.assigned
            known = dict(knows(partitions)) if knows is not None and partitions else {}
            known = {partition: known[partition] for partition in partitions if partition in known}
            missing = [partition for partition in partitions if partition not in known]
            known |= self.committed(missing)
            # By number, not OFFSET_BEGINNING: that is looked up in the background, and an answer that comes after a
            # `seek` would win over it.
            known |= self._beginnings([partition for partition in partitions if partition not in known])
            self._call(
                "taking partitions",
                consumer.incremental_assign,
                [TopicPartition(t, n, known[t, n]) for t, n in partitions],
            )
        except Exception as error:  # noqa: BLE001 - raised by the call that this callback runs in
            self._failure = self._failure or error
            # Acknowledged to the group as it stands, so that nothing is read in a wrong place before the error is out:
            # they rest until somebody says where to go on. At their ends meanwhile: where the group has no offset, the
            # one that it has stored would be an error, if it is looked up before they are paused.
            resting = [TopicPartition(p.topic, p.partition, OFFSET_END) for p in added]
            self._safely(consumer.incremental_assign, resting)
            self._safely(consumer.pause, added)
            self._assigned.update(partitions)
            self._paused.update(partitions)
            return
        self._assigned.update(partitions)
        # librdkafka remembers that a partition was paused when it went, and reads nothing of it when it comes back.
        self._safely(consumer.resume, added)
        if partitions:
            log.info("partitions assigned", added=len(partitions), total=len(self._assigned))

    def _revoke(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        self._let_go(consumer, gone, self._listener.revoked, "partitions revoked")

    def _lose(self, consumer: Consumer, gone: list[TopicPartition]) -> None:
        self._let_go(consumer, gone, self._listener.lost or self._listener.revoked, "partitions lost")

    def _let_go(self, consumer: Consumer, gone: list[TopicPartition], callback: OnRevoke | None, event: str) -> None:
        partitions = [(p.topic, p.partition) for p in gone]
        try:
            if callback is not None and partitions and not self._closing:
                callback(partitions)
        except Exception as error:  # noqa: BLE001 - raised by the call that this callback runs in
            self._failure = self._failure or error
        self._assigned.difference_update(partitions)
        self._paused.difference_update(partitions)
        for partition in partitions:
            self.eof.pop(partition, None)
        self._safely(consumer.incremental_unassign, gone)
        if partitions and not self._closing:
            log.info(event, gone=len(partitions), total=len(self._assigned))

    def _safely(self, call: Callable[[list[TopicPartition]], Any], partitions: list[TopicPartition]) -> None:
        try:
            call(partitions)
        except KafkaException as error:
            self._failure = self._failure or of_exception(error, "changing the assignment")

    def _beginnings(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """Return the first offsets. Raises TRANSPORT when a partition has no leader for too long."""
        deadline = clock.monotonic() + REQUEST_TIMEOUT_S
        found: dict[Partition, int] = {}
        for topic, number in partitions:
            while (topic, number) not in found:
                left_s = deadline - clock.monotonic()
                try:
                    bounds: Any = self._consumer.get_watermark_offsets(
                        TopicPartition(topic, number), timeout=max(0.1, left_s)
                    )
                except KafkaException as error:
                    # A new topic's partition has no leader for a moment, or one that does not know of it yet.
                    if error.args[0].code() not in PASSING or left_s <= 0:
                        doing = f"reading the beginning of {topic}/{number}"
                        raise of_exception(error, doing, self._complaints.last) from error
                    clock.sleep(0.05)
                else:
                    if bounds is not None:
                        found[topic, number] = bounds[0]
                    elif left_s <= 0:
                        raise TailraceError(ErrorKind.TRANSPORT, f"no answer about the beginning of {topic}/{number}")
        return found

    def _call(self, doing: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except KafkaException as error:
            raise of_exception(error, doing, self._complaints.last) from error
        except RuntimeError as error:
            raise TailraceError(ErrorKind.INVARIANT, f"{doing} failed: the consumer is closed") from error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure


def _plain(partitions: Iterable[Partition]) -> list[TopicPartition]:
    return [TopicPartition(topic, number) for topic, number in partitions]


def _partition(message: Message) -> Partition:
    return message.topic() or "", message.partition() or 0
