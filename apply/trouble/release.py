"""Carries out an operator's command on a parked key: its records are applied in order, or the first one is dropped."""

from __future__ import annotations

from apply.applier import Applier
from apply.batching.batch import Batch
from apply.batching.builder import BatchBuilder
from apply.outcome import Place
from apply.sink import TopicPartition
from apply.trouble.dead_letters import DeadLettersTopic, Letter
from apply.trouble.parking import REFUSED, RELEASED, SKIP, Identity, ParkingLot
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.errors import Action, ErrorKind, TailraceError

log = get_logger(__name__)


class Releases:
    """Looks for commands on the dead-letters topic and carries them out between two batches."""

    def __init__(self, applier: Applier, dead_letters: DeadLettersTopic) -> None:
        self._applier = applier
        self._dead_letters = dead_letters

    def attend(self) -> None:
        """Carry out what waits for partitions owned. Called with nothing unflushed.

        A crash between the flush and the word `released` repeats the same changes: later ones of the key still queue.
        """
        self._dead_letters.follow()
        for identity, parked in self._dead_letters.lot.commands(self._applier.cursors.positions):
            # Later changes of the key that are taken in already were taken in as parked.
            self._applier.rewind()
            command, skipping = parked.command, parked.command == SKIP
            letters = self._dead_letters.letters(parked)
            reference = ":".join(map(str, letters[0].place))
            refused = self._apply(letters[1:] if skipping else letters)
            if refused is None:
                hit("apply.release.applied")
                self._release(identity, letters[-1])
                log.info("parked key released", command=command, reference=reference, records=len(letters))
                continue
            if skipping:
                self._release(identity, letters[0])
            self._dead_letters.lot.refuse(identity)
            self._dead_letters.answer(REFUSED, letters[0].original_key, letters[0].place)
            log.warning("parked key still refused", reference=reference, reason=refused.message)

    def _release(self, identity: Identity, through: Letter) -> None:
        self._dead_letters.answer(RELEASED, through.original_key, through.place)
        self._dead_letters.lot.release(identity, through.offset())

    def _apply(self, letters: list[Letter]) -> TailraceError | None:
        """Write the records in one transaction; return why the target refuses them, if it does."""
        try:
            batch = self._batch(letters)
        except TailraceError as error:
            if error.kind is ErrorKind.DECODE:
                return error
            raise
        overdue = frozenset(
            Place(TopicPartition(letter.topic(), letter.partition()), letter.offset()) for letter in letters
        )
        outcome = self._applier.writer.write(batch, overdue)
        if outcome.error is not None:
            if outcome.error.action in (Action.PARK, Action.SUSPEND):
                return outcome.error
            raise outcome.error
        refused = [error for _, error in outcome.conflicts.values()] + [wait.error for wait in outcome.waits.values()]
        if refused:
            return refused[0]
        if outcome.parked:
            return TailraceError(ErrorKind.ROW_REJECTED, outcome.parked[0][1].message)
        return None

    def _batch(self, letters: list[Letter]) -> Batch:
        positions = {TopicPartition(letter.topic(), letter.partition()): 0 for letter in letters}
        builder = BatchBuilder(self._applier.versions, positions, ParkingLot(), self._applier.writer.sink)
        cuts = builder.add(letters)
        for cut in cuts.values():
            if cut.error is not None:
                raise cut.error
        batch = builder.take()
        # The partition's offset passed these records when they were parked.
        batch.next = {}
        return batch
