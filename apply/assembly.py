"""The parts of one applier, put together: who reads, who writes, and whom each of them asks."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

from apply.applier import Applier
from apply.batching.reorder_buffer import ReorderBuffer
from apply.batching.versions import Versions
from apply.brokers import Brokers
from apply.commit_order import CommitOrder, sequence_reader
from apply.completion import Completion
from apply.cursors import Cursors
from apply.debezium import topics as debezium_topics
from apply.dms_control_tables import DmsControlTables
from apply.error_handling.conflicts import Boundaries
from apply.error_handling.dead_letters import DeadLettersTopic
from apply.error_handling.holds import Holds
from apply.error_handling.policies import policies_of
from apply.error_handling.release import Releases
from apply.error_handling.waiting import Waiting
from apply.goal import all_loaded, ends_of_loads
from apply.limits import Limits, limits_of
from apply.report import Report, component
from apply.schema_catalog import Records, SchemaCatalog
from apply.schema_stand_ins import SchemaStandIns
from apply.sink import Capabilities, TopicPartition
from apply.sinks import open_dms_tables, open_sink
from apply.subscription import Subscription
from apply.truncates import Truncates
from apply.writer import Writer
from apply.writer_thread import WriterThread
from runtime import clock
from runtime.kafka.compacted import Follower
from runtime.kafka.consumer import GroupConsumer, Reassemble
from runtime.kafka.membership import Membership, RebalanceListener
from runtime.kafka.reassembly import Reassembly
from runtime.kafka.sole_consumer import SoleConsumer
from runtime.registry import open_registry
from runtime.retry import Backoff
from runtime.signals import Signals
from runtime.status import StatusWriter
from schemas.errors import ErrorKind, TailraceError
from schemas.format import Format
from schemas.mappings.segments import loads_part
from schemas.mappings.selection import concerns
from schemas.policies import DdlPolicy
from schemas.routing import route
from schemas.settings import Mode, Settings
from schemas.topics import apply_group, parts_topic, schemas_topic, transactions_topic


class Assembly:
    """Makes all parts in the order in which they need each other, or closes what it has made and raises.

    A part stands here by name if the service uses it; those that only parts use are in these.
    """

    def __init__(self, settings: Settings, target: str) -> None:
        self._settings = settings
        self._target = target
        self.group = apply_group(settings.name, target)
        with ExitStack() as stack:
            self.brokers = Brokers(settings.kafka, self.group, stack)
            self.signals = stack.enter_context(closing(Signals(settings)))
            catalog = self._open_catalog(stack)
            self._dead_letters = stack.enter_context(closing(DeadLettersTopic(settings, target)))
            self._know_parked()
            status = stack.enter_context(closing(StatusWriter(settings.kafka, settings.name, component(target))))
            sink = stack.enter_context(closing(open_sink(settings, target, catalog.known)))
            versions = Versions(
                catalog,
                ddl=settings.ddl.altered,
                comes_again=settings.rewritten_rows_come_again,
                keeps_history=sink.capabilities.history,
            )
            self.subscription = Subscription(versions)
            policies = policies_of(settings.apply.errors)
            self.writer = Writer(sink, self._dead_letters, policies, self.subscription.rank)
            executor = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="writer"))
            limits = limits_of(settings)
            self.applier = Applier(
                WriterThread(self.writer, executor),
                versions,
                self._holds(versions, limits),
                self._dead_letters.lot,
                backoff=Backoff.of(settings.retry, settings.apply.retry_for_s),
                limits=limits,
            )
            if policies.contradictions.looks and sink.capabilities.finds:
                self._look_for_conflicts()
            self.consumer = self._join(stack, sink.capabilities)
            self.completion = Completion(
                versions,
                self.writer,
                self.applier.in_background,
                end_parked=self.applier.holds.truncates.end_parked,
                drops=settings.ddl.dropped is DdlPolicy.APPLY,
            )
            self.releases = Releases(self.applier, self._dead_letters)
            self.report = Report(target, self.applier, self.completion, status)
            self.control_tables = self._open_control_tables(stack)
            self._closing = stack.pop_all()

    def close(self) -> None:
        """Leave the group and close everything, in the reverse order of its making."""
        self._closing.close()

    def is_loaded(self) -> bool:
        """Tell whether every table is loaded, as `goal.all_loaded` says."""
        return all_loaded(self._settings, self.completion, self.applier)

    def _know_parked(self) -> None:
        self._dead_letters.follow(to_end=True)

    def _open_catalog(self, stack: ExitStack) -> SchemaCatalog:
        settings, topics = self._settings, self.brokers.topics
        is_foreign = settings.by_debezium
        if is_foreign:
            topics.ensure(debezium_topics.topic_specs(settings))
        follower = stack.enter_context(closing(Follower(settings.kafka, schemas_topic(settings.name))))
        if not is_foreign:
            way = partial(route, settings)
            return SchemaCatalog(settings.name, settings.topics.format, _reader(follower), way=way)
        registry = open_registry(settings.registry)
        if registry is not None:
            stack.callback(registry.close)
        reads = debezium_topics.open_reading(settings, registry)
        return debezium_topics.open_catalog(settings, topics, follower, reads, self.brokers.partition_count)

    def _holds(self, versions: Versions, limits: Limits) -> Holds:
        """Return what keeps partitions and keys from going on."""
        brokers, lot = self.brokers, self._dead_letters.lot
        waiting = Waiting(limits.conflict_wait_s, lambda: brokers.ends(self.subscription.topics), brokers.progress)
        truncates = Truncates(self.writer, versions, lot, brokers.partition_count, drops=limits.drops)
        return Holds(Cursors(), waiting, truncates, limits)

    def _look_for_conflicts(self) -> None:
        settings, applier = self._settings, self.applier
        filters, rules = settings.filters, settings.load_rules
        applier.builder.boundaries = Boundaries(
            applier.catalog.topics,
            applier.cursors.ahead,
            loads=settings.mode is not Mode.CDC or settings.by_debezium,
            is_partial=lambda name: loads_part(rules, name) or any(concerns(rule, name) for rule in filters),
            is_compacted=lambda name: route(settings, name).is_compacted,
        )
        applier.claims.progress = self.brokers.progress
        applier.claims.ends = self.brokers.ends

    def _join(self, stack: ExitStack, capabilities: Capabilities) -> GroupConsumer | SoleConsumer:
        """Join the group, by key or in the order of commits, and give the applier its consumer."""
        settings, applier = self._settings, self.applier
        applier.claims.before_claim = self._know_parked
        if settings.by_debezium:
            applier.claims.begin = partial(debezium_topics.beginnings, settings, self._target, self.brokers.topics)
        reassembly = stack.enter_context(closing(Reassembly(settings.kafka, parts_topic(settings.name))))
        reassembly.spools = capabilities.streams
        reassemble: Reassemble = reassembly.reassemble
        if _brings_schemas(settings):
            stand_ins = SchemaStandIns()
            self._dead_letters.restore = stand_ins.whole
            reassemble = partial(_shortened, stand_ins, reassemble)
        marks = TopicPartition(transactions_topic(settings.name), 0)
        make: Callable[..., GroupConsumer | SoleConsumer] = GroupConsumer
        if self._is_by_commit(capabilities):
            applier.order = self._commit_order(marks, cuts=capabilities.commit_order)
            make = partial(SoleConsumer, election=marks.topic)
        else:
            applier.claims.left_order = marks
            # Where changes stand in commit order nothing is parked.
            reassembly.gives_lost = True
        listener = RebalanceListener(applier.assigned, applier.revoked, applier.lost)
        apply = settings.apply
        membership = Membership(apply.instance_id, apply.session_timeout_s, apply.batch_timeout_s)
        consumer = make(settings.kafka, self.group, listener=listener, membership=membership, reassemble=reassemble)
        stack.callback(consumer.close)
        applier.connect(consumer)
        return consumer

    def _is_by_commit(self, capabilities: Capabilities) -> bool:
        """Tell whether changes are applied in the order of the source's commits. Raises CONFIGURATION."""
        settings, target = self._settings, self._target
        ends = self.applier.holds.end_of = ends_of_loads(settings, target, self.applier.catalog, capabilities)
        self.writer.ends_early = ends is not None
        if capabilities.commit_order:
            return True
        transactional = settings.apply.ordering == "transactional"
        if transactional and not capabilities.stores_offsets:
            raise TailraceError(
                ErrorKind.CONFIGURATION,
                f"target {target!r} has no transactions: `apply.ordering: transactional` needs them",
                remedy="set `apply.ordering: per-key`",
            )
        return transactional and ends is None

    def _commit_order(self, marks: TopicPartition, *, cuts: bool) -> CommitOrder:
        if not self.brokers.topics.exists(marks.topic):
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                f"there is no topic {marks.topic}, which says where transactions end",
                remedy="run `tailrace capture` of this release once; it makes the topic",
            )
        applier, apply = self.applier, self._settings.apply
        buffer = ReorderBuffer(sequence_reader(applier.catalog), apply.batch_rows, apply.batch_bytes)
        positions, reach = applier.cursors.positions, applier.builder.reach
        return CommitOrder(marks, positions, reach, buffer, self.brokers.ends, clock.monotonic, cuts=cuts)

    def _open_control_tables(self, stack: ExitStack) -> DmsControlTables | None:
        settings = self._settings
        tables = open_dms_tables(settings, self._target) if settings.apply.control_tables.any else None
        if tables is None:
            return None
        control_tables = DmsControlTables(
            settings.apply.control_tables,
            settings.name,
            settings.apply.instance_id,
            tables,
            self.applier,
            self.report,
            self.is_loaded,
        )
        return stack.enter_context(closing(control_tables))


def _brings_schemas(settings: Settings) -> bool:
    """Tell whether records of ours may bring their schemas. Those of Debezium are told apart by theirs."""
    formats = {settings.topics.format, *(override.format for override in settings.topics.overrides)}
    return Format.JSON_WITH_SCHEMA in formats and not settings.by_debezium


def _shortened(stand_ins: SchemaStandIns, reassemble: Reassemble, messages: list[Any]) -> tuple[list[Any], list[Any]]:
    stand_ins.shorten(messages)
    return reassemble(messages)


def _reader(follower: Follower) -> Callable[[], Records]:
    """Return a function that reads the schemas topic to its end the first time, and what is new later."""
    first = [True]

    def read() -> Records:
        records = follower.catch_up() if first[0] else follower.poll()
        first[0] = False
        return [(record.key, record.value) for record in records]

    return read
