"""Carries out an operator's command on a parked key: its records are applied in order, or the first one is dropped.

What appliers left that ended before the changes is tried again without a command, by those that go on with these. So is
what violated a key in commit order, some times: nobody waits there for what a later commit of the source settles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from apply.applier import Applier
from apply.batching.batch import Batch
from apply.batching.builder import BatchBuilder
from apply.error_handling.dead_letters import DeadLettersTopic, Letter
from apply.error_handling.parking import CONFLICT, EARLY, REFUSED, RELEASED, SKIP, Identity, ParkedKey, ParkingLot
from apply.limits import check_parked
from apply.outcome import Place
from apply.sink import TopicPartition
from runtime import clock
from runtime.failpoints import hit
from runtime.logging import get_logger
from schemas.errors import Action, ErrorKind, TailraceError

log = get_logger(__name__)


PAUSE_S = 1.0
PAUSE_S_MAX = 60.0
"""Between two tries of what is tried without a command: what it needs is on its way."""
TRIES_MAX = 10
"""So often one that violated a key in commit order is tried: within some minutes, unless others are let go."""
KEYS_MAX = 100
"""So many keys are read back, and tried, in one turn: the group must hear from us between two."""


class Releases:
    """Looks for commands on the dead-letters topic and carries them out between two batches."""

    def __init__(
        self,
        applier: Applier,
        dead_letters: DeadLettersTopic,
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self._applier = applier
        self._dead_letters = dead_letters
        self._monotonic = monotonic
        self._early_at = 0.0
        self._pause_s = PAUSE_S
        self._round: list[Identity] = []
        """What is yet to be tried before the next pause."""
        self._released = 0
        """How many keys that let go so far."""
        self._tries: dict[tuple[str, int, int], int] = {}
        """How often keys were tried that violate a key, by the place of their first records."""

    def attend(self) -> None:
        """Carry out what waits for partitions owned. Called with nothing unflushed.

        A crash between the flush and the word `released` repeats the same changes: later ones of the key still queue.
        """
        self._dead_letters.follow()
        lot, owned = self._dead_letters.lot, self._applier.cursors.positions
        if self._applier.holds.end_of is None and (self._round or self._monotonic() >= self._early_at):
            self._try_again(self._left(owned))
        for identity, parked in lot.commands(owned):
            # Later changes of the key that are taken in already were taken in as parked.
            self._applier.rewind()
            command, skipping = parked.command, parked.command == SKIP
            letters = self._dead_letters.letters(parked)
            reference = ":".join(map(str, letters[0].place))
            refused = self._apply(letters[1:] if skipping else letters)
            if refused is None:
                self._settle(identity, letters)
                log.info("parked key released", command=command, reference=reference, records=len(letters))
                continue
            if skipping:
                self._release(identity, letters[0])
            self._dead_letters.lot.refuse(identity)
            self._dead_letters.answer(REFUSED, letters[0].original_key, letters[0].place)
            log.warning("parked key still refused", reference=reference, reason=refused.message)

    def _left(self, owned: Iterable[TopicPartition]) -> dict[Identity, ParkedKey]:
        """Return the keys that are tried without a command."""
        if not self._applier.order.exact:
            return self._dead_letters.lot.early(owned)
        found = self._dead_letters.lot.early(owned, {EARLY, CONFLICT})
        firsts = {parked.records[0][:3] for parked in found.values()}
        self._tries = {place: count for place, count in self._tries.items() if place in firsts}
        return {
            identity: parked
            for identity, parked in found.items()
            if parked.records[0].kind == EARLY or self._tries.get(parked.records[0][:3], 0) < TRIES_MAX
        }

    def _try_again(self, early: Mapping[Identity, ParkedKey]) -> None:
        """Try the next ones of a round, or begin one."""
        if not self._round:
            self._round, self._released = [*early], 0
            if not early:
                self._early_at, self._pause_s = self._monotonic() + PAUSE_S, PAUSE_S
                return
        turn, self._round = self._round[:KEYS_MAX], self._round[KEYS_MAX:]
        # Some may have come to an end since the round began, or belong to another applier.
        keys = [identity for identity in turn if identity in early]
        if keys:
            self._applier.rewind()
            found = self._dead_letters.letters_of([early[identity] for identity in keys])
            errors = []
            for identity, letters in zip(keys, found, strict=True):
                first = early[identity].records[0]
                if first.kind == CONFLICT:
                    self._tries[first[:3]] = self._tries.get(first[:3], 0) + 1
                errors.append(error := self._apply(letters, may_wait=True))
                if error is None:
                    self._settle(identity, letters)
                    self._released += 1
            if any(error is not None and error.kind is ErrorKind.ROW_REJECTED for error in errors):
                # They wait no longer only for changes.
                check_parked(self._dead_letters.lot, self._applier.limits, ends_early=False)
        if not self._round:
            log.info("parked keys were tried again", released=self._released)
            self._early_at = self._monotonic() + self._pause_s
            self._pause_s = PAUSE_S if self._released else min(2 * self._pause_s, PAUSE_S_MAX)

    def _settle(self, identity: Identity, letters: list[Letter]) -> None:
        """Say of a key that all of it is applied."""
        hit("apply.release.applied")
        self._release(identity, letters[-1])

    def _release(self, identity: Identity, through: Letter) -> None:
        self._dead_letters.answer(RELEASED, through.original_key, through.place)
        self._dead_letters.lot.release(identity, through.offset())

    def _apply(self, letters: list[Letter], *, may_wait: bool = False) -> TailraceError | None:
        """Write the records in one transaction; return why the target refuses them, if it does.

        A conflict is an error, with which the policy deals, unless they may wait: then nothing is written.
        """
        try:
            batch = self._batch(letters)
        except TailraceError as error:
            if error.kind is ErrorKind.DECODE:
                return error
            raise
        places = (Place(TopicPartition(letter.topic(), letter.partition()), letter.offset()) for letter in letters)
        overdue = frozenset(() if may_wait else places)
        outcome = self._applier.writer.write(batch, overdue)
        if outcome.error is not None:
            if outcome.error.action in (Action.PARK, Action.SUSPEND):
                return outcome.error
            raise outcome.error
        refused = [error for _, error in outcome.conflicts.values()] + [wait.error for wait in outcome.waits.values()]
        if refused:
            return refused[0]
        for key, record in outcome.parked:
            self._dead_letters.lot.park(key, record)
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
        # The partition's offset passed these records when they were parked. (That of a truncate may be staged already.)
        flushed, held = self._applier.cursors.flushed, self._applier.holds.by_partition
        batch.next, batch.standing = {}, {p: flushed[p] for p in positions if p in flushed and p not in held}
        return batch
