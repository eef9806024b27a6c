"""What a replication is doing: what its components say on the status topic, and what Kafka and the source say of
them.

The lag of a target in records is taken from Kafka (its group's offsets against the ends of the topics), not from the
applier's own word: it is right also while no applier runs. A component that has not written for `SILENT_AFTER_S` is
called silent, whatever it said last. While nobody captures, the source itself is asked how much log it keeps; not after
a full load that is done: there is no log to read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import orjson

from control import debezium, published
from control.contact import reach_source
from runtime import clock
from runtime.kafka.admin import Topics
from runtime.kafka.compacted import Follower
from runtime.kafka.group_offsets import GroupOffsets
from schemas.errors import TailraceError
from schemas.routing import Route, route
from schemas.settings import Settings
from schemas.table import TableName
from schemas.topics import apply_group, status_topic

SILENT_AFTER_S = 15.0
LOG_LEFT_S_MIN = 3600.0
ENDED = frozenset({"stopped", "failed"})

Document = dict[str, Any]


@dataclass(slots=True)
class TableStatus:
    """A table's full load, as capture tells it."""

    name: str
    state: str
    rows_estimated: int | None = None
    rows_loaded: int | None = None
    chunks: int | None = None
    chunks_done: int | None = None


@dataclass(slots=True)
class ComponentStatus:
    """One process: what it said last, and how long ago."""

    component: str
    state: str
    age_s: float
    facts: Document
    """The rest of its document, as it is."""


@dataclass(slots=True)
class TargetStatus:
    """A target: its appliers, and how far it is behind the topics."""

    name: str
    state: str
    instances: list[ComponentStatus] = field(default_factory=list)
    lag_records: int | None = None
    lag_ms: int | None = None
    rows: int = 0
    rows_per_s: float = 0.0
    parked: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    """Records behind, by topic; topics without lag are left out."""


@dataclass(slots=True)
class Report:
    """The whole replication at one moment."""

    replication: str
    state: str
    """Capture's state: `running`, `silent`, `never started`, …"""
    phase: str | None = None
    capture: ComponentStatus | None = None
    standbys: int = 0
    tables: list[TableStatus] = field(default_factory=list)
    targets: list[TargetStatus] = field(default_factory=list)
    source: Document = field(default_factory=dict)
    """`position`, `end`, `lag_bytes` or `lag_transactions`, `lag_ms`, `retained_bytes`, `log_left_bytes`,
    `log_bytes_per_s`, where known."""
    notes: list[str] = field(default_factory=list)

    def to_document(self) -> Document:
        """Return the JSON form."""
        return asdict(self)


class Observer:
    """Looks at a replication again and again; reads only what is new on the status topic."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings.kafka)
        self._follower: Follower | None = None
        self._documents: dict[str, Document] = {}
        self._groups: dict[str, GroupOffsets] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of Kafka."""
        if self._follower is not None:
            self._follower.close()
            self._follower = None
        while self._groups:
            self._groups.popitem()[1].close()

    def documents(self) -> dict[str, Document]:
        """Return the latest document of every component; none before capture was ever started."""
        if self._follower is None:
            topic = status_topic(self._settings.name)
            if not self._topics.exists(topic):
                return {}
            self._follower = Follower(self._settings.kafka, topic)
        for record in self._follower.catch_up():
            if record.key is None:
                continue
            component = record.key.decode(errors="replace")
            if record.value is None:
                self._documents.pop(component, None)
            else:
                self._documents[component] = _parsed(record.value)
        return self._documents

    def look(self) -> Report:
        """Return how things stand now. Raises TRANSPORT when Kafka does not answer."""
        documents = self.documents()
        topics = applied_topics(self._settings)
        lags = {name: self.lag(name, topics) for name in self._settings.targets}
        report = assemble(self._settings.name, documents, lags, clock.now_us())
        if self._settings.by_debezium:
            report.state = "captured by Debezium"
        elif report.state in {"silent", "never started", "paused", *ENDED} and report.phase != "loaded":
            self._ask_source(report)
        if (note := log_note(report.source)) is not None:
            report.notes.append(note)
        return report

    def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        """Return where each partition ends now, records of transactions that are not over included.

        A commit returns before its markers are written: for some milliseconds what is committed still counts as open.
        """
        return self._topics.end_offsets(topics, read_committed=False)

    def behind(self, target: str, goals: Mapping[tuple[str, int], int]) -> bool:
        """Tell whether a target's group has yet to pass a record before one of these offsets."""
        stable = self._topics.end_offsets({topic for topic, _ in goals})
        if any(stable.get(partition, 0) < goal for partition, goal in goals.items()):
            return True
        committed = self._committed(target, goals)
        begins = self._topics.begin_offsets({topic for topic, _ in goals})
        offsets = {p: max(committed.get(p, 0), begins.get(p, 0)) for p in goals}
        short = {p: offset for p, offset in offsets.items() if offset < goals[p]}
        # What is left may be only the marks of transactions, which no consumer ever sees.
        return bool(short) and any(self._topics.records_left(short).values())

    def lag(self, target: str, topics: Sequence[str]) -> dict[str, int]:
        """Return how many records of each topic a target's group has not passed."""
        ends = self._topics.end_offsets(topics)
        begins = self._topics.begin_offsets(topics)
        committed = self._committed(target, ends)
        offsets = {partition: max(committed.get(partition, 0), begins.get(partition, 0)) for partition in ends}
        lag: dict[str, int] = {}
        for (topic, _), left in self._topics.records_left(offsets).items():
            lag[topic] = lag.get(topic, 0) + left
        return lag

    def _committed(self, target: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        if target not in self._groups:
            self._groups[target] = GroupOffsets(self._settings.kafka, apply_group(self._settings.name, target))
        return self._groups[target].read(partitions)

    def _ask_source(self, report: Report) -> None:
        """Ask the source what capture cannot tell; a source that cannot be asked is a note, not an error."""
        from capture import checkpoints

        try:
            with closing(reach_source(self._settings)) as source:
                end = source.current_position()
                report.source["end"] = source.format_position(end)
                if report.state != "never started" and "position" not in report.source:
                    # One that began to stand still, or failed, before it captured: where it is stands in Kafka.
                    checkpoint = checkpoints.read(self._settings)
                    if checkpoint.identity is not None:
                        committed = checkpoint.position
                        behind = max(0, end.commit - committed.commit)
                        report.source["position"] = source.format_position(committed)
                        report.source["lag_bytes" if source.capabilities.counts_bytes else "lag_transactions"] = behind
                report.source["retained_bytes"] = source.retained_bytes()
                report.source["log_left_bytes"] = source.log_left_bytes()
                in_bytes = source.capabilities.counts_bytes
                if in_bytes and report.capture is not None and "source_end_commit" in report.capture.facts:
                    # Capture says nothing any more: what was written since is between its last word and now.
                    written = end.commit - int(report.capture.facts["source_end_commit"])
                    report.source["log_bytes_per_s"] = round(written / max(report.capture.age_s, 1.0), 1)
        except TailraceError as error:
            report.notes.append(f"the source cannot be asked: {error.message}")


def data_topics(settings: Settings) -> list[str]:
    """Return the topics of the tables that are published so far, sorted."""
    if settings.by_debezium:
        return debezium.known_topics(settings)
    return sorted({way.topic for way in _ways(settings) if way.outbox is None})


def applied_topics(settings: Settings) -> list[str]:
    """Return those of them that appliers read, sorted."""
    if settings.by_debezium:
        return debezium.known_topics(settings)
    return sorted({way.topic for way in _ways(settings) if way.is_applicable})


def _ways(settings: Settings) -> list[Route]:
    return [route(settings, name) for name in known_tables(settings)]


def known_tables(settings: Settings) -> list[TableName]:
    """Return the tables that the schemas topic knows, sorted; none before capture was ever started."""
    keys = map(_parsed, published.records(settings))
    return sorted({TableName(*key["table"]) for key in keys if isinstance(key.get("table"), list)})


def assemble(
    replication: str, documents: Mapping[str, Document], lags: Mapping[str, Mapping[str, int]], now_us: int
) -> Report:
    """Put the documents and the lags together. `lags`: records behind, by target and topic."""
    capture = [_component(name, d, now_us) for name, d in documents.items() if name.split(".")[0] == "capture"]
    active = next((c for c in capture if c.state != "standby"), None)
    report = Report(replication, active.state if active else "never started", capture=active)
    report.standbys = sum(c.state == "standby" for c in capture)
    if active is not None:
        facts = active.facts
        report.phase = facts.get("phase")
        names = {"position": "position", "end": "source_end", "lag_bytes": "lag_bytes", "lag_ms": "lag_ms"}
        names |= {name: name for name in ("lag_transactions", "retained_bytes", "log_left_bytes", "log_bytes_per_s")}
        report.source = {name: facts[member] for name, member in names.items() if facts.get(member) is not None}
        tables = sorted((facts.get("tables") or {}).items())
        report.tables = [_table(name, d) for name, d in tables]
        report.notes += [f"{name} waits to be loaded: {d['waits_for']}" for name, d in tables if d.get("waits_for")]
    for target, by_topic in lags.items():
        prefix = f"apply.{target}."
        instances = [_component(n, d, now_us) for n, d in documents.items() if f"{n}.".startswith(prefix)]
        report.targets.append(_target(target, instances, by_topic))
    return report


def log_note(source: Mapping[str, Any]) -> str | None:
    """Return a warning if the source will soon give up the log that it keeps for capture: within the hour at the rate
    that it is written at, or after a third of what it may keep.
    """
    left, rate = source.get("log_left_bytes"), source.get("log_bytes_per_s") or 0
    if left is None:
        return None
    left_s = left / rate if rate > 0 else None
    if not (left * 2 < (source.get("retained_bytes") or 0) or (left_s is not None and left_s < LOG_LEFT_S_MIN)):
        return None
    when = f", in about {left_s / 60:.0f} minutes at the present rate" if left_s is not None else ""
    return (
        f"the source gives up the log that capture needs after {max(0, left) / (1 << 20):,.0f} MiB more{when}: see "
        "that capture runs and keeps up, or raise max_slot_wal_keep_size at the server"
    )


def _target(name: str, instances: list[ComponentStatus], by_topic: Mapping[str, int]) -> TargetStatus:
    live = [i for i in instances if i.state not in {"silent", *ENDED}]
    last = min(instances, key=lambda i: i.age_s, default=None)
    active = [i for i in live if i.state != "standby"] or live
    state = active[0].state if active else last.state if last else "never started"
    status = TargetStatus(name, state, sorted(instances, key=lambda i: i.component))
    status.topics = {topic: left for topic, left in sorted(by_topic.items()) if left}
    status.lag_records = sum(by_topic.values())
    lags_ms = [i.facts["lag_ms"] for i in live if i.facts.get("lag_ms") is not None]
    # Nothing is behind: an applier's last word about the age of its last record would only mislead.
    status.lag_ms = 0 if by_topic and not status.lag_records else max(lags_ms, default=None)
    status.rows = sum(int(i.facts.get("rows") or 0) for i in instances)
    status.rows_per_s = round(sum(float(i.facts.get("rows_per_s") or 0) for i in live), 1)
    status.parked = max((int(i.facts.get("parked") or 0) for i in instances), default=0)
    return status


def _component(name: str, document: Document, now_us: int) -> ComponentStatus:
    age_s = max(0.0, (now_us - int(document.get("ts_us") or 0)) / 1e6)
    state = str(document.get("state") or "unknown")
    if age_s > SILENT_AFTER_S and state not in ENDED:
        state = "silent"
    return ComponentStatus(name, state, round(age_s, 1), document)


def _table(name: str, document: Document) -> TableStatus:
    members = ("rows_estimated", "rows_loaded", "chunks", "chunks_done")
    return TableStatus(name, str(document.get("state") or "unknown"), *(document.get(m) for m in members))


def _parsed(value: bytes) -> Document:
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
