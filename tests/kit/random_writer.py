"""Random transactions on random tables: rows and definitions change in every way, savepoints and roll-backs included.

The same seed on an empty server of the same version makes the same statements. Each statement has a savepoint of its
own: where the server refuses it (a key that is taken, a value that does not convert) it is as if it had never been.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.kit.random_steps import Step, TableSteps
from tests.kit.random_world import World


@dataclass(slots=True)
class Writer:
    """Writes to one database over one connection. Its `script` is what was done, to be read when something differs."""

    world: World
    rows: Sequence[tuple[Step, float]]
    definitions: TableSteps

    def begin(self) -> None:
        """Make the first tables, with rows."""
        for _ in range(self.world.choose.randint(4, 6)):
            self._try("begin", self.definitions.create_table)
        for _ in range(4):
            self._transaction(definitions=False)

    def write(self, transactions: int, pause_s: float = 0.0) -> None:
        """Write so many transactions, with a pause after each."""
        for _ in range(transactions):
            self._transaction(definitions=True)
            time.sleep(pause_s)

    # Transactions

    def _transaction(self, *, definitions: bool) -> None:
        choose = self.world.choose
        if definitions and choose.random() < self.definitions.alone_share:
            self._try("begin", choose.choice(self.definitions.alone()), in_transaction=False)
            return
        before = copy.deepcopy(self.world.tables)
        self.world.run("begin")
        for _ in range(choose.choices((1, 4, 12), (40, 45, 15))[0]):
            self._savepoint(definitions=definitions)
        if choose.random() < 0.08:
            self.world.tables = before
            self.world.run("rollback")
        else:
            self.world.run("commit")

    def _savepoint(self, *, definitions: bool) -> None:
        """Take a step, or several of which nothing stays."""
        choose = self.world.choose
        if choose.random() < 0.06:
            before = copy.deepcopy(self.world.tables)
            self.world.run("savepoint outer_one")
            for _ in range(choose.randint(1, 3)):
                self._step(definitions=definitions)
            self.world.tables = before
            self.world.run("rollback to savepoint outer_one")
        self._step(definitions=definitions)

    def _step(self, *, definitions: bool) -> None:
        steps: list[Step] = self.world.choose.choices(*zip(*self.rows, strict=True))
        if definitions and (weighted := self.definitions.weighted()) and self.world.choose.random() < 0.2:
            steps = [self.world.choose.choices(*zip(*weighted, strict=True))[0]]
        self._try("savepoint s", steps[0])

    def _try(self, opening: str, step: Step, *, in_transaction: bool = True) -> None:
        before = copy.deepcopy(self.world.tables)
        is_savepoint = opening.startswith("savepoint")
        if in_transaction:
            self.world.run(opening)
        try:
            step()
        except Exception as error:
            if not self.world.engine.is_refusal(error):
                raise
            self.world.script.append(f"-- refused: {type(error).__name__}")
            self.world.tables = before
            if in_transaction:
                self.world.run("rollback to savepoint s" if is_savepoint else "rollback")
        else:
            if in_transaction:
                self.world.run("release savepoint s" if is_savepoint else "commit")
