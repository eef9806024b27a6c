"""The signals topic, as services follow it: each command once, and who is paused."""

from __future__ import annotations

from runtime.kafka.admin import Topics, TopicSpec
from runtime.kafka.compacted import Follower, Record
from runtime.logging import get_logger
from schemas import signals
from schemas.errors import TailraceError
from schemas.settings import Settings
from schemas.signals import PAUSE, RELOAD, Signal
from schemas.topics import signals_topic

log = get_logger(__name__)


def topic_spec(settings: Settings) -> TopicSpec:
    """Return what the signals topic must be. A pause must not end because its record has become old."""
    config = {"retention.ms": -1}
    return TopicSpec(
        signals_topic(settings.name), 1, "delete", config, replication_factor=settings.topics.replication_factor
    )


class Signals:
    """Folds the topic from its beginning: pausing is a state, and what was said last is so."""

    def __init__(self, settings: Settings) -> None:
        """Makes the topic where it is missing. Raises TRANSPORT while Kafka does not answer."""
        Topics(settings.kafka).ensure([topic_spec(settings)])
        self._follower = Follower(settings.kafka, signals_topic(settings.name))
        self._ids: set[str] = set()
        self._pauses: dict[str | None, Signal | None] = {}
        self.end = 0
        """The offset behind the last record taken in."""

    def follow(self, *, to_end: bool = False) -> list[tuple[int, Signal]]:
        """Take in what has come, or with `to_end` all that is there; return the new commands with their offsets."""
        new: list[tuple[int, Signal]] = []
        for record in self._follower.catch_up() if to_end else self._follower.poll():
            self.end = record.offset + 1
            signal = _read(record)
            # The same command once more: whoever sent it did not know that it had arrived.
            if signal is not None and signal.id not in self._ids:
                self._ids.add(signal.id)
                if signal.command != RELOAD:
                    self._pauses[signal.target] = signal if signal.command == PAUSE else None
                new.append((record.offset, signal))
        return new

    def pause(self, target: str | None = None) -> Signal | None:
        """Return the command that pauses capture, or a target's appliers; None if they are to run."""
        return self._pauses.get(target)

    def close(self) -> None:
        """Let go of the client. May be called twice."""
        self._follower.close()


def _read(record: Record) -> Signal | None:
    if record.value is None:
        return None
    try:
        return signals.decode(record.value)
    except TailraceError as error:
        # Anybody can write there: a command that cannot be read must stop nobody.
        log.warning("signal ignored", offset=record.offset, reason=error.message)
        return None
