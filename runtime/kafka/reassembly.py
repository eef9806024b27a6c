"""Consumed records that travelled in parts, put together again: see `schemas.parts`.

Parts are read a moment at a time, so that whoever consumes is heard by its group, and hears a stop, however long they
take or wait to be seen. Until its value is whole, a record and what follows it in its partition are read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from runtime import clock
from runtime.kafka.client import Complaints, Properties, consumer_properties, library_logger
from runtime.kafka.compacted import OVERRIDES
from runtime.kafka.consumer import DEFAULTS, FIXED, PASSING
from runtime.kafka.errors import classify, of_exception
from runtime.lifecycle import pause
from runtime.spool import Spool
from schemas.errors import ErrorKind, TailraceError
from schemas.large_values import with_stand_ins
from schemas.parts import HEADER, Joining, Reference

STEP_S = 0.5
"""How long one call reads parts at most."""

PATIENCE_S = 30.0
"""After so long without another part it is said that they are waited for."""

LATE_PATIENCE_S = 2.0
"""The same of a value that was waited for in vain before: other large values stand behind it."""

LATE_MAX = 1_000
"""Values that are remembered as late."""

FORGET_S = 5.0
"""A value that nobody has asked for as long is given up: its partition is another consumer's."""

WHOLE_BYTES_MAX = 32 << 20
"""So many bytes of whole values are returned at once; a record that alone is larger comes alone."""

SPOOLED_BYTES = 1 << 20
"""From this size on a record is put together in a file."""

_READ_PARTS = 8

_ONE_BATCH: dict[str, Any] = {"max.partition.fetch.bytes": 1}
"""Brokers send a batch all the same, which has one part. Allowed more they would send as many as fit, compressed: of
some hundreds in a mebibyte all are unpacked at once.
"""


class WholeRecord:
    """A record with its whole value; otherwise the message."""

    def __init__(self, message: Message, value: bytes) -> None:
        self._message = message
        self._value = value

    def value(self) -> bytes:
        """Return the whole value."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._message, name)


class LateError(TailraceError):
    """Parts do not come, though they may yet."""


class LostRecord(WholeRecord):
    """A record whose parts are gone, or are others (DECODE), or do not come (TRANSPORT): its value cannot be read, as
    `lost` says.
    """

    def __init__(self, message: Message, lost: TailraceError) -> None:
        super().__init__(message, b"")
        self.lost = lost


class SpooledRecord(WholeRecord):
    """A record whose large values are in a file: its value has stand-ins for them."""

    def __init__(self, message: Message, where: Reference, spool: Spool) -> None:
        """`spool` holds the whole value. Raises DECODE if `where` is wrong about its places."""
        size = where.byte_count
        value, self.values = with_stand_ins(spool.read, size, where.places, spool.pieces)
        super().__init__(message, value)
        self._spool = spool
        self._size = size

    def make_whole(self) -> None:
        """Let `value` return the whole value, in memory."""
        self._value = self._spool.read(0, self._size)
        self.values = []

    def __len__(self) -> int:
        return self._size


class Reassembly:
    """Puts records together, one at a time."""

    def __init__(self, kafka: Properties, topic: str, *, monotonic: Callable[[], float] = clock.monotonic) -> None:
        """`topic` is the one of the parts."""
        self.gives_lost = False
        """Whether records whose parts are gone, or late, are returned as `LostRecord`; else what is wrong is raised."""
        self.spools = False
        """Whether large records are returned as `SpooledRecord`, where their large values stand as they are."""
        self._parts = _Parts(kafka, topic)
        self._topic = topic
        self._monotonic = monotonic
        self._joining: Joining | None = None
        self._spool: Spool | None = None
        """What holds the parts so far, unless they are in memory."""
        self._asked_at = self._grown_at = 0.0
        self._late: set[int] = set()
        """Where parts begin that did not come when they were waited for."""

    def reassemble(self, messages: Sequence[Message]) -> tuple[list[Any], list[Message]]:
        """Return messages whose values are whole, and those that are to be consumed again.

        Of each partition the first ones are whole, as far as they fit, and as parts can be read in a moment. Where they
        are waited for in vain: see `gives_lost`.
        """
        if not any(map(Message.headers, messages)):
            return list(messages), []
        found: list[Any] = []
        left: list[Message] = []
        standing: set[tuple[Any, Any]] = set()
        until, size = self._monotonic() + STEP_S, 0
        for message in messages:
            place = message.topic(), message.partition()
            headers = message.headers()
            content: Any = dict(headers).get(HEADER) if headers else None
            if place in standing:
                left.append(message)
            elif content is None:
                found.append(message)
            elif (record := self._record(message, content, until, size)) is not None:
                size += len(record)
                found.append(record)
            else:
                standing.add(place)
                left.append(message)
        return found, left

    def value(self, header: str) -> bytes:
        """Return the whole value that a header refers to. Raises DECODE if parts are gone, TRANSPORT if late."""
        where = Reference.of_header(header)
        self._joining = None
        while (value := self._read(where, self._monotonic() + STEP_S)) is None:
            pause(0.0, f"a record waits for its parts from {self._topic}")
        return value if isinstance(value, bytes) else value.read(0, where.byte_count)

    def close(self) -> None:
        """Let go of the client. May be called twice; what is asked for later connects again."""
        self._joining = self._spool = None
        self._parts.close()

    def _record(self, message: Message, content: bytes | str, until: float, size: int) -> WholeRecord | None:
        try:
            where = Reference.of_header(content)
            if size and size + where.byte_count > WHOLE_BYTES_MAX:
                return None
            value = self._read(where, until)
            if isinstance(value, Spool):
                return SpooledRecord(message, where, value)
        except TailraceError as error:
            is_of_this = error.kind is ErrorKind.DECODE or isinstance(error, LateError)
            if not (is_of_this and self.gives_lost):
                error.position = error.position or f"{message.topic()}/{message.partition()}@{message.offset()}"
                raise
            return LostRecord(message, error)
        return None if value is None else WholeRecord(message, value)

    def _read(self, where: Reference, until: float) -> bytes | Spool | None:
        """Go on reading a value; return it once it is whole."""
        now = self._monotonic()
        joining = self._joining
        if joining is None or joining.where != where:
            if joining is not None and now - self._asked_at < FORGET_S:
                return None
            joining = self._joining = self._begin(where)
            self._grown_at = now
        elif now - self._asked_at >= FORGET_S:
            # Nobody read meanwhile: the target was slow.
            self._grown_at = now
        self._asked_at = now
        try:
            while not joining.is_whole:
                before = joining.part_count
                self._parts.read(joining, max(0.0, until - now))
                now = self._asked_at = self._monotonic()
                if joining.part_count > before:
                    self._grown_at = now
                elif now - self._grown_at >= self._patience_s(where):
                    raise self._is_late(joining)
                if now >= until and not joining.is_whole:
                    return None
            self._late.discard(where.first)
            value = self._taken(joining)
        except BaseException:
            self._give_up()
            raise
        self._give_up()
        return value

    def _patience_s(self, where: Reference) -> float:
        return LATE_PATIENCE_S if where.first in self._late else PATIENCE_S

    def _is_late(self, joining: Joining) -> LateError:
        where, patience_s = joining.where, self._patience_s(joining.where)
        if len(self._late) >= LATE_MAX:
            self._late.clear()
        self._late.add(where.first)
        return LateError(
            ErrorKind.TRANSPORT,
            f"a record waits for its parts: {joining.part_count} of {where.part_count} came from "
            f"{self._topic}, offset {where.first} on, and no more for {patience_s:g} s",
            remedy="look whether this topic is there and its partition has a leader",
        )

    def _taken(self, joining: Joining) -> bytes | Spool:
        if self._spool is None:
            return joining.take()
        joining.check()
        return self._spool

    def _begin(self, where: Reference) -> Joining:
        self._spool = None
        if not (self.spools and where.places and where.byte_count >= SPOOLED_BYTES):
            return Joining(where)
        spool = self._spool = Spool.make()
        return Joining(where, lambda part: spool.write([part]))

    def _give_up(self) -> None:
        self._joining = self._spool = None
        self._parts.rest()


class _Parts:
    """Reads the only partition of the parts topic. Connects when it is first used."""

    def __init__(self, kafka: Properties, topic: str) -> None:
        self._kafka = kafka
        self._topic = topic
        self._complaints = Complaints(topic)
        self._consumer: Consumer | None = None
        self._of: Joining | None = None

    def read(self, joining: Joining, timeout_s: float) -> None:
        """Add the parts that come next. Raises DECODE if they cannot come any more, and what the reading met."""
        try:
            if self._consumer is None:
                self._consumer = self._open()
            if self._of is not joining:
                self._consumer.assign([TopicPartition(self._topic, 0, joining.next)])
                self._of = joining
            for message in self._consumer.consume(_READ_PARTS, timeout_s):
                if (problem := message.error()) is not None:
                    self._meet(problem, message.offset() or 0, joining)
                elif message.offset() != joining.next:
                    raise joining.lost()
                else:
                    joining.add(message.value() or b"")
                    if joining.is_whole:
                        return
        except KafkaException as failure:
            raise of_exception(failure, f"reading {self._topic}", self._complaints.last) from failure

    def rest(self) -> None:
        """Read nothing for now."""
        self._of = None
        if self._consumer is not None:
            with contextlib.suppress(KafkaException):
                self._consumer.unassign()

    def close(self) -> None:
        """Close the client."""
        consumer, self._consumer, self._of = self._consumer, None, None
        if consumer is not None:
            consumer.close()

    def _open(self) -> Consumer:
        fixed = {**FIXED, "error_cb": self._complaints}
        properties = {**consumer_properties(self._kafka, DEFAULTS, fixed), **OVERRIDES, **_ONE_BATCH}
        try:
            return Consumer(properties, logger=library_logger(properties))
        except (ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka consumer") from error

    def _meet(self, problem: KafkaError, offset: int, joining: Joining) -> None:
        if problem.code() == KafkaError._PARTITION_EOF:
            # Before the last part: their transaction's end is not written everywhere yet. Before the next one, too: the
            # topic ends where they should begin, since it was made anew, and the reading began at its beginning.
            if not joining.next <= offset < joining.where.first + joining.where.part_count:
                raise joining.lost()
        elif problem.code() in PASSING:
            self._complaints(problem)
        else:
            raise classify(problem, f"reading {self._topic}", self._complaints.last)
