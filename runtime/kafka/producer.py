"""Producers: the transactional one that exactly-once capture rests on, and a plain one for status and signals.

A Kafka transaction is bounded in time by `transaction.timeout.ms` and in memory by the producer's queue. Whenever a
transaction's outcome is unknown (a time-out, a lost coordinator), the way on is always the same: close this producer,
make a new one with the same transactional id, `init` it (which commits or aborts what was left and fences this one),
and read the checkpoint.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from runtime import clock
from runtime.kafka.client import Complaints, Properties, library_logger, producer_properties
from runtime.kafka.errors import ExpiredError, FencedError, OversizedError, classify, of_exception, retriable
from runtime.kafka.queues import queue_of
from schemas.bundles import Pair
from schemas.errors import Action, ErrorKind, TailraceError

Headers = list[tuple[str, str | bytes | None]]

ANY_PARTITION = -1
"""librdkafka's RD_KAFKA_PARTITION_UA: the partitioner decides."""

CALL_TIMEOUT_S = 2.0
"""One attempt of a transactional call, which goes on where the last one timed out. In between, complaints are heard."""

_DEFAULTS: dict[str, Any] = {
    "client.id": "tailrace",
    "compression.type": "lz4",
    "linger.ms": 20,  # a flush, and so a commit, does not wait for it
    "batch.size": 1_000_000,
    "batch.num.messages": 10_000,
    # Invariant 8: this is the producer's memory bound, beside some 200 bytes for each message.
    "queue.buffering.max.kbytes": 32 << 10,
    "queue.buffering.max.messages": 200_000,
}

_FIXED: dict[str, Any] = {
    "enable.idempotence": True,
    "acks": "all",
    # The Java clients' default: other producers and stream joins partition the same keys alike.
    "partitioner": "murmur2_random",
}


def _ignore() -> None:
    return


class TransactionalProducer:
    """Produces records in transactions under one transactional id.

    `init` → (`begin` → `produce`… → `commit` or `abort`)… → `close`. Errors: `FencedError` once a newer producer has
    the id; CONFIGURATION and PREREQUISITE as they say; TRANSPORT for all that a new producer may overcome.
    """

    def __init__(
        self,
        kafka: Properties,
        transactional_id: str,
        *,
        overrides: Properties | None = None,
        transaction_timeout_s: float = 60,
        reported: int | None = None,
    ) -> None:
        """Of the first `reported` records of runs, or of all, one that is not delivered is named in the error; of those
        behind them only what librdkafka says of the whole transaction, which costs less. See `runtime.kafka.queues`.
        """
        self._timeout_s = transaction_timeout_s
        self._began_at = 0.0
        self._undelivered_for: KafkaError | None = None
        self._undelivered_what = ""
        self._closed = False
        self._complaints = Complaints(transactional_id)
        fixed = {
            **_FIXED,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": int(transaction_timeout_s * 1000),
            # Reports of success would cost a call per record; a commit fails if any record did.
            "delivery.report.only.error": True,
            "on_delivery": self._undelivered,
            "error_cb": self._complaints,
        }
        # tidy: overrides are the caller's, not the user's, and may tune what is fixed for users.
        try:
            properties = {**producer_properties(kafka, _defaults(kafka), fixed), **(overrides or {})}
            self._producer = Producer(properties, logger=library_logger(properties))
            self._reported_left = reported or 0
            self._queue = None if reported is None else queue_of(self._producer, properties)
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka producer") from error
        self.in_transaction = False
        """Whether a transaction is open."""
        self.on_wait: Callable[[], None] = _ignore
        """Called now and then while a commit waits for brokers. What it raises ends the wait."""

    @property
    def disconnections(self) -> int:
        """How often brokers could not be reached so far."""
        return self._complaints.disconnections

    def init(self, timeout_s: float = 60) -> None:
        """Claim the transactional id: fences older producers, and settles what they left open."""
        self._repeat(self._producer.init_transactions, "claiming the transactional id", timeout_s)

    def begin(self) -> None:
        """Begin a transaction. Touches no network."""
        try:
            self._producer.begin_transaction()
        except KafkaException as error:
            raise self._failure(error, "beginning a transaction") from error
        self._undelivered_for = None
        self._began_at = clock.monotonic()
        self.in_transaction = True

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Add one record. Waits while the queue is full, at most the transaction's time-out."""
        number = ANY_PARTITION if partition is None else partition
        self._enqueue(topic, key, value, number, headers)

    def produce_run(self, topic: str, pairs: Sequence[Pair], partition: int | None = None) -> None:
        """Add the records of a run, in order. Waits while the queue is full, at most the transaction's time-out.

        Raises OversizedError for a record that is too large; what follows it is not added.
        """
        produce = self._producer.produce
        number = ANY_PARTITION if partition is None else partition
        queue = self._queue if self._reported_left <= 0 else None
        self._reported_left -= len(pairs)
        at = 0
        try:
            while at < len(pairs):
                if queue is not None:
                    at = queue.add(topic, number, pairs, at)
                # All, or what the queue did not take.
                for key, value in pairs if queue is None else pairs[at : at + 1]:
                    try:
                        produce(topic, value, key, number)
                    except BufferError:
                        self._enqueue(topic, key, value, number, None)
                    at += 1
            # Raises, as produce does, once the producer is fenced.
            self._producer.poll(0)
        except KafkaException as error:
            # (Not its own where the client was asked for errors.)
            size = _size(*pairs[min(at, len(pairs) - 1)]) if pairs else _size(None, None)
            failure = self._failure(error, f"producing to {topic}, {size}")
            if error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE:
                raise OversizedError(failure, at) from error
            raise failure from error

    def poll(self) -> None:
        """Serve the client's callbacks; for a loop that has nothing to produce. Raises if the producer is fenced."""
        try:
            self._producer.poll(0)
        except KafkaException as error:
            raise self._failure(error, "producing") from error
        if self._complaints.fatal is not None:
            raise classify(self._complaints.fatal, "producing")

    def flush(self) -> None:
        """Wait until every record of the transaction is acknowledged. Raises TRANSPORT for any that is not, as far as
        that is reported: the rest fails the commit.
        """
        self._producer.flush(self._timeout_s)
        if self._undelivered_for is not None:
            raise classify(self._undelivered_for, f"delivering {self._undelivered_what}", self._complaints.last)
        if len(self._producer):
            raise TailraceError(ErrorKind.TRANSPORT, f"records were not acknowledged within {self._timeout_s:g} s")

    def commit(self, timeout_s: float | None = None) -> None:
        """Make the transaction's records visible, all of them.

        After TRANSPORT the outcome is unknown or the transaction cannot be committed any more: see the module's text.
        """
        patience_s = timeout_s or self._timeout_s * 1.5
        self._repeat(self._producer.commit_transaction, "committing a transaction", patience_s, self.on_wait)
        self.in_transaction = False

    def abort(self, timeout_s: float | None = None) -> None:
        """Deliver the transaction's records and void them. The producer can begin the next transaction.

        Not for the way out of an error: after one of `produce` or `commit` make a new producer. A refused record can
        leave librdkafka's sequence numbers ahead of the broker's, and then every later transaction fails.
        """
        # With records queued or on their way librdkafka discards some, and raises its epoch to number the next ones
        # anew; one time in a hundred its next request still has an old number, or ends a transaction that the broker
        # has not heard of. Once everything is acknowledged there is nothing to renumber.
        self.flush()
        self._repeat(self._producer.abort_transaction, "aborting a transaction", timeout_s or self._timeout_s)
        self.in_transaction = False

    def partitions(self, topic: str, timeout_s: float = 30) -> int:
        """Return the topic's number of partitions, by this client's metadata."""
        try:
            metadata = self._producer.list_topics(topic, timeout=timeout_s).topics[topic]
        except KafkaException as error:
            raise of_exception(error, f"looking up {topic}", self._complaints.last) from error
        if metadata.error is not None:
            raise classify(metadata.error, f"looking up {topic}")
        return len(metadata.partitions)

    def close(self) -> None:
        """Abort what is open, as far as Kafka answers at once, and let go of the client. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._producer.purge()
        if self.in_transaction:
            self.in_transaction = False
            # Failing that, the next producer's `init`, or the transaction's time-out, aborts it.
            with contextlib.suppress(KafkaException):
                self._producer.abort_transaction(2.0)
        # The client ends with its last reference. Its own `close` would abort once more, with a time-out of its own.
        self._queue = None
        del self._producer

    def _enqueue(
        self, topic: str, key: bytes | None, value: bytes | None, partition: int, headers: Headers | None
    ) -> None:
        deadline = clock.monotonic() + self._timeout_s
        while True:
            try:
                if headers is None:
                    self._producer.produce(topic, value, key, partition)
                else:
                    self._producer.produce(topic, value, key, partition, headers=headers)
            except BufferError as error:
                self.poll()
                if clock.monotonic() > deadline:
                    raise TailraceError(
                        ErrorKind.TRANSPORT, f"producing to {topic} failed: the queue stays full; brokers do not answer"
                    ) from error
                clock.sleep(0.02)
            except KafkaException as error:
                raise self._failure(error, f"producing to {topic}, {_size(key, value)}") from error
            else:
                return

    def _repeat(
        self, call: Callable[[float], None], doing: str, timeout_s: float, on_wait: Callable[[], None] = _ignore
    ) -> None:
        """Make a transactional call until it succeeds, its error is final, or the time is over."""
        deadline = clock.monotonic() + timeout_s
        while True:
            left_s = deadline - clock.monotonic()
            try:
                call(max(0.1, min(left_s, CALL_TIMEOUT_S)))
            except KafkaException as error:
                with contextlib.suppress(KafkaException):
                    self._producer.poll(0.05)
                failure = self._explain(error, doing)
                if not retriable(error) or clock.monotonic() >= deadline or failure.action is not Action.RETRY:
                    raise failure from error
                on_wait()
            else:
                return

    def _explain(self, error: KafkaException, doing: str) -> TailraceError:
        """Return the error to raise: a record's own failure says more than that the transaction failed by it."""
        failure = self._failure(error, doing)
        if failure.kind is ErrorKind.TRANSPORT and self._undelivered_for is not None:
            return self._unless_expired(
                classify(self._undelivered_for, f"{doing}: delivering {self._undelivered_what}"), doing
            )
        return failure

    def _failure(self, error: KafkaException, doing: str) -> TailraceError:
        if error.args[0].code() == KafkaError._FATAL:
            # Says only that the client can do no more; what ended it is raised by `poll`.
            try:
                self._producer.poll(0)
            except KafkaException as cause:
                error = cause
        return self._unless_expired(of_exception(error, doing, self._complaints.last), doing)

    def _unless_expired(self, failure: TailraceError, doing: str) -> TailraceError:
        """Return the error to raise: ExpiredError where the brokers' time-out explains it, and nobody took our place.

        A transaction that is open for too long is aborted by its coordinator under a raised epoch, which looks to the
        producer just as a newer producer does (KIP-98, "Expiring Transactions").
        """
        open_s = clock.monotonic() - self._began_at
        is_lost = isinstance(failure, FencedError) or failure.kind is ErrorKind.TRANSPORT
        if is_lost and self.in_transaction and open_s >= self._timeout_s:
            why = "" if isinstance(failure, FencedError) else f" ({failure.message})"
            return ExpiredError(f"{doing}{why}", open_s, self._timeout_s)
        return failure

    def _undelivered(self, error: KafkaError | None, message: Message) -> None:
        # Those purged by an abort were not refused.
        purged = error is not None and error.code() in {KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT}
        if error is not None and not purged and self._undelivered_for is None:
            self._undelivered_for = error
            self._undelivered_what = f"a record to {message.topic()}, {_size(message.key(), message.value())}"


def _size(key: object, value: object) -> str:
    """Say how large a record is that is refused: that may be the reason."""
    return f"{sum(len(part) for part in (key, value) if isinstance(part, bytes)):,} bytes"


def _defaults(kafka: Properties) -> dict[str, Any]:
    """Return the defaults. The queue must hold the largest message that the user allows."""
    largest = kafka.get("message.max.bytes", 0)
    queue_kib = max(int(_DEFAULTS["queue.buffering.max.kbytes"]), (int(largest) >> 10) + 1024)
    return {**_DEFAULTS, "queue.buffering.max.kbytes": queue_kib}


class PlainProducer:
    """An idempotent producer for records beside the data: status, signals, dead letters.

    `produce` does not wait for the broker; `flush` does, and raises for any record since the last one that failed.
    """

    def __init__(
        self, kafka: Properties, *, delivery_timeout_s: float = 30, overrides: Properties | None = None
    ) -> None:
        self._complaints = Complaints("plain")
        self._closed = False
        self._failure: TailraceError | None = None
        defaults = {**_DEFAULTS, "linger.ms": 5, "queue.buffering.max.kbytes": 8 << 10}
        fixed = {
            **_FIXED,
            "message.timeout.ms": int(delivery_timeout_s * 1000),
            "error_cb": self._complaints,
            "on_delivery": self._delivered,
        }
        try:
            properties = {**producer_properties(kafka, defaults, fixed), **(overrides or {})}
            self._producer = Producer(properties, logger=library_logger(properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka producer") from error

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Headers | None = None,
    ) -> None:
        """Queue a record. Raises TRANSPORT when the queue is full: these records are few, the broker must be gone."""
        number = ANY_PARTITION if partition is None else partition
        try:
            self._producer.produce(topic, value, key, number, headers=headers or [])
        except BufferError as error:
            raise TailraceError(ErrorKind.TRANSPORT, f"producing to {topic} failed: the queue is full") from error
        except KafkaException as error:
            raise of_exception(error, f"producing to {topic}", self._complaints.last) from error
        self._serve(f"producing to {topic}")

    def flush(self, timeout_s: float = 60) -> None:
        """Wait until every record is acknowledged. Raises the first failure since the last flush."""
        try:
            left = self._producer.flush(timeout_s)
        except KafkaException as error:
            raise of_exception(error, "delivering records", self._complaints.last) from error
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        if left:
            raise TailraceError(ErrorKind.TRANSPORT, f"{left} records were not acknowledged within {timeout_s:g} s")

    def close(self, timeout_s: float = 5) -> None:
        """Try to deliver what is queued, and let go of the client. May be called twice."""
        if not self._closed:
            self._closed = True
            with contextlib.suppress(KafkaException):
                self._producer.flush(timeout_s)
            self._producer.purge()
            del self._producer

    def _serve(self, doing: str) -> None:
        try:
            self._producer.poll(0)
        except KafkaException as error:
            raise of_exception(error, doing, self._complaints.last) from error

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None and self._failure is None:
            self._failure = classify(error, f"producing to {message.topic()}", self._complaints.last)
