"""What `plan`, `status` and `reset` know of a source that is topics which a Debezium connector writes."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from apply.debezium.topics import Finder, check_start_group, open_reading, source_of
from control import published
from runtime.kafka.admin import Topics
from runtime.registry import open_registry
from schemas.debezium.decoder import table_schema
from schemas.debezium.reading import Sample, table_of
from schemas.errors import TailraceError
from schemas.findings import Finding, blocks, note, of_error, warns
from schemas.settings import Settings
from schemas.table import TableName, TableSchema


def known_topics(settings: Settings) -> list[str]:
    """Return the topics that appliers have taken up, sorted; none before the first of them was started."""
    found = set()
    for key, value in published.records(settings).items():
        said = orjson.loads(key)
        if isinstance(said, list) and said[:1] == ["writer"]:
            found.add(str(orjson.loads(value)["topic"]))
    return sorted(found)


class Look:
    """A look at the topics that the configuration takes: the tables that they hold, and what is to be known of them."""

    def __init__(self, settings: Settings) -> None:
        """Raise DECODE for a topic of another format, CONFIGURATION for types that nothing tells."""
        self._settings = settings
        self._source = source_of(settings)
        self._topics = Topics(settings.kafka)
        registry = open_registry(settings.registry)
        try:
            self._reading = open_reading(settings, registry)
            finder = Finder(settings, self._topics, self._reading)
            self._wanted = finder.wanted()
            self._samples = finder.find(frozenset())
            self.tables = dict(self._tables())
            """By topic."""
        finally:
            if registry is not None:
                registry.close()
        self._begins = self._topics.begin_offsets(self.tables)
        self._ends = self._topics.end_offsets(self.tables)

    def record_counts(self) -> dict[TableName, int]:
        """Return how many records there are of each table."""
        counts: dict[TableName, int] = {}
        for partition, begin in self._begins.items():
            name = self.tables[partition[0]].name
            counts[name] = counts.get(name, 0) + self._ends.get(partition, begin) - begin
        return counts

    def findings(self) -> list[Finding]:
        """Return what an operator should know before a run."""
        found = [] if self.tables else [self._nothing_found()]
        found += self._of_start_group()
        for topic, sample in self._samples.items():
            if sample is None:
                found.append(note("topic-left-out", f"{topic} holds no changes of a table taken"))
        for topic, table in self.tables.items():
            if any(begin > 0 for (name, _), begin in self._begins.items() if name == topic):
                found.append(
                    warns(
                        "first-records-gone",
                        f"{topic} has lost its first records: rows that did not change since are not in it",
                        "begin with a target that has them (`source.start_group`), or let Debezium take a snapshot",
                        table.name,
                    )
                )
            if not table.key:
                found.append(
                    warns(
                        "no-key",
                        "the table has no key: what Debezium sends twice after a crash of its own is applied twice",
                        "give the table a primary key, or the connector a key for it (`message.key.columns`)",
                        table.name,
                    )
                )
        return found

    def _of_start_group(self) -> list[Finding]:
        for target in self._settings.targets:
            try:
                check_start_group(self._settings, target, self._topics)
            except TailraceError as error:
                return [of_error(error)]
        return []

    def _tables(self) -> Iterator[tuple[str, TableSchema]]:
        for topic, sample in self._samples.items():
            if sample is not None:
                yield topic, self._table(sample)

    def _table(self, sample: Sample) -> TableSchema:
        connector = self._source.connector
        name = table_of(self._reading.envelope(sample.value), connector)
        assert name is not None, "the finder has looked"
        return table_schema(name, self._reading.writer(sample, name), connector, 1)

    def _nothing_found(self) -> Finding:
        if self._wanted:
            what = f"{len(self._wanted)} topics match `source.topics`, and none holds a row's change yet"
            return warns("no-changes", what, "they are looked at again while apply runs")
        return blocks(
            "no-topics",
            "no topic matches `source.topics`",
            "patterns are over topics' names, with * and ?: `shop.public.*`",
        )
