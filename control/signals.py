"""`tailrace signal`: writes a command to the signals topic, and waits for the answer on the status topic."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from contextlib import closing

from control.contact import reach_source
from control.status import Observer
from runtime import clock
from runtime.kafka.admin import Topics
from runtime.kafka.producer import PlainProducer
from schemas import signals
from schemas.errors import ErrorKind, TailraceError
from schemas.settings import Settings
from schemas.signals import ACCEPTED, PAUSE, RELOAD, RESUME, Bound, Signal
from schemas.topics import signals_topic

POLL_INTERVAL_S = 0.5


def pause(settings: Settings, target: str | None, at: str | None, identifier: str | None) -> Signal:
    """Let capture, or the appliers of a target, stand still. `at`: `now` or a position of the source."""
    if target is not None:
        settings.target(target)
        if at is not None:
            raise TailraceError(ErrorKind.CONFIGURATION, "a target is paused at once: --at is capture's")
    return _send(settings, Signal(_id(identifier), PAUSE, target, _position(settings, at)))


def resume(settings: Settings, target: str | None, identifier: str | None) -> Signal:
    """Let what was paused go on."""
    if target is not None:
        settings.target(target)
    return _send(settings, Signal(_id(identifier), RESUME, target))


def reload(
    settings: Settings,
    tables: Sequence[str],
    lower: Bound | None,
    upper: Bound | None,
    *,
    empty: bool,
    identifier: str | None,
) -> list[Signal]:
    """Publish tables' rows again, or those of a key range of one, beside their changes: a command for each table."""
    if empty and (lower or upper):
        raise TailraceError(ErrorKind.CONFIGURATION, "a key range cannot be emptied: leave --empty or the range out")
    if len(tables) > 1 and (lower or upper or identifier):
        raise TailraceError(
            ErrorKind.CONFIGURATION, "a key range and --id are of one table: give one --table with them"
        )
    return [
        _send(settings, Signal(_id(identifier), RELOAD, None, None, table, lower, upper, empty)) for table in tables
    ]


def wait(settings: Settings, signal: Signal, seconds: float) -> str | None:
    """Return what became of a command, None if nobody has said within so many seconds.

    One that was accepted only is waited for: its outcome is still to come.
    """
    deadline = clock.monotonic() + seconds
    accepted: str | None = None
    with Observer(settings) as observer:
        while True:
            for document in observer.documents().values():
                outcome = (document.get("signals") or {}).get(signal.id)
                if isinstance(outcome, str):
                    if not outcome.startswith(ACCEPTED):
                        return outcome
                    accepted = outcome
            if clock.monotonic() > deadline:
                return accepted
            clock.sleep(POLL_INTERVAL_S)


def _id(identifier: str | None) -> str:
    return identifier or uuid.uuid4().hex[:12]


def _position(settings: Settings, at: str | None) -> str | None:
    """Return a position as the source prints it. Raises CONFIGURATION for what is none."""
    if at is None:
        return None
    with closing(reach_source(settings)) as source:
        return source.format_position(source.current_position() if at == "now" else source.parse_position(at))


def _send(settings: Settings, signal: Signal) -> Signal:
    topic = signals_topic(settings.name)
    if not Topics(settings.kafka).exists(topic):
        raise TailraceError(
            ErrorKind.CONFIGURATION,
            f"there is no topic {topic}: nothing of this replication has run yet",
            remedy="start capture, which makes it",
        )
    with closing(PlainProducer(settings.kafka)) as producer:
        producer.produce(topic, *signals.encode(signal), partition=0)
        producer.flush()
    return signal
