"""The capture service: stands by, captures, and begins again after errors that another attempt may overcome.

    leadership → claim the transactional id → read the checkpoint → session → (error → back-off → leadership …) → end

A start and a recovery are the same: the state is in Kafka only. What may be tried again is decided by `schemas.errors`.
"""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, closing, suppress
from functools import partial

from capture import checkpoints
from capture.full_load.process import ProcessWorker
from capture.leadership import Leadership
from capture.progress import Progress
from capture.publishing import hanging
from capture.publishing.publisher import Publisher
from capture.publishing.registration import seal_registry_topic
from capture.publishing.schemas_topic import Catalogue
from capture.publishing.schemas_topic import topic_specs as schemas_topic_specs
from capture.publishing.transaction_limits import TransactionLimits
from capture.session import Dependencies, Session
from capture.signals import CaptureSignals
from capture.source import Source
from capture.sources import open_source, preload
from runtime import clock, exit_codes, failpoints, garbage, heap, metrics
from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import read_all
from runtime.kafka.errors import FencedError
from runtime.kafka.producer import TransactionalProducer
from runtime.lifecycle import StoppedError, StopRequest
from runtime.logging import bind, get_logger
from runtime.registry import open_registry
from runtime.retry import Backoff
from runtime.signals import topic_spec as signals_topic_spec
from runtime.status import StatusWriter
from schemas.errors import Action, ErrorKind, TailraceError
from schemas.position import EPOCH_MAX, epoch_of, first_sequence
from schemas.settings import Mode, Settings
from schemas.topics import ddl_topic, schemas_topic, status_topic, transactions_topic

log = get_logger(__name__)

POLL_TIMEOUT_S = 0.1
"""How long the log is waited for when it has nothing: what a stop, a status or a check of leadership waits at most."""
NAMED_TRANSACTIONS = 10
"""After a failure, records are named that are not delivered, in so many full Kafka transactions."""


def run(
    settings: Settings,
    *,
    stop_at: str | None = None,
    metrics_at: tuple[str, int] | None = None,
    stop: StopRequest | None = None,
) -> int:
    """Capture until a stop is requested or the work is done; return an exit code of `runtime.exit_codes`.

    `stop_at` is `now` or a position as the source prints it, `metrics_at` an address and a port. Raises
    TailraceError for what an operator must see.
    """
    failpoints.arm_from_environment()
    garbage.spare()
    heap.keep()
    bind(replication=settings.name)
    stop = stop or StopRequest()
    liveness = metrics.Liveness()
    with ExitStack() as stack:
        if metrics_at is not None:
            stack.enter_context(metrics.serve(*metrics_at, liveness, replication=settings.name, service="capture"))
        return _Service(settings, stop_at, stop, liveness).run()


class _Service:
    def __init__(self, settings: Settings, stop_at: str | None, stop: StopRequest, liveness: metrics.Liveness) -> None:
        self._settings = settings
        self._stop_at = stop_at
        self._stop = stop
        self._liveness = liveness
        self._backoff = Backoff.of(settings.retry, settings.capture.retry_for_s)
        self._limits = TransactionLimits(settings.capture)
        self._has_captured = False
        """Whether this process has begun from a checkpoint, or made one."""

    def run(self) -> int:
        """Run sessions until one ends, or meets an error that is not to be tried again."""
        while not self._stop.stopping:
            try:
                if self._run_once():
                    return exit_codes.OK
            except TailraceError as error:
                retriable = error.action is Action.RETRY and not isinstance(error, FencedError)
                pause_s = self._backoff.next_s() if retriable and not self._stop.stopping else None
                metrics.count_error(error, retried=pause_s is not None)
                if pause_s is None:
                    raise
                log.warning("begins again after an error", reason=str(error), pause_s=round(pause_s, 2))
                self._liveness.progress("waiting after an error")
                self._stop.wait(pause_s)
        return exit_codes.OK

    def _run_once(self) -> bool:
        """Stand by, then capture. Return True when there is nothing more to do."""
        settings = self._settings
        self._check_stop_at()
        topics = Topics(settings.kafka)
        topics.ensure(own_topics(settings))
        with closing(Leadership(settings)) as leadership:
            # The group takes its time to choose.
            preload(settings)
            if not self._stand_by(leadership):
                return True
            status = StatusWriter(settings.kafka, settings.name, "capture")
            progress = Progress(settings, status, self._liveness)
            try:
                progress.state("starting")
                finished = self._capture(topics, leadership, progress)
            except FencedError as error:
                # Not the one whose state is to be written. Two captures met, one of them late by an outage or a freeze:
                # the group decides again. Or `tailrace reset` did it.
                self._check_reset(checkpoints.read(settings))
                raise TailraceError(
                    ErrorKind.TRANSPORT, "another capture of this replication has claimed its transactional id"
                ) from error
            except StoppedError as error:
                log.info("capture ends", reason=error.message)
                progress.close("stopped")
                return True
            except TailraceError as error:
                progress.close("failed", error)
                raise
            except BaseException:
                progress.close("failed")
                raise
            else:
                progress.close("stopped")
                return finished
            finally:
                status.close()

    def _check_stop_at(self) -> None:
        """Raise CONFIGURATION for a position that the source cannot read, before anything is said or made anywhere."""
        if self._stop_at in (None, "now"):
            return
        try:
            source = open_source(self._settings)
        except TailraceError:
            # The session will meet it again, and say so in its status.
            return
        try:
            source.parse_position(str(self._stop_at))
        finally:
            source.close()

    def _stand_by(self, leadership: Leadership) -> bool:
        """Wait until this process is the one that captures. False: a stop was requested before."""
        settings = self._settings
        if leadership.wait(self._stop, settings.capture.session_timeout_s / 2 + 1):
            return True
        if self._stop.wait(0):
            return False
        log.info("waiting as a standby", session_timeout_s=settings.capture.session_timeout_s)
        component = f"capture.standby.{socket.gethostname()}.{os.getpid()}"
        status = StatusWriter(settings.kafka, settings.name, component)
        try:
            while True:
                status.write({"state": "standby", "error": None})
                self._liveness.progress("standby")
                if leadership.wait(self._stop, settings.capture.status_interval_s):
                    log.info("takes over")
                    return True
                if self._stop.stopping:
                    return False
        finally:
            status.remove()
            status.close()

    def _capture(self, topics: Topics, leadership: Leadership, progress: Progress) -> bool:
        """Capture, as nobody else does. Return True when there is nothing more to do."""
        settings = self._settings
        with ExitStack() as stack:
            registry = open_registry(settings.registry)
            if registry is not None:
                stack.enter_context(closing(registry))
            producer = stack.enter_context(closing(self._producer()))
            # Whoever held the id before is fenced and its transaction settled: what is read now is the last word.
            producer.init()
            failpoints.hit("capture.start.claimed")
            hanging.settle(settings, topics, producer)
            checkpoint, catalogue = self._read_state(topics)
            if settings.mode is Mode.FULL_LOAD and checkpoint.is_loaded:
                log.info("everything is loaded already", tables=len(checkpoint.plans))
                progress.phase("loaded")
                return True
            source = stack.enter_context(closing(open_source(settings)))
            signals = stack.enter_context(closing(CaptureSignals(settings, checkpoint.signals)))
            progress.answers = signals.answers
            if not self._wait_while_paused(signals, checkpoint, source, leadership, progress):
                return True
            dependencies = Dependencies(
                source=source,
                producer=producer,
                topics=topics,
                spawn=partial(ProcessWorker, settings, source.capabilities.connector),
                limits=self._limits,
                now_us=clock.now_us,
                monotonic=clock.monotonic,
                registry=registry,
                seal=partial(seal_registry_topic, settings, topics),
            )
            # Closed first: its loaders hold snapshots open at the source.
            session = stack.enter_context(closing(Session(settings, dependencies, checkpoint, catalogue)))
            progress.began()
            session.start(self._stop_at)
            self._has_captured = True
            hanging_check = _HangingCheck(settings, topics, producer)
            return self._follow(session, source, leadership, progress, hanging_check, signals)

    def _producer(self) -> TransactionalProducer:
        capture = self._settings.capture
        return TransactionalProducer(
            self._settings.kafka,
            checkpoints.transactional_id(self._settings.name),
            transaction_timeout_s=capture.transaction_timeout_s,
            # What has failed is read and published again: the second time the record is named that was not delivered.
            reported=NAMED_TRANSACTIONS * capture.commit_rows if self._backoff.attempts else 0,
        )

    def _read_state(self, topics: Topics) -> tuple[checkpoints.Checkpoint, Catalogue]:
        """Return how far captures before this one have got, and the tables that they have published."""
        settings = self._settings
        checkpoint = checkpoints.read(settings)
        self._check_reset(checkpoint)
        catalogue = Catalogue.of(settings, read_all(settings.kafka, schemas_topic(settings.name)))
        if checkpoint.identity is None and catalogue.versions:
            _begin_anew(checkpoint, hanging.last_sequence(settings, topics))
        return checkpoint, catalogue

    def _check_reset(self, checkpoint: checkpoints.Checkpoint) -> None:
        """Raise INVARIANT if the checkpoint is gone that this process has worked by: whoever took it away decides."""
        if self._has_captured and checkpoint.identity is None:
            raise TailraceError(
                ErrorKind.INVARIANT,
                "the checkpoint was taken away while this capture ran, as `tailrace reset` does",
                remedy="start it again when its targets are ready for a new full load",
            )

    def _wait_while_paused(
        self,
        signals: CaptureSignals,
        checkpoint: checkpoints.Checkpoint,
        source: Source,
        leadership: Leadership,
        progress: Progress,
    ) -> bool:
        """Stand still as long as a signal says so. False: a stop was requested meanwhile."""
        while signals.is_paused(checkpoint.position, source):
            progress.state("paused")
            leadership.check()
            if self._stop.wait(min(1.0, self._settings.capture.status_interval_s)):
                return False
            signals.follow()
        return not self._stop.stopping

    def _follow(
        self,
        session: Session,
        source: Source,
        leadership: Leadership,
        progress: Progress,
        hanging_check: _HangingCheck,
        signals: CaptureSignals,
    ) -> bool:
        began_commit = session.committed
        paused = False
        while not self._stop.stopping and not session.is_finished:
            # First: the very first step must not read past what a pause is to stop at.
            signals.obey(session, source)
            session.step(POLL_TIMEOUT_S)
            if paused := session.bounds.pause.is_met or signals.is_paused(session.position, source):
                break
            leadership.check()
            hanging_check.run(session.publisher)
            progress.report(session, source)
            if session.committed != began_commit:
                # It moves: the next failure is the first of a new series.
                self._backoff.reset()
        session.drain()
        hanging_check.run(session.publisher)
        with suppress(TailraceError):
            # The last figures. Everything is committed: a source that does not answer now is no failure of ours.
            progress.report(session, source, at_once=True)
        log.info(
            "capture ends",
            position=source.format_position(session.committed),
            reason="a signal" if paused else self._stop.reason or "what was asked for is done",
        )
        if paused:
            # The next session stands still before it begins.
            return False
        if session.is_finished and self._settings.mode is Mode.FULL_LOAD and self._stop_at is None:
            if session.loading.stuck is not None:
                raise session.loading.stuck
            # Nobody will read the log again: the source must not keep it for us.
            session.end_log()
            for line in source.destroy():
                log.info("full load is over", done=line)
        return True


class _HangingCheck:
    """Looks for hanging transactions after a connection to Kafka was lost: the broker may have died."""

    def __init__(self, settings: Settings, topics: Topics, producer: TransactionalProducer) -> None:
        self._settings = settings
        self._topics = topics
        self._producer = producer
        self._disconnections = producer.disconnections

    def run(self, publisher: Publisher) -> None:
        """Raise TRANSPORT if something hangs in the topics of tables, or in the replication's own."""
        count = self._producer.disconnections
        if count != self._disconnections and not self._producer.in_transaction:
            self._disconnections = count
            hanging.check(self._settings, self._topics, publisher.topics)


def _begin_anew(checkpoint: checkpoints.Checkpoint, last: int) -> None:
    """Let numbers begin above those that stand in the topics: somebody has deleted the checkpoints, not the topics."""
    if last > checkpoint.sequence:
        epoch = min(epoch_of(last) + 1, EPOCH_MAX)
        checkpoint.sequence = first_sequence(epoch)
        log.warning("the topics are older than the checkpoint, which is empty: begins anew", epoch=epoch)


def own_topics(settings: Settings) -> list[TopicSpec]:
    """Return what the topics of a replication must be, but for those of its tables."""
    name, replication_factor = settings.name, settings.topics.replication_factor
    return [
        checkpoints.topic_spec(settings),
        *schemas_topic_specs(settings),
        TopicSpec(ddl_topic(name), 1, "delete", {"retention.ms": -1}, replication_factor=replication_factor),
        signals_topic_spec(settings),
        # Marks are of use as long as the changes that they count.
        TopicSpec(transactions_topic(name), 1, "delete", settings.topics.config, replication_factor=replication_factor),
        TopicSpec(status_topic(name), 1, "compact", replication_factor=replication_factor),
    ]
