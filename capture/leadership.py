"""One active capture per replication: the member of a consumer group that has the one partition of its topic.

Nothing is consumed: the group is Kafka's own election. A capture that stands still is voted out after the session
time-out, one whose loop alone does after `POLL_INTERVAL_S`; when it wakes, the transactional id of its successor fences
it, whatever it believes.
"""

from __future__ import annotations

from runtime import clock
from runtime.kafka.consumer import GroupConsumer
from runtime.kafka.membership import Membership, Partition, RebalanceListener
from runtime.lifecycle import StopRequest
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.topics import capture_group, checkpoints_topic

POLL_INTERVAL_S = 300.0
"""A capture whose loop has stood still for so long is as good as dead: the group lets another one take over."""

CHECK_INTERVAL_S = 1.0

ELECTION_POLL_S = 0.05
"""How often it is looked whether the group has chosen: a poll that brings no record does not end with the election."""


class Leadership:
    """Membership in the group. Used by one thread."""

    def __init__(self, settings: Settings) -> None:
        self._topic = checkpoints_topic(settings.name)
        self._checked_at_s = 0.0
        self._consumer = GroupConsumer(
            settings.kafka,
            capture_group(settings.name),
            listener=RebalanceListener(self._assigned),
            membership=Membership(None, settings.capture.session_timeout_s, POLL_INTERVAL_S),
            # The partition is paused at once; what a fetch brings before that should be little.
            overrides={"queued.max.messages.kbytes": 64, "fetch.message.max.bytes": 65_536},
        )
        self._consumer.subscribe([self._topic])

    @property
    def is_held(self) -> bool:
        """Whether this process is the one, as far as the group has said."""
        return bool(self._consumer.assignment())

    def wait(self, stop: StopRequest, seconds: float) -> bool:
        """Wait until this process is the one, at most `seconds` or until a stop is requested; tell whether it is."""
        deadline_s = clock.monotonic() + seconds
        while not self.is_held and not stop.stopping and clock.monotonic() < deadline_s:
            self._poll(ELECTION_POLL_S)
        return self.is_held

    def check(self) -> None:
        """Keep the membership alive; cheap. Raises TRANSPORT once another process may be the one."""
        now_s = clock.monotonic()
        if now_s - self._checked_at_s < CHECK_INTERVAL_S:
            return
        self._checked_at_s = now_s
        self._poll(0.0)
        if not self.is_held:
            raise TailraceError(
                ErrorKind.TRANSPORT,
                "the group no longer lets this process capture: it was silent for longer than the session time-out",
                remedy="raise `capture.session_timeout_s` if this happens on a loaded machine",
            )

    def close(self) -> None:
        """Leave the group: a standby takes over at once. May be called twice."""
        self._consumer.close()

    def _poll(self, timeout_s: float) -> None:
        self._consumer.consume(1, timeout_s)
        if self.is_held:
            self._consumer.pause(self._consumer.assignment())

    def _assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        # Where to read from does not matter: nothing is read.
        return dict.fromkeys(partitions, 0)
