"""The apply service: one member of a target's consumer group, from its start to its end.

`run` puts the parts together and keeps the rhythm; what each does is written in its own module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from apply.applier import Applier
from apply.commit_order import CommitOrder, sequence_reader
from apply.completion import Completion, ranks
from apply.cursors import progress_of
from apply.debezium import topics as debezium_topics
from apply.goal import Goal, ends_of_loads
from apply.journal import Journal, loaded
from apply.limits import limits_of
from apply.report import Report, component
from apply.schema_catalog import Records, SchemaCatalog
from apply.sink import Sink, TopicPartition
from apply.sinks import open_dms_tables, open_sink
from apply.trouble.answers import policies_of
from apply.trouble.conflicts import Boundaries
from apply.trouble.dead_letters import DeadLettersTopic
from apply.trouble.release import Releases
from apply.trouble.survey import Progress
from apply.trouble.waiting import Waiting
from apply.writer import Writer
from runtime import clock, exit_codes, failpoints, garbage, metrics
from runtime.kafka.admin import Topics
from runtime.kafka.compacted import Follower
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.group_offsets import GroupOffsets
from runtime.kafka.sole_consumer import SoleConsumer
from runtime.kafka.whole_records import WholeRecords
from runtime.lifecycle import StopRequest
from runtime.logging import bind, get_logger
from runtime.registry import open_registry
from runtime.retry import Backoff, call
from runtime.signals import Signals
from runtime.status import StatusWriter
from schemas.endpoints import DebeziumSource
from schemas.errors import ErrorKind, TailraceError
from schemas.mappings.segments import loads_part
from schemas.mappings.selection import concerns
from schemas.policies import DdlPolicy
from schemas.routing import route
from schemas.settings import Mode, Settings
from schemas.signals import PAUSE
from schemas.table import TableName
from schemas.topics import apply_group, parts_topic, schemas_topic, transactions_topic

log = get_logger(__name__)

ATTEND_INTERVAL_S = 0.5
"""How often what is not on the data path is looked at: new tables, loads that end, parked keys, the goal."""
ATTEND_LATE_S = 2.0
"""An applier that always has a batch under way lets it be after so long: loads would never be completed."""
ENDS_INTERVAL_S = 2.0
GOAL_LOG_INTERVAL_S = 5.0


def run(
    settings: Settings,
    target: str,
    *,
    stop_at: str | None = None,
    metrics_at: tuple[str, int] | None = None,
    stop: StopRequest,
) -> int:
    """Apply a replication's topics to one target until told to stop; return the exit code.

    With `stop_at` `now` it ends when the group has applied what the topics held at the start. `metrics_at` is an
    address and a port. Raises TailraceError for what an operator must see to; everything durable is left as it is, and
    the next start goes on from there.
    """
    failpoints.arm_from_environment()
    garbage.spare()
    settings.target(target)
    if stop_at not in (None, "now"):
        raise TailraceError(ErrorKind.CONFIGURATION, f"--stop-at {stop_at}: an applier can only stop at `now`")
    bind(replication=settings.name, target=target)
    with ExitStack() as stack:
        health = metrics.Liveness()
        if metrics_at is not None:
            stack.enter_context(
                metrics.serve(*metrics_at, health, replication=settings.name, service="apply", target=target)
            )
        backoff = Backoff.of(settings.retry, settings.apply.retry_for_s, pause_s_max=2.0)

        def retried(error: TailraceError, pause_s: float) -> None:
            metrics.count_error(error, retried=True)
            log.warning("start tried again after a pause", reason=str(error), pause_s=round(pause_s, 1))
            health.progress("waiting to try again")

        try:
            service = call(lambda: _Service(settings, target, health), backoff, stop, retried)
        except TailraceError:
            if stop.stopping:
                return exit_codes.OK
            raise
        stack.callback(service.close)
        return service.run(stop, until_now=stop_at == "now")


class _Service:
    """The parts of a running applier. Makes what it needs, or closes what it has made and raises."""

    def __init__(self, settings: Settings, target: str, health: metrics.Liveness) -> None:
        self._settings = settings
        self._target = target
        self._health = health
        self._group = apply_group(settings.name, target)
        self._next_signals = self._next_attend = self._next_refresh = self._next_report = self._next_ends = 0.0
        self._ends: dict[tuple[str, int], int] = {}
        self._counts: dict[str, int] = {}
        self._goal: Goal | None = None
        """What is applied when the service ends by itself; None: it does not."""
        self._subscribed: list[str] = []
        self._revision = 0
        self._ranks: dict[object, int] = {}
        with ExitStack() as stack:
            self._topics = Topics(settings.kafka)
            self._group_offsets = GroupOffsets(settings.kafka, self._group)
            stack.callback(self._group_offsets.close)
            self._signals = Signals(settings)
            stack.callback(self._signals.close)
            is_foreign = isinstance(settings.source, DebeziumSource)
            if is_foreign:
                self._topics.ensure(debezium_topics.topic_specs(settings))
            follower = Follower(settings.kafka, schemas_topic(settings.name))
            stack.callback(follower.close)
            self._catalog = self._open_catalog(follower, stack)
            self._dead_letters = DeadLettersTopic(settings, target)
            stack.callback(self._dead_letters.close)
            self._dead_letters.follow(to_end=True)
            self._status = StatusWriter(settings.kafka, settings.name, component(target))
            stack.callback(self._status.close)
            sink = open_sink(settings, target, self._catalog.known)
            stack.callback(sink.close)
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="writer")
            stack.callback(self._executor.shutdown)
            policies = policies_of(settings.apply.errors)
            self._writer = Writer(sink, self._dead_letters, policies, self._rank)
            self._applier = Applier(
                self._writer,
                self._catalog,
                self._dead_letters.lot,
                Waiting(settings.apply.conflict_wait_s, self._ends_now, self._progress),
                self._executor,
                Backoff.of(settings.retry, settings.apply.retry_for_s),
                self._partition_count,
                limits=limits_of(settings),
                ddl=settings.ddl.altered,
                comes_again=settings.rewritten_rows_come_again,
            )
            if policies.contradictions.looks and sink.capabilities.finds:
                self._look_for_conflicts()
            whole = WholeRecords(settings.kafka, parts_topic(settings.name))
            whole.spools = sink.capabilities.streams
            stack.callback(whole.close)
            self._consumer = self._join(sink, whole)
            self._applier.connect(self._consumer)
            self._applier.claims.before_claim = lambda: self._dead_letters.follow(to_end=True)
            stack.callback(self._consumer.close)
            self._completion = Completion(
                self._catalog,
                self._writer,
                self._applier.builder.target,
                self._applier.in_background,
                end_parked=self._applier.holds.end_parked,
                drops=settings.ddl.dropped is DdlPolicy.APPLY,
            )
            self._releases = Releases(self._applier, self._catalog, self._dead_letters, settings.ddl.altered)
            self._report = Report(target, self._applier, self._completion, self._status)
            self._journal = self._open_journal(stack)
            self._refresh()
            self._follow_signals(to_end=True)
            self._closing = stack.pop_all()

    def _look_for_conflicts(self) -> None:
        settings, filters, rules = self._settings, self._settings.filters, self._settings.load_rules
        self._applier.builder.boundaries = Boundaries(
            self._catalog.topics,
            self._applier.cursors.ahead,
            loads=settings.mode is not Mode.CDC or isinstance(settings.source, DebeziumSource),
            is_partial=lambda name: loads_part(rules, name) or any(concerns(rule, name) for rule in filters),
            is_compacted=lambda name: route(settings, name).is_compacted,
        )
        self._applier.claims.progress = self._progress
        self._applier.claims.ends = partial(self._topics.end_offsets, read_committed=False)

    def _open_journal(self, stack: ExitStack) -> Journal | None:
        settings = self._settings
        tables = open_dms_tables(settings, self._target) if settings.apply.control_tables.any else None
        if tables is None:
            return None
        is_loaded = partial(loaded, settings, self._completion, self._applier)
        server = settings.apply.instance_id
        journal = Journal(
            settings.apply.control_tables, settings.name, server, tables, self._applier, self._report, is_loaded
        )
        stack.callback(journal.close)
        return journal

    def _open_catalog(self, follower: Follower, stack: ExitStack) -> SchemaCatalog:
        settings = self._settings
        if isinstance(settings.source, DebeziumSource):
            registry = open_registry(settings.registry)
            if registry is not None:
                stack.callback(registry.close)
            reads = debezium_topics.open_reading(settings, registry)
            return debezium_topics.open_catalog(settings, self._topics, follower, reads, self._partition_count)
        way = partial(route, settings)
        return SchemaCatalog(settings.name, settings.topics.format, _reader(follower), way=way)

    def _join(self, sink: Sink, whole: WholeRecords) -> GroupConsumer | SoleConsumer:
        settings, applier = self._settings, self._applier
        marks = TopicPartition(transactions_topic(settings.name), 0)
        make: Callable[..., GroupConsumer | SoleConsumer] = GroupConsumer
        if isinstance(settings.source, DebeziumSource):
            applier.claims.begin = partial(debezium_topics.beginnings, settings, self._target, self._topics)
        capabilities = sink.capabilities
        ends = applier.holds.end_of = ends_of_loads(settings, self._target, self._catalog, capabilities)
        transactional = settings.apply.ordering == "transactional"
        if transactional and not (capabilities.stores_offsets or capabilities.commit_order):
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"target {self._target!r} has no transactions: `apply.ordering: transactional` needs them",
                remedy="set `apply.ordering: per-key`",
            )
        if (transactional and ends is None) or capabilities.commit_order:
            if not self._topics.exists(marks.topic):
                raise TailraceError(
                    ErrorKind.PREREQUISITE,
                    f"there is no topic {marks.topic}, which says where transactions end",
                    remedy="run `tailrace capture` of this release once; it makes the topic",
                )
            applier.order = CommitOrder(
                marks,
                applier.cursors.positions,
                applier.builder.reach,
                sequence_reader(self._catalog),
                partial(self._topics.end_offsets, read_committed=False),
                clock.monotonic,
                kept_records_max=settings.apply.batch_rows,
                kept_bytes_max=settings.apply.batch_bytes,
                cuts=capabilities.commit_order,
            )
            make = partial(SoleConsumer, election=marks.topic)
        else:
            applier.claims.left_order = marks
            # Where changes stand in commit order nothing is parked.
            whole.gives_lost = True
        return make(
            settings.kafka,
            self._group,
            on_assign=applier.assigned,
            on_revoke=applier.revoked,
            on_lost=applier.lost,
            instance_id=settings.apply.instance_id,
            session_timeout_s=settings.apply.session_timeout_s,
            poll_interval_s=settings.apply.batch_timeout_s,
            whole=whole.whole,
        )

    def close(self) -> None:
        """Leave the group and close everything, in the reverse order of its making."""
        self._closing.close()

    def run(self, stop: StopRequest, *, until_now: bool) -> int:
        """Step until the stop or the goal; then drain. The last status document says how it ended."""
        try:
            if until_now:
                self._aim()
            log.info("applying", group=self._group, tables=len(self._subscribed))
            self._loop(stop)
            self._writer.patient = False
            self._applier.drain()
        except TailraceError as error:
            metrics.count_error(error)
            self._report.write("failed", self._ends, error)
            raise
        except BaseException:
            self._report.write("failed", self._ends)
            raise
        kept = self._goal.kept(self._applier.holds.suspension) if self._goal is not None else []
        if kept:
            self._report.write("failed", self._ends, kept[0])
            raise kept[0]
        self._report.write("stopped", self._ends)
        log.info("applier stopped", reason=stop.reason or "the goal is reached")
        return exit_codes.OK

    def _loop(self, stop: StopRequest) -> None:
        next_log = 0.0
        while not stop.stopping:
            self._applier.step()
            now = clock.monotonic()
            if self._applier.healthy:
                cursors = self._applier.cursors
                # A transaction larger than a batch is durable at its end, and so is what waits for other rows; until
                # then what is taken in tells.
                ahead = self._applier.writer.is_open or self._applier.waiting
                moved = dict(cursors.positions if ahead else cursors.flushed)
                self._health.turned(moved, idle=self._applier.caught_up or self._applier.paused)
            else:
                self._health.progress("waiting to try again" if self._applier.trouble else "claiming partitions")
            if now >= self._next_signals:
                self._next_signals = now + ATTEND_INTERVAL_S
                self._guarded(self._follow_signals)
            if now >= self._next_refresh and self._applier.healthy and not self._applier.paused:
                # Not only when idle: tables that a long transaction brings must be read for it to end.
                self._next_refresh = now + ATTEND_INTERVAL_S
                self._guarded(self._refresh)
            if now >= self._next_attend and self._applier.idle and self._applier.healthy and not self._applier.paused:
                self._next_attend = now + ATTEND_INTERVAL_S
                self._applier.resting = False
                self._guarded(self._attend)
                if self._goal is None:
                    self._guarded(self._aim_once_loaded)
                if self._goal is not None and self._reached(self._goal):
                    return
            elif now >= self._next_attend + ATTEND_LATE_S:
                self._applier.resting = True
            if now >= self._next_report:
                self._next_report = now + self._settings.apply.status_interval_s
                self._guarded(lambda: self._report.write(self._state, self._read_ends()))
                if self._journal is not None:
                    self._journal.attend()
            if self._goal is not None and now >= next_log:
                next_log = now + GOAL_LOG_INTERVAL_S
                left = self._goal.left
                waits = [f"{p.topic}/{p.partition}@{end}" for p, end in sorted(left.items())[:8]]
                log.info("stops at the end of what was published", partitions_left=len(left), waits_for=waits)

    def _follow_signals(self, *, to_end: bool = False) -> None:
        """Stand still, or go on, as the last command to this target says."""
        for _, signal in self._signals.follow(to_end=to_end):
            if signal.target == self._target:
                log.info("signal", id=signal.id, command=signal.command)
                self._report.answers[signal.id] = "paused" if signal.command == PAUSE else "resumed"
        self._applier.paused = self._signals.pause(self._target) is not None

    @property
    def _state(self) -> str:
        if self._applier.paused:
            return "paused"
        # More members than partitions, or the sole one is another.
        return "running" if self._applier.cursors.positions else "standby"

    def _attend(self) -> None:
        """Look at what is not on the data path."""
        self._releases.attend()
        # Whoever succeeds one that arrived at a barrier does not begin before it: a table that was dropped came back.
        if self._applier.checkpoint():
            self._completion.attend(self._applier.reached)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something beside the data path; what goes wrong in it is answered as on the data path."""
        try:
            action()
        except TailraceError as error:
            self._applier.fail(error)

    def _refresh(self) -> None:
        """Take in new tables and versions."""
        self._catalog.refresh()
        if self._catalog.revision == self._revision:
            return
        self._revision = self._catalog.revision
        target = self._applier.builder.target
        self._ranks = ranks(self._catalog, target)
        topics = sorted(topic for topic, known in self._catalog.topics.items() if known.versions)
        if topics and topics != self._subscribed:
            log.info("tables found", tables=len(topics))
            self._consumer.subscribe(topics)
            self._subscribed = topics

    def _rank(self, name: TableName) -> int:
        return self._ranks.get(name, len(self._ranks))

    def _ends_now(self) -> dict[tuple[str, int], int]:
        return self._topics.end_offsets(self._subscribed, read_committed=False)

    def _progress(self, partitions: Sequence[TopicPartition]) -> dict[tuple[str, int], Progress]:
        return {p: progress_of(*noted) for p, noted in self._group_offsets.read_noted(partitions).items()}

    def _partition_count(self, topic: str) -> int:
        if topic not in self._counts:
            self._counts[topic] = self._topics.partitions(topic)
        return self._counts[topic]

    def _aim_once_loaded(self) -> None:
        """Let the service end, if it is to end when every table is loaded, and they are."""
        settings = self._settings
        after_load = settings.apply.stop_after_load and settings.mode is not Mode.CDC
        stops = after_load or self._applier.holds.end_of is not None
        if stops and self._subscribed and loaded(settings, self._completion, self._applier):
            self._aim()

    def _aim(self) -> None:
        """Let the service end when what is published now is applied, but for what is behind the ends of loads, where it
        is to end there.
        """
        topics = [*self._subscribed]
        if not topics:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "nothing of this replication is published yet: there is no end to stop at",
                remedy="start capture first",
            )
        # Not the last stable offsets: a commit returns before its markers are written, and what is committed counts.
        ends = self._applier.holds.bounded(self._topics.end_offsets(topics, read_committed=False))
        self._goal = Goal(ends, self._topics.begin_offsets(topics))
        self._writer.patient = False

    def _reached(self, goal: Goal) -> bool:
        """Tell whether the group has got to where the topics ended, or what is suspended keeps it from there."""
        if goal.left:
            goal.pass_own(self._applier.reached)
        others = [p for p in goal.left if p not in self._applier.cursors.positions]
        if others:
            goal.pass_others(self._group_offsets.read(others), self._applier.cursors.positions)
        return len(goal.kept(self._applier.holds.suspension)) == len(goal.left) and self._applier.caught_up

    def _read_ends(self) -> dict[tuple[str, int], int]:
        now = clock.monotonic()
        if now >= self._next_ends and self._applier.cursors.positions:
            self._ends = self._topics.end_offsets({p.topic for p in self._applier.cursors.positions})
            # Of very many topics it takes long.
            self._next_ends = now + max(ENDS_INTERVAL_S, 20 * (clock.monotonic() - now))
        return self._ends


def _reader(follower: Follower) -> Callable[[], Records]:
    """Return a function that reads the schemas topic to its end the first time, and what is new later."""
    first = [True]

    def read() -> Records:
        records = follower.catch_up() if first[0] else follower.poll()
        first[0] = False
        return [(record.key, record.value) for record in records]

    return read
