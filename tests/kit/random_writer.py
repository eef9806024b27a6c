"""Random transactions on random tables: rows and definitions change in every way, savepoints and roll-backs included.

The same seed on an empty server of the same version makes the same statements. Each statement has a savepoint of its
own: where the server refuses it (a key that is taken, a value that does not convert) it is as if it had never been.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from tests.kit.postgresql_samples import NativeSample
from tests.kit.random_definitions import DefinitionSteps, Step
from tests.kit.random_rows import RowSteps
from tests.kit.random_tables import SCHEMAS, Designer, quoted
from tests.kit.random_world import World

_REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.ObjectNotInPrerequisiteState,
    psycopg.errors.UndefinedObject,
    # Of a type that cannot be sorted, where the column has an index.
    psycopg.errors.UndefinedFunction,
    # "Unexpected object depending on column": PostgreSQL 13, of generated columns.
    psycopg.errors.InternalError_,
)
"""What a server may refuse of what is written here; anything else is a mistake of the generator."""


@dataclass(slots=True)
class Writer:
    """Writes to one database over one connection. Its `script` is what was done, to be read when something differs."""

    world: World
    rows: RowSteps
    definitions: DefinitionSteps

    @classmethod
    def begin(cls, connection: psycopg.Connection, seed: int, samples: Sequence[NativeSample]) -> Writer:
        """Make the schemas and the first tables, with rows."""
        choose = random.Random(seed)
        world = World(connection, choose, Designer(choose, samples))
        writer = cls(world, RowSteps(world), DefinitionSteps(world))
        connection.execute("set client_min_messages = error; set extra_float_digits = 3")
        for schema in SCHEMAS:
            connection.execute(f"create schema if not exists {quoted(schema)}")
        for _ in range(choose.randint(4, 6)):
            writer._try("begin", writer.definitions.create_table)
        for _ in range(4):
            writer._transaction(definitions=False)
        return writer

    def write(self, transactions: int, pause_s: float = 0.0) -> None:
        """Write so many transactions, with a pause after each."""
        for _ in range(transactions):
            self._transaction(definitions=True)
            time.sleep(pause_s)

    # Transactions

    def _transaction(self, *, definitions: bool) -> None:
        choose = self.world.choose
        if definitions and choose.random() < 0.08:
            self._try(
                "begin", choose.choice((self.definitions.add_label, self.definitions.vacuum)), in_transaction=False
            )
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
        of_rows = (
            self.world.insert,
            self.rows.update,
            self.rows.update_key,
            self.rows.swap_keys,
            self.rows.delete,
            self.rows.large,
            self.rows.truncate,
        )
        steps: list[Step] = self.world.choose.choices(of_rows, (40, 32, 10, 6, 14, 3, 1.5))
        if definitions and self.world.choose.random() < 0.2:
            steps = [self.world.choose.choices(*zip(*self.definitions.weighted(), strict=True))[0]]
        self._try("savepoint s", steps[0])

    def _try(self, opening: str, step: Step, *, in_transaction: bool = True) -> None:
        before = copy.deepcopy(self.world.tables)
        is_savepoint = opening.startswith("savepoint")
        if in_transaction:
            self.world.run(opening)
        try:
            step()
        except _REFUSALS as error:
            self.world.script.append(f"-- refused: {type(error).__name__}")
            self.world.tables = before
            if in_transaction:
                self.world.run("rollback to savepoint s" if is_savepoint else "rollback")
        else:
            if in_transaction:
                self.world.run("release savepoint s" if is_savepoint else "commit")
