"""What stands between Kafka and a `DebeziumCatalog`: finding topics, a look at their first records, and numbering.

Nothing is written but the replication's own schemas topic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice

from apply.debezium.catalog import Addition, DebeziumCatalog
from apply.debezium.versions import open_versions
from apply.schema_catalog import Records
from apply.sink import TopicPartition
from runtime import clock
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import Follower, Record
from runtime.kafka.errors import FencedError
from runtime.kafka.group_offsets import GroupOffsets
from runtime.kafka.producer import TransactionalProducer
from runtime.kafka.ranges import read_ranges
from runtime.logging import get_logger
from runtime.registry import Registry
from schemas.debezium.reading import Reading, Sample, reading, table_of
from schemas.debezium.stated import Stated
from schemas.endpoints.debezium import DebeziumSource
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.selection import Selection
from schemas.settings import Settings
from schemas.topics import apply_group, schemas_topic, status_topic

log = get_logger(__name__)

LIST_INTERVAL_S = 5.0
"""How often topics are looked for that have come."""
SAMPLE_RECORDS = 20
"""Records of each partition that are looked at first: a tombstone or a truncate may stand before a row."""
SAMPLE_TOPICS = 16
"""Topics that are looked at together: what is read of them is in memory at once."""
SAMPLE_RECORDS_PLAIN = 500
"""The same where types are inferred from values."""
GROUPS_NAMED = 10
"""How many groups an error names."""
ATTEMPTS = 20
"""How often appliers may come between each other when they publish what they have met."""
PAUSE_S = 0.5
INTERNAL = "__"
"""How Kafka's own topics begin."""
OURS = ".tailrace."
"""What all topics of our own have in their names but those of tables."""
HEARTBEATS = "__debezium-heartbeat."
"""How Debezium's heartbeat topics begin (its property `topic.heartbeat.prefix`)."""


def open_reading(settings: Settings, registry: Registry | None) -> Reading:
    """Return what reads the topics' records; with the registry where they are Avro."""
    source = source_of(settings)
    stated = Stated(source.types, source.times, source.decimals, source.binary)
    text = registry.text if registry else None
    versions = open_versions(settings.kafka, Topics(settings.kafka))
    return reading(source.format, source.connector, source.placeholder, stated, text, versions)


def open_catalog(
    settings: Settings, topics: Topics, follower: Follower, reads: Reading, count: Callable[[str], int]
) -> DebeziumCatalog:
    """Return the catalog of a replication whose source is Debezium's topics."""
    return DebeziumCatalog(
        settings.name,
        lambda: _pairs(follower.poll()),
        lambda: _pairs(follower.catch_up()),
        reads,
        connector=source_of(settings).connector,
        publish=lambda decide: publish(settings, decide),
        samples=Finder(settings, topics, reads).find,
        partition_count=count,
    )


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Return the topics that appliers need and a capture would have made."""
    copies = settings.topics.replication_factor
    names = (schemas_topic(settings.name), status_topic(settings.name))
    return [TopicSpec(name, 1, "compact", replication_factor=copies) for name in names]


def source_of(settings: Settings) -> DebeziumSource:
    """Return the source's section."""
    assert isinstance(settings.source, DebeziumSource)
    return settings.source


def taken(settings: Settings, topics: Topics) -> list[str]:
    """Return the topics whose names the configuration takes, whatever they hold."""
    takes = Selection(source_of(settings).topics).takes
    return [t for t in topics.list() if takes(t) and not t.startswith((HEARTBEATS, INTERNAL)) and OURS not in t]


class Finder:
    """Looks for topics that the configuration takes and that hold something."""

    def __init__(self, settings: Settings, topics: Topics, reads: Reading) -> None:
        self._settings = settings
        self._source = source_of(settings)
        self._topics = topics
        self._reading = reads
        self._takes_table = Selection(self._source.tables).takes
        self._next = 0.0

    def find(self, known: frozenset[str]) -> dict[str, Sample | None]:
        """Return a record of each topic that is not known; None for a topic that is not to be applied.

        Looks from time to time only. Raises DECODE for records of another format.
        """
        now = clock.monotonic()
        if now < self._next:
            return {}
        self._next = now + LIST_INTERVAL_S
        wanted = [topic for topic in self.wanted() if topic not in known]
        found: dict[str, Sample | None] = {}
        for start in range(0, len(wanted), SAMPLE_TOPICS):
            for topic, records in self._first_records(wanted[start : start + SAMPLE_TOPICS]).items():
                is_some, sample = self._look(topic, records)
                if is_some:
                    found[topic] = sample
        return found

    def wanted(self) -> list[str]:
        """Return the topics whose names the configuration takes."""
        return taken(self._settings, self._topics)

    def _first_records(self, topics: Sequence[str]) -> dict[str, list[Record]]:
        if not topics:
            return {}
        count = SAMPLE_RECORDS_PLAIN if self._source.format is Format.JSON else SAMPLE_RECORDS
        begins, ends = self._topics.begin_offsets(topics), self._topics.end_offsets(topics)
        ranges = {p: (begin, min(begin + count, ends.get(p, begin))) for p, begin in begins.items()}
        found: dict[str, list[Record]] = {topic: [] for topic in topics}
        for (topic, _), records in sorted(read_ranges(self._settings.kafka, ranges).items()):
            found[topic] += records
        return found

    def _look(self, topic: str, records: Iterable[Record]) -> tuple[bool, Sample | None]:
        """Return whether the records tell anything, and the sample that they are."""
        some = [(record.key, record.value) for record in records if record.value is not None]
        for key, value in some:
            try:
                envelope = self._reading.envelope(value)
                name = table_of(envelope, self._source.connector)
            except TailraceError as error:
                raise TailraceError(error.kind, error.message, remedy=error.remedy, position=topic) from error
            if name is None or not self._takes_table(name):
                return True, None
            if envelope.get("op") != "t":
                return True, Sample(key, value, [other for _, other in some])
        return False, None


def publish(settings: Settings, decide: Callable[[], Sequence[Addition]]) -> None:
    """See `apply.debezium.catalog.Publish`. Raises TRANSPORT if other appliers come between again and again."""
    topic = schemas_topic(settings.name)
    for attempt in range(ATTEMPTS):
        if attempt:
            clock.sleep(PAUSE_S)
        producer = TransactionalProducer(settings.kafka, f"{settings.name}.tailrace.debezium")
        try:
            # Whoever has published before is done, and whoever is about to is fenced.
            producer.init()
            additions = decide()
            if additions:
                producer.begin()
                for key, value in additions:
                    producer.produce(topic, key, value, 0)
                producer.commit()
        except FencedError:
            continue
        else:
            return
        finally:
            producer.close()
    raise TailraceError(ErrorKind.TRANSPORT, f"other appliers came between {ATTEMPTS} times, publishing to {topic}")


def beginnings(
    settings: Settings, target: str, topics: Topics, partitions: Sequence[TopicPartition]
) -> Mapping[TopicPartition, int]:
    """Return where a target that has seen nothing of partitions begins: at the offsets of the group that is named, or
    at the first records that are there. What the group has not read may be gone: reading says so, since that is a loss.

    Raises as `check_start_group`.
    """
    group = source_of(settings).start_group
    begins = topics.begin_offsets({p.topic for p in partitions})
    read: Mapping[tuple[str, int], int] = {}
    if group is not None and partitions:
        read = _read(settings, group, partitions)
        if not read:
            check_start_group(settings, target, topics)
        log.info("begins at another group's offsets", group=group, partitions=len(read))
    found = {p: read.get(p, begins.get(p, 0)) for p in partitions}
    lost = sorted({p.topic for p in partitions if p not in read and found[p] > 0})
    if lost:
        log.warning("topics have lost their first records: rows that did not change since are missing", topics=lost)
    return found


def check_start_group(settings: Settings, target: str, topics: Topics) -> None:
    """Raise CONFIGURATION where a target that has not begun is to begin at the offsets of a group that has none: most
    likely it is misspelt, and from the beginning the target would get everything once more.
    """
    group = source_of(settings).start_group
    if group is None:
        return
    wanted = sorted(topics.begin_offsets(taken(settings, topics)))
    own = apply_group(settings.name, target)
    # One that has begun may well outlive the group: topics that come later begin at their beginning.
    if _read(settings, group, wanted) or _read(settings, own, wanted):
        return
    # A cluster may have thousands, and each is asked.
    having = (other for other in topics.groups() if other != own and _read(settings, other, wanted))
    others = list(islice(having, GROUPS_NAMED + 1))
    named = ", ".join(others[:GROUPS_NAMED]) + (", …" if others[GROUPS_NAMED:] else "")
    raise TailraceError(
        ErrorKind.CONFIGURATION,
        f"the group {group} (`source.start_group`) has no offsets in the topics that `source.topics` takes; "
        + (f"groups that have: {named}" if others else "no group has"),
        remedy="name the group of the sink that is replaced (of Kafka Connect's: `connect-NAME`), or leave "
        "`start_group` out to begin at the topics' beginning",
    )


def _read(settings: Settings, group: str, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
    with closing(GroupOffsets(settings.kafka, group)) as offsets:
        return offsets.read(partitions)


def _pairs(records: Iterable[Record]) -> Records:
    return [(record.key, record.value) for record in records]
