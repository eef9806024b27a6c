"""Topics and groups: made with the right settings, checked where they exist, looked at, removed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from runtime import clock
from runtime.kafka.client import Complaints, Properties, admin_properties, library_logger
from runtime.kafka.consumer import PASSING
from runtime.kafka.errors import of_exception
from runtime.kafka.membership import Partition
from runtime.kafka.ranges import Range, read_ranges
from schemas.errors import Action, ErrorKind, TailraceError

REQUEST_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 60.0
METADATA_TIMEOUT_S = 5.0
"""One attempt to learn of the cluster: after it, a connection's complaint tells whether another is worth it."""

RECORDS_LEFT_EXACT_BELOW = 50
"""A gap of fewer offsets than this is read to see whether any record is in it."""

DESCRIBED_MAX = 50
"""Of so many topics the cluster is asked one by one; beyond, all of its topics are listed."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it should be."""

    name: str
    partitions: int = 1
    cleanup: str = "delete"
    """`delete`, `compact`, or both with a comma."""
    config: Mapping[str, Any] = field(default_factory=dict)
    replication_factor: int | None = None
    """None: the cluster's default. Not checked where the topic exists: operators move replicas."""


class Mismatch(NamedTuple):
    """What is wrong with a topic that exists."""

    message: str
    repair: str
    """A command of Kafka's own tools that mends it, without `--bootstrap-server`."""
    loses: bool
    """Whether that loses the topic's records."""


class Topics:
    """Administration of one cluster's topics and groups. Every call asks the cluster, and is bounded in time."""

    def __init__(self, kafka: Properties, *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """`timeout_s` is for each request; topics that come or go take up to `READY_TIMEOUT_S` besides."""
        self._kafka = kafka
        self._timeout_s = timeout_s
        self._complaints = Complaints("admin")
        try:
            properties = {**admin_properties(kafka), "error_cb": self._complaints}
            self._admin = AdminClient(properties, logger=library_logger(properties))
        except (KafkaException, ValueError, TypeError) as error:
            raise of_exception(error, "making a Kafka admin client") from error

    def ensure(self, specs: Sequence[TopicSpec]) -> list[str]:
        """Make the topics that are missing, and return their names. May be repeated, and run elsewhere meanwhile.

        Raises CONFIGURATION that lists every existing topic's wrong settings, before anything is made.
        """
        existing = self._list()
        self._check(specs)
        missing = [spec for spec in specs if spec.name not in existing]
        if missing:
            self._create(missing)
            self._await(missing)
        return [spec.name for spec in missing]

    def differences(self, specs: Sequence[TopicSpec]) -> list[Mismatch]:
        """Say of each existing topic that is not as it should be what is wrong; `ensure` would refuse it."""
        existing = self._list()
        present = [spec for spec in specs if spec.name in existing]
        described = self._describe([spec.name for spec in present]) if present else {}
        return [line for spec in present for line in _differences(spec, existing[spec.name], described[spec.name])]

    def exists(self, topic: str) -> bool:
        """Tell whether there is such a topic."""
        return topic in self._list()

    def partitions(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises TRANSPORT while there is no such topic."""
        existing = self._list()
        if topic not in existing:
            raise TailraceError(ErrorKind.TRANSPORT, f"there is no topic {topic}", remedy="start capture first")
        return existing[topic]

    def list(self, prefix: str = "") -> dict[str, int]:
        """Return the partitions of every topic whose name begins with `prefix`."""
        return {name: count for name, count in sorted(self._list().items()) if name.startswith(prefix)}

    def end_offsets(self, topics: Iterable[str], *, read_committed: bool = True) -> dict[Partition, int]:
        """Return where each partition ends: with `read_committed`, before the first open transaction."""
        return self._offsets(topics, OffsetSpec.latest(), read_committed)

    def begin_offsets(self, topics: Iterable[str]) -> dict[Partition, int]:
        """Return where each partition begins: retention moves it on."""
        return self._offsets(topics, OffsetSpec.earliest(), read_committed=False)

    def records_left(self, offsets: Mapping[Partition, int]) -> dict[Partition, int]:
        """Return how many records follow these offsets under `read_committed`.

        Near zero it is exact, transaction markers and aborted records left out; else it is the distance to the end.
        """
        ends = self.end_offsets({topic for topic, _ in offsets})
        left = {p: max(0, ends.get(p, offset) - offset) for p, offset in offsets.items()}
        near = {p: (offsets[p], ends[p]) for p, gap in left.items() if 0 < gap < RECORDS_LEFT_EXACT_BELOW}
        return left | {p: len(records) for p, records in read_ranges(self._kafka, near).items()}

    def unended(self, topics: Iterable[str]) -> dict[Partition, Range]:
        """Return what stands behind the first open transaction, in each partition that has one."""
        names = list(topics)
        stable = self.end_offsets(names)
        ends = self.end_offsets(names, read_committed=False)
        return {p: (offset, ends[p]) for p, offset in stable.items() if offset < ends.get(p, offset)}

    def config(self, topic: str) -> dict[str, str]:
        """Return a topic's settings, defaults included."""
        return self._describe([topic])[topic]

    def delete(self, topics: Iterable[str]) -> None:
        """Delete topics and wait until they are gone from the cluster's view. Missing ones are no error."""
        names = sorted(set(topics))
        if not names:
            return
        futures = self._call("deleting topics", lambda: self._admin.delete_topics(names, operation_timeout=30))
        for name, future in futures.items():
            self._result(future, f"deleting topic {name}", {KafkaError.UNKNOWN_TOPIC_OR_PART})
        self._until(lambda: not set(names) & set(self._list()), "the deleted topics are still listed")

    def group_members(self, group: str) -> int:
        """Return how many members a group has now."""
        futures = self._call(
            "describing a group",
            lambda: self._admin.describe_consumer_groups([group], request_timeout=self._timeout_s),
        )
        answer = self._result(futures[group], "describing a group", {KafkaError.GROUP_ID_NOT_FOUND})
        return len(answer.members) if answer is not None else 0

    def groups(self) -> tuple[str, ...]:
        """Return the names of the cluster's consumer groups, sorted, those without members included."""
        doing = "listing the groups"
        answer = self._call(doing, lambda: self._admin.list_consumer_groups(request_timeout=self._timeout_s))
        return tuple(sorted(group.group_id for group in self._result(answer, doing).valid))

    def delete_group(self, group: str) -> bool:
        """Delete a group with its offsets; tell whether it was there. Raises CONFIGURATION while it has members."""
        futures = self._call(
            "deleting a group",
            lambda: self._admin.delete_consumer_groups([group], request_timeout=self._timeout_s),
        )
        try:
            futures[group].result(self._timeout_s)
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.GROUP_ID_NOT_FOUND:
                return False
            if code == KafkaError.NON_EMPTY_GROUP:
                raise TailraceError(
                    ErrorKind.CONFIGURATION, f"the group {group} has members", remedy="stop its services first"
                ) from error
            raise of_exception(error, "deleting a group", self._complaints.last) from error
        return True

    def broker_count(self) -> int:
        """Return how many brokers the cluster has; the cheapest proof that it answers."""
        return len(self._metadata().brokers)

    def reach(self, timeout_s: float) -> None:
        """Return once the cluster answers. Raises TRANSPORT after `timeout_s`, and at once what no waiting mends."""
        self._metadata(timeout_s)

    def cluster_id(self) -> str | None:
        """Return what the cluster calls itself: two addresses may be of one."""
        found = self._metadata().cluster_id
        return None if found is None else str(found)

    def _metadata(self, timeout_s: float | None = None) -> Any:
        deadline = clock.monotonic() + (timeout_s or self._timeout_s)
        while True:
            left_s = deadline - clock.monotonic()
            try:
                return self._admin.list_topics(timeout=max(0.1, min(METADATA_TIMEOUT_S, left_s)))
            except KafkaException as error:
                self._admin.poll(0)
                failure = of_exception(error, "reaching Kafka", self._complaints.last)
                if failure.action is not Action.RETRY or clock.monotonic() >= deadline:
                    raise failure from error

    def _list(self) -> dict[str, int]:
        return {name: len(topic.partitions) for name, topic in self._metadata().topics.items() if topic.error is None}

    def _counts(self, topics: Sequence[str]) -> dict[str, int]:
        """Return how many partitions those of some topics have that exist."""
        if len(topics) > DESCRIBED_MAX:
            return self._list()
        if not topics:
            return {}
        doing = "describing topics"
        futures = self._call(
            doing, lambda: self._admin.describe_topics(TopicCollection(list(topics)), request_timeout=REQUEST_TIMEOUT_S)
        )
        found = {
            topic: self._result(future, doing, {KafkaError.UNKNOWN_TOPIC_OR_PART}) for topic, future in futures.items()
        }
        return {topic: len(description.partitions) for topic, description in found.items() if description is not None}

    def _create(self, specs: Sequence[TopicSpec]) -> None:
        new = [
            NewTopic(
                spec.name,
                num_partitions=spec.partitions,
                # -1: the broker's default.replication.factor (KIP-464).
                replication_factor=-1 if spec.replication_factor is None else spec.replication_factor,
                config={name: _text(value) for name, value in _wanted(spec).items()},
            )
            for spec in specs
        ]
        futures = self._call("creating topics", lambda: self._admin.create_topics(new, request_timeout=self._timeout_s))
        for name, future in futures.items():
            self._result(future, f"creating topic {name}", {KafkaError.TOPIC_ALREADY_EXISTS})

    def _await(self, specs: Sequence[TopicSpec]) -> None:
        """Wait until every partition of new topics has a leader in the cluster's view."""

        def ready() -> bool:
            topics = self._metadata().topics
            return all(
                spec.name in topics
                and len(topics[spec.name].partitions) >= spec.partitions
                and all(p.leader >= 0 for p in topics[spec.name].partitions.values())
                for spec in specs
            )

        self._until(ready, "new topics have no leaders")
        # Another process may have made them a moment ago, with settings of its own.
        self._check(specs)

    def _check(self, specs: Sequence[TopicSpec]) -> None:
        if wrong := self.differences(specs):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                "topics exist with other settings:\n" + "\n".join(f"  {one.message}" for one in wrong),
                remedy="change the section `topics`, or as `tailrace plan` says of each",
            )

    def _describe(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
        futures = self._call(
            "describing topics", lambda: self._admin.describe_configs(resources, request_timeout=self._timeout_s)
        )
        return {
            resource.name: {
                name: entry.value
                for name, entry in self._result(future, f"describing topic {resource.name}").items()
                if entry.value is not None
            }
            for resource, future in futures.items()
        }

    def _offsets(self, topics: Iterable[str], spec: OffsetSpec, read_committed: bool) -> dict[Partition, int]:
        names = sorted(set(topics))
        existing = self._counts(names)
        wanted = {TopicPartition(topic, number): spec for topic in names for number in range(existing.get(topic, 0))}
        if not wanted:
            return {}
        level = IsolationLevel.READ_COMMITTED if read_committed else IsolationLevel.READ_UNCOMMITTED
        found: dict[Partition, int] = {}
        deadline = clock.monotonic() + self._timeout_s
        while wanted:
            futures = self._call(
                "reading offsets",
                partial(self._admin.list_offsets, wanted, isolation_level=level, request_timeout=self._timeout_s),
            )
            # A new topic's partition has no leader for a moment, or one that does not know of it yet.
            harmless = PASSING if clock.monotonic() < deadline else frozenset[int]()
            for partition, future in futures.items():
                answer = self._result(future, "reading offsets", harmless)
                if answer is not None:
                    found[partition.topic, partition.partition] = answer.offset
            wanted = {p: spec for p in wanted if (p.topic, p.partition) not in found}
            if wanted:
                clock.sleep(0.05)
        return found

    def _call(self, doing: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except (KafkaException, ValueError, TypeError) as error:
            self._admin.poll(0)
            raise of_exception(error, doing, self._complaints.last) from error

    def _result(self, future: Future[Any], doing: str, harmless: Iterable[int] = ()) -> Any:
        try:
            return future.result(self._timeout_s * 2)
        except KafkaException as error:
            if error.args[0].code() in harmless:
                return None
            self._admin.poll(0)
            raise of_exception(error, doing, self._complaints.last) from error
        except TimeoutError as error:
            raise TailraceError(ErrorKind.TRANSPORT, f"{doing} failed: no answer") from error

    def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        deadline = clock.monotonic() + READY_TIMEOUT_S
        while not condition():
            if clock.monotonic() > deadline:
                raise TailraceError(ErrorKind.TRANSPORT, f"{otherwise} after {READY_TIMEOUT_S:g} s")
            clock.sleep(0.1)


def _wanted(spec: TopicSpec) -> dict[str, Any]:
    return {"cleanup.policy": spec.cleanup, **spec.config}


def _differences(spec: TopicSpec, partitions: int, described: Mapping[str, str]) -> list[Mismatch]:
    found = []
    if partitions != spec.partitions:
        message = f"{spec.name}: {partitions} partitions, not {spec.partitions}"
        # More of them would break the order of keys that have records already, and fewer are not to be had.
        found.append(Mismatch(message, f"kafka-topics.sh --delete --topic {spec.name}", loses=True))
    for name, value in _wanted(spec).items():
        present = described.get(name, "unset")
        if _normal(present) != _normal(_text(value)):
            change = f"--entity-type topics --entity-name {spec.name} --add-config {name}=[{_text(value)}]"
            message = f"{spec.name}: {name} is {present}, not {_text(value)}"
            found.append(Mismatch(message, f"kafka-configs.sh --alter {change}", loses=False))
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _normal(value: str) -> str:
    return ",".join(sorted(part.strip() for part in value.split(",")))
