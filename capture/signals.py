"""Commands to capture: pause, resume and reload, carried out between two steps of a session.

Pausing follows from the topic alone. A reload is done once: in the Kafka transaction in which it begins, the
checkpoints topic learns the offset that the signals are followed up to, and what was answered.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import orjson

from capture import checkpoints
from capture.session import Session
from capture.source import Source
from runtime import clock
from runtime.logging import get_logger
from runtime.signals import Signals
from schemas.errors import TailraceError
from schemas.position import Position
from schemas.settings import Settings
from schemas.signals import ACCEPTED, PAUSE, RELOAD, Signal

log = get_logger(__name__)

FOLLOW_INTERVAL_S = 0.2

ANSWERS_MAX = 50
"""Answers that are kept, and shown by status."""


class CaptureSignals:
    """What an active capture has been told, and what it has answered."""

    def __init__(self, settings: Settings, document: dict[str, Any]) -> None:
        """`document` is the checkpoint's. Raises TRANSPORT while Kafka does not answer."""
        self._next: int = document.get("next", 0)
        self.answers: dict[str, str] = dict(document.get("answers", {}))
        """What became of commands, by their ids, the last ones."""
        self._due: deque[tuple[int, Signal]] = deque()
        self._signals = Signals(settings)
        self._followed_at_s = 0.0
        self.follow(to_end=True)
        if self._signals.end < self._next:
            # Another topic of the same name: somebody has deleted the one that the offset is of.
            self._next = 0

    def obey(self, session: Session, source: Source) -> None:
        """Carry out what has come. Called between two steps; cheap."""
        self.follow()
        session.bounds.pause.commit = self._pause_commit(source)
        while self._due:
            offset, signal = self._due.popleft()
            if offset < self._next:
                continue
            self._next = offset + 1
            self._answer(signal, session.reload(signal))
            document = {"version": checkpoints.FORM_VERSION, "next": self._next, "answers": self.answers}
            session.note(checkpoints.SIGNALS_KEY, orjson.dumps(document))

    def is_paused(self, position: Position, source: Source) -> bool:
        """Tell whether capture, which has got to `position`, is to stand still, by what `follow` has found.

        A pause without a position is at once; one at a position is at the first boundary between transactions there.
        """
        commit = self._pause_commit(source)
        if commit is None or position.commit < commit or (commit and position.row):
            return False
        if (signal := self._signals.pause()) is not None:
            self._answer(signal, "paused")
        return True

    def _pause_commit(self, source: Source) -> int | None:
        """Return the commit of the position to pause at, 0 for at once; None where nothing, or nonsense, is asked."""
        signal = self._signals.pause()
        if signal is None:
            return None
        if signal.at is None:
            return 0
        try:
            return source.parse_position(signal.at).commit
        except TailraceError as error:
            self._answer(signal, f"refused: {error.message}")
            return None

    def follow(self, *, to_end: bool = False) -> None:
        """Take in what has come, a few times a second."""
        now_s = clock.monotonic()
        if now_s - self._followed_at_s < FOLLOW_INTERVAL_S and not to_end:
            return
        self._followed_at_s = now_s
        for offset, signal in self._signals.follow(to_end=to_end):
            if signal.command == RELOAD:
                self._due.append((offset, signal))
            elif signal.target is None:
                pause = f"{ACCEPTED}: pauses at {signal.at}" if signal.at is not None else "paused"
                self._answer(signal, pause if signal.command == PAUSE else "resumed")

    def close(self) -> None:
        """Let go of Kafka. May be called twice."""
        self._signals.close()

    def _answer(self, signal: Signal, outcome: str) -> None:
        if self.answers.get(signal.id) == outcome:
            return
        self.answers[signal.id] = outcome
        while len(self.answers) > ANSWERS_MAX:
            del self.answers[next(iter(self.answers))]
        log.info("signal", id=signal.id, command=signal.command, table=signal.table, outcome=outcome)
