"""The PostgreSQL sink: rows, offsets and definitions over one connection, in one transaction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import psycopg

from apply.sink_kinds.relational.plan import filling_of
from apply.sink_kinds.relational.sink import Definitions, RelationalSink, plan_key
from apply.sinks.postgresql.catalog import TargetColumn, TargetTable
from apply.sinks.postgresql.completion import Completion
from apply.sinks.postgresql.connection import Link
from apply.sinks.postgresql.control_tables import ControlTables
from apply.sinks.postgresql.ddl import typed
from apply.sinks.postgresql.errors import FEATURE_NOT_SUPPORTED, OBJECT_IN_USE, classify, is_row_error
from apply.sinks.postgresql.names import literal, qualified, quoted
from apply.sinks.postgresql.preparation import Preparation
from apply.sinks.postgresql.stages import Stages
from apply.sinks.postgresql.statements import TablePlan, usual_form
from apply.sinks.postgresql.writer import Writer
from schemas.endpoints.postgresql import PostgresqlTarget
from schemas.errors import ErrorKind, TailraceError
from schemas.policies import ExistingTables
from schemas.row_forms import StagedForm
from schemas.table import Column, TableName, TableSchema


class PostgresqlSink(RelationalSink[TablePlan, Link]):
    """One target database, as one appliers' process sees it."""

    capabilities = replace(RelationalSink.capabilities, stages=True)

    def __init__(
        self,
        replication: str,
        target_name: str,
        target: PostgresqlTarget,
        *,
        defers: bool = False,
        existing_tables: ExistingTables = ExistingTables.KEEP,
        marks: bool = False,
    ) -> None:
        """With `defers` foreign keys that are there already are altered so that they can wait for a commit.

        With `marks` the target's log tells what was written by this sink.
        """
        link = Link(target, f"tailrace apply {replication} {target_name}", mark=replication if marks else None)
        control = ControlTables(link, target.control_schema, replication, target_name)
        self._preparation = Preparation(
            link, control, target.schema_map, defers=defers, existing_tables=existing_tables
        )
        completion = Completion(link, control, self._preparation, foreign_keys_act=target.disable_triggers)
        definitions = Definitions(link, control, self._preparation, completion)
        super().__init__(link, control, definitions, Writer(Stages(link)))
        self._triggers_disabled = target.disable_triggers

    def staged_form(self, table: TableSchema) -> StagedForm | None:
        """Return what makes lines of whole rows; by a guess, until it is known what the target's table takes."""
        plan = self._plans.get(plan_key(table))
        return usual_form(table) if plan is None else plan.form

    def _qualified(self, name: TableName) -> str:
        return qualified(self._preparation.target_name(name))

    @staticmethod
    def _quoted(column: str) -> str:
        return quoted(column)

    def _make_plan(self, table: TableSchema, found: TargetTable, fillings: Mapping[str, str]) -> TablePlan:
        found = replace(found, acts_on_delete=False) if self._triggers_disabled else found
        return TablePlan(table, found, fillings)

    @staticmethod
    def _filling(column: Column, found: TargetColumn, staged: Callable[[str], str]) -> str:
        return filling_of(column, partial(typed, type_=found.type), staged, literal)

    def truncate(self, tables: Sequence[TableSchema]) -> None:
        """Empty tables within the open transaction. Never cascades: the source names every table that it emptied.

        Raises ROW_CONFLICT while rows of other tables refer to these.
        """
        names = [self._qualified(table.name) for table in tables]
        with self._of_table("truncating", tables[0].name), self._definable(tables[0]):
            self._link.begin()
            self._link.run("savepoint tailrace_truncate")
            try:
                self._link.run(f"truncate table {', '.join(names)}")
            except psycopg.Error as error:
                if error.sqlstate not in {FEATURE_NOT_SUPPORTED, OBJECT_IN_USE}:
                    raise
                # A foreign key refers to one of them: `truncate` does not ask whether it has rows, `delete` does. Nor
                # does it work while deferred constraints are still to be asked.
                self._link.run("rollback to savepoint tailrace_truncate")
                for name in names:
                    self._link.run(f"delete from {name}")
            self._link.run("release savepoint tailrace_truncate")

    def defer(self) -> None:
        """Let deferrable constraints hold at `check` only."""
        with self._link.classified("deferring constraints"):
            self._link.defer()

    def check(self) -> TailraceError | None:
        """Ask deferred constraints; return what one of them says."""
        if not (self._link.begun and self._link.deferring):
            return None
        try:
            self._link.run("set constraints all immediate")
        except psycopg.Error as error:
            refusal = classify(error, "asking deferred constraints")
            if not is_row_error(error):
                raise refusal from error
            return refusal
        return None

    @contextlib.contextmanager
    def _definable(self, table: TableSchema) -> Iterator[None]:
        """Say so if a table cannot be changed since constraints are still to be asked about its rows."""
        try:
            yield
        except psycopg.errors.ObjectInUse as error:
            if not self._link.deferring:
                raise
            raise TailraceError(
                ErrorKind.ROW_CONFLICT,
                "the table changes in the midst of a transaction whose constraints wait for its end",
                table=str(table.name),
            ) from error
