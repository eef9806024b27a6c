"""The apply service: one member of a target's consumer group, from its start to its end.

It keeps the rhythm of the parts that `apply.assembly` puts together; what each does is written in its own module.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from apply.assembly import Assembly
from apply.goal import Goal
from runtime import clock, exit_codes, failpoints, garbage, metrics
from runtime.lifecycle import StopRequest
from runtime.logging import bind, get_logger
from runtime.retry import Backoff, call
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Mode, Settings
from schemas.signals import PAUSE

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
            service = call(lambda: _open(settings, target, health), backoff, stop, retried)
        except TailraceError:
            if stop.stopping:
                return exit_codes.OK
            raise
        stack.callback(service.close)
        return service.run(stop, until_now=stop_at == "now")


def _open(settings: Settings, target: str, health: metrics.Liveness) -> _Service:
    service = _Service(settings, target, health, Assembly(settings, target))
    try:
        service.begin()
    except BaseException:
        service.close()
        raise
    return service


class _Service:
    """A running applier."""

    def __init__(self, settings: Settings, target: str, health: metrics.Liveness, parts: Assembly) -> None:
        self._settings = settings
        self._target = target
        self._health = health
        self._parts = parts
        self._applier = parts.applier
        self._report = parts.report
        self._next_signals = self._next_attend = self._next_refresh = self._next_report = self._next_ends = 0.0
        self._ends: dict[tuple[str, int], int] = {}
        self._goal: Goal | None = None
        """What is applied when the service ends by itself; None: it does not."""

    def begin(self) -> None:
        """Learn of the tables, and of what operators have asked for."""
        self._refresh()
        self._follow_signals(to_end=True)

    def close(self) -> None:
        """Leave the group and close everything."""
        self._parts.close()

    def run(self, stop: StopRequest, *, until_now: bool) -> int:
        """Step until the stop or the goal; then drain. The last status document says how it ended."""
        try:
            if until_now:
                self._aim()
            log.info("applying", group=self._parts.group, tables=len(self._parts.subscription.topics))
            self._loop(stop)
            self._applier.writer.patient = False
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
                self._health.progress("waiting to try again" if self._applier.recovery.error else "claiming partitions")
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
                if self._parts.control_tables is not None:
                    self._parts.control_tables.attend()
            if self._goal is not None and now >= next_log:
                next_log = now + GOAL_LOG_INTERVAL_S
                left = self._goal.left
                waits = [f"{p.topic}/{p.partition}@{end}" for p, end in sorted(left.items())[:8]]
                log.info("stops at the end of what was published", partitions_left=len(left), waits_for=waits)

    def _follow_signals(self, *, to_end: bool = False) -> None:
        """Stand still, or go on, as the last command to this target says."""
        for _, signal in self._parts.signals.follow(to_end=to_end):
            if signal.target == self._target:
                log.info("signal", id=signal.id, command=signal.command)
                self._report.answers[signal.id] = "paused" if signal.command == PAUSE else "resumed"
        self._applier.paused = self._parts.signals.pause(self._target) is not None

    @property
    def _state(self) -> str:
        if self._applier.paused:
            return "paused"
        # More members than partitions, or the sole one is another.
        return "running" if self._applier.cursors.positions else "standby"

    def _attend(self) -> None:
        """Look at what is not on the data path."""
        self._parts.releases.attend()
        # Whoever succeeds one that arrived at a barrier does not begin before it: a table that was dropped came back.
        if self._applier.checkpoint():
            self._parts.completion.attend(self._applier.reached)

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something beside the data path; what goes wrong in it is answered as on the data path."""
        try:
            action()
        except TailraceError as error:
            self._applier.fail(error)

    def _refresh(self) -> None:
        self._parts.subscription.refresh(self._parts.consumer)

    def _aim_once_loaded(self) -> None:
        """Let the service end, if it is to end when every table is loaded, and they are."""
        settings = self._settings
        after_load = settings.apply.stop_after_load and settings.mode is not Mode.CDC
        stops = after_load or self._applier.holds.end_of is not None
        if stops and self._parts.subscription.topics and self._parts.is_loaded():
            self._aim()

    def _aim(self) -> None:
        """Let the service end when what is published now is applied, but for what is behind the ends of loads, where it
        is to end there.
        """
        topics, brokers = [*self._parts.subscription.topics], self._parts.brokers
        if not topics:
            raise TailraceError(
                ErrorKind.PREREQUISITE,
                "nothing of this replication is published yet: there is no end to stop at",
                remedy="start capture first",
            )
        self._goal = Goal(self._applier.holds.bounded(brokers.ends(topics)), brokers.topics.begin_offsets(topics))
        self._applier.writer.patient = False

    def _reached(self, goal: Goal) -> bool:
        """Tell whether the group has got to where the topics ended, or what is suspended keeps it from there."""
        if goal.left:
            goal.pass_own(self._applier.reached)
        others = [p for p in goal.left if p not in self._applier.cursors.positions]
        if others:
            goal.pass_others(self._parts.brokers.group_offsets.read(others), self._applier.cursors.positions)
        return len(goal.kept(self._applier.holds.suspension)) == len(goal.left) and self._applier.caught_up

    def _read_ends(self) -> dict[tuple[str, int], int]:
        now = clock.monotonic()
        if now >= self._next_ends and self._applier.cursors.positions:
            self._ends = self._parts.brokers.topics.end_offsets({p.topic for p in self._applier.cursors.positions})
            # Of very many topics it takes long.
            self._next_ends = now + max(ENDS_INTERVAL_S, 20 * (clock.monotonic() - now))
        return self._ends
