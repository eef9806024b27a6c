"""How a process takes part in a consumer group: by which name, how long it may be silent, and what it does when
partitions come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Partition = tuple[str, int]
"""Topic and number; `apply.sink.TopicPartition` is one."""

OnAssign = Callable[[list[Partition]], Mapping[Partition, int]]
"""Receives the partitions that are added; returns the next offsets that are known better than by the group."""
OnRevoke = Callable[[list[Partition]], None]
"""Receives the partitions that go: everything flushed of them may still be committed before it returns."""


@dataclass(frozen=True, slots=True)
class RebalanceListener:
    """What is called within `consume` and `close`. An exception of a callback is raised by the call that it ran in."""

    assigned: OnAssign | None = None
    revoked: OnRevoke | None = None
    lost: OnRevoke | None = None
    """For partitions that another member may have already; None: `revoked`."""


@dataclass(frozen=True, slots=True)
class Membership:
    """What the group knows of a member."""

    instance_id: str | None = None
    """A name that outlives the process: one that comes back in time has its partitions again (static membership)."""
    session_timeout_s: float = 10
    """After so long without a heartbeat, which the client sends by itself, the group gives its partitions away."""
    poll_interval_s: float = 900
    """The same, without a call of `consume`."""

    def properties(self) -> dict[str, Any]:
        """Return them in librdkafka's terms."""
        found = {
            "session.timeout.ms": int(self.session_timeout_s * 1000),
            "max.poll.interval.ms": int(max(self.poll_interval_s, self.session_timeout_s) * 1000),
        }
        return found if self.instance_id is None else {**found, "group.instance.id": self.instance_id}

    @property
    def heartbeat_interval_ms(self) -> int:
        """How often heartbeats are sent, unless the user's properties say otherwise."""
        return max(100, min(1000, int(self.session_timeout_s * 1000 / 3)))


MEMBERSHIP = Membership()
NO_LISTENER = RebalanceListener()
